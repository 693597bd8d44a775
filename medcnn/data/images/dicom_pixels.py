"""DICOM's pixel pipeline: stored values to values in the modality's unit.

The order is that of PS3.3 C.7.6.3 and C.11.1: mask the bits stored, set padding apart, apply the Modality LUT or
rescale, turn MONOCHROME1 round over the stored range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images.dicom_file import first_number, frame_count, group, reason, text
from medcnn.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

_COPY = "copy the file anew"
_INTEGERS = (np.int16, np.uint16, np.int32)


@dataclass(frozen=True, slots=True)
class Pixels:
    """Frames in the modality's unit.

    Attributes:
        values: ``(F, Y, X)``, or ``(F, Y, X, 3)`` RGB.
        padded: Where the file says that there is no image, ``(F, Y, X)``; ``None`` where it says nothing.
        window: Centre and width in the unit of ``values``, of the first frame.
        inverted: Whether the scale was turned round (MONOCHROME1, presentation shape INVERSE).
    """

    values: NDArray[Any]
    padded: NDArray[np.bool_] | None
    window: tuple[float, float] | None
    inverted: bool


def read_pixels(dataset: Dataset, path: str, index: int | None = None) -> Pixels:
    """Decode one frame (``index``) or all of them, and bring them to the modality's unit.

    Raises:
        ImageError: If the data are truncated, their compression cannot be undone, or the header lacks what it takes.
    """
    raw = _decode(dataset, path, index)
    if raw.ndim == 4:
        return Pixels(raw[..., :3], None, None, False)
    frames = range(len(raw)) if index is None else [index]
    padded = _padding(dataset, raw)
    try:
        values, ranges = _to_modality(dataset, raw, list(frames))
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"the Modality LUT or rescale cannot be applied: {reason(error)}", where=path) from error
    inverse = text(dataset, "PresentationLUTShape").upper() == "INVERSE"
    inverted = inverse or text(dataset, "PhotometricInterpretation").upper() == "MONOCHROME1"
    window = _window(dataset, frames[0])
    if inverted:
        values = _invert(values, ranges)
        if window is not None:
            window = (sum(ranges[0]) - window[0], window[1])
    return Pixels(values, padded, window, inverted)


def fill_padding(values: NDArray[Any], padded: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Set what is padding to the smallest value of the rest, over all frames together."""
    if padded is None or not padded.any() or padded.all():
        return values
    filled = values.copy() if not values.flags.writeable else values
    filled[padded] = values[~padded].min()
    return filled


def _decode(dataset: Dataset, path: str, index: int | None) -> NDArray[Any]:
    """Stored values ``(F, Y, X[, S])``, with unused bits masked and YBR turned into RGB."""
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    count = frame_count(dataset, path)
    if index is not None and not 0 <= index < count:
        raise ImageError(f"there is no frame {index}: the file has {count}", where=path)
    try:
        raw = np.asarray(pixel_array(dataset, index=index))
        samples = int(first_number(dataset, "SamplesPerPixel") or 1)
        raw = raw.reshape((-1, *raw.shape[-3:])) if samples > 1 else raw.reshape((-1, *raw.shape[-2:]))
        if text(dataset, "PhotometricInterpretation").upper() == "PALETTE COLOR":
            raw = _palette(np.asarray(apply_color_lut(raw, dataset)), dataset)
    except ImageError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        raise _decoding_error(dataset, path, error) from error
    if raw.size == 0:
        raise ImageError("the image has no pixels", where=path)
    return raw if raw.dtype.isnative else raw.astype(raw.dtype.newbyteorder("="))


def _palette(colours: NDArray[Any], dataset: Dataset) -> NDArray[Any]:
    """Palettes of 16 bit carry their colour in the upper byte (PS3.3 C.7.6.3.1.6)."""
    entry_bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
    return (colours >> 8).astype(np.uint8) if entry_bits == 16 else colours


def _decoding_error(dataset: Dataset, path: str, error: Exception) -> ImageError:
    # Plug-ins report one a line; the first line alone says nothing.
    words = " ".join(line.strip() for line in str(error).splitlines())[:300] or type(error).__name__
    syntax = dataset.file_meta.TransferSyntaxUID
    if "missing required element" in words or isinstance(error, AttributeError):
        return ImageError(f"the header lacks what it takes to read the pixels: {words}", where=path)
    if "length of the pixel data" in words or "less than expected" in words or "expected length" in words:
        return ImageError("the pixel data are truncated", where=path, todo=_COPY)
    if syntax.is_encapsulated:
        known = isinstance(error, RuntimeError | NotImplementedError)
        todo = "see which codecs there are: medcnn doctor; or convert the file, for example with gdcmconv --raw"
        return ImageError(
            f"the pixels cannot be decompressed ({syntax.name}): {words}", where=path, todo=todo if known else _COPY
        )
    return ImageError(f"the pixels cannot be read: {words}", where=path, todo=_COPY)


