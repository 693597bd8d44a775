"""Boxes from the rows of a table: conventions of corners, and spaces in which they are given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from medcnn.data.images.grid_only import Grid
from medcnn.geometry.boxes import boxes_from_world

Corners = Literal["xyxy", "xywh", "cxcywh", "diameter"]
Space = Literal["pixel", "normalised", "world_lps", "world_ras"]

BLANK = ("", "nan", "NaN", "NA", "N/A", "None", "null")
# A box that ends at the edge may lie over it by the rounding of its decimals.
_ROUNDING = 1e-4


def dimensions(corners: Corners, columns: int) -> int | None:
    """2 or 3, by the number of columns; ``None`` where so many make no box."""
    counts: Mapping[int, int] = {3: 2, 4: 3} if corners == "diameter" else {4: 2, 6: 3}
    return counts.get(columns)


def read_corners(cells: Sequence[str], corners: Corners) -> tuple[float, ...] | str | None:
    """Two opposite corners in the space of the table, or what is wrong; ``None`` where all cells are blank.

    Args:
        cells: ``xyxy``: the lower corner, then the upper; ``xywh``: the lower corner, then the sides; ``cxcywh``: the
            centre, then the sides; ``diameter``: the centre, then one length for all sides. Each with two or three
            axes.
        corners: The convention.
    """
    blank = [cell in BLANK for cell in cells]
    if all(blank):
        return None
    if any(blank):
        return "a box lacks some of its numbers"
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return f"a box is not made of numbers: {', '.join(cells)[:60]}"
    if not all(math.isfinite(v) for v in values):
        return "a box holds a number that is not finite"
    dims = len(values) - 1 if corners == "diameter" else len(values) // 2
    first, second = values[:dims], values[dims:] * (dims if corners == "diameter" else 1)
    if corners == "xyxy":
        low, high = first, second
    elif corners == "xywh":
        low, high = first, [a + b for a, b in zip(first, second, strict=True)]
    else:
        low = [a - b / 2 for a, b in zip(first, second, strict=True)]
        high = [a + b / 2 for a, b in zip(first, second, strict=True)]
    sides = [b - a for a, b in zip(low, high, strict=True)]
    if min(sides) < 0:
        return f"a box is inverted: its sides are {' x '.join(f'{s:g}' for s in sides)}"
    if min(sides) == 0:
        return f"a box has no area: its sides are {' x '.join(f'{s:g}' for s in sides)}"
    return (*low, *high)


def to_pixels(corners: tuple[float, ...], space: Space, grid: Grid | None) -> tuple[float, ...] | str:
    """The box in the image's own voxels, on their edges, or what is wrong.

    A box in the world becomes the hull of its corners, which is exact where the image's axes are those of the world.

    Args:
        corners: As of :func:`read_corners`.
        space: What they count in: px on the edges of pixels; shares of the image's size; mm, with x to the left and y
            to the back (LPS, as in DICOM and ITK), or to the right and to the front (RAS).
        grid: Of the image; ``None`` will do for ``pixel``.
    """
    if space == "pixel" or grid is None:
        return corners
    dims = len(corners) // 2
    if space == "normalised":
        if max(corners) > 1 + _ROUNDING or min(corners) < -_ROUNDING:
            return "a box has values outside 0 to 1: they are shares of the image's size (space: normalised)"
        if len(grid.shape) != dims:
            return f"a box has {dims} axes, the image {len(grid.shape)}"
        return tuple(min(max(v, 0.0), 1.0) * n for v, n in zip(corners, grid.shape * 2, strict=True))
    if grid.affine is None:
        return f"the image has no geometry, so that a box in mm cannot be placed in it (space: {space})"
    if len(grid.shape) != dims:
        return f"a box has {dims} axes, the image {len(grid.shape)}"
    low, high = np.array(corners[:dims]), np.array(corners[dims:])
    if space == "world_lps":
        low[:2], high[:2] = -high[:2], -low[:2]
    hull = boxes_from_world(np.array([[*low, *high]]), grid.affine)[0]
    return tuple(float(v) for v in hull)
