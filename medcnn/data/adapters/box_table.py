"""A table of boxes (CSV or Parquet), one a row, beside folders of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from medcnn.data.adapters.box_labels import BoxLabels, by_part
from medcnn.data.adapters.box_rows import Drawn, RowOptions, read_rows
from medcnn.data.adapters.image_index import ImageIndex, ref_of
from medcnn.data.grouping import natural_key
from medcnn.data.images.grid_only import read_grid
from medcnn.data.labels.boxes_coco import RawBox
from medcnn.data.labels.boxes_table import Corners, Space, to_pixels
from medcnn.errors import DataError, ImageError
from medcnn.progress import Progress, Silent
from medcnn.types import Case, Dataset, Exclusion, ImageRef


def box_table(
    root: Path,
    *,
    file: str | Mapping[str, str] = "boxes.csv",
    image: str = "image",
    images: str | tuple[str, ...] = "images",
    coordinates: tuple[str, ...] = ("x1", "y1", "x2", "y2"),
    corners: Corners = "xyxy",
    space: Space = "pixel",
    label: str | None = None,
    no_finding: str | tuple[str, ...] = (),
    box_labels: Mapping[str, str | tuple[str, ...]] | None = None,
    reader: str | None = None,
    readers: Literal["all", "first"] | tuple[str, ...] = "all",
    unlisted: Literal["ignore", "absent"] = "ignore",
    patient: str | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Cases from a table with a box a row; a row whose coordinates are blank says that its image shows nothing.

    Args:
        root: Folder that paths count from.
        file: The table, ``.csv``, ``.tsv`` or ``.parquet``; or one for each part, as in
            ``{training: train.csv, test: test.csv}``.
        image: Column of the image: its path or its name, with or without ending; the name of a folder is a DICOM
            series.
        images: The folder, or folders, below which images are looked for; ``*`` stands for any letters.
        coordinates: Columns of the box, in the order of ``corners``, with two axes or three.
        corners: What they are: ``xyxy`` two opposite corners, the lower first; ``xywh`` the lower corner and the sides;
            ``cxcywh`` the centre and the sides; ``diameter`` the centre and one length for all sides.
        space: What they count in: ``pixel``, the image's own pixels on their edges; ``normalised``, shares of its size;
            ``world_lps`` and ``world_ras``, mm. A box in the world becomes the hull of its corners.
        label: Column of the label; absent: all boxes are of the label ``finding``.
        no_finding: Values of this column that say that nothing is there, whatever the coordinates are.
        box_labels: Labels chosen, merged or renamed, as in ``{lesion: [nodule, mass]}``; ``ignore`` takes what counts
            neither way; those that are not named are left out. Absent: the labels as they are.
        reader: Column of who drew the box, where several persons read each image.
        readers: Whose boxes count: ``all``, one beside the other; of each image the ``first`` reader by name; or the
            names of some. An image that none of them read is left out.
        unlisted: An image that the table does not name is left out (``ignore``), or nothing is there (``absent``).
        patient: Column of the patient.
        progress: Advanced by one an image whose size or place is read.

    Raises:
        DataError: If a table, a column or a folder is missing, an option does not fit, or two names are one image.
    """
    progress = progress or Silent()
    none = (no_finding,) if isinstance(no_finding, str) else no_finding
    asked = RowOptions(image, coordinates, corners, space, label, none, reader, readers, patient)
    options = asked.checked()
    files = by_part(file, "file")
    tables = {part: root / name for part, name in files.items()}
    drawn = read_rows(tables, options)
    first = next(iter(tables.values()))
    labels = BoxLabels(box_labels, _known(drawn, first), str(first))
    index = ImageIndex(root, (images,) if isinstance(images, str) else images, "images")
    exclusions: list[Exclusion] = []
    cases: list[Case] = []
    progress.start("placing boxes", len(drawn), "images")
    for found in _cases(drawn, index, labels, options, progress):
        (cases if isinstance(found, Case) else exclusions).append(found)  # type: ignore[arg-type]
    for name, path in index.rest():
        if unlisted == "absent":
            cases.append(Case(name, (ref_of(path),), (labels.boxes((), options.dims),)))
        else:
            exclusions.append(Exclusion(name, "the table does not name the image", path))
    notes = labels.notes()
    for note in notes:
        progress.say(note)
    return Dataset(
        root.name,
        _with_folders(sorted(cases, key=lambda case: natural_key(case.id)), index.folders),
        {"boxes": labels.schema},
        (*index.exclusions, *exclusions),
        patients_known=patient is not None and all(case.patient is not None for case in cases),
        facts={"notes": notes},
    )


def _known(drawn: Mapping[str, Drawn], where: Path) -> list[str]:
    known = sorted({box.label for found in drawn.values() for box in found.boxes}, key=natural_key)
    if not known:
        todo = "check the columns of the option coordinates"
        first = next((f"; the first: {found.problem}" for found in drawn.values() if found.problem), "")
        raise DataError(f"the table holds no box{first}", where=str(where), todo=todo)
    return known


def _cases(
    drawn: Mapping[str, Drawn], index: ImageIndex, labels: BoxLabels, options: RowOptions, progress: Progress
) -> Iterator[Case | Exclusion]:
    for name, found in drawn.items():
        progress.advance(1)
        ref = index.find(name)
        if isinstance(ref, str):
            yield Exclusion(name or "(no name)", ref, str(found.path))
        elif found.unread:
            yield Exclusion(name, "none of the readers has read the image", ref.paths[0], aside=True)
        elif found.problem:
            yield Exclusion(name, found.problem, str(found.path))
        else:
            boxes = _placed(found.boxes, ref, options)
            if isinstance(boxes, Exclusion):
                yield replace(boxes, case=name)
            else:
                target = labels.boxes(boxes, options.dims)
                yield Case(name, (ref,), (target,), patient=found.patient, part=found.part)


def _placed(raw: Sequence[RawBox], ref: ImageRef, options: RowOptions) -> list[RawBox] | Exclusion:
    """The boxes in the image's own voxels."""
    if options.space == "pixel" or not raw:
        return list(raw)
    try:
        grid = read_grid(ref)
    except ImageError as error:
        return Exclusion("", error.what, error.where or ref.paths[0])
    placed = []
    for box in raw:
        corners = to_pixels(box.corners, options.space, grid)
        if isinstance(corners, str):
            return Exclusion("", corners, ref.paths[0])
        placed.append(replace(box, corners=corners))
    return placed


def _with_folders(cases: Sequence[Case], folders: Mapping[str, str]) -> tuple[Case, ...]:
    """With the folder of each image as an attribute, where there are several."""
    held = [folders.get(case.images[0].paths[0], "") for case in cases]
    if len(set(held)) < 2:
        return tuple(cases)
    return tuple(replace(case, attributes={"folder": name}) for case, name in zip(cases, held, strict=True))
