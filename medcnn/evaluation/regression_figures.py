"""Error figures of a regression from sums over cases, with their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.inputs import RegressionTable
from medcnn.evaluation.judging import Judge, Judged
from medcnn.evaluation.metrics import ratio
from medcnn.evaluation.resampling import Resampler
from medcnn.evaluation.results import Figure

Array = NDArray[np.float64]
LABELS = {
    "mae": "Mean absolute error",
    "rmse": "Root mean squared error",
    "r2": "R²",
    "bias": "Bias (predicted - reference)",
    "pearson": "Pearson's r",
    "loa_low": "Lower limit of agreement",
    "loa_high": "Upper limit of agreement",
}
_WITH_UNIT = frozenset({"mae", "rmse", "bias", "loa_low", "loa_high"})
_UNDEFINED = {
    "r2": "undefined: the reference has one value only",
    "pearson": "undefined: reference or prediction has one value only",
    "loa_low": "undefined: fewer than two cases",
    "loa_high": "undefined: fewer than two cases",
}
# 95 % of normally distributed differences lie within (Bland & Altman 1986).
AGREEMENT = 1.96


@dataclass(frozen=True, slots=True)
class Errors:
    """Figures of a regression.

    Attributes:
        table: Cases with a reference.
        resampler: The draws.
        judge: Makes the intervals.
        point: Figures by name.
        samples: ``(B,)`` by name.
        baseline: The figures of always predicting the mean of the reference.
        unit: Unit of the label.
        part: Name of the evaluated part.
    """

    table: RegressionTable
    resampler: Resampler
    judge: Judge
    point: dict[str, float]
    samples: dict[str, Array]
    baseline: dict[str, float]
    unit: str
    part: str

    def figure(self, name: str) -> Figure:
        """One figure with its n, interval and notes."""
        value = self.point[name]
        finite = bool(np.isfinite(value))
        judged = self.judge.resampled(self.samples[name]) if finite else Judged(None, _UNDEFINED.get(name, "undefined"))
        base = self.baseline.get(name)
        return Figure(
            name,
            label(name, self.unit),
            float(value) if finite else None,
            len(self.table),
            part=self.part,
            interval=judged.interval,
            clusters=self.resampler.count,
            note="; ".join(t for t in (judged.note, self.judge.outside(value, judged) if finite else "") if t),
            baseline=base if base is not None and np.isfinite(base) else None,
            baseline_label="always the mean of the reference" if base is not None else "",
        )

    def rows(self, rows: NDArray[np.bool_]) -> Errors:
        """The figures of some of the cases, from the same draws."""
        return measure(self.table.take(rows), self.resampler.restrict(rows), self.judge.level, self.unit, self.part)


def label(name: str, unit: str) -> str:
    """The figure's name with the unit of the label."""
    return f"{LABELS[name]} [{unit}]" if unit and name in _WITH_UNIT else LABELS[name]


def measure(table: RegressionTable, resampler: Resampler, level: float, unit: str, part: str) -> Errors:
    """All figures of a table whose references are known."""
    # Sums of squares lose digits far from zero: the reference's mean is taken off first.
    centre = float(table.values.mean()) if len(table) else 0.0
    columns = _columns(table.predicted - centre, table.values - centre)
    point = {k: float(v[0]) for k, v in figures(columns.sum(0)[:, None]).items()}
    samples = figures(resampler.sums(resampler.gather(columns)))
    constant = _columns(np.zeros(len(table)), table.values - centre)
    base = {k: float(v[0]) for k, v in figures(constant.sum(0)[:, None]).items()}
    kept = {k: base[k] for k in ("mae", "rmse", "r2")}
    return Errors(table, resampler, Judge(resampler, level), point, samples, kept, unit, part)


def _columns(predicted: Array, values: Array) -> Array:
    error = predicted - values
    ones = np.ones(len(values))
    return np.stack(
        [ones, np.abs(error), error, error**2, values, values**2, predicted, predicted**2, predicted * values], 1
    )


def figures(sums: NDArray[Any]) -> dict[str, Array]:
    """Figures ``(B,)`` from ``(9, B)`` sums of 1, |e|, e, e², y, y², p, p², py."""
    n, absolute, error, squared, y, yy, p, pp, py = np.asarray(sums, np.float64)
    bias = ratio(error, n)
    # Rounding may leave a tiny negative rest where there is no spread.
    spread_y, spread_p = np.maximum(yy - ratio(y * y, n), 0), np.maximum(pp - ratio(p * p, n), 0)
    spread_y, spread_p = (np.where(s < 1e-9 * t, 0.0, s) for s, t in ((spread_y, yy), (spread_p, pp)))
    deviation = np.sqrt(np.maximum(ratio(squared - n * bias**2, n - 1), 0))
    return {
        "mae": ratio(absolute, n),
        "rmse": np.sqrt(ratio(squared, n)),
        "r2": 1 - ratio(squared, spread_y),
        "bias": bias,
        "pearson": np.clip(ratio(py - ratio(p * y, n), np.sqrt(spread_y * spread_p)), -1, 1),
        "loa_low": bias - AGREEMENT * deviation,
        "loa_high": bias + AGREEMENT * deviation,
    }
