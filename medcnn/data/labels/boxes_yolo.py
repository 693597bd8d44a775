"""YOLO's label files: a line a box, ``class cx cy width height`` as shares of the image's width and height."""

from __future__ import annotations

import math
from pathlib import Path

from medcnn.data.labels.boxes_coco import RawBox
from medcnn.errors import ImageError

# A box that ends at the edge may lie over it by the rounding of its six decimals.
_ROUNDING = 1e-4


def read_yolo(path: Path, names: tuple[str, ...], shape: tuple[int, int]) -> list[RawBox]:
    """The boxes of one label file, in px.

    A line with more than five numbers is a polygon, ``class x1 y1 x2 y2 x3 y3 ...``, and gives its hull.

    Args:
        path: The file; one that is empty holds no boxes.
        names: Of the classes, by number.
        shape: Width and height of the image in px.

    Raises:
        ImageError: If a line is no box: of another length, not finite, outside 0 to 1, without area, or of a class
            that is not named.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"the labels cannot be read: {error}", where=str(path)) from error
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{path}:{number}"
            found.append(_box(line.split(), names, shape, where))
    return found


def _box(cells: list[str], names: tuple[str, ...], shape: tuple[int, int], where: str) -> RawBox:
    try:
        values = [float(cell) for cell in cells]
    except ValueError as error:
        raise ImageError(f"the line is no box: {' '.join(cells)[:60]}", where=where) from error
    kind, places = values[0], values[1:]
    if not (len(places) == 4 or (len(places) >= 6 and len(places) % 2 == 0)):
        raise ImageError(f"the line holds {len(values)} numbers, not class cx cy width height", where=where)
    if kind != int(kind) or not 0 <= kind < len(names):
        raise ImageError(f"the class {cells[0]} is not named (there are {len(names)})", where=where)
    if not all(math.isfinite(v) for v in places):
        raise ImageError("a box holds a number that is not finite", where=where)
    if len(places) == 4:
        x, y, width, height = places
        x1, y1, x2, y2 = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    else:
        x1, y1, x2, y2 = min(places[::2]), min(places[1::2]), max(places[::2]), max(places[1::2])
    if max(places) > 1 + _ROUNDING or min(places) < 0:
        raise ImageError(
            "a box has values outside 0 to 1: YOLO's are shares of the image's width and height", where=where
        )
    if x2 <= x1 or y2 <= y1:
        raise ImageError("a box has no area", where=where)
    across, down = shape
    corners = (
        max(x1 * across, 0.0),
        max(y1 * down, 0.0),
        min(x2 * across, float(across)),
        min(y2 * down, float(down)),
    )
    return RawBox(corners, names[int(kind)])
