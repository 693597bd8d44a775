"""The measures of many cases: as arrays for the evaluation, and as a CSV file with a row a case and label."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import DataError
from medcnn.evaluation.inputs import row_positions, tidy_rows
from medcnn.evaluation.segmentation_case import LabelMeasures
from medcnn.evaluation.tables import read_sheet
from medcnn.files import open_atomic
from medcnn.types import Attribute

# The fields of LabelMeasures that are numbers of one label; the unit and the axes belong to the case.
MEASURES = tuple(f.name for f in fields(LabelMeasures) if f.name not in ("unit", "dims"))
# Those of them, and of the case, that are whole numbers.
WHOLE = frozenset({"annotated", "dims", "tp", "fp", "fn", "tn", "lesion_tp", "lesion_fp", "lesion_fn"})


def _none() -> NDArray[Any]:
    return np.zeros(0)


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationTable:
    """The measures of cases, a row a case and a column a label.

    Attributes:
        cases: ``(N,)`` ids.
        measures: ``(N, L)`` float64 by name, the names being :data:`MEASURES`; NaN is undefined.
        unit: ``(N,)`` ``mm`` or ``px``, in which a case's distances and volumes are.
        dims: ``(N,)`` number of spatial axes.
        clusters: ``(N,)`` the unit that intervals resample; empty: each case by itself.
        patients: ``(N,)``; ``None`` where unknown.
        attributes: Values by attribute, ``(N,)`` each, ``None`` where unknown.
        fold: ``(N,)`` which fold's network made the prediction, from 0; empty: one network.

    Raises:
        ValueError: If the shapes do not fit.
    """

    cases: tuple[str, ...]
    measures: Mapping[str, NDArray[np.float64]]
    unit: NDArray[np.str_]
    dims: NDArray[np.int64]
    clusters: NDArray[Any] = field(default_factory=_none)
    patients: NDArray[Any] | None = None
    attributes: Mapping[str, Sequence[Attribute]] = field(default_factory=dict)
    fold: NDArray[Any] = field(default_factory=_none)

    def __post_init__(self) -> None:
        n = len(self.cases)
        tidy_rows(self, n)
        put = object.__setattr__
        put(self, "measures", {k: np.asarray(self.measures[k], np.float64) for k in MEASURES})
        put(self, "unit", np.asarray(self.unit, np.str_))
        put(self, "dims", np.asarray(self.dims, np.int64))
        shapes = {values.shape for values in self.measures.values()}
        if len(shapes) != 1 or next(iter(shapes))[:1] != (n,) or {len(self.unit), len(self.dims)} != {n}:
            raise ValueError(
                f"{n} cases, measures of {shapes}, {len(self.unit)} units, {len(self.dims)} numbers of axes"
            )

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def labels(self) -> int:
        """L, the number of labels."""
        return int(self.measures["dice"].shape[1])

    @classmethod
    def of(cls, cases: Sequence[str], measured: Sequence[Sequence[LabelMeasures]], **facts: Any) -> SegmentationTable:
        """The table of cases whose labels are measured.

        Args:
            cases: ``(N,)`` ids.
            measured: The labels' measures of each case, one label at least.
            **facts: ``clusters``, ``patients``, ``attributes`` and ``fold``.
        """
        labels = len(measured[0]) if len(measured) else 0
        measures = {
            name: np.array([[_number(getattr(m, name)) for m in row] for row in measured]).reshape(len(cases), labels)
            for name in MEASURES
        }
        unit, dims = np.array([row[0].unit for row in measured]), np.array([row[0].dims for row in measured])
        return cls(tuple(cases), measures, unit, dims, **facts)

    @classmethod
    def joined(cls, tables: Sequence[SegmentationTable]) -> SegmentationTable:
        """The tables of several folds as one; their ``fold`` stays as it is."""
        names = sorted({name for t in tables for name in t.attributes})
        known = all(t.patients is not None for t in tables)
        return cls(
            tuple(case for t in tables for case in t.cases),
            {k: np.concatenate([t.measures[k] for t in tables]) for k in MEASURES},
            np.concatenate([t.unit for t in tables]),
            np.concatenate([t.dims for t in tables]),
            np.concatenate([t.clusters for t in tables]),
            np.concatenate([t.patients for t in tables if t.patients is not None]) if known else None,
            {name: [v for t in tables for v in t.attributes.get(name, [None] * len(t))] for name in names},
            np.concatenate([t.fold for t in tables]),
        )

    def take(self, rows: NDArray[Any]) -> SegmentationTable:
        """The rows at these positions, or where a mask is true."""
        rows = row_positions(rows)
        return SegmentationTable(
            tuple(self.cases[i] for i in rows),
            {k: v[rows] for k, v in self.measures.items()},
            self.unit[rows],
            self.dims[rows],
            self.clusters[rows],
            None if self.patients is None else self.patients[rows],
            {k: [v[i] for i in rows] for k, v in self.attributes.items()},
            self.fold[rows],
        )


def write_measures(
    path: Path, cases: Sequence[str], measured: Sequence[Sequence[LabelMeasures]], names: Sequence[str]
) -> Path:
    """Write a row a case and label; undefined is blank, and a distance to an empty mask is ``inf``.

    Args:
        path: The CSV file.
        cases: ``(N,)`` ids.
        measured: The labels' measures of each case.
        names: The labels.

    Raises:
        RunError: If writing fails.
    """
    with open_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", "label", *MEASURES, "unit", "dims"])
        for case, row in zip(cases, measured, strict=True):
            for name, m in zip(names, row, strict=True):
                writer.writerow([case, name, *(_text(getattr(m, k)) for k in MEASURES), m.unit, m.dims])
    return path


def read_measures(path: Path) -> tuple[tuple[str, ...], tuple[str, ...], list[list[LabelMeasures]]]:
    """Read what :func:`write_measures` wrote.

    Returns:
        The cases, the labels, and the labels' measures of each case.

    Raises:
        DataError: If it is missing or broken, or a case lacks a label that another one has.
    """
    sheet = read_sheet(path)
    found: dict[str, dict[str, LabelMeasures]] = {}
    absent = [c for c in ("case", "label", *MEASURES, "unit", "dims") if c not in sheet.columns]
    if absent:
        raise DataError(f"the column {absent[0]} is missing", where=str(path), todo="measure the cases again")
    for i, row in enumerate(sheet.rows):
        try:
            found.setdefault(row["case"], {})[row["label"]] = _measures(row)
        except ValueError as error:
            raise DataError(str(error), where=sheet.at(i), todo="measure the cases again") from error
    labels = tuple(dict.fromkeys(row["label"] for row in sheet.rows))
    for case, by_label in found.items():
        if set(by_label) != set(labels):
            lacking = ", ".join(n for n in labels if n not in by_label)
            raise DataError(f"the case {case!r} lacks {lacking}", where=str(path), todo="measure the cases again")
    return tuple(found), labels, [[by_label[n] for n in labels] for by_label in found.values()]


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, int) else repr(float(value))


def _measures(row: Mapping[str, str]) -> LabelMeasures:
    values = {name: _read(name, row[name]) for name in (*MEASURES, "dims")}
    unit = row["unit"]
    if unit not in ("mm", "px"):
        raise ValueError(f"{unit!r} is no unit of length")
    return LabelMeasures(**values, unit=unit)  # type: ignore[arg-type]


def _read(name: str, text: str) -> float | bool | None:
    try:
        if name in WHOLE:
            return bool(int(text)) if name == "annotated" else int(text)
        return float(text) if text else None
    except ValueError:
        raise ValueError(f"{text!r} in the column {name} is no number") from None
