"""DICOM files as data sets: opening them, and what of their header is passed on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medcnn.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

PIXEL_KEYS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's warnings: what matters of them is found again and said by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def load(path: str) -> Dataset:
    """Read a DICOM file with its pixel data still encoded.

    Raises:
        ImageError: If the file is missing, cut short, no DICOM, or has no pixels.
    """
    import pydicom

    try:
        dataset = pydicom.dcmread(path, force=True)
        # Elements are decoded when they are first touched: a broken one shows here.
        found = any(key in dataset for key in PIXEL_KEYS)
    except FileNotFoundError as error:
        raise ImageError("the file does not exist", where=path) from error
    except EOFError as error:
        raise ImageError("the file is truncated", where=path, todo="copy the file anew") from error
    except Exception as error:
        raise ImageError(
            f"the DICOM header is broken: {reason(error)}", where=path, todo="copy the file anew"
        ) from error
    if not found:
        raise ImageError(_no_pixels(dataset), where=path)
    _complete_syntax(dataset)
    return dataset


def _no_pixels(dataset: Dataset) -> str:
    kind = sop_class(dataset)
    if text(dataset, "Rows"):
        return f"the object says that it is an image of {dataset.Rows} rows, but it holds no pixels (a truncated file?)"
    if kind:
        return f"the object holds no pixels: it is {kind}"
    return "the file holds no pixels: it is no DICOM image"


def _complete_syntax(dataset: Dataset) -> None:
    """Give a data set without a transfer syntax the one by which its elements were just read."""
    import pydicom
    from pydicom.dataset import FileMetaDataset

    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        big = pydicom.uid.ExplicitVRBigEndian if little is False else pydicom.uid.ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian if implicit else big


def sop_class(dataset: Dataset) -> str:
    """What kind of object this is, in words; empty where it does not say."""
    uid = dataset.get("SOPClassUID")
    return str(uid.name) if uid else ""


def text(dataset: Dataset, key: str) -> str:
    """An element as text; empty where it is absent, empty or cannot be decoded."""
    try:
        value = dataset.get(key)
    except Exception:
        return ""
    return "" if value is None else str(value).strip()


def numbers(dataset: Dataset, key: str, count: int) -> tuple[float, ...] | None:
    """An element as exactly ``count`` finite numbers, else ``None``."""
    try:
        value = dataset.get(key)
        items = [value] if isinstance(value, (str, int, float)) or not hasattr(value, "__iter__") else list(value)
        found = tuple(float(v) for v in items)
    except Exception:
        return None
    return found if len(found) == count and all(math.isfinite(v) for v in found) else None


def first_number(dataset: Dataset, key: str) -> float | None:
    """The first number of an element that may hold several, else ``None``."""
    try:
        value = dataset.get(key)
        item = value if isinstance(value, (str, int, float)) else next(iter(value))
        found = float(item)
    except Exception:
        return None
    return found if math.isfinite(found) else None


def frame_count(dataset: Dataset, path: str) -> int:
    """Number of frames, 1 where the element is absent or empty.

    Raises:
        ImageError: If it is no positive number.
    """
    raw = text(dataset, "NumberOfFrames")
    try:
        count = int(raw) if raw else 1
    except ValueError:
        count = 0
    if count < 1:
        raise ImageError(f"NumberOfFrames is {raw!r}, not a positive number", where=path)
    return count


def group(dataset: Dataset, frame: int, name: str) -> Dataset:
    """The functional group of a frame: its own, the shared one, or the data set itself where there is none."""
    for key, position in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items: Sequence[Dataset] = dataset.get(key) or ()
        if position < len(items) and items[position].get(name):
            found: Dataset = items[position][name].value[0]
            return found
    return dataset


def header(dataset: Dataset, slices: int) -> dict[str, Any]:
    """What may be shown of the header: never names, dates or UIDs."""
    bits = first_number(dataset, "BitsStored")
    found: dict[str, Any] = {
        "format": "DICOM",
        "bits": int(bits) if bits else None,
        "modality": text(dataset, "Modality"),
        "photometric": text(dataset, "PhotometricInterpretation"),
        "body_part": text(dataset, "BodyPartExamined"),
        "view": text(dataset, "ViewPosition"),
        "laterality": text(dataset, "ImageLaterality") or text(dataset, "Laterality"),
        "sop_class": sop_class(dataset),
        "slices": slices if slices > 1 else None,
    }
    return {key: value for key, value in found.items() if value}


def reason(error: Exception) -> str:
    """First line of an exception's text."""
    words = str(error).strip() or type(error).__name__
    return words.splitlines()[0]
