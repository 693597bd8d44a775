"""A table (CSV or Parquet) with a row an image: labels, patients, parts and attributes by column."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medcnn.data.adapters.common import MISSING, PART_NAMES
from medcnn.data.adapters.table_boxes import BoxFile
from medcnn.data.adapters.table_file import Numbered, read_table, require_columns
from medcnn.data.adapters.table_labels import Columns, Labels
from medcnn.data.adapters.table_masks import Masks
from medcnn.data.images.sniff import series_files
from medcnn.errors import DataError, ImageError
from medcnn.progress import Progress, Silent
from medcnn.registry import suggest
from medcnn.types import Attribute, Boxes, Case, Dataset, Exclusion, ImageRef, Mask, Part, Target, Value

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,2})?|[-+]?[0-9][eE][-+][0-9]{1,2}")

_PLAIN = re.compile(r"[\s_-]")
_PATIENT_NAMES = ("patient", "patientid", "subject", "subjectid")


def table(
    root: Path,
    *,
    file: str = "cases.csv",
    image: str | tuple[str, ...] = "image",
    label: str | None = None,
    labels: tuple[str, ...] = (),
    separator: str | None = None,
    classes: Mapping[str, str | int] | tuple[str, ...] | None = None,
    positive: str | None = None,
    value: str | None = None,
    unit: str = "",
    mask: str | tuple[str, ...] | None = None,
    mask_labels: Mapping[str, int | str | tuple[int | str, ...]] | None = None,
    overlapping: bool = False,
    boxes: str | None = None,
    box_labels: Mapping[str, str | tuple[str, ...]] | None = None,
    patient: str | None = None,
    group: str | None = None,
    cluster: str | None = None,
    part: str | None = None,
    study: str | None = None,
    case: str | None = None,
    attributes: tuple[str, ...] | None = None,
    missing: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Dataset:
    """Cases from the rows of a table.

    Args:
        root: Folder that relative paths count from.
        file: The table, ``.csv``, ``.tsv`` or ``.parquet``.
        image: Column of the image file, or of a folder with one DICOM series; several columns are channels.
        label: Column of the class.
        labels: Columns of 0 and 1, one a class, for several labels a case.
        separator: Splits the column ``label`` into several labels, such as ``|``.
        classes: Names in order; or names with the value that stands in the table, as in ``{other: 0, abdomen: 1}``;
            absent: the values found, sorted.
        positive: The class that a binary problem is about.
        value: Column of a continuous label.
        unit: Its unit.
        mask: Column of a mask file, or of a folder with a mask as a DICOM series; several columns are the masks that
            several readers drew of one image.
        mask_labels: The labels of masks with the value, or values, that stand for each in the files, as in
            ``{liver: 1, tumour: [2, 3]}``; ``background`` and ``ignore`` take values that are no labels. Absent: 1
            is ``foreground``.
        overlapping: A voxel may have several labels (a channel each).
        boxes: A COCO file of the images' boxes, below ``root``. Its ``file_name`` is the image as the table names it
            (of several channels the first), or the last part of that. An image that it does not name is not annotated.
        box_labels: Its categories chosen, merged or renamed, as in ``{lesion: [nodule, mass]}``; ``ignore`` takes what
            counts neither way; those that are not named are left out. Absent: the categories as they are.
        patient: Column of the patient; absent: the one that is called so (``patient``, ``patient_id``, ``subject``),
            where there is one that ``attributes`` does not name.
        group: Column of what may not be divided between parts.
        cluster: Column of what intervals resample.
        part: Column of the part: training, validation or test.
        study: Column of the study.
        case: Column of the case's id; absent: the image's path.
        attributes: Columns to keep as attributes; absent: all that have no other use.
        missing: More values that mean a missing or uncertain label, beside blank, -1 and the like.
        progress: Told how many images have no boxes.

    Raises:
        DataError: If the table or a column is missing, a line is broken, a label is outside the schema, one image has
            two labels, two columns may be the patient, or the file of boxes does not fit.
    """
    path = root / file
    header, rows = read_table(path)
    images = (image,) if isinstance(image, str) else tuple(image)
    patient = patient or _patient_column(header, attributes or (), path)
    masks = (mask,) if isinstance(mask, str) else mask or ()
    asked = Columns(images, label, labels, value, masks, patient, group, cluster, part, study, case, attributes or ())
    require_columns(list(asked.named()), header, path)
    columns = asked if attributes is not None else asked.with_rest(header)
    reader = Labels.of(columns, rows, classes, separator, positive, {*MISSING, *missing}, path)
    drawn = Masks.of(columns.mask, mask_labels, overlapping)
    boxed = BoxFile.of(root, boxes, box_labels, (row[columns.image[0]] for _, row in rows))
    cases, exclusions = _cases(root, path, columns, rows, reader, drawn, boxed)
    schemas = {} if reader is None else {"class": reader.schema}
    if drawn is not None:
        schemas["mask"] = drawn.schema
    facts: dict[str, Any] = {"unit": unit}
    if boxed is not None:
        schemas["boxes"] = boxed.schema
        exclusions += boxed.exclusions()
        facts["notes"] = boxed.notes(cases)
        for note in facts["notes"]:
            (progress or Silent()).say(note)
    return Dataset(root.name, tuple(cases), schemas, tuple(exclusions), patients_known=patient is not None, facts=facts)


def _patient_column(header: Sequence[str], attributes: Sequence[str], path: Path) -> str | None:
    """The column that is the patient by its name: one that is overlooked would divide patients between the parts."""
    found = [c for c in header if _PLAIN.sub("", c.lower()) in _PATIENT_NAMES and c not in attributes]
    if len(found) > 1:
        raise DataError(
            f"the patient may stand in several columns: {', '.join(found)}",
            where=str(path),
            todo=f"say which, as in patient: {found[0]}, or name those that are none among attributes",
        )
    return found[0] if found else None


def _cases(
    root: Path,
    path: Path,
    columns: Columns,
    rows: Numbered,
    reader: Labels | None,
    drawn: Masks | None,
    boxed: BoxFile | None,
) -> tuple[list[Case], list[Exclusion]]:
    cases: list[Case] = []
    exclusions: list[Exclusion] = []
    seen: dict[tuple[str, ...], tuple[int, tuple[Target, ...]]] = {}
    names: set[str] = set()
    for line, row in rows:
        files = tuple(row[c] for c in columns.image)
        name = row[columns.case] if columns.case else files[0]
        where = f"{path}:{line}"
        targets = tuple(targets_of(row, line, columns, reader, path))
        mask = None if drawn is None else drawn.read(root, name, row, _find)
        if isinstance(mask, Mask):
            targets = (*targets, mask)
        if files in seen:
            other, theirs = seen[files]
            if theirs != targets:
                raise DataError(
                    f"the image {files[0]} has two different labels, in lines {other} and {line}",
                    where=where,
                    todo="leave the right line; several labels of a case stand in one cell (with the option separator) "
                    "or in columns of 0 and 1 (with the option labels)",
                )
            exclusions.append(Exclusion(f"{name} (line {line})", f"the same row as line {other}", files[0]))
            continue
        seen[files] = (line, targets)
        refs = []
        for file in files:
            found = _find(root, file)
            if isinstance(found, str):
                exclusions.append(Exclusion(name, found, str(root / file)))
                break
            refs.append(found)
        if len(refs) < len(files):
            continue
        found_boxes = None if boxed is None else boxed.read(name, files[0])
        left_out = next((t for t in (mask, found_boxes) if isinstance(t, Exclusion)), None)
        if left_out is not None:
            exclusions.append(left_out)
            continue
        if isinstance(found_boxes, Boxes):
            targets = (*targets, found_boxes)
        if name in names:
            raise DataError(f"the case {name!r} stands twice", where=where, todo="give each row an id of its own")
        names.add(name)
        cases.append(case_of(name, tuple(refs), targets, row, columns, where))
    return cases, exclusions


def _find(root: Path, file: str) -> ImageRef | str:
    """The reference, or why there is none."""
    if not file:
        return "no image is named"
    place = os.path.join(root, file)
    if os.path.isdir(place):
        try:
            return ImageRef(series_files(place), "dicom")
        except ImageError as error:
            return error.what
    return ImageRef((place,)) if os.path.isfile(place) else "the file does not exist"


def targets_of(
    row: Mapping[str, str], line: int, columns: Columns, reader: Labels | None, path: Path
) -> Iterator[Target]:
    """The class and the value of a row; raises where a cell holds neither."""
    if reader is not None:
        yield reader.read(row, line)
    if columns.value is not None:
        text = row[columns.value]
        try:
            number = None if text in MISSING[:1] + MISSING[3:] else float(text)
            if number is not None and not math.isfinite(number):
                raise ValueError("not finite")
            yield Value(number)
        except ValueError as error:
            raise DataError(
                f"{columns.value} holds {text!r}, expected a number",
                where=f"{path}:{line}",
                todo="mend the cell, or leave it blank",
            ) from error


def case_of(
    name: str,
    refs: tuple[ImageRef, ...],
    targets: tuple[Target, ...],
    row: Mapping[str, str],
    columns: Columns,
    where: str,
) -> Case:
    """The case of a row, with its part and attributes."""
    part: Part | None = None
    if columns.part is not None and row[columns.part]:
        part = PART_NAMES.get(row[columns.part].lower())
        if part is None:
            raise DataError(
                f"the part {row[columns.part]!r} is unknown", where=where, todo=suggest(row[columns.part], PART_NAMES)
            )

    def get(column: str | None) -> str | None:
        return (row[column] or None) if column is not None else None

    return Case(
        name,
        refs,
        targets,
        patient=get(columns.patient),
        group=get(columns.group),
        cluster=get(columns.cluster),
        part=part,
        study=get(columns.study),
        attributes={c: _attribute(row[c]) for c in columns.attributes},
    )


def _attribute(text: str) -> Attribute:
    if text in ("", "nan", "NaN", "NA"):
        return None
    # A code such as 007 or 1_0 is no number, although Python would read one.
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text
