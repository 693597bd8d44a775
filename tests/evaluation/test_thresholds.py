"""Thresholds by rule, on validation alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as oracle

from medcnn.errors import DataError
from medcnn.evaluation.counts import decide
from medcnn.evaluation.inputs import ClassificationTable
from medcnn.evaluation.thresholds import check_rule, choose, choose_thresholds, values
from medcnn.types import LabelClass, LabelSchema

BINARY = LabelSchema((LabelClass(0, "no"), LabelClass(1, "yes")), False, "yes")
THREE = LabelSchema(tuple(LabelClass(i, n) for i, n in enumerate("abc")))


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.random(200) < 0.25
    return (1 / (1 + np.exp(-rng.normal(size=200) - 1.5 * y))).astype(np.float32), y


def test_youden_reaches_the_highest_sum_on_the_curve(scored: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = scored
    fpr, tpr, _ = oracle.roc_curve(y, p)
    chosen = choose("yes", p, y, "youden")
    assert chosen.sensitivity is not None
    assert chosen.specificity is not None
    assert chosen.sensitivity + chosen.specificity - 1 == pytest.approx((tpr - fpr).max())


def test_f1_reaches_the_highest_f1_of_all_thresholds(scored: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = scored
    best = max(oracle.f1_score(y, p >= t) for t in np.unique(p))
    assert oracle.f1_score(y, p >= choose("yes", p, y, "f1").value) == pytest.approx(best)


@pytest.mark.parametrize("aimed", [0.5, 0.9, 0.95, 1.0])
def test_sensitivity_is_reached_with_the_highest_specificity(
    scored: tuple[np.ndarray, np.ndarray], aimed: float
) -> None:
    p, y = scored
    chosen = choose("yes", p, y, "sensitivity", aimed)
    assert chosen.aimed == aimed
    assert chosen.sensitivity is not None
    assert chosen.sensitivity >= aimed
    reaching = [t for t in np.unique(p) if (p[y] >= t).mean() >= aimed]
    assert chosen.specificity == pytest.approx((p[~y] < max(reaching)).mean())


def test_a_gap_between_the_classes_is_halved() -> None:
    chosen = choose("yes", np.array([0.1, 0.2, 0.8, 0.9], np.float32), np.array([0, 0, 1, 1]), "f1")
    assert chosen.value == pytest.approx(0.5)


def test_decisions_are_the_same_in_single_and_double_precision() -> None:
    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    value = choose("yes", np.array([low, high]), np.array([0, 1]), "youden").value
    for kind in (np.float32, np.float64):
        np.testing.assert_array_equal(np.array([low, high], kind) >= kind(value), [False, True])


def test_without_positive_cases_the_rule_gives_way_and_says_so() -> None:
    chosen = choose("yes", np.array([0.1, 0.9]), np.array([0, 0]), "youden")
    assert chosen.value == 0.5
    assert "no positive case" in chosen.note
    assert chosen.sensitivity is None


def test_auto_is_the_most_probable_class_for_three_and_f1_for_two() -> None:
    assert check_rule(THREE, "auto", None) == "argmax"
    assert check_rule(BINARY, "auto", None) == "f1"


@pytest.mark.parametrize(
    ("schema", "rule", "value", "where"),
    [
        (THREE, "youden", None, "evaluation.threshold"),
        (LabelSchema(THREE.classes, True), "argmax", None, "evaluation.threshold"),
        (BINARY, "fixed", 1.5, "evaluation.threshold_value"),
        (BINARY, "sensitivity", 0.0, "evaluation.threshold_value"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(schema: LabelSchema, rule: Any, value: float | None, where: str) -> None:
    with pytest.raises(DataError) as caught:
        check_rule(schema, rule, value)
    assert caught.value.where == where


def test_a_rule_that_needs_validation_says_so_without_it() -> None:
    with pytest.raises(DataError, match="validation part"):
        choose_thresholds(None, BINARY, threshold="youden")
    assert choose_thresholds(None, BINARY)[0].value == 0.5
    assert choose_thresholds(None, BINARY, threshold="fixed", threshold_value=0.2)[0].value == 0.2


def test_several_labels_have_a_threshold_each_from_known_labels(cohort: Callable[..., Any]) -> None:
    table, schema = cohort(200, 3, multilabel=True)
    chosen = choose_thresholds(table, schema)
    assert [c.name for c in chosen] == list(schema.names)
    known = np.isfinite(table.states[:, 1])
    assert chosen[1].positives + chosen[1].negatives == known.sum()
    assert values(chosen).keys() == set(schema.names)


def test_the_labels_of_the_test_part_do_not_matter(cohort: Callable[..., Any]) -> None:
    validation, schema = cohort(200, 2, seed=1)
    assert choose_thresholds(validation, schema) == choose_thresholds(validation, schema)


def test_decisions_follow_the_threshold_of_the_positive_class() -> None:
    p = np.array([[0.7, 0.3], [0.75, 0.25]], np.float32)
    np.testing.assert_array_equal(decide(p, BINARY, {"yes": 0.3})[:, 1], [True, False])
    np.testing.assert_array_equal(decide(p, BINARY, {})[:, 1], [False, False])
    turned = LabelSchema(BINARY.classes, False, "no")
    np.testing.assert_array_equal(decide(p, turned, {"no": 0.72})[:, 0], [False, True])


def test_the_most_probable_class_is_decided(cohort: Callable[..., Any]) -> None:
    table, schema = cohort(50, 4)
    made: ClassificationTable = table
    np.testing.assert_array_equal(decide(made.probabilities, schema, {}).argmax(1), made.probabilities.argmax(1))