def _stored_range(dataset: Dataset, raw: NDArray[Any]) -> tuple[float, float]:
    """The range that stored values may have, widened where they leave it."""
    low, high = float(raw.min()), float(raw.max())
    bits = int(first_number(dataset, "BitsStored") or 0)
    if np.issubdtype(raw.dtype, np.integer) and 0 < bits <= 32:
        signed = int(first_number(dataset, "PixelRepresentation") or 0) == 1
        low, high = min(low, -(2.0 ** (bits - 1)) if signed else 0.0), max(high, 2.0 ** (bits - signed) - 1)
    return low, high


def _padding(dataset: Dataset, raw: NDArray[Any]) -> NDArray[np.bool_] | None:
    value = first_number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = first_number(dataset, "PixelPaddingRangeLimit")
    ends = [_as_stored(v, raw.dtype) for v in (value, value if limit is None else limit)]
    mask = (raw >= min(ends)) & (raw <= max(ends))
    return np.asarray(mask) if mask.any() else None


def _as_stored(value: float, dtype: np.dtype[Any]) -> float:
    """A padding value whose sign was lost in an ambiguous VR (US or SS), brought into the type's range."""
    if not np.issubdtype(dtype, np.integer):
        return value
    limits = np.iinfo(dtype)
    size = 2.0 ** (dtype.itemsize * 8)
    if value > limits.max:
        return value - size
    return value + size if value < limits.min else value


def _to_modality(
    dataset: Dataset, raw: NDArray[Any], frames: list[int]
) -> tuple[NDArray[Any], list[tuple[float, float]]]:
    """Values in the modality's unit, and for each frame the range that they may have."""
    from pydicom.pixels.processing import apply_modality_lut

    low, high = _stored_range(dataset, raw)
    if dataset.get("ModalityLUTSequence"):
        values = np.asarray(apply_modality_lut(raw, dataset))
        bits = int(dataset.ModalityLUTSequence[0].LUTDescriptor[2])
        return values, [(0.0, 2.0**bits - 1)] * len(raw)
    lines = [_rescale(dataset, frame) for frame in frames]
    ranges = [(slope * low + intercept, slope * high + intercept) for slope, intercept in lines]
    if all(line == (1.0, 0.0) for line in lines):
        return raw, ranges
    ends = [end for pair in ranges for end in pair]
    whole = np.issubdtype(raw.dtype, np.integer) and all(v.is_integer() for line in lines for v in line)
    fitting = [t for t in _INTEGERS if whole and np.iinfo(t).min <= min(ends) and max(ends) <= np.iinfo(t).max]
    target: Any = fitting[0] if fitting else np.float32
    # Stored values of the wider type fit the intermediate one: int64 and float64 are exact here.
    between: Any = np.int64 if fitting else np.float64
    values = np.empty(raw.shape, target)
    for i, (slope, intercept) in enumerate(lines):
        values[i] = raw[i].astype(between) * between(slope) + between(intercept)
    return values, ranges


def _rescale(dataset: Dataset, frame: int) -> tuple[float, float]:
    item = group(dataset, frame, "PixelValueTransformationSequence")
    slope, intercept = first_number(item, "RescaleSlope"), first_number(item, "RescaleIntercept")
    # A slope of 0 would erase the image; writers that mean "none" leave it so.
    return slope or 1.0, intercept or 0.0


def _window(dataset: Dataset, frame: int) -> tuple[float, float] | None:
    item = group(dataset, frame, "FrameVOILUTSequence")
    centre, width = first_number(item, "WindowCenter"), first_number(item, "WindowWidth")
    return (centre, width) if centre is not None and width is not None and width > 0 else None


def _invert(values: NDArray[Any], ranges: list[tuple[float, float]]) -> NDArray[Any]:
    turned = np.empty_like(values)
    integer = np.issubdtype(values.dtype, np.integer)
    for i, ends in enumerate(ranges):
        total = sum(ends)
        if integer:
            turned[i] = int(total) - values[i].astype(np.int64)
        else:
            turned[i] = total - values[i]
    return turned
