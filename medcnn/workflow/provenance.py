"""Where a result comes from: versions, hardware, digests and the time it took."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import medcnn
from medcnn.data.facts import ImageFacts
from medcnn.files import digest
from medcnn.inference.hardware import Hardware
from medcnn.types import Case

PACKAGES = (
    "torch", "torchvision", "monai", "lightning", "numpy", "scipy", "pandas", "scikit-learn",
    "pydicom", "nibabel", "SimpleITK", "pillow",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of Python, medcnn and the libraries that figures depend on."""
    found = {"python": platform.python_version(), "medcnn": medcnn.__version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def hardware_facts(hardware: Hardware) -> dict[str, Any]:
    """Device and precision as they were chosen."""
    return {
        "device": hardware.device,
        "name": hardware.name,
        "precision": hardware.precision,
        "precision_reason": hardware.reason,
        "threads": hardware.threads,
        "system": f"{platform.system()} {platform.machine()}",
    }


def code_digest() -> str:
    """Digest of the sources of medcnn that run."""
    root = Path(medcnn.__file__).parent
    files = sorted(root.rglob("*.py"))
    return digest(b"\0".join(str(f.relative_to(root)).encode() + b"\0" + f.read_bytes() for f in files))


def data_digest(cases: Sequence[Case], facts: Sequence[ImageFacts]) -> str:
    """Digest of the cases' ids, pixels and targets, whatever their folder and order."""
    pixels = {f.case: f.digest for f in facts}
    lines = sorted(f"{case.id}\t{pixels.get(case.id, '')}\t{_targets(case)}" for case in cases)
    return digest("\n".join(lines).encode())


def _targets(case: Case) -> str:
    # Masks are named by path; their pixels are part of the cache's own digest.
    return ";".join(str(getattr(t, "states", getattr(t, "value", type(t).__name__))) for t in case.targets)


class Clock:
    """Wall and CPU seconds of a step, worker processes included."""

    def __init__(self) -> None:
        self._wall = time.monotonic()
        self._cpu = sum(os.times()[:4])

    def read(self) -> dict[str, float]:
        """Seconds since the clock was made."""
        return {
            "wall_seconds": round(time.monotonic() - self._wall, 1),
            "cpu_seconds": round(sum(os.times()[:4]) - self._cpu, 1),
        }
