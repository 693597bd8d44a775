"""Tables of boxes that any program wrote, a row a box."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcnn.errors import DataError
from medcnn.evaluation.tables import CASE_COLUMNS, Sheet, find_column, read_sheet
from medcnn.types import Attribute

LABEL_COLUMNS = ("label", "class", "category", "name")
SCORE_COLUMNS = ("score", "confidence", "probability")
IGNORE_COLUMNS = ("crowd", "iscrowd", "ignore")
_PATIENT_COLUMNS = ("patient", "patient_id", "subject", "subject_id")
# Conventions of corners in two axes and in three: columns, and whether the second half are lengths of sides.
_CORNERS: tuple[tuple[tuple[str, ...], bool], ...] = (
    (("x1", "y1", "z1", "x2", "y2", "z2"), False),
    (("x1", "y1", "x2", "y2"), False),
    (("xmin", "ymin", "zmin", "xmax", "ymax", "zmax"), False),
    (("xmin", "ymin", "xmax", "ymax"), False),
    (("x", "y", "z", "width", "height", "depth"), True),
    (("x", "y", "width", "height"), True),
)
_YES, _NO = ("1", "1.0", "true", "yes"), ("", "0", "0.0", "false", "no")


@dataclass(frozen=True, slots=True)
class ForeignBox:
    """One box of a table.

    Attributes:
        case: The image, as the table calls it.
        label: Its class; empty where there is no column.
        score: 1 in a table without scores.
        corners: ``x1, y1[, z1], x2, y2[, z2]`` in px, on their edges.
        where: Its place, for messages.
        problem: Why it cannot be used; empty where it can.
        ignored: Whether it counts neither as found nor as missed.
    """

    case: str
    label: str
    score: float
    corners: tuple[float, ...]
    where: str
    problem: str = ""
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class ForeignImage:
    """What a table says of an image beside its boxes.

    Attributes:
        patient: Whose image it is; empty where unknown.
        cluster: What intervals resample; empty: the patient, else the image.
        size: In px; empty where unknown.
        spacing: In mm; ``None`` where unknown.
        attributes: Anything else.
    """

    patient: str = ""
    cluster: str = ""
    size: tuple[int, ...] = ()
    spacing: tuple[float, ...] | None = None
    attributes: dict[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ForeignBoxes:
    """A table of boxes.

    Attributes:
        images: By the name of the image, in the order of the table; images without boxes are among them.
        boxes: In the order of the table.
        dims: 2 or 3.
    """

    images: dict[str, ForeignImage]
    boxes: tuple[ForeignBox, ...]
    dims: int


def read_boxes(path: Path, *, scored: bool) -> ForeignBoxes:
    """Read a CSV file with a row a box.

    Columns: ``case`` (or image, id); ``label`` (or class, category), which may be absent where there is one class;
    ``score`` (or confidence); corners as ``x1, y1[, z1], x2, y2[, z2]``, ``xmin, ymin, xmax, ymax`` or ``x, y, width,
    height``. A row whose corners are blank is an image without boxes. References may have ``ignore`` (or crowd),
    ``patient``, ``cluster``, ``size_x``, ``size_y``, ``spacing_x`` and ``spacing_y``; other columns that have one value
    an image are its attributes.

    Args:
        path: The file.
        scored: Whether it must have scores.

    Raises:
        DataError: If it is missing or broken, or a column is missing.
    """
    sheet = read_sheet(path)
    case = _required(sheet, CASE_COLUMNS, "the image")
    score = _required(sheet, SCORE_COLUMNS, "the score") if scored else None
    columns, sides = _corner_columns(sheet)
    label, ignore = find_column(sheet, LABEL_COLUMNS), find_column(sheet, IGNORE_COLUMNS)
    images: dict[str, ForeignImage] = {}
    boxes = []
    taken = {case, score, label, ignore, *columns}
    taken |= set() if scored else _varying(sheet, case)
    for i, row in enumerate(sheet.rows):
        name = row[case]
        if not name:
            raise DataError("the image is not named", where=sheet.at(i), todo="give each row its image")
        found = ForeignImage() if scored else _image(sheet, i, len(columns) // 2, taken)
        if images.setdefault(name, found) != found:
            raise DataError(
                f"the rows of the image {name!r} contradict each other beside their boxes",
                where=sheet.at(i),
                todo="give all rows of an image the same patient, cluster, size and spacing",
            )
        cells = [row[c] for c in columns]
        if any(cells):
            flag = row[ignore] if ignore else ""
            boxes.append(_box(sheet, i, name, row[label] if label else "", row[score] if score else None,
                              (cells, sides, flag)))  # fmt: skip
    return ForeignBoxes(images, tuple(boxes), len(columns) // 2)


def corner_problem(corners: Sequence[float]) -> str:
    """What is wrong with corners; empty where nothing is."""
    dims = len(corners) // 2
    if not all(math.isfinite(v) for v in corners):
        return "a box holds a number that is not finite"
    sides = [high - low for low, high in zip(corners[:dims], corners[dims:], strict=True)]
    if min(sides) <= 0:
        kind = "is inverted" if min(sides) < 0 else "has no area"
        return f"a box {kind}: its sides are {' x '.join(f'{s:g}' for s in sides)}"
    return ""


def score_problem(score: float) -> str:
    """What is wrong with a score; empty where nothing is."""
    return "" if 0 <= score <= 1 else f"the score {score:g} is outside [0, 1]"


def _required(sheet: Sheet, names: Sequence[str], what: str) -> str:
    found = find_column(sheet, names)
    if found is None:
        raise DataError(
            f"no column holds {what}; the columns are {', '.join(sheet.columns)}",
            where=str(sheet.path),
            todo=f"name it {names[0]}",
        )
    return found


def _corner_columns(sheet: Sheet) -> tuple[list[str], bool]:
    for names, sides in _CORNERS:
        found = [find_column(sheet, (name,)) for name in names]
        if all(found):
            return [name for name in found if name], sides
    raise DataError(
        f"no columns hold the corners of boxes; the columns are {', '.join(sheet.columns)}",
        where=str(sheet.path),
        todo="name them x1, y1, x2, y2 (in 3D x1, y1, z1, x2, y2, z2), or x, y, width, height",
    )


def _box(
    sheet: Sheet, i: int, case: str, label: str, score: str | None, shape: tuple[list[str], bool, str]
) -> ForeignBox:
    cells, sides, flag = shape
    where = sheet.at(i)
    corners = tuple(_number(cell) for cell in cells)
    if sides:
        half = len(corners) // 2
        corners = (*corners[:half], *(a + b for a, b in zip(corners[:half], corners[half:], strict=True)))
    points = 1.0 if score is None else _number(score)
    problem = corner_problem(corners) or score_problem(points)
    if flag.lower() not in (*_YES, *_NO):
        raise DataError(f"{flag!r} is neither 1 nor 0", where=where, todo="mark ignored regions with 1, others with 0")
    return ForeignBox(case, label, points, corners, where, problem, flag.lower() in _YES)


def _varying(sheet: Sheet, case: str) -> set[str | None]:
    """Columns that say something of single boxes."""
    seen: dict[tuple[str, str], str] = {}
    return {c for row in sheet.rows for c in sheet.columns if seen.setdefault((row[case], c), row[c]) != row[c]}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _image(sheet: Sheet, i: int, dims: int, taken: set[Any]) -> ForeignImage:
    row = sheet.rows[i]
    patient, cluster = find_column(sheet, _PATIENT_COLUMNS), find_column(sheet, ("cluster",))
    size, spacing = (list(_axes(sheet, stem, dims)) for stem in ("size", "spacing"))
    used = {*taken, patient, cluster, *size, *spacing}
    lengths = [_number(row[c]) for c in size]
    steps = [_number(row[c]) for c in spacing]
    return ForeignImage(
        row[patient] if patient else "",
        row[cluster] if cluster else "",
        tuple(int(v) for v in lengths) if len(lengths) == dims and all(v >= 1 for v in lengths) else (),
        tuple(steps) if len(steps) == dims and all(v > 0 for v in steps) else None,
        {c: row[c] or None for c in sheet.columns if c not in used},
    )


def _axes(sheet: Sheet, stem: str, dims: int) -> Iterator[str]:
    for axis in "xyz"[:dims]:
        found = find_column(sheet, (f"{stem}_{axis}",))
        if found is not None:
            yield found
