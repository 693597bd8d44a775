"""The rows of a table of boxes, gathered by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from medcnn.data.adapters.common import MISSING
from medcnn.data.adapters.table_file import read_table, require_columns
from medcnn.data.grouping import natural_key
from medcnn.data.labels.boxes_coco import RawBox
from medcnn.data.labels.boxes_table import Corners, Space, dimensions, read_corners
from medcnn.errors import DataError
from medcnn.types import Part

Readers = Literal["all", "first"] | tuple[str, ...]
# What boxes are called in a table without labels.
FINDING = "finding"


@dataclass(frozen=True, slots=True)
class RowOptions:
    """How a row is read; the attributes are the options of the adapter.

    Attributes:
        image: Column of the image.
        coordinates: Columns of the box.
        corners: Their convention.
        space: What they count in.
        label: Column of the label.
        no_finding: Its values that are no boxes.
        reader: Column of who drew it.
        readers: Whose boxes count.
        patient: Column of the patient.
        dims: 2 or 3.
    """

    image: str
    coordinates: tuple[str, ...]
    corners: Corners
    space: Space
    label: str | None = None
    no_finding: tuple[str, ...] = ()
    reader: str | None = None
    readers: Readers = "all"
    patient: str | None = None
    dims: int = 2

    def checked(self) -> RowOptions:
        """With the number of axes.

        Raises:
            DataError: If options do not fit each other.
        """
        dims = dimensions(self.corners, len(self.coordinates))
        if dims is None:
            counts = "3 columns, or 4 in 3D" if self.corners == "diameter" else "4 columns, or 6 in 3D"
            what = f"{len(self.coordinates)} columns make no box of the convention {self.corners!r}"
            raise DataError(what, where="coordinates", todo=f"name {counts}")
        if self.space.startswith("world") and dims == 2:
            what = "boxes in mm have three axes"
            raise DataError(what, where="coordinates", todo="name the columns of all three, or set space: pixel")
        if self.no_finding and self.label is None:
            todo = "name the column with the option label"
            raise DataError("values of a label are named, but not its column", where="no_finding", todo=todo)
        if self.readers != "all" and self.reader is None:
            todo = "name their column with the option reader"
            raise DataError("readers are chosen, but not their column", where="readers", todo=todo)
        return replace(self, dims=dims)


@dataclass(slots=True)
class Drawn:
    """What the rows say of one image.

    Attributes:
        name: As the table calls it.
        path: The table.
        part: The part that the table is of.
        boxes: In the space of the table.
        patient: Whose image it is.
        problem: Why its rows cannot be used; empty where they can.
        unread: Whether none of the readers that count has read it.
    """

    name: str
    path: Path
    part: Part | None = None
    boxes: list[RawBox] = field(default_factory=list)
    patient: str | None = None
    problem: str = ""
    unread: bool = False


# A row: its line, who drew it, and its box; ``None`` where it says that nothing is there.
_Row = tuple[int, str, RawBox | None]


def read_rows(tables: Mapping[Part | None, Path], options: RowOptions) -> dict[str, Drawn]:
    """What the tables say, by image in the order of the rows.

    Raises:
        DataError: If a table or a column is missing, or an image stands in two tables.
    """
    found: dict[str, Drawn] = {}
    with_reader = False
    for part, path in tables.items():
        header, rows = read_table(path)
        columns = {"image": options.image, "label": options.label, "patient": options.patient}
        wanted = [(option, column) for option, column in columns.items() if column is not None]
        require_columns([*wanted, *(("coordinates", c) for c in options.coordinates)], header, path)
        # Of a test part there may be a consensus alone, in a table without this column.
        here = options if options.reader in header else replace(options, reader=None, readers="all")
        with_reader = with_reader or here.reader is not None
        gathered: dict[str, list[_Row]] = {}
        for line, row in rows:
            name = row[options.image]
            if name in found and name not in gathered:
                todo = "list each image in one part alone"
                raise DataError(f"the image {name!r} stands in two tables", where=f"{path}:{line}", todo=todo)
            drawn = found.setdefault(name, Drawn(name, path, part))
            box = _box(row, here)
            if isinstance(box, str):
                drawn.problem = drawn.problem or f"{box} (line {line})"
                box = None
            _set_patient(drawn, row, here, line)
            gathered.setdefault(name, []).append((line, row[here.reader] if here.reader else "", box))
        for name, lines in gathered.items():
            _settle(found[name], lines, here.readers)
    if options.reader is not None and not with_reader:
        first = next(iter(tables.values()))
        require_columns([("reader", options.reader)], read_table(first)[0], first)
    return found


def _box(row: Mapping[str, str], options: RowOptions) -> RawBox | str | None:
    """The box of a row, in the space of the table; what is wrong; or ``None`` where nothing is there."""
    label = row[options.label] if options.label else FINDING
    if label in options.no_finding:
        return None
    corners = read_corners([row[c] for c in options.coordinates], options.corners)
    if isinstance(corners, str):
        return corners
    if corners is None:
        named = options.label is not None and label not in MISSING
        return f"there is the label {label!r} without a box" if named else None
    return RawBox(corners, label) if label else "a box has no label"


def _set_patient(drawn: Drawn, row: Mapping[str, str], options: RowOptions, line: int) -> None:
    patient = row[options.patient] or None if options.patient else None
    if drawn.patient is not None and patient != drawn.patient:
        drawn.problem = drawn.problem or f"the image has two patients (line {line})"
    drawn.patient = patient


def _settle(drawn: Drawn, rows: Sequence[_Row], readers: Readers) -> None:
    """Choose the readers, and hold what each says against itself."""
    present = sorted({reader for _, reader, _ in rows}, key=natural_key)
    chosen = (
        present if readers == "all" else present[:1] if readers == "first" else [r for r in present if r in readers]
    )
    drawn.unread = not chosen
    for reader in chosen:
        boxes = [box for _, who, box in rows if who == reader]
        if None in boxes and any(box is not None for box in boxes) and not drawn.problem:
            line = next(line for line, who, box in rows if who == reader and box is None)
            drawn.problem = f"one row says that nothing is there, another has a box (line {line})"
        drawn.boxes += [box for box in boxes if box is not None]
