"""A table (CSV or Parquet) with a row an image: labels, patients, parts and attributes by column."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medcnn.data.adapters.common import MISSING, make_schema, unknown_label
from medcnn.data.images.sniff import series_files
from medcnn.errors import DataError, ImageError
from medcnn.registry import suggest
from medcnn.types import (
    Attribute,
    Case,
    ClassLabel,
    Dataset,
    Exclusion,
    ImageRef,
    LabelSchema,
    Mask,
    Part,
    Target,
    Value,
)

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,2})?|[-+]?[0-9][eE][-+][0-9]{1,2}")

PART_NAMES: dict[str, Part] = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, slots=True)
class _Columns:
    image: tuple[str, ...]
    label: str | None
    labels: tuple[str, ...]
    value: str | None
    mask: str | None
    patient: str | None
    group: str | None
    cluster: str | None
    part: str | None
    study: str | None
    case: str | None
    attributes: tuple[str, ...]


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
    mask: str | None = None,
    patient: str | None = None,
    group: str | None = None,
    cluster: str | None = None,
    part: str | None = None,
    study: str | None = None,
    case: str | None = None,
    attributes: tuple[str, ...] | None = None,
    missing: tuple[str, ...] = (),
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
        mask: Column of a mask file.
        patient: Column of the patient.
        group: Column of what may not be divided between parts.
        cluster: Column of what intervals resample.
        part: Column of the part: training, validation or test.
        study: Column of the study.
        case: Column of the case's id; absent: the image's path.
        attributes: Columns to keep as attributes; absent: all that have no other use.
        missing: More values that mean a missing or uncertain label, beside blank, -1 and the like.

    Raises:
        DataError: If the table or a column is missing, a line is broken, a label is outside the schema, or one
            image has two labels.
    """
    path = root / file
    header, rows = _read(path)
    images = (image,) if isinstance(image, str) else tuple(image)
    single = [c for c in (label, value, mask, patient, group, cluster, part, study, case) if c is not None]
    used = {*images, *labels, *single}
    _require([*images, *labels, *single, *(attributes or ())], header, path)
    kept = tuple(c for c in header if c not in used) if attributes is None else attributes
    columns = _Columns(images, label, labels, value, mask, patient, group, cluster, part, study, case, kept)
    absent = {*MISSING, *missing}
    reader = _Labels.of(columns, rows, classes, separator, positive, absent, path)
    cases, exclusions = _cases(root, path, columns, rows, reader)
    schemas = {} if reader is None else {"class": reader.schema}
    if mask is not None:
        schemas["mask"] = make_schema(("background", "foreground"))
    return Dataset(
        root.name, tuple(cases), schemas, tuple(exclusions), patients_known=patient is not None, facts={"unit": unit}
    )


Numbered = list[tuple[int, dict[str, str]]]


