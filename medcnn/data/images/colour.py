"""Colour to grey."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# ITU-R BT.601, as Pillow's conversion to grey.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def to_grey(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """Luma of the three channels along an axis, which is left out; in the type of the values.

    Args:
        values: RGB along ``axis``.
        axis: Which axis holds the channels.
    """
    grey = np.moveaxis(values, axis, -1)[..., :3].astype(np.float32) @ _LUMA
    return np.rint(grey).astype(values.dtype) if values.dtype.kind in "ui" else grey.astype(values.dtype)
