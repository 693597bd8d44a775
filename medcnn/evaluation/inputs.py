"""What an evaluation starts from: predictions beside references, a row a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medcnn.types import Attribute


def _none() -> NDArray[Any]:
    return np.zeros(0)


def _texts(values: Any) -> NDArray[np.str_]:
    return np.asarray([str(v) for v in values], dtype=np.str_)


@dataclass(frozen=True, slots=True, eq=False)
class ClassificationTable:
    """Predicted probabilities beside the reference, a row a case.

    Attributes:
        cases: ``(N,)`` ids.
        probabilities: ``(N, C)`` float32 in [0, 1]; all NaN where a program gave decisions alone.
        states: ``(N, C)``: 1 present, 0 absent, NaN missing or uncertain.
        clusters: ``(N,)`` the unit that intervals resample; empty: each case by itself.
        patients: ``(N,)``; ``None`` where unknown.
        attributes: Values by attribute, ``(N,)`` each, ``None`` where unknown.
        fold: ``(N,)`` which fold's network made the prediction, from 0; empty: one network.
        decisions: ``(N, C)`` bool, what the program decided, where there are no probabilities.

    Raises:
        ValueError: If the shapes do not fit.
    """

    cases: tuple[str, ...]
    probabilities: NDArray[np.float32]
    states: NDArray[np.float64]
    clusters: NDArray[Any] = field(default_factory=_none)
    patients: NDArray[Any] | None = None
    attributes: Mapping[str, Sequence[Attribute]] = field(default_factory=dict)
    fold: NDArray[Any] = field(default_factory=_none)
    decisions: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        n = len(self.cases)
        tidy_rows(self, n)
        put = object.__setattr__
        put(self, "probabilities", np.asarray(self.probabilities, np.float32))
        put(self, "states", np.asarray(self.states, np.float64))
        shape = self.probabilities.shape
        if len(shape) != 2 or shape[0] != n or self.states.shape != shape:
            raise ValueError(f"{n} cases, probabilities {shape}, states {self.states.shape}: expected (N, C) twice")

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def ranked(self) -> bool:
        """Whether there are probabilities."""
        return not len(self) or bool(np.isfinite(self.probabilities).all())

    def take(self, rows: NDArray[Any]) -> ClassificationTable:
        """The rows at these positions, or where a mask is true."""
        rows = row_positions(rows)
        return ClassificationTable(
            tuple(self.cases[i] for i in rows),
            self.probabilities[rows],
            self.states[rows],
            self.clusters[rows],
            None if self.patients is None else self.patients[rows],
            {k: [v[i] for i in rows] for k, v in self.attributes.items()},
            self.fold[rows],
            None if self.decisions is None else self.decisions[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class RegressionTable:
    """Predicted values beside the reference, a row a case.

    Attributes:
        cases: ``(N,)`` ids.
        predicted: ``(N,)`` in the label's unit.
        values: ``(N,)`` the reference; NaN is missing.
        clusters: ``(N,)`` the unit that intervals resample; empty: each case by itself.
        patients: ``(N,)``; ``None`` where unknown.
        attributes: Values by attribute, ``(N,)`` each, ``None`` where unknown.
        fold: ``(N,)`` which fold's network made the prediction, from 0; empty: one network.

    Raises:
        ValueError: If the shapes do not fit.
    """

    cases: tuple[str, ...]
    predicted: NDArray[np.float64]
    values: NDArray[np.float64]
    clusters: NDArray[Any] = field(default_factory=_none)
    patients: NDArray[Any] | None = None
    attributes: Mapping[str, Sequence[Attribute]] = field(default_factory=dict)
    fold: NDArray[Any] = field(default_factory=_none)

    def __post_init__(self) -> None:
        n = len(self.cases)
        tidy_rows(self, n)
        put = object.__setattr__
        put(self, "predicted", np.asarray(self.predicted, np.float64))
        put(self, "values", np.asarray(self.values, np.float64))
        if self.predicted.shape != (n,) or self.values.shape != (n,):
            raise ValueError(f"{n} cases, predicted {self.predicted.shape}, values {self.values.shape}")

    def __len__(self) -> int:
        return len(self.cases)

    def take(self, rows: NDArray[Any]) -> RegressionTable:
        """The rows at these positions, or where a mask is true."""
        rows = row_positions(rows)
        return RegressionTable(
            tuple(self.cases[i] for i in rows),
            self.predicted[rows],
            self.values[rows],
            self.clusters[rows],
            None if self.patients is None else self.patients[rows],
            {k: [v[i] for i in rows] for k, v in self.attributes.items()},
            self.fold[rows],
        )


class Rows(Protocol):
    """What every table has beside its own columns."""

    @property
    def cases(self) -> tuple[str, ...]: ...
    @property
    def clusters(self) -> NDArray[Any]: ...
    @property
    def patients(self) -> NDArray[Any] | None: ...
    @property
    def attributes(self) -> Mapping[str, Sequence[Attribute]]: ...
    @property
    def fold(self) -> NDArray[Any]: ...


def tidy_rows(table: Rows, n: int) -> None:
    """Ids and texts of a frozen table as tuples and arrays; an empty column stands for its default.

    Raises:
        ValueError: If a column does not have ``n`` entries.
    """
    put = object.__setattr__
    put(table, "cases", tuple(table.cases))
    put(table, "clusters", _texts(table.clusters if len(table.clusters) else table.cases))
    put(table, "fold", np.asarray(table.fold, np.int64) if len(table.fold) else np.zeros(n, np.int64))
    if table.patients is not None:
        put(table, "patients", _texts(table.patients))
    columns = {"clusters": table.clusters, "fold": table.fold, "patients": table.patients, **table.attributes}
    for name, column in columns.items():
        if column is not None and len(column) != n:
            raise ValueError(f"{n} cases, but {len(column)} entries in {name}")


def row_positions(rows: NDArray[Any]) -> NDArray[np.intp]:
    """Positions of rows that are given by position or by a mask."""
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.intp)
