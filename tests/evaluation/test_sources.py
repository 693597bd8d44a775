"""Where thresholds come from: validation parts, folds, what is stored; images and patients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as oracle

from medcnn.errors import DataError
from medcnn.evaluation.classification import ClassificationTable, evaluate_classification
from medcnn.evaluation.results import Evaluation
from medcnn.evaluation.sources import PATIENT, thresholds_to_store
from medcnn.types import LabelSchema

Make = Callable[..., tuple[ClassificationTable, LabelSchema]]


def _evaluate(table: ClassificationTable, schema: LabelSchema, common: dict[str, Any], **changes: Any) -> Evaluation:
    options = {"patients_known": table.patients is not None, "resamples": 200, "validation": (), **changes}
    return evaluate_classification(table, schema, options.pop("validation"), **common, **options)


def _panel(evaluation: Evaluation, name: str) -> Any:
    return next(p for p in evaluation.panels if p.id == name)


def test_folds_are_pooled_with_their_own_thresholds_and_ranked_within(cohort: Make, common: dict[str, Any]) -> None:
    table, schema = cohort(300, 2, folds=3, seed=3)
    # A shift of one fold's scores leaves the order within folds, not between them.
    p = table.probabilities.astype(float)
    p[table.fold == 1, 1] = p[table.fold == 1, 1] ** 8
    p[:, 0] = 1 - p[:, 1]
    shifted = ClassificationTable(table.cases, p, table.states, fold=table.fold)
    stored = [{"c1": 0.5}, {"c1": 0.5**8}, {"c1": 0.5}]
    plain = _evaluate(table, schema, common, validation=[{"c1": 0.5}] * 3)
    made = _evaluate(shifted, schema, common, validation=stored)
    assert made.find("f1", "c1").value == plain.find("f1", "c1").value
    within = [oracle.roc_auc_score(table.states[table.fold == f, 1], p[table.fold == f, 1]) for f in range(3)]
    assert made.find("auroc", "c1").value == pytest.approx(np.mean(within), abs=1e-4)
    assert made.find("f1", "c1").part == "out-of-fold"
    assert any("3 trained networks" in w for w in made.warnings)
    rows = _panel(made, "folds").rows
    assert [r[0] for r in rows] == [
        "fold 0",
        "fold 1",
        "fold 2",
        "mean of the folds",
        "standard deviation",
        "lowest",
        "highest",
    ]
    assert [r[1] for r in rows[:3]] == [100, 100, 100]
    assert made.details["thresholds"] == stored


def test_stored_thresholds_are_not_chosen_anew(cohort: Make, common: dict[str, Any]) -> None:
    made = _evaluate(*cohort(100, 2), common, validation=[{"c1": 0.123}], threshold="youden")
    assert made.details["thresholds"] == [{"c1": 0.123}]
    table = _panel(made, "thresholds")
    assert table.rows[0][1] == 0.123
    assert table.caption.startswith("Rule: stored with the network.")


def test_aimed_and_reached_sensitivity_stand_side_by_side(cohort: Make, common: dict[str, Any]) -> None:
    validation, _ = cohort(200, 2, seed=5)
    made = _evaluate(*cohort(200, 2), common, validation=[validation], threshold="sensitivity", threshold_value=0.9)
    row = dict(zip(_panel(made, "thresholds").columns, _panel(made, "thresholds").rows[0], strict=True))
    assert row["Sensitivity aimed at"] == 0.9
    assert row["Sensitivity, validation"] >= 0.9
    assert row["Sensitivity, here"] == pytest.approx(made.find("sensitivity", "c1").value)


def _parts(cohort: Make, count: int) -> list[ClassificationTable]:
    return [cohort(120, 2, seed=10 + i)[0] for i in range(count)]


def test_a_fold_without_validation_is_decided_at_one_half_and_warned_of(cohort: Make, common: dict[str, Any]) -> None:
    table, schema = cohort(240, 2, folds=2)
    first = _parts(cohort, 1)[0]
    made = _evaluate(table, schema, common, validation=[first, first.take(np.zeros(120, bool))])
    chosen, other = made.details["thresholds"]
    assert other == {"c1": 0.5}
    assert chosen == _evaluate(cohort(240, 2)[0], schema, common, validation=[first]).details["thresholds"][0]
    assert any("fold 1 has no validation part" in w for w in made.warnings)
    with pytest.raises(DataError, match="validation part"):
        _evaluate(table, schema, common, validation=[first, first.take(np.zeros(120, bool))], threshold="youden")


def test_fewer_validation_parts_than_folds_are_refused_where_the_rule_needs_them(
    cohort: Make, common: dict[str, Any]
) -> None:
    table, schema = cohort(240, 2, folds=3)
    with pytest.raises(DataError, match="3 folds, but 2 validation parts") as caught:
        _evaluate(table, schema, common, validation=_parts(cohort, 2))
    assert caught.value.where == "evaluation.threshold"
    with pytest.raises(DataError, match="3 folds, but 1 stored thresholds"):
        _evaluate(table, schema, common, validation=[{"c1": 0.4}])
    fixed = _evaluate(table, schema, common, validation=_parts(cohort, 2), threshold="fixed", threshold_value=0.3)
    assert fixed.details["thresholds"] == [{"c1": 0.3}] * 3
    # What was reached on validation parts of unknown folds is not shown for any of them.
    shown = _panel(fixed, "thresholds")
    place = list(shown.columns).index("Sensitivity, validation")
    assert [row[place] for row in shown.rows] == ["", "", ""]
    several, classes = cohort(200, 3, folds=2)
    assert _evaluate(several, classes, common, validation=[several]).details["thresholds"] == [{}, {}]


@pytest.mark.parametrize("rule", ["mean", "max", "noisy_or"])
def test_thresholds_of_patients_are_stored_and_taken_unchanged(cohort: Make, common: dict[str, Any], rule: Any) -> None:
    validation, schema = cohort(300, 2, patients=60, pure=True, seed=4)
    test, _ = cohort(300, 2, patients=70, pure=True)
    stored = thresholds_to_store(validation, schema, {"patient_rule": rule})
    assert set(stored) == {"c1", PATIENT + "c1"}
    inside = _evaluate(test, schema, common, validation=[validation], patient_rule=rule)
    outside = _evaluate(test, schema, common, validation=[stored], patient_rule=rule)
    for made in (inside, outside):
        assert made.details["thresholds"] == [{"c1": stored["c1"]}]
        assert made.details["patient_thresholds"] == [{"c1": stored[PATIENT + "c1"]}]
    for unit in ("image", "patient"):
        assert inside.find("f1", "c1", unit=unit).value == outside.find("f1", "c1", unit=unit).value
    assert "Rule: stored" in _panel(outside, "thresholds-patient").caption
    older = _evaluate(test, schema, common, validation=[{"c1": stored["c1"]}], patient_rule=rule)
    assert older.details["patient_thresholds"] == [{"c1": stored["c1"]}]
    assert "Patients are decided at the thresholds of images." in older.notes


def test_what_has_no_threshold_or_one_image_a_patient_stores_none_for_patients(cohort: Make) -> None:
    several, schema = cohort(100, 3, patients=20)
    assert thresholds_to_store(several, schema, {}) == {}
    single, binary = cohort(100, 2, patients=100)
    assert set(thresholds_to_store(single, binary, {})) == {"c1"}
    many, _ = cohort(100, 2, patients=20)
    assert set(thresholds_to_store(many, binary, {"units": ("image",)})) == {"c1"}
    assert thresholds_to_store(many.take(np.zeros(100, bool)), binary, {}) == {"c1": 0.5}


def test_stored_thresholds_of_several_networks_are_averaged_for_one_prediction(
    cohort: Make, common: dict[str, Any]
) -> None:
    table, schema = cohort(200, 2, patients=40)
    stored = [{"c1": 0.2, PATIENT + "c1": 0.3}, {"c1": 0.4, PATIENT + "c1": 0.7}]
    made = _evaluate(table, schema, common, validation=stored)
    assert made.details["thresholds"] == [{"c1": pytest.approx(0.3)}]
    assert made.details["patient_thresholds"] == [{"c1": pytest.approx(0.5)}]
