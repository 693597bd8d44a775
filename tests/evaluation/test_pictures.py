"""What a classification shows beside its figures: galleries, curves, two datasets side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medcnn.evaluation.classification import (
    ClassificationTable,
    evaluate_classification,
    side_by_side,
)
from medcnn.evaluation.results import CurvePanel, Evaluation, GalleryPanel
from medcnn.types import LabelSchema

Make = Callable[..., tuple[ClassificationTable, LabelSchema]]


def _evaluate(table: ClassificationTable, schema: LabelSchema, common: dict[str, Any], **changes: Any) -> Evaluation:
    options = {"patients_known": table.patients is not None, "resamples": 300, "validation": (), **changes}
    made = evaluate_classification(table, schema, options.pop("validation"), **common, **options)
    json.dumps(made.to_json(), allow_nan=False)
    return made


def _panel(evaluation: Evaluation, name: str) -> Any:
    return next(p for p in evaluation.panels if p.id == name)


def test_galleries_show_errors_by_confidence_and_right_cases(cohort: Make, common: dict[str, Any]) -> None:
    table, schema = cohort(200, 3, skill=1.0)
    made = _evaluate(table, schema, common)
    galleries = {p.id: p for p in made.panels if isinstance(p, GalleryPanel)}
    wrong = table.probabilities.argmax(1) != table.states.argmax(1)
    order = np.argsort(-np.where(wrong, table.probabilities.max(1), -1), kind="stable")[:4]
    assert [i.case for i in galleries["errors"].items] == [table.cases[i] for i in order]
    assert {i.status for i in galleries["errors"].items} == {"wrong"}
    assert {i.status for i in galleries["right"].items} == {"right"}
    assert not [p for p in _evaluate(table, schema, {**common, "gallery": 0}).panels if isinstance(p, GalleryPanel)]


def test_curves_are_monotone_within_their_bands_and_not_long(cohort: Make, common: dict[str, Any]) -> None:
    made = _evaluate(*cohort(300, 2, patients=70), common, validation=[{"c1": 0.5}], units=("image",))
    roc = _panel(made, "roc")
    assert isinstance(roc, CurvePanel)
    line = roc.series[0]
    assert len(line.x) <= 200
    assert (np.diff(line.y) >= 0).all()
    assert line.low is not None
    assert line.high is not None
    assert (np.array(line.low) <= np.array(line.high)).all()
    assert np.trapezoid(line.y, line.x) == pytest.approx(made.find("auroc", "c1").value, abs=0.01)
    x, y, _ = line.marks[0]
    assert y == pytest.approx(made.find("sensitivity", "c1").value)
    assert 1 - x == pytest.approx(made.find("specificity", "c1").value)


def test_copies_of_a_case_do_not_narrow_the_intervals_of_a_reliability_diagram(
    cohort: Make, common: dict[str, Any]
) -> None:
    table, schema = cohort(200, 2, patients=200)
    copies = ClassificationTable(
        tuple(f"{c}-{k}" for c in table.cases for k in range(6)),
        *(np.repeat(a, 6, axis=0) for a in (table.probabilities, table.states, table.patients, table.patients)),
        {},
        np.repeat(table.fold, 6),
    )
    options = {"units": ("image",), "calibration_bins": 4}
    one, many = (_panel(_evaluate(t, schema, common, **options), "reliability") for t in (table, copies))
    widths = [np.subtract(panel.series[0].high, panel.series[0].low) for panel in (one, many)]
    assert many.series[0].y == pytest.approx(one.series[0].y)
    assert widths[1] == pytest.approx(widths[0], rel=0.05)
    assert "Wilson, over 200 patients" in one.caption
    assert "on the effective n, over 200 patients" in many.caption
    bins = _panel(_evaluate(table, schema, common, **options), "reliability-bins")
    assert bins.columns == ["Bin", "Predicted", "Observed", "95 % interval", "Positive", "Cases"]
    assert bins.rows[0][3] == f"{one.series[0].low[0]:.3f}–{one.series[0].high[0]:.3f}"
    assert sum(row[5] for row in bins.rows) == 200
    made = _evaluate(*cohort(200, 2, patients=12), common, **options)
    assert len(_panel(made, "reliability-bins").columns) == 5
    few = _panel(made, "reliability")
    assert few.series[0].low is None
    assert "no intervals: fewer than 20 patients" in few.caption


def test_internal_and_external_figures_side_by_side(cohort: Make, common: dict[str, Any]) -> None:
    table, schema = cohort(100, 2)
    internal = _evaluate(table, schema, common)
    external = _evaluate(cohort(80, 2, seed=9)[0], schema, {**common, "part": "elsewhere"})
    panel = side_by_side(internal, external)
    assert panel.columns[1:3] == ["Internal (test)", "External (elsewhere)"]
    first = panel.rows[0]
    assert (first[1].n, first[2].n) == (100, 80)
    assert first[3] == pytest.approx(first[2].value - first[1].value)
