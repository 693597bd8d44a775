"""One DICOM file: its header in plain words, and its pixels in the unit of the modality."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import ImageError

NO_IMAGES = {
    "1.2.840.10008.1.3.10": "a DICOMDIR",
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation, which is a mask and not an image",
    "1.2.840.10008.5.1.4.1.1.481.3": "an RT structure set, which holds contours and no pixels",
}


@contextmanager
def quiet() -> Iterator[None]:
    """What pydicom warns of is either handled here or said in our own words."""
    import logging

    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def open_file(path: str, *, pixels: bool = True) -> Any:
    """The data set of a file.

    Raises:
        ImageError: If it is not DICOM, is cut off, or holds no pixels although they are wanted.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    with quiet():
        try:
            found = pydicom.dcmread(path, force=True, stop_before_pixels=not pixels)
        except FileNotFoundError as error:
            raise ImageError("the file does not exist", where=path) from error
        except (InvalidDicomError, EOFError, OSError, ValueError, KeyError, NotImplementedError) as error:
            raise ImageError(f"the DICOM file is damaged or cut off: {error}", where=path) from error
    kind = NO_IMAGES.get(str(found.get("SOPClassUID", "")))
    if kind is not None:
        raise ImageError(f"the file is {kind}", where=path)
    if pixels and not any(k in found for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        what = "has no pixels" if "SOPClassUID" in found or "Rows" in found else "is not a DICOM image"
        raise ImageError(f"the file {what}", where=path)
    return found


def read_values(dataset: Any, path: str) -> NDArray[Any]:
    """``([F,] rows, columns[, 3])`` values after the modality's rescale, inversion and padding.

    MONOCHROME1 (and a presentation shape INVERSE) is turned round over the range of the stored values, so
    that bright is always dense; padding becomes the smallest real value.

    Raises:
        ImageError: If no codec at hand decodes the pixels, or there are fewer than the header says.
    """
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, convert_color_space

    with quiet():
        try:
            stored = dataset.pixel_array
        except Exception as error:
            syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None) if hasattr(dataset, "file_meta") else None
            name = getattr(syntax, "name", "unknown transfer syntax")
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ImageError(
                f"the pixels cannot be decoded ({name}): {reason}",
                where=path,
                todo="medcnn doctor lists the codecs; a damaged file must be exported again",
            ) from error
        photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
        if photometric == "PALETTE COLOR":
            colour = apply_color_lut(stored, dataset)
            return np.asarray((colour >> 8).astype(np.uint8) if colour.dtype == np.uint16 else colour)
        if photometric.startswith("YBR"):
            return np.asarray(convert_color_space(stored, photometric, "RGB", per_frame=True))
        if photometric == "RGB":
            return np.asarray(stored)
        padding = _padding(dataset, stored)
        values = apply_modality_lut(stored, dataset)
    if is_inverted(dataset):
        values = _inverted(values, dataset)
    if padding is not None and padding.any() and not padding.all():
        values = np.where(padding, values[~padding].min(), values)
    return np.asarray(values)


def is_inverted(dataset: Any) -> bool:
    """Whether low stored values are bright."""
    return (
        str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME1"
        or str(dataset.get("PresentationLUTShape", "")) == "INVERSE"
    )


def _inverted(values: NDArray[Any], dataset: Any) -> NDArray[Any]:
    bits = int(dataset.get("BitsStored", 16))
    signed = int(dataset.get("PixelRepresentation", 0)) == 1
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)
    ends = slope * low + intercept + slope * high + intercept
    if values.dtype.kind in "ui":
        return np.asarray(int(ends) - values.astype(np.int64)).astype(values.dtype)
    return np.asarray(ends - values)


def _padding(dataset: Any, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    if "PixelPaddingValue" not in dataset or dataset.PixelPaddingValue is None:
        return None
    first = int(dataset.PixelPaddingValue)
    limit = dataset.get("PixelPaddingRangeLimit")
    if limit is None:
        return np.asarray(stored == first)
    low, high = sorted((first, int(limit)))
    return np.asarray((stored >= low) & (stored <= high))


def numbers(dataset: Any, name: str, count: int) -> tuple[float, ...] | None:
    """A tag of several numbers; ``None`` where it is absent, blank or of another length."""
    value = dataset.get(name)
    if value is None or isinstance(value, str | int | float):
        return None
    try:
        found = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and np.isfinite(found).all() else None


def shared(dataset: Any, group: str, name: str, count: int, frame: int | None = None) -> tuple[float, ...] | None:
    """Numbers of a functional group of an enhanced object: of a frame first, then of all frames."""
    places: list[Any] = []
    if frame is not None and "PerFrameFunctionalGroupsSequence" in dataset:
        frames: Sequence[Any] = dataset.PerFrameFunctionalGroupsSequence
        places += [frames[frame]] if frame < len(frames) else []
    if "SharedFunctionalGroupsSequence" in dataset and dataset.SharedFunctionalGroupsSequence:
        places.append(dataset.SharedFunctionalGroupsSequence[0])
    for place in places:
        if group in place and place[group].value:
            found = numbers(place[group].value[0], name, count)
            if found is not None:
                return found
    return None


def pixel_spacing(dataset: Any) -> tuple[tuple[float, float] | None, str]:
    """Spacing between rows and between columns in mm, and the tag that it comes from."""
    found = numbers(dataset, "PixelSpacing", 2) or shared(dataset, "PixelMeasuresSequence", "PixelSpacing", 2)
    source = "PixelSpacing"
    if found is None:
        for source in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):
            found = numbers(dataset, source, 2)
            if found is not None:
                break
    if found is None or min(found) <= 0:
        return None, ""
    return (found[0], found[1]), source


def describe(dataset: Any, source: str) -> dict[str, Any]:
    """What a report may show of the header: no names, dates or UIDs."""
    header: dict[str, Any] = {"format": "DICOM", "modality": str(dataset.get("Modality", "") or "")}
    for key, tag in (
        ("bits", "BitsStored"),
        ("photometric", "PhotometricInterpretation"),
        ("body_part", "BodyPartExamined"),
        ("view", "ViewPosition"),
        ("laterality", "ImageLaterality"),
    ):
        value = dataset.get(tag)
        if value not in (None, ""):
            header[key] = int(value) if key == "bits" else str(value)
    centre, width = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if centre is not None and width is not None:
        first = [v if isinstance(v, str | int | float) else v[0] for v in (centre, width)]
        header["window"] = (float(first[0]), float(first[1]))
    if is_inverted(dataset):
        header["inverted"] = True
    if source:
        header["spacing_source"] = source
    uid = dataset.get("SOPClassUID")
    if uid:
        header["sop_class"] = str(getattr(uid, "name", uid))
    return header
