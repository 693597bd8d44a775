"""DICOM's pixel pipeline: stored values to values in the modality's unit.

The order is that of PS3.3 C.7.6.3 and C.11.1: mask the bits stored, set padding apart, apply the Modality LUT or
rescale, apply a window or VOI LUT where one is asked for, turn MONOCHROME1 round over the range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images.dicom_decode import has_spare_bits, mask_bits
from medcnn.data.images.dicom_file import Source, first_number, group, items, reason, text
from medcnn.data.images.dicom_format import Format
from medcnn.data.images.dicom_voi import apply_voi
from medcnn.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

_INTEGERS = (np.int16, np.uint16, np.int32)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame in the modality's unit.

    Attributes:
        values: ``(Y, X)``, or ``(Y, X, 3)`` RGB.
        padded: Where the file says that there is no image, ``(Y, X)``; ``None`` where it says nothing.
        window: Centre and width in the unit of ``values``.
        inverted: Whether the scale was turned round (MONOCHROME1, presentation shape INVERSE).
    """

    values: NDArray[Any]
    padded: NDArray[np.bool_] | None
    window: tuple[float, float] | None
    inverted: bool


def to_modality(source: Source, form: Format, raw: NDArray[Any], frame: int, voi: int | None) -> Frame:
    """Bring one decoded frame to the modality's unit.

    Args:
        source: The opened file.
        form: The image pixel module.
        raw: Stored values of the frame, their spare bits not yet masked.
        frame: Which frame it is: functional groups are per frame.
        voi: Position of the window or VOI LUT to apply; ``None`` for none.

    Raises:
        ImageError: If a table or window of the header cannot be applied.
    """
    if raw.ndim == 3:
        return Frame(raw[..., :3], None, None, False)
    dataset, path = source.dataset, source.path
    padded = None
    if has_spare_bits(source, form):
        padded = _padding(dataset, raw, beyond=form.range)
        raw = mask_bits(raw, form)
    padded = _padding(dataset, raw) if padded is None else padded
    low, high = _stored_range(form, raw)
    try:
        values, ends = _rescaled(dataset, raw, frame, (low, high))
    except Exception as error:
        raise ImageError(f"the Modality LUT or rescale cannot be applied: {reason(error)}", where=path) from error
    window = _window(dataset, frame)
    if voi is not None:
        values, ends = apply_voi(dataset, form, values, frame, voi, path)
        window = None
    inverted = text(dataset, "PresentationLUTShape").upper() == "INVERSE" or form.photometric == "MONOCHROME1"
    if inverted:
        values = _invert(values, ends)
        window = None if window is None else (sum(ends) - window[0], window[1])
    return Frame(values, padded, window, inverted)


def expected_type(dataset: Dataset, form: Format, frame: int) -> np.dtype[Any] | None:
    """The type that the values of a frame will have, told from the header; ``None`` where only its pixels tell."""
    if form.samples > 1 or form.photometric == "PALETTE COLOR" or items(dataset, "ModalityLUTSequence"):
        return None
    line = _rescale(dataset, frame)
    if line == (1.0, 0.0):
        return None
    return np.dtype(_fitting(line, form.range) or np.float32)


def _stored_range(form: Format, raw: NDArray[Any]) -> tuple[float, float]:
    """The range that stored values may have, widened where decoders leave it."""
    if form.native and np.issubdtype(raw.dtype, np.integer):
        return form.range
    low, high = float(raw.min()), float(raw.max())
    if not np.issubdtype(raw.dtype, np.integer):
        return low, high
    return min(low, form.range[0]), max(high, form.range[1])


def _padding(dataset: Dataset, raw: NDArray[Any], beyond: tuple[int, int] | None = None) -> NDArray[np.bool_] | None:
    """Where a frame has no image; ``beyond`` looks for values alone that the bits stored cannot hold."""
    value = first_number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = first_number(dataset, "PixelPaddingRangeLimit")
    ends = [_as_stored(v, raw.dtype) for v in (value, value if limit is None else limit)]
    if beyond is not None and beyond[0] <= ends[0] <= beyond[1]:
        return None
    mask = (raw >= min(ends)) & (raw <= max(ends)) if limit is not None else raw == ends[0]
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


def _rescaled(
    dataset: Dataset, raw: NDArray[Any], frame: int, stored: tuple[float, float]
) -> tuple[NDArray[Any], tuple[float, float]]:
    """Values in the modality's unit, and the range that they may have."""
    if items(dataset, "ModalityLUTSequence"):
        from pydicom.pixels.processing import apply_modality_lut

        values = np.asarray(apply_modality_lut(raw, dataset))
        return values, (0.0, 2.0 ** int(dataset.ModalityLUTSequence[0].LUTDescriptor[2]) - 1)
    slope, intercept = _rescale(dataset, frame)
    ends = (slope * stored[0] + intercept, slope * stored[1] + intercept)
    if (slope, intercept) == (1.0, 0.0):
        return raw, ends
    target = _fitting((slope, intercept), stored) if np.issubdtype(raw.dtype, np.integer) else None
    if target is None:
        return (raw * np.float64(slope) + np.float64(intercept)).astype(np.float32), ends
    if slope == 1:
        # Modulo the type's size, so exact: the sum is known to fit.
        shift = np.int64(intercept).astype(target)
        return np.add(raw, shift, dtype=target, casting="unsafe"), ends
    return (raw.astype(np.int64) * np.int64(slope) + np.int64(intercept)).astype(target), ends


def _fitting(line: tuple[float, float], stored: tuple[float, float]) -> type[np.integer[Any]] | None:
    """The smallest integer type that holds the rescaled range; ``None`` where values are not whole."""
    if not all(v.is_integer() and abs(v) < 2**31 for v in line):
        return None
    ends = [line[0] * v + line[1] for v in stored]
    return next((t for t in _INTEGERS if np.iinfo(t).min <= min(ends) and max(ends) <= np.iinfo(t).max), None)


def _rescale(dataset: Dataset, frame: int) -> tuple[float, float]:
    item = group(dataset, frame, "PixelValueTransformationSequence")
    slope, intercept = first_number(item, "RescaleSlope"), first_number(item, "RescaleIntercept")
    if slope is None and text(dataset, "Modality").upper() == "RTDOSE":
        slope = first_number(dataset, "DoseGridScaling")
    # A slope of 0 would erase the image; writers that mean "none" leave it so.
    return slope or 1.0, intercept or 0.0


def _window(dataset: Dataset, frame: int) -> tuple[float, float] | None:
    item = group(dataset, frame, "FrameVOILUTSequence")
    centre, width = first_number(item, "WindowCenter"), first_number(item, "WindowWidth")
    return (centre, width) if centre is not None and width is not None and width > 0 else None


def _invert(values: NDArray[Any], ends: tuple[float, float]) -> NDArray[Any]:
    total = sum(ends)
    if np.issubdtype(values.dtype, np.integer):
        turned = int(total) - values.astype(np.int64)
        return turned.astype(values.dtype)
    return np.asarray(total - values, values.dtype)
