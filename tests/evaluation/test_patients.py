"""From images to patients."""

from __future__ import annotations

import numpy as np
import pytest

from medcnn.evaluation.inputs import ClassificationTable
from medcnn.evaluation.patients import PatientRule, by_patient
from medcnn.types import LabelClass, LabelSchema

THREE = LabelSchema(tuple(LabelClass(i, n) for i, n in enumerate("abc")))
BINARY = LabelSchema(THREE.classes[:2], False, "b")
LABELS = LabelSchema(THREE.classes[:2], True)


def _table(p: list[list[float]], states: list[list[float]], patients: list[str]) -> ClassificationTable:
    return ClassificationTable(
        tuple(str(i) for i in range(len(p))), np.array(p), np.array(states), np.array(patients), np.array(patients),
        {"sex": ["F"] * len(p), "view": [str(i) for i in range(len(p))]},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("mean", 0.5), ("max", 0.9), ("top_k", 0.75), ("noisy_or", 1 - 0.1 * 0.4 * 0.8 * 0.7)],
)
def test_rules_worked_by_hand(rule: PatientRule, expected: float) -> None:
    p = [[1 - x, x] for x in (0.9, 0.6, 0.2, 0.3)]
    found = by_patient(_table(p, [[1, 0]] * 4, ["p"] * 4), BINARY, rule, top_k=2).table
    assert found.probabilities[0, 1] == pytest.approx(expected)
    assert found.probabilities[0].sum() == pytest.approx(1)


@pytest.mark.parametrize("rule", ["mean", "max", "top_k", "noisy_or"])
def test_probabilities_of_exclusive_classes_sum_to_one(rule: PatientRule) -> None:
    p = [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]
    found = by_patient(_table(p, [[0, 0, 1]] * 2, ["p", "p"]), THREE, rule, 1).table
    assert found.probabilities.sum() == pytest.approx(1)


def test_a_patient_is_positive_where_any_image_is() -> None:
    found = by_patient(_table([[0.5, 0.5]] * 4, [[1, 0], [0, 1], [1, 0], [1, 0]], ["p", "p", "q", "q"]), BINARY).table
    np.testing.assert_array_equal(found.states, [[0, 1], [1, 0]])
    assert found.cases == ("p", "q")


def test_contradictory_patients_are_counted_and_left_out() -> None:
    states = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]
    found = by_patient(_table([[0.2, 0.3, 0.5]] * 4, states, ["p", "p", "q", "q"]), THREE)
    assert found.contradictory == ("p",)
    assert found.table.cases == ("q",)


def test_negative_images_with_an_unknown_one_leave_the_patient_unknown() -> None:
    nan = np.nan
    states = [[0.0, 1.0], [nan, nan], [0.0, 0.0], [nan, 0.0]]
    found = by_patient(_table([[0.2, 0.3]] * 4, states, ["p", "p", "q", "q"]), LABELS).table
    np.testing.assert_array_equal(found.states, [[nan, 1], [nan, 0]])


def test_images_without_a_label_still_count_for_the_probability() -> None:
    nan = np.nan
    states = [[0.0, 0, 1], [nan, nan, nan]]
    found = by_patient(_table([[0, 0, 1], [0, 1, 0]], states, ["p", "p"]), THREE)
    np.testing.assert_allclose(found.table.probabilities, [[0, 0.5, 0.5]])
    assert found.missing == ()
    assert by_patient(_table([[0, 0, 1]], [[nan] * 3], ["p"]), THREE).missing == ("p",)


def test_an_attribute_that_differs_within_a_patient_is_unknown() -> None:
    found = by_patient(_table([[0.5, 0.5]] * 2, [[1, 0]] * 2, ["p", "p"]), BINARY).table
    assert found.attributes == {"sex": ["F"], "view": [None]}
