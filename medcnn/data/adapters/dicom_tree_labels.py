"""Labels of stacks of DICOM: from an element of the header, or from a table about series, studies or patients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from medcnn.data.adapters.common import MISSING, make_schema
from medcnn.data.adapters.dicom_tree_values import Found
from medcnn.data.adapters.table_file import Numbered, read_table, require_columns
from medcnn.data.adapters.table_labels import Columns, Labels
from medcnn.errors import DataError
from medcnn.registry import suggest
from medcnn.types import ClassLabel, Exclusion, LabelSchema

Key = Literal["SeriesInstanceUID", "StudyInstanceUID", "PatientID"]
Classes = Mapping[str, str | int | tuple[str, ...]] | tuple[str, ...] | None

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class ElementLabels:
    """Labels that stand in the header.

    Attributes:
        schema: The classes.
        by_value: Position of the class by the value that stands for it, without regard to case.
        other: Position of the class of all other values; ``None`` where there is none.
        absent: Values that mean a missing label, without regard to case.
    """

    schema: LabelSchema
    by_value: Mapping[str, int]
    other: int | None
    absent: frozenset[str]

    @classmethod
    def of(
        cls,
        element: str,
        found: Sequence[Found],
        classes: Classes,
        positive: str | None,
        rest: str | None,
        missing: Iterable[str],
        where: str,
    ) -> ElementLabels:
        """From the options, and from the values found where these name no classes.

        Raises:
            DataError: If a value is no class, or there are not two classes.
        """
        named = _named(classes) if classes is not None else None
        by_value = {str(v).casefold(): i for i, values in enumerate((named or {}).values()) for v in values}
        if named is not None and len(by_value) < sum(len(values) for values in named.values()):
            raise DataError("two classes stand for one value", where=where, todo="give each a value of its own")
        # A word such as unknown means a missing label, unless it is named as a class.
        absent = frozenset(w.casefold() for w in (*MISSING, *missing)) - set(by_value)
        counts = Counter(f.values[0] for f in found if len(f.values) == 1 and f.values[0].casefold() not in absent)
        if rest is not None:
            return cls(_rest(element, counts, named, positive, rest, where), {str(positive).casefold(): 1}, 0, absent)
        if named is None:
            spelt = {value.casefold(): value for value in sorted(counts, reverse=True)}
            named = {value: (value,) for value in sorted(spelt.values())}
            by_value = {value.casefold(): i for i, value in enumerate(named)}
        _require_known(element, {v: n for v, n in counts.items() if v.casefold() not in by_value}, where)
        if len(named) < 2:
            raise DataError(
                f"{element} tells no two classes apart: it is {', '.join(named) or 'blank'} everywhere",
                where=where,
                todo="choose another element, or give a table with the option file",
            )
        return cls(make_schema(tuple(named), positive=positive), by_value, None, absent)

    def read(self, found: Found) -> ClassLabel:
        """The class of a stack; missing where its element is blank, says nothing, or differs between its files."""
        count = len(self.schema.classes)
        if len(found.values) != 1 or found.values[0].casefold() in self.absent:
            return ClassLabel.of(None, count)
        return ClassLabel.of(self.by_value.get(found.values[0].casefold(), self.other), count)


def _named(classes: Mapping[str, Any] | tuple[str, ...]) -> dict[str, tuple[Any, ...]]:
    """Each class with the values that stand for it."""
    if not isinstance(classes, Mapping):
        return {name: (name,) for name in classes}
    return {name: tuple(v) if isinstance(v, (tuple, list)) else (v,) for name, v in classes.items()}


def _rest(
    element: str,
    counts: Mapping[str, int],
    named: Mapping[str, Any] | None,
    positive: str | None,
    rest: str,
    where: str,
) -> LabelSchema:
    """The schema of one value against all others."""
    if positive is None or rest == positive or named is not None:
        raise DataError(
            "rest goes with positive, the value that the problem is about, and without classes",
            where="data.adapter.rest",
        )
    if positive.casefold() not in {value.casefold() for value in counts}:
        raise DataError(f"{element} is nowhere {positive!r}", where=where, todo=suggest(positive, counts))
    return make_schema((rest, positive), positive=positive)


def _require_known(element: str, unknown: Mapping[str, int], where: str) -> None:
    if not unknown:
        return
    listed = ", ".join(f"{v!r} ({n:,})" for v, n in sorted(unknown.items(), key=lambda u: (-u[1], u[0]))[:_SHOWN])
    more = f" and {len(unknown) - _SHOWN:,} more" if len(unknown) > _SHOWN else ""
    raise DataError(
        f"{element} holds values that are no class: {listed}{more}",
        where=where,
        todo="name them among the classes, or under missing (such images have no label), or set positive and rest",
    )


@dataclass
class TableRows:
    """The rows of a table by the series, study or patient that they are about.

    Attributes:
        path: The table.
        by: What identifies a row.
        columns: Which column is what.
        reader: Reads the classes; ``None`` where the table has none.
        rows: Line and cells by identifier.
        repeated: Identifiers of rows that stand twice, with their lines.
        used: Identifiers that an image was found for.
    """

    path: Path
    by: Key
    columns: Columns
    reader: Labels | None
    rows: Mapping[str, tuple[int, Mapping[str, str]]]
    repeated: Sequence[tuple[str, int]]
    used: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path, by: Key, column: str | None, asked: Columns, options: TableOptions) -> TableRows:
        """The table, with the column ``label`` of ``asked`` left out where there is no such column.

        Raises:
            DataError: If the table or a column is missing, a label is outside the schema, or two rows are about one.
        """
        header, rows = read_table(path)
        key = column or by
        if key not in header:
            raise DataError(
                f"there is no column {key!r}, which says what a row is about",
                where=str(path),
                todo=f"{suggest(key, header)}; the option column names it, by says what it holds",
            )
        asked = replace(asked, case=key, label=asked.label if asked.label in header else None)
        require_columns(list(asked.named()), header, path)
        columns = asked if options.attributes else asked.with_rest(header)
        classes: Mapping[str, str | int] | tuple[str, ...] | None = None
        if isinstance(options.classes, tuple):
            classes = options.classes
        elif options.classes is not None and columns.label is not None:
            classes = _one_value(options.classes, rows, columns.label)
        elif options.classes is not None:
            classes = tuple(options.classes)
        absent = {*MISSING, *options.missing}
        reader = Labels.of(columns, rows, classes, options.separator, options.positive, absent, path)
        by_key, repeated = _by_identifier(rows, key, path)
        return cls(path, by, columns, reader, by_key, repeated)

    @property
    def labelled(self) -> bool:
        """Whether the table holds classes or values."""
        return self.reader is not None or self.columns.value is not None

    def row_of(self, found: Found) -> tuple[int, Mapping[str, str]] | None:
        """The row about an image, with its line."""
        identifier = found.identifier(self.by).strip()
        row = self.rows.get(identifier)
        if row is not None:
            self.used.add(identifier)
        return row

    def exclusions(self) -> Iterator[Exclusion]:
        """Rows without an image, and rows that stand twice; after all images were asked for."""
        for identifier, line in self.repeated:
            yield Exclusion(f"{identifier} (line {line})", "the same row stands twice", f"{self.path}:{line}")
        for identifier, (line, _) in self.rows.items():
            if identifier not in self.used:
                yield Exclusion(identifier, f"no image in the folder has this {self.by}", f"{self.path}:{line}")

    def require_some(self, found: Sequence[Found]) -> None:
        """Raises where no row is about any image: then it is the column that is wrong, not the rows."""
        if found and not self.used:
            theirs, ours = next(iter(self.rows)), found[0].identifier(self.by)
            raise DataError(
                f"no row is about an image of the folder: there {self.by} is {ours!r}, in the table {theirs!r}",
                where=str(self.path),
                todo="choose the column with the option column, and with by what it holds (SeriesInstanceUID, "
                "StudyInstanceUID or PatientID)",
            )


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How the labels of a table are read; ``attributes`` is whether the columns to keep were named."""

    classes: Classes
    separator: str | None
    positive: str | None
    missing: tuple[str, ...]
    attributes: bool


