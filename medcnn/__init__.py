"""medcnn: train, evaluate and report CNNs on radiology images.

The public functions are imported when they are first used, so that ``import medcnn`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "MedcnnError",
    "Run",
    "__version__",
    "audit",
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
    from medcnn.api import (
        Run,
        audit,
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


def __getattr__(name: str) -> Any:
    if name == "MedcnnError":
        return importlib.import_module("medcnn.errors").MedcnnError
    if name in __all__:
        return getattr(importlib.import_module("medcnn.api"), name)
    raise AttributeError(f"module 'medcnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
