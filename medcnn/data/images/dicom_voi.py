"""Windows and VOI LUTs, on request: values of interest spread over the output range (PS3.3 C.11.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images.dicom_file import group, items, reason
from medcnn.data.images.dicom_format import Format
from medcnn.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

_COPIED = ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence")


def apply_voi(
    dataset: Dataset, form: Format, values: NDArray[Any], frame: int, which: int, path: str
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Apply one of the file's VOI transformations: a LUT where there is one, else a window (linear or sigmoid).

    Args:
        dataset: The header.
        form: The image pixel module.
        values: In the modality's unit.
        frame: Which frame: windows may stand in functional groups.
        which: Position among the file's alternatives.
        path: For messages.

    Returns:
        float32 values, and the range over which they are spread.

    Raises:
        ImageError: If the file has no such transformation, or it cannot be applied.
    """
    from pydicom.pixels.processing import apply_voi_lut

    item = group(dataset, frame, "FrameVOILUTSequence")
    view = _view(dataset, form, item, frame)
    luts = items(view, "VOILUTSequence")
    count = len(luts) or (view["WindowCenter"].VM if "WindowCenter" in view and "WindowWidth" in view else 0)
    if not 0 <= which < count:
        what = f"the file has {count} of them" if count else "the file has none"
        raise ImageError(f"there is no window or VOI LUT {which}: {what}", where=path)
    try:
        if luts:
            bits = int(luts[which].LUTDescriptor[2])
            whole = np.rint(values).astype(np.int64) if values.dtype.kind == "f" else values
            return np.asarray(apply_voi_lut(whole, view, which), np.float32), (0.0, 2.0**bits - 1)
        found = apply_voi_lut(values, view, which)
    except Exception as error:
        raise ImageError(f"the window or VOI LUT cannot be applied: {reason(error)}", where=path) from error
    return np.asarray(found, np.float32), _output_range(view, form)


def _view(dataset: Dataset, form: Format, item: Dataset, frame: int) -> Dataset:
    """Only what pydicom's function looks at, taken from where it stands for this frame."""
    from pydicom import Dataset as Plain

    view = Plain()
    for key in _COPIED:
        if key in item:
            view[key] = item[key]
    for key in ("ModalityLUTSequence",):
        if key in dataset:
            view[key] = dataset[key]
    rescale = group(dataset, frame, "PixelValueTransformationSequence")
    for key in ("RescaleSlope", "RescaleIntercept"):
        if key in rescale and rescale[key].value not in (None, ""):
            view[key] = rescale[key]
    # The inversion of MONOCHROME1 comes after, and pydicom accepts either.
    view.PhotometricInterpretation = "MONOCHROME2"
    view.BitsStored, view.PixelRepresentation = form.stored, int(form.signed)
    return view


def _output_range(view: Dataset, form: Format) -> tuple[float, float]:
    """As pydicom spreads a window: over the range that the modality's values may have."""
    luts = items(view, "ModalityLUTSequence")
    low, high = (0.0, 2.0 ** int(luts[0].LUTDescriptor[2]) - 1) if luts else map(float, form.range)
    if "RescaleSlope" in view and "RescaleIntercept" in view:
        slope, intercept = float(view.RescaleSlope), float(view.RescaleIntercept)
        return low * slope + intercept, high * slope + intercept
    return low, high
