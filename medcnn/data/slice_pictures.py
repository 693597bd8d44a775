"""Small pictures of single slices in their own window and proportions, made in the processes that read images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.preprocess import Preprocessor
from medcnn.errors import ImageError
from medcnn.recipe.schema import InputSection
from medcnn.types import Image

SIDE = 160
_TAILS = (0.5, 99.5)


class SlicePictures(Preprocessor):
    """Gives each image as ``(C, X, Y)`` uint8, C 1 or 3, the longer side :data:`SIDE` px."""

    def __init__(self) -> None:
        super().__init__(InputSection(size=(SIDE, SIDE), augment=None))

    def stored(self, image: Image) -> NDArray[Any]:
        """The picture of an image."""
        return slice_picture(image)


def slice_picture(image: Image) -> NDArray[np.uint8]:
    """``(C, X, Y)`` uint8 of a slice or of the middle one of a volume, in the file's window (CT) or by its own values.

    Raises:
        ImageError: If the image has no pixels.
    """
    from PIL import Image as Pillow

    array = image.array[..., image.array.shape[-1] // 2] if image.array.ndim == 4 else image.array
    if not array.size:
        raise ImageError("the image has no pixels")
    if array.shape[0] not in (1, 3):
        array = array[:1]
    width, height = _size(array.shape[1:], image.spacing)
    channels = [
        np.asarray(Pillow.fromarray(np.ascontiguousarray(c.T)).resize((width, height), Pillow.Resampling.BILINEAR)).T
        for c in _to_bytes(array, image)
    ]
    return np.stack(channels)


def _size(shape: tuple[int, ...], spacing: tuple[float, ...] | None) -> tuple[int, int]:
    """Pixels of the picture along x and y, in the proportions of the body."""
    x, y = (n * s for n, s in zip(shape, (spacing or (1.0, 1.0))[:2], strict=True))
    longest = max(x, y)
    return max(1, round(SIDE * x / longest)), max(1, round(SIDE * y / longest))


def _to_bytes(array: NDArray[Any], image: Image) -> NDArray[np.uint8]:
    if array.dtype == np.uint8 and array.shape[0] == 3:
        return array
    values = array.astype(np.float32)
    # Outside of CT many a window, of derived images above all, has little to do with the values.
    window = image.header.get("window") if image.header.get("modality") == "CT" else None
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, _TAILS) if finite.size else (0.0, 0.0)
    if window is not None and window[1] > 0:
        first, last = window[0] - window[1] / 2, window[0] + window[1] / 2
        # A window beside the values would show nothing at all.
        if first < high and last > low:
            low, high = first, last
    if high <= low and finite.size:
        low, high = float(finite.min()), float(finite.max())
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / max(float(high - low), 1e-6)
    return np.asarray(np.clip(scaled, 0, 1) * 255, np.uint8)
