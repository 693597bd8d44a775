"""``medcnn doctor``: what a question to the maintainers should carry, and what a run would choose."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_PACKAGES = (
    "torch",
    "torchvision",
    "monai",
    "lightning",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "pydicom",
    "pylibjpeg",
    "pylibjpeg-openjpeg",
    "pylibjpeg-rle",
    "pyjpegls",
    "python-gdcm",
    "nibabel",
    "SimpleITK",
    "pillow",
    "pydantic",
    "tensorboard",
    "mlflow",
    "pyarrow",
)

_SYNTAXES = {
    "JPEG baseline": "1.2.840.10008.1.2.4.50",
    "JPEG extended (12 bit)": "1.2.840.10008.1.2.4.51",
    "JPEG lossless": "1.2.840.10008.1.2.4.57",
    "JPEG lossless, first order": "1.2.840.10008.1.2.4.70",
    "JPEG-LS lossless": "1.2.840.10008.1.2.4.80",
    "JPEG-LS near-lossless": "1.2.840.10008.1.2.4.81",
    "JPEG 2000 lossless": "1.2.840.10008.1.2.4.90",
    "JPEG 2000": "1.2.840.10008.1.2.4.91",
    "HTJ2K lossless": "1.2.840.10008.1.2.4.201",
    "HTJ2K lossless, RPCL": "1.2.840.10008.1.2.4.202",
    "HTJ2K": "1.2.840.10008.1.2.4.203",
    "RLE": "1.2.840.10008.1.2.5",
}


def doctor() -> None:
    """Show versions, devices, the precision chosen and why, DICOM codecs, and the cache's size and place."""
    from medcnn.cli.show import facts

    for title, section in (
        ("Versions", versions),
        ("Hardware", hardware),
        ("DICOM codecs", codecs),
        ("Places", places),
    ):
        print(title)
        facts([(f"  {name}", value) for name, value in _tolerant(section)])


def _tolerant(section: Callable[[], list[tuple[str, str]]]) -> list[tuple[str, str]]:
    """A section that fails says so: the doctor is asked when something is broken."""
    try:
        return section()
    except Exception as error:
        return [("failed", f"{type(error).__name__}: {error}")]


def versions() -> list[tuple[str, str]]:
    """Python, medcnn and the libraries that matter."""
    import importlib.metadata
    import platform

    import medcnn

    rows = [
        ("medcnn", f"{medcnn.__version__} in {Path(medcnn.__file__).parent}"),
        ("Python", f"{platform.python_version()} on {platform.platform()}"),
    ]
    for name in _PACKAGES:
        try:
            rows.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            rows.append((name, "not installed"))
    return rows


def hardware() -> list[tuple[str, str]]:
    """Processors, GPUs, and the device and precision that ``auto`` means here."""
    import torch

    from medcnn.inference.hardware import available_cores, choose_hardware

    chosen = choose_hardware("auto", "auto", None)
    rows = [("cores", f"{available_cores()} of {os.cpu_count()}"), ("memory", _memory())]
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        rows.append((f"GPU {i}", f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"))
    if torch.cuda.device_count() == 0:
        rows.append(("GPU", "Apple MPS" if torch.backends.mps.is_available() else "none"))
    return [*rows, ("device", f"{chosen.device}: {chosen.name}"), ("precision", f"{chosen.precision}: {chosen.reason}")]


def _memory() -> str:
    import psutil

    memory = psutil.virtual_memory()
    return f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB free"


def codecs() -> list[tuple[str, str]]:
    """Which compressed transfer syntaxes can be read, and by which library."""
    from pydicom.pixels.decoders.base import get_decoder

    rows = []
    for name, uid in _SYNTAXES.items():
        decoder = get_decoder(uid)
        missing = "; ".join(decoder.missing_dependencies)
        rows.append((name, ", ".join(decoder.available_plugins) or f"cannot be read: {missing}"))
    return rows


def places() -> list[tuple[str, str]]:
    """Where data, cache, recipes and catalog are."""
    from medcnn.cli.data import size
    from medcnn.data.cache import default_cache_folder
    from medcnn.data.dataset import data_root
    from medcnn.resources import catalog_file, recipes_folder

    cache = default_cache_folder()
    used = sum(f.stat().st_size for f in cache.rglob("*") if f.is_file()) if cache.is_dir() else 0
    return [
        ("data", f"{data_root()}{'' if data_root().is_dir() else ' (not there)'}"),
        ("cache", f"{cache} ({size(used)}; it may be deleted at any time)"),
        ("recipes", str(recipes_folder())),
        ("catalog", str(catalog_file())),
    ]
