"""Class labels from the cells of a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from medcnn.data.adapters.common import make_schema, unknown_label
from medcnn.data.adapters.table_file import Numbered
from medcnn.errors import DataError
from medcnn.types import ClassLabel, LabelSchema


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns by what they hold; ``None`` where there is none."""

    image: tuple[str, ...]
    label: str | None
    labels: tuple[str, ...]
    value: str | None
    mask: tuple[str, ...]
    patient: str | None
    group: str | None
    cluster: str | None
    part: str | None
    study: str | None
    case: str | None
    attributes: tuple[str, ...]

    def named(self) -> Iterator[tuple[str, str]]:
        """Each column after the option that names it."""
        for field in fields(self):
            found = getattr(self, field.name)
            names = (found,) if isinstance(found, str) else found or ()
            yield from ((field.name, name) for name in names)

    def with_rest(self, header: Sequence[str]) -> Columns:
        """With all columns that have no other use as attributes."""
        used = {name for _, name in self.named()}
        return replace(self, attributes=tuple(c for c in header if c not in used))


@dataclass(frozen=True, slots=True)
class Labels:
    """How a row's label is read.

    Attributes:
        schema: The classes.
        columns: Which column is what.
        by_value: Position of the class by the value (or column) that stands for it.
        separator: Splits several labels in one cell.
        absent: Values that mean a missing or uncertain label.
        path: The table.
    """

    schema: LabelSchema
    columns: Columns
    by_value: Mapping[str, int]
    separator: str | None
    absent: set[str]
    path: Path

    @classmethod
    def of(
        cls,
        columns: Columns,
        rows: Numbered,
        classes: Mapping[str, str | int] | tuple[str, ...] | None,
        separator: str | None,
        positive: str | None,
        absent: set[str],
        path: Path,
    ) -> Labels | None:
        """From the options of the adapter and the values found; ``None`` where the table has no classes.

        Raises:
            DataError: If the classes do not fit the columns or each other.
        """
        if columns.labels:
            names = columns.labels if classes is None else tuple(classes)
            if len(names) != len(columns.labels):
                raise DataError(
                    f"{len(names)} classes are named for {len(columns.labels)} columns of labels",
                    where=str(path),
                    todo="name one class a column, in the order of the columns",
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
            raise DataError("two classes stand for one value", where=str(path), todo="give each a value of its own")
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
        raise DataError(f"{column} holds {text!r}, expected 0, 1 or blank", where=where, todo="mend the cell")


def _ordered(values: set[str]) -> list[str]:
    """Sorted by number where all are whole numbers, else by letters."""
    return sorted(values, key=int) if all(re.fullmatch(r"-?[0-9]+", v) for v in values) else sorted(values)


def _split(text: str, separator: str | None) -> list[str]:
    return [text] if separator is None else [p.strip() for p in text.split(separator) if p.strip()]
