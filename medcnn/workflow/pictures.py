"""Pictures of cases for a report: the original image, grey, at the middle of a volume, or with what was found in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images import read_case
from medcnn.errors import ImageError, MedcnnError
from medcnn.types import Case, Image
from medcnn.workflow.box_pictures import FoundBoxes
from medcnn.workflow.contours import Contours
from medcnn.workflow.folder import Run


class Drawing(Protocol):
    """Draws what a run predicted on the images of its cases."""

    def draw(self, case: Case, image: Image, window: tuple[float | None, float | None]) -> NDArray[np.uint8] | None:
        """The picture of one case, ``None`` where it has no reference or no prediction."""


# Each looks for what it can draw in a run.
_DRAWINGS: tuple[Callable[[Run], Drawing | None], ...] = (Contours.of, FoundBoxes.of)


def pictures_of(run: Run) -> Callable[[str], NDArray[np.uint8] | None]:
    """A function from a case's id to its picture ``(Y, X)`` or ``(Y, X, 3)``, ``None`` where it cannot be read."""
    try:
        cases = run.cases
    except MedcnnError:
        return lambda _: None
    window = run.window
    drawings = _drawings(run)

    def picture(case: str) -> NDArray[np.uint8] | None:
        if case not in cases:
            return None
        try:
            image = read_case(cases[case])
            drawn = (drawing.draw(cases[case], image, window) for drawing in drawings)
            found = next((one for one in drawn if one is not None), None)
        except ImageError:
            return None
        return to_picture(image, *window) if found is None else found

    return picture


def _drawings(run: Run) -> list[Drawing]:
    made = []
    for find in _DRAWINGS:
        try:
            made.append(find(run))
        except MedcnnError:
            # A run that is not whole is reported as far as it goes.
            continue
    return [one for one in made if one is not None]


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
