"""Pictures of cases for a report: the original image, grey, at the middle of a volume, or with contours of masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images import read_case
from medcnn.errors import ImageError, MedcnnError
from medcnn.types import Image
from medcnn.workflow.contours import Contours
from medcnn.workflow.folder import Run


def pictures_of(run: Run) -> Callable[[str], NDArray[np.uint8] | None]:
    """A function from a case's id to its picture ``(Y, X)`` or ``(Y, X, 3)``, ``None`` where it cannot be read."""
    try:
        cases = run.cases
    except MedcnnError:
        return lambda _: None
    window = run.window
    contours = _contours(run)

    def picture(case: str) -> NDArray[np.uint8] | None:
        if case not in cases:
            return None
        try:
            image = read_case(cases[case])
            drawn = contours.draw(cases[case], image, window) if contours is not None else None
        except ImageError:
            return None
        return to_picture(image, *window) if drawn is None else drawn

    return picture


def _contours(run: Run) -> Contours | None:
    try:
        return Contours.of(run)
    except MedcnnError:
        # A run that is not whole is reported as far as it goes.
        return None


def to_picture(image: Image, low: float | None = None, high: float | None = None) -> NDArray[np.uint8]:
    """One slice as 8-bit grey or colour, rows first; a window of its own where none is given.

    Args:
        image: ``(C, X, Y[, Z])``.
        low: Lower end of the window.
        high: Upper end.
    """
    array = image.array
    if array.ndim == 4:
        array = array[..., array.shape[-1] // 2]
    if array.shape[0] not in (1, 3):
        array = array[:1]
    if array.dtype != np.uint8:
        values = array.astype(np.float32)
        finite = values[np.isfinite(values)]
        if low is None or high is None:
            low, high = np.percentile(finite, [0.5, 99.5]) if finite.size else (0.0, 1.0)
        scaled = (np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-6)
        array = (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    rows = np.ascontiguousarray(array.transpose(2, 1, 0))
    return rows[..., 0] if rows.shape[-1] == 1 else rows
