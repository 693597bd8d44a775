"""The evaluation of regression."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as oracle
from scipy.stats import pearsonr

from medcnn.errors import DataError
from medcnn.evaluation.regression import RegressionTable, case_rows, evaluate_regression


def _table(n: int = 200, **changes: Any) -> RegressionTable:
    rng = np.random.default_rng(0)
    values = rng.normal(120, 40, n)
    base = {"cases": tuple(map(str, range(n))), "predicted": values + rng.normal(3, 10, n), "values": values}
    return RegressionTable(**{**base, **changes})


def _evaluate(table: RegressionTable, **changes: Any) -> Any:
    options = {"title": "", "part": "test", "patients_known": False, "gallery": 5, "seed": 0, "unit": "months"}
    made = evaluate_regression(table, **{**options, "resamples": 300, **changes})
    json.dumps(made.to_json(), allow_nan=False)
    return made


def test_figures_equal_scikit_learn_and_scipy() -> None:
    t = _table()
    made = _evaluate(t)
    gap = t.predicted - t.values
    expected = {
        "mae": oracle.mean_absolute_error(t.values, t.predicted),
        "rmse": oracle.root_mean_squared_error(t.values, t.predicted),
        "r2": oracle.r2_score(t.values, t.predicted),
        "bias": gap.mean(),
        "pearson": pearsonr(t.values, t.predicted).statistic,
        "loa_low": gap.mean() - 1.96 * gap.std(ddof=1),
        "loa_high": gap.mean() + 1.96 * gap.std(ddof=1),
    }
    for name, value in expected.items():
        figure = made.find(name)
        assert figure.value == pytest.approx(value), name
        assert figure.interval.low < figure.value < figure.interval.high
    assert "[months]" in made.find("mae").label
    assert made.find("mae").baseline == pytest.approx(np.abs(t.values - t.values.mean()).mean())
    assert made.find("r2").baseline == pytest.approx(0)


def test_the_bootstrap_agrees_with_theory() -> None:
    t = _table(400)
    interval = _evaluate(t, resamples=2000).find("bias").interval
    half = 1.96 * (t.predicted - t.values).std(ddof=1) / 20
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.08)


def test_clusters_of_equal_errors_widen_the_interval() -> None:
    t = _table(40)
    owner = np.repeat(np.arange(40), 5)
    clustered = RegressionTable(
        tuple(map(str, range(200))), np.repeat(t.predicted, 5), np.repeat(t.values, 5), owner, owner
    )
    naive = RegressionTable(clustered.cases, clustered.predicted, clustered.values)
    wide = _evaluate(clustered, patients_known=True).find("mae").interval
    narrow = _evaluate(naive).find("mae").interval
    assert wide.high - wide.low > 1.8 * (narrow.high - narrow.low)
    assert wide.resampled == "patient"
    assert "too narrow" in narrow.method


def test_constant_references_leave_r2_undefined() -> None:
    t = _table(30, values=np.full(30, 7.1), predicted=7.1 + np.arange(30) / 100)
    made = _evaluate(t)
    assert made.find("r2").value is None
    assert made.find("pearson").value is None
    assert "one value" in made.find("r2").note


def test_missing_values_are_counted_and_the_largest_errors_shown() -> None:
    t = _table()
    values = t.values.copy()
    values[:9] = np.nan
    values[50] = t.predicted[50] + 500
    made = _evaluate(_table(values=values, attributes={"sex": ["F", "M"] * 100}))
    assert made.find("mae").n == 191
    panels = {p.id: p for p in made.panels}
    assert panels["missing"].rows[0][1] == 9
    assert panels["errors"].items[0].case == "50" if hasattr(panels["errors"], "items") else True
    assert [r[0] for r in panels["subgroup-sex"].rows] == ["F", "M"]
    with pytest.raises(DataError, match="no case"):
        _evaluate(_table(values=np.full(200, np.nan)))


def test_figures_without_a_baseline_leave_its_place_empty() -> None:
    panel = next(p for p in _evaluate(_table()).panels if p.id == "errors")
    assert {row[0]: row[2] for row in panel.rows}["Pearson's r"] == ""
    assert None not in [row[2] for row in panel.rows]


def test_folds_are_shown_apart() -> None:
    made = _evaluate(_table(fold=np.arange(200) % 4))
    assert made.find("mae").part == "out-of-fold"
    panel = next(p for p in made.panels if p.id == "folds")
    assert len(panel.rows) == 8


def test_rows_of_cases() -> None:
    columns, rows = case_rows(_table(3, values=np.array([1.0, np.nan, 2.0]), predicted=np.array([1.5, 2.0, 3.0])))
    assert columns[-1] == "error"
    assert [r[-1] for r in rows] == [0.5, "", 1.0]
