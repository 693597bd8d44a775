"""Metrics against scikit-learn and against values worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given
from hypothesis import strategies as st

from medcnn.evaluation import metrics
from medcnn.evaluation.counts import confusion, count

CLASSES = 4


def _labels(seed: int, n: int = 60, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    # Few cases and skewed shares, so that classes vanish from the reference or the decisions.
    shares = rng.dirichlet(np.full(classes, 0.4))
    return rng.choice(classes, n, p=shares), rng.choice(classes, n, p=rng.dirichlet(np.full(classes, 0.4)))


def _counts(true: np.ndarray, called: np.ndarray) -> tuple[np.ndarray, ...]:
    made = count(np.eye(CLASSES)[true], np.eye(CLASSES)[called] == 1, [str(i) for i in range(CLASSES)])
    assert made.tn is not None
    return made.tp.sum(0), made.fp.sum(0), made.fn.sum(0), made.tn.sum(0)


@pytest.mark.parametrize("seed", range(25))
def test_class_figures_equal_scikit_learn_with_undefined_as_nan(seed: int) -> None:
    true, called = _labels(seed)
    tp, fp, fn, tn = _counts(true, called)
    precision, recall, f1, support = oracle.precision_recall_fscore_support(
        true, called, labels=range(CLASSES), zero_division=np.nan
    )
    np.testing.assert_allclose(metrics.precision(tp, fp), precision)
    np.testing.assert_allclose(metrics.sensitivity(tp, fn), recall)
    np.testing.assert_allclose(metrics.f1(tp, fp, fn), f1)
    np.testing.assert_array_equal(tp + fn, support)
    for i in range(CLASSES):
        flipped = oracle.recall_score(true != i, called != i, zero_division=np.nan)
        np.testing.assert_allclose(metrics.specificity(tn, fp)[i], flipped)
        np.testing.assert_allclose(
            metrics.npv(tn, fn)[i], oracle.precision_score(true != i, called != i, zero_division=np.nan)
        )
        np.testing.assert_allclose(metrics.accuracy(tp, fp, fn, tn)[i], oracle.accuracy_score(true == i, called == i))


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.filterwarnings("ignore:y_pred contains classes:UserWarning")
def test_averages_equal_scikit_learn_over_the_classes_with_a_reference(seed: int) -> None:
    true, called = _labels(seed)
    tp, fp, fn, _ = _counts(true, called)
    used = (tp + fn) > 0
    present = np.flatnonzero(used)
    f1 = metrics.f1(tp, fp, fn)
    kwargs = {"labels": present, "zero_division": np.nan}
    np.testing.assert_allclose(metrics.macro(f1, used), oracle.f1_score(true, called, average="macro", **kwargs))
    np.testing.assert_allclose(
        metrics.weighted(f1, tp + fn, used), oracle.f1_score(true, called, average="weighted", **kwargs)
    )
    recall = metrics.macro(metrics.sensitivity(tp, fn), used)
    np.testing.assert_allclose(recall, oracle.balanced_accuracy_score(true, called))


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.filterwarnings("ignore:y_pred contains classes:UserWarning")
def test_kappa_and_matthews_equal_scikit_learn(seed: int) -> None:
    true, called = _labels(seed)
    matrix = confusion(np.eye(CLASSES)[true], np.eye(CLASSES)[called] == 1)
    np.testing.assert_array_equal(matrix, oracle.confusion_matrix(true, called, labels=range(CLASSES)))
    np.testing.assert_allclose(metrics.cohen_kappa(matrix), oracle.cohen_kappa_score(true, called))
    if len(set(true)) > 1 and len(set(called)) > 1:
        np.testing.assert_allclose(metrics.matthews_matrix(matrix), oracle.matthews_corrcoef(true, called))
    one = np.array(
        [
            [(true != 0) & (called != 0), (true != 0) & (called == 0)],
            [(true == 0) & (called != 0), (true == 0) & (called == 0)],
        ]
    )
    two = one.sum(-1)
    value = metrics.matthews(two[1, 1], two[0, 1], two[1, 0], two[0, 0])
    np.testing.assert_allclose(value, metrics.matthews_matrix(two))


def test_f1_is_zero_where_something_was_missed_or_invented_and_undefined_only_on_nothing() -> None:
    assert metrics.f1(0, 3, 0) == 0
    assert metrics.f1(0, 0, 3) == 0
    assert np.isnan(metrics.f1(0, 0, 0))


def test_matthews_is_undefined_where_decisions_have_one_value() -> None:
    assert np.isnan(metrics.matthews(tp=5, fp=5, fn=0, tn=0))
    assert np.isnan(metrics.matthews_matrix([[5, 0], [5, 0]]))


def test_figures_worked_by_hand() -> None:
    tp, fp, fn, tn = 8, 2, 4, 6
    assert metrics.f1(tp, fp, fn) == pytest.approx(16 / 22)
    assert metrics.sensitivity(tp, fn) == pytest.approx(2 / 3)
    assert metrics.precision(tp, fp) == pytest.approx(0.8)
    assert metrics.specificity(tn, fp) == pytest.approx(0.75)
    assert metrics.npv(tn, fn) == pytest.approx(0.6)
    assert metrics.accuracy(tp, fp, fn, tn) == pytest.approx(0.7)
    assert metrics.balanced_accuracy(tp, fp, fn, tn) == pytest.approx((2 / 3 + 0.75) / 2)
    assert metrics.matthews(tp, fp, fn, tn) == pytest.approx(40 / np.sqrt(10 * 12 * 8 * 10))
    # Agreement 14/20, by chance (12 * 10 + 8 * 10) / 400 = 1/2.
    assert metrics.cohen_kappa([[6, 2], [4, 8]]) == pytest.approx(0.4)


def test_kappa_is_undefined_where_one_class_is_all_there_is() -> None:
    assert np.isnan(metrics.cohen_kappa([[7, 0], [0, 0]]))


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_f1_follows_from_the_overlap(tp: int, fp: int, fn: int) -> None:
    if tp + fp + fn:
        assert metrics.f1_from_overlap(tp / (tp + fp + fn)) == pytest.approx(float(metrics.f1(tp, fp, fn)))


def test_a_missing_state_counts_nowhere() -> None:
    states = np.array([[1, np.nan], [0, 1], [np.nan, 0]])
    made = count(states, np.array([[True, True], [True, False], [True, True]]), ["a", "b"])
    assert made.tn is not None
    np.testing.assert_array_equal(made.tp.sum(0), [1, 0])
    np.testing.assert_array_equal(made.fp.sum(0), [1, 1])
    np.testing.assert_array_equal(made.fn.sum(0), [0, 1])
    np.testing.assert_array_equal((made.tp + made.fp + made.fn + made.tn).sum(0), [2, 2])


def test_validation_scores_of_exclusive_classes_leave_out_missing_labels() -> None:
    p = np.array([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1], [0.2, 0.8]])
    states = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], float)
    valid = np.array([[True] * 2, [True] * 2, [False] * 2, [True] * 2])
    scores = metrics.validation_scores(p, states, valid, exclusive=True)
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert scores["log_loss"] == pytest.approx(-np.log([0.7, 0.4, 0.8]).mean(), rel=1e-6)


def test_validation_scores_of_several_labels_use_known_labels_alone() -> None:
    p = np.array([[0.7, 0.3], [0.4, 0.6]])
    states = np.array([[1, 1], [0, 1]], float)
    valid = np.array([[True, False], [True, True]])
    scores = metrics.validation_scores(p, states, valid, exclusive=False)
    assert scores["accuracy"] == 1
    assert scores["macro_f1"] == 1
    assert scores["log_loss"] == pytest.approx(-np.log([0.7, 0.6, 0.6]).mean(), rel=1e-6)


def test_validation_scores_of_nothing_are_undefined() -> None:
    empty = np.zeros((3, 2))
    scores = metrics.validation_scores(empty + 0.5, empty, empty.astype(bool), exclusive=True)
    assert all(np.isnan(v) for v in scores.values())