def _read(path: Path) -> tuple[list[str], Numbered]:
    """The columns, and each row with its line."""
    if not path.is_file():
        raise DataError("the table is not there", where=str(path), todo="set data.root=FOLDER, or the option file")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    read = 0
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=_delimiter(path, file.readline()), strict=True)
            file.seek(0)
            header = [c.strip() for c in next(reader, [])]
            rows: Numbered = []
            read = reader.line_num
            for row in reader:
                read = reader.line_num
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) != len(header):
                    raise DataError(
                        f"the line has {len(row)} entries, the heading {len(header)}",
                        where=f"{path}:{reader.line_num}",
                        todo="put text that holds a comma into double quotes",
                    )
                rows.append((reader.line_num, dict(zip(header, (c.strip() for c in row), strict=True))))
    except csv.Error as error:
        # A quote that is never closed swallows the rest: the line after the last whole one is where it opens.
        raise DataError(
            f"the line is broken: {error}", where=f"{path}:{read + 1}", todo="check its double quotes"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError("the table is not UTF-8 text", where=str(path), todo="save it as CSV UTF-8") from error
    except OSError as error:
        raise DataError(f"the table cannot be read: {error.strerror}", where=str(path)) from error
    if not rows:
        raise DataError("the table has no rows", where=str(path))
    return header, rows


def _delimiter(path: Path, heading: str) -> str:
    """Tab for ``.tsv``; spreadsheets of many countries separate by semicolons."""
    if path.suffix == ".tsv":
        return "\t"
    return ";" if ";" in heading and "," not in heading else ","


def _read_parquet(path: Path) -> tuple[list[str], Numbered]:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise DataError("Parquet needs the package pyarrow", where=str(path), todo="install it, or use CSV") from error
    except (OSError, ValueError) as error:
        raise DataError(f"the table cannot be read: {error}", where=str(path)) from error
    header = [str(c) for c in frame.columns]
    texts = [["" if pd.isna(v) else _plain(v) for v in row] for row in frame.itertuples(index=False)]
    return header, [(n, dict(zip(header, row, strict=True))) for n, row in enumerate(texts, 1)]


def _plain(value: object) -> str:
    # A column of whole numbers with gaps comes as floats: 1.0 is the label 1.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _require(wanted: Sequence[str], header: Sequence[str], path: Path) -> None:
    for name in wanted:
        if name not in header:
            raise DataError(f"there is no column {name!r}", where=str(path), todo=suggest(name, header))
        if header.count(name) > 1:
            raise DataError(f"there are {header.count(name)} columns {name!r}", where=str(path))


@dataclass(frozen=True, slots=True)
class _Labels:
    """How a row's label is read."""

    schema: LabelSchema
    columns: _Columns
    by_value: Mapping[str, int]
    separator: str | None
    absent: set[str]
    path: Path

    @classmethod
    def of(
        cls,
        columns: _Columns,
        rows: Numbered,
        classes: Mapping[str, str | int] | tuple[str, ...] | None,
        separator: str | None,
        positive: str | None,
        absent: set[str],
        path: Path,
    ) -> _Labels | None:
        if columns.labels:
            names = columns.labels if classes is None else tuple(classes)
            if len(names) != len(columns.labels):
                raise DataError(
                    f"{len(names)} classes are named for {len(columns.labels)} columns of labels", where=str(path)
                )
            schema = make_schema(names, multilabel=True)
            return cls(schema, columns, {c: i for i, c in enumerate(columns.labels)}, None, absent, path)
        if columns.label is None:
            return None
        if isinstance(classes, Mapping):
            by_value = {str(v): i for i, v in enumerate(classes.values())}
        else:
            found = _ordered({v for _, row in rows for v in _split(row[columns.label], separator) if v not in absent})
            by_value = {name: i for i, name in enumerate(classes or found)}
        names = tuple(classes) if classes is not None else tuple(by_value)
        if len(by_value) < len(names):
            raise DataError("two classes stand for one value", where=str(path))
        # A word such as unknown means a missing label, unless it is named as a class.
        absent = absent - set(by_value)
        schema = make_schema(names, multilabel=separator is not None, positive=positive)
        return cls(schema, columns, by_value, separator, absent, path)

    def read(self, row: Mapping[str, str], line: int) -> ClassLabel:
        """The label of a row; raises where its value is outside the schema."""
        count = len(self.schema.classes)
        where = f"{self.path}:{line}"
        if self.columns.labels:
            return ClassLabel(tuple(self._state(row[c], c, where) for c in self.columns.labels))
        assert self.columns.label is not None
        text = row[self.columns.label]
        if text in self.absent:
            return ClassLabel.of(None, count)
        found = []
        for part in _split(text, self.separator):
            # Programs that write gaps as NaN write whole numbers as 1.0.
            known = part if part in self.by_value else part.removesuffix(".0")
            if known not in self.by_value:
                raise unknown_label(part, list(self.by_value), where)
            found.append(self.by_value[known])
        return ClassLabel(tuple(int(i in found) for i in range(count)))

    def _state(self, text: str, column: str, where: str) -> int | None:
        if text in self.absent:
            return None
        if text in ("0", "0.0", "1", "1.0", "False", "True", "false", "true"):
            return int(text in ("1", "1.0", "True", "true"))
        raise DataError(f"{column} holds {text!r}, expected 0, 1 or blank", where=where)


def _ordered(values: set[str]) -> list[str]:
    """Sorted by number where all are whole numbers, else by letters."""
    return sorted(values, key=int) if all(re.fullmatch(r"-?[0-9]+", v) for v in values) else sorted(values)


def _split(text: str, separator: str | None) -> list[str]:
    return [text] if separator is None else [p.strip() for p in text.split(separator) if p.strip()]


def _cases(
    root: Path, path: Path, columns: _Columns, rows: Numbered, reader: _Labels | None
) -> tuple[list[Case], list[Exclusion]]:
    cases: list[Case] = []
    exclusions: list[Exclusion] = []
    seen: dict[tuple[str, ...], tuple[int, tuple[Target, ...]]] = {}
    names: set[str] = set()
    for line, row in rows:
        files = tuple(row[c] for c in columns.image)
        name = row[columns.case] if columns.case else files[0]
        where = f"{path}:{line}"
        targets = tuple(_targets(root, row, line, columns, reader, path))
        if files in seen:
            other, theirs = seen[files]
            if theirs != targets:
                raise DataError(
                    f"the image {files[0]} has two different labels, in lines {other} and {line}", where=where
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
        if name in names:
            raise DataError(f"the case {name!r} stands twice", where=where, todo="give each row an id of its own")
        names.add(name)
        cases.append(_case(name, tuple(refs), targets, row, columns, where))
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


def _targets(
    root: Path, row: Mapping[str, str], line: int, columns: _Columns, reader: _Labels | None, path: Path
) -> Iterator[Target]:
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
            raise DataError(f"{columns.value} holds {text!r}, expected a number", where=f"{path}:{line}") from error
    if columns.mask is not None and row[columns.mask]:
        yield Mask(ImageRef((os.path.join(root, row[columns.mask]),)))


def _case(
    name: str,
    refs: tuple[ImageRef, ...],
    targets: tuple[Target, ...],
    row: Mapping[str, str],
    columns: _Columns,
    where: str,
) -> Case:
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