def _one_value(classes: Mapping[str, Any], rows: Numbered, label: str) -> Mapping[str, str | int]:
    """Classes with one value each: others that stand for a class are written as its first one into the rows."""
    named = _named(classes)
    first = {str(v): str(values[0]) for values in named.values() for v in values}
    for _, row in rows:
        row[label] = first.get(row[label], row[label])
    return {name: values[0] for name, values in named.items()}


def _by_identifier(
    rows: Numbered, key: str, path: Path
) -> tuple[dict[str, tuple[int, Mapping[str, str]]], list[tuple[str, int]]]:
    """Rows by their identifier, and those that stand twice; raises where two rows of one differ."""
    found: dict[str, tuple[int, Mapping[str, str]]] = {}
    repeated: list[tuple[str, int]] = []
    for line, row in rows:
        identifier = row[key].strip()
        if not identifier:
            raise DataError(f"{key} is blank", where=f"{path}:{line}", todo="fill it in, or remove the line")
        if identifier not in found:
            found[identifier] = (line, row)
        elif found[identifier][1] == row:
            repeated.append((identifier, line))
        else:
            raise DataError(
                f"two different rows are about one {key}, in lines {found[identifier][0]} and {line}",
                where=f"{path}:{line}",
                todo="leave the right one",
            )
    return found, repeated
