"""medcnn: train, evaluate and report CNNs on radiology images.

The public functions are imported when they are first used, so that ``import medcnn`` costs nothing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "MedcnnError",
    "Run",
    "__version__",
    "audit",
    "convert",
    "describe",
    "evaluate",
    "evaluate_table",
    "get_dataset",
    "load_dataset",
    "load_recipe",
    "make_phantom",
    "predict",
    "report",
    "run",
    "train",
]

if TYPE_CHECKING:
    from pathlib import Path

    from medcnn.api import (
        Run,
        audit,
        convert,
        describe,
        evaluate,
        evaluate_table,
        get_dataset,
        load_dataset,
        load_recipe,
        make_phantom,
        predict,
        report,
        run,
        train,
    )
    from medcnn.errors import MedcnnError


class _Package(ModuleType):
    """Keeps ``medcnn.report(run)`` working once the package ``medcnn.report``, which has its name, is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "report" and isinstance(value, ModuleType):
            value.__class__ = _Report
        super().__setattr__(name, value)


class _Report(ModuleType):
    def __call__(self, run: Run | str | Path) -> Path:
        """As :func:`medcnn.api.report`."""
        found: Path = importlib.import_module("medcnn.api").report(run)
        return found


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "MedcnnError":
        return importlib.import_module("medcnn.errors").MedcnnError
    if name in __all__:
        return getattr(importlib.import_module("medcnn.api"), name)
    raise AttributeError(f"module 'medcnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
