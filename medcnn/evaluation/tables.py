"""Tables of predictions on disk, joined to references: our own, and those of any other program."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import DataError
from medcnn.evaluation.inputs import ClassificationTable, RegressionTable
from medcnn.types import Attribute, Case, ClassLabel, LabelSchema, Value

CASE_COLUMNS = ("case", "id", "image", "case_id", "image_id", "filename")
# Rounding of three digits a class must pass; a missing class must not.
SUM_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class Sheet:
    """A CSV file as text, with its place for messages.

    Attributes:
        path: The file.
        columns: The header, without blanks around.
        rows: Cells by column; row i stands on line ``i + 2`` unless cells hold line breaks.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]

    def at(self, row: int) -> str:
        """The place of a row, for an error."""
        return f"{self.path}, row {row + 1}"


def read_sheet(path: Path) -> Sheet:
    """Read a CSV file whole.

    Raises:
        DataError: If it is missing, not UTF-8, empty, or a row has more or fewer cells than the header.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except FileNotFoundError as error:
        raise DataError("the table is missing", where=str(path), todo="check the path") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"the table cannot be read: {error}", where=str(path), todo="save it as CSV with commas, in UTF-8"
        ) from error
    lines = [line for line in lines if any(cell.strip() for cell in line)]
    if not lines:
        raise DataError("the table is empty", where=str(path))
    header = tuple(cell.strip() for cell in lines[0])
    twice = sorted({c for c in header if header.count(c) > 1})
    if twice:
        raise DataError(f"the column {twice[0]!r} stands twice", where=str(path), todo="rename or remove one")
    rows = []
    for i, line in enumerate(lines[1:]):
        if len(line) != len(header):
            raise DataError(
                f"{len(line)} cells under {len(header)} columns",
                where=f"{path}, row {i + 1}",
                todo="check for a stray comma, or a text with commas that lacks quotes",
            )
        rows.append({c: v.strip() for c, v in zip(header, line, strict=True)})
    if not rows:
        raise DataError("the table has a header but no row", where=str(path))
    return Sheet(path, header, tuple(rows))


def case_ids(sheet: Sheet) -> list[str]:
    """The case of each row.

    Raises:
        DataError: If there is no such column, a cell is blank, or a case stands twice.
    """
    found = find_column(sheet, CASE_COLUMNS)
    if found is None:
        raise DataError(
            f"no column names the case; the columns are {', '.join(sheet.columns)}",
            where=str(sheet.path),
            todo=f"name it {CASE_COLUMNS[0]} (or {', '.join(CASE_COLUMNS[1:])})",
        )
    seen: dict[str, int] = {}
    for i, row in enumerate(sheet.rows):
        case = row[found]
        if not case:
            raise DataError("the case is blank", where=sheet.at(i), todo="give each row its case")
        if case in seen:
            raise DataError(
                f"the case {case!r} stands twice, first in row {seen[case] + 1}",
                where=sheet.at(i),
                todo="keep one row a case; join several predictions of a case beforehand",
            )
        seen[case] = i
    return list(seen)


def find_column(sheet: Sheet, names: Sequence[str]) -> str | None:
    """The first column with one of these names, whatever its capitals."""
    lower = {c.lower(): c for c in sheet.columns}
    return next((lower[n.lower()] for n in names if n.lower() in lower), None)


def number(sheet: Sheet, row: int, column: str, *, blank: bool = False) -> float:
    """A cell as a finite number; NaN for a blank one where that is allowed.

    Raises:
        DataError: If it is none.
    """
    text = sheet.rows[row][column]
    if blank and text.lower() in ("", "na", "nan", "none", "null"):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(
            f"{text!r} in the column {column!r} is no number", where=sheet.at(row), todo="write numbers with a point"
        )
    return value


def probability_columns(sheet: Sheet, schema: LabelSchema) -> dict[str, str] | None:
    """The column of each class: ``p_<class>``, ``prob_<class>`` or the class's name.

    For two exclusive classes one column is enough. ``None`` where there is none for any class.

    Raises:
        DataError: If some classes have a column and others have none.
    """
    found = {}
    for name in schema.names:
        column = find_column(sheet, (f"p_{name}", f"prob_{name}", f"probability_{name}", name))
        if column is not None:
            found[name] = column
    lacking = [n for n in schema.names if n not in found]
    if not found:
        return None
    if lacking and not schema.binary:
        raise DataError(
            f"no column holds the probability of {', '.join(lacking)}",
            where=str(sheet.path),
            todo=f"add {', '.join(f'p_{n}' for n in lacking)}; the columns are {', '.join(sheet.columns)}",
        )
    return found


def read_probabilities(sheet: Sheet, schema: LabelSchema, columns: Mapping[str, str]) -> NDArray[np.float32]:
    """``(N, C)`` float32.

    Raises:
        DataError: If one is no number or outside [0, 1], or a row of exclusive classes does not sum to 1.
    """
    out = np.full((len(sheet.rows), len(schema.names)), np.nan)
    for j, name in enumerate(schema.names):
        if name in columns:
            out[:, j] = [number(sheet, i, columns[name]) for i in range(len(sheet.rows))]
    bad = np.argwhere((out < 0) | (out > 1))
    if len(bad):
        i, j = bad[0]
        raise DataError(
            f"the probability of {schema.names[j]} is {out[i, j]:g}, outside [0, 1]",
            where=sheet.at(int(i)),
            todo="give probabilities: the softmax or sigmoid of logits, percentages divided by 100",
        )
    if schema.binary and len(columns) == 1:
        missing = int(np.isnan(out[0]).argmax())
        out[:, missing] = 1 - out[:, 1 - missing]
    if not schema.multilabel:
        sums = out.sum(1)
        wrong = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
        if len(wrong):
            raise DataError(
                f"the probabilities sum to {sums[wrong[0]]:.3f}, not to 1",
                where=sheet.at(int(wrong[0])),
                todo="exclusive classes need the softmax over all of them; for several labels a case say multilabel",
            )
    return out.astype(np.float32)


def _join(sheet: Sheet, cases: Mapping[str, Case], expected: Collection[str] | None) -> list[Case]:
    ids = case_ids(sheet)
    for i, case in enumerate(ids):
        if case not in cases:
            raise DataError(
                f"the case {case!r} is not in the dataset",
                where=sheet.at(i),
                todo="check that predictions and dataset belong together, and that ids are written alike",
            )
    absent = [] if expected is None else sorted(set(expected) - set(ids))
    if absent:
        raise DataError(
            f"{len(absent):,} cases have no prediction, the first is {absent[0]!r}",
            where=str(sheet.path),
            todo="predict all cases of the part, or name in the data what is left out",
        )
    return [cases[c] for c in ids]


def _facts(cases: Sequence[Case]) -> dict[str, Any]:
    """Clusters, patients and attributes of cases, as the tables take them."""
    names = list(dict.fromkeys(k for c in cases for k in c.attributes))
    attributes: dict[str, list[Attribute]] = {k: [c.attributes.get(k) for c in cases] for k in names}
    patients = [c.patient for c in cases]
    known = any(p is not None for p in patients)
    return {
        "clusters": np.array([c.cluster or c.patient or c.id for c in cases], dtype=np.str_),
        # A case whose patient is not known stands for itself.
        "patients": np.array([p or c.id for p, c in zip(patients, cases, strict=True)], np.str_) if known else None,
        "attributes": attributes,
    }


def classification_table(
    files: Sequence[Path],
    cases: Mapping[str, Case],
    schema: LabelSchema,
    *,
    expected: Sequence[Collection[str] | None] = (),
) -> ClassificationTable:
    """Predictions of one network, or of one a fold, joined to the cases' labels.

    Args:
        files: CSV with ``case`` and ``p_<class>``, one a fold.
        cases: The dataset's cases by id.
        schema: The classes.
        expected: By file, the cases that it must hold; absent: whatever is in it.

    Raises:
        DataError: As the readers of this module, and where a case stands in two files.
    """
    parts, rows, fold = [], [], []
    owner: dict[str, Path] = {}
    for f, path in enumerate(files):
        sheet = read_sheet(Path(path))
        columns = probability_columns(sheet, schema)
        if columns is None:
            raise DataError(
                f"no column holds a probability; the columns are {', '.join(sheet.columns)}",
                where=str(path),
                todo=f"name them {', '.join(f'p_{n}' for n in schema.names)}",
            )
        joined = _join(sheet, cases, expected[f] if f < len(expected) else None)
        _once(joined, owner, sheet)
        parts.append(read_probabilities(sheet, schema, columns))
        rows += joined
        fold += [f] * len(joined)
    states = [_states(c, schema) for c in rows]
    return ClassificationTable(
        tuple(c.id for c in rows),
        np.concatenate(parts) if parts else np.zeros((0, len(schema.names)), np.float32),
        np.array(states, np.float64).reshape(-1, len(schema.names)),
        fold=np.array(fold, np.int64),
        **_facts(rows),
    )


def _once(joined: Sequence[Case], owner: dict[str, Path], sheet: Sheet) -> None:
    """An out-of-fold case is scored once."""
    for i, case in enumerate(joined):
        if case.id in owner:
            raise DataError(
                f"the case {case.id!r} is predicted by two folds, also in {owner[case.id]}",
                where=sheet.at(i),
                todo="each case belongs to the test part of one fold",
            )
        owner[case.id] = sheet.path


def _states(case: Case, schema: LabelSchema) -> list[float]:
    label = case.target(ClassLabel)
    states = label.states if label is not None else (None,) * len(schema.names)
    return [math.nan if s is None else float(s) for s in states]


def regression_table(
    files: Sequence[Path], cases: Mapping[str, Case], *, expected: Sequence[Collection[str] | None] = ()
) -> RegressionTable:
    """Predicted values of one network, or of one a fold, joined to the cases' values.

    Args:
        files: CSV with ``case`` and ``value`` (or ``prediction``), one a fold.
        cases: The dataset's cases by id.
        expected: By file, the cases that it must hold; absent: whatever is in it.

    Raises:
        DataError: As :func:`classification_table`.
    """
    predicted: list[float] = []
    rows, fold = [], []
    owner: dict[str, Path] = {}
    for f, path in enumerate(files):
        sheet = read_sheet(Path(path))
        column = find_column(sheet, ("value", "prediction", "predicted"))
        if column is None:
            raise DataError(
                f"no column holds the predicted value; the columns are {', '.join(sheet.columns)}",
                where=str(path),
                todo="name it value",
            )
        joined = _join(sheet, cases, expected[f] if f < len(expected) else None)
        _once(joined, owner, sheet)
        predicted += [number(sheet, i, column) for i in range(len(sheet.rows))]
        rows += joined
        fold += [f] * len(joined)
    targets = [c.target(Value) for c in rows]
    values = [math.nan if t is None or t.value is None else float(t.value) for t in targets]
    return RegressionTable(
        tuple(c.id for c in rows), np.array(predicted), np.array(values), fold=np.array(fold, np.int64), **_facts(rows)
    )
