"""Rank figures against scikit-learn, with ties and weights."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from medcnn.evaluation import ranking


def _scores(seed: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.random(80) < 0.3
    y[:2] = [True, False]
    scores = np.round(rng.random(80) * 0.7 + 0.3 * y, steps)
    return scores, y, rng.integers(0, 4, 80).astype(float)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("steps", [1, 6])
def test_areas_equal_scikit_learn_with_ties_and_weights(seed: int, steps: int) -> None:
    scores, y, weights = _scores(seed, steps)
    assert ranking.auroc(scores, y) == pytest.approx(oracle.roc_auc_score(y, scores))
    assert ranking.average_precision(scores, y) == pytest.approx(oracle.average_precision_score(y, scores))
    weighted = oracle.roc_auc_score(y, scores, sample_weight=weights)
    assert ranking.auroc(scores, y, weights) == pytest.approx(weighted)
    weighted = oracle.average_precision_score(y, scores, sample_weight=weights)
    assert ranking.average_precision(scores, y, weights) == pytest.approx(weighted)


def test_weights_equal_repeated_cases() -> None:
    scores, y, weights = _scores(3, 2)
    times = weights.astype(int)
    repeated = ranking.auroc(np.repeat(scores, times), np.repeat(y, times))
    assert ranking.auroc(scores, y, weights) == pytest.approx(repeated)


def test_columns_of_weights_are_independent_of_each_other() -> None:
    scores, y, _ = _scores(1, 2)
    weights = np.random.default_rng(0).integers(0, 3, (80, 7)).astype(np.float32)
    area, average = ranking.areas(ranking.rank(scores, y), weights)
    for b in range(7):
        assert area[b] == pytest.approx(ranking.auroc(scores, y, weights[:, b]), rel=1e-5)
        assert average[b] == pytest.approx(ranking.average_precision(scores, y, weights[:, b]), rel=1e-5)


def test_one_kind_of_case_alone_is_undefined() -> None:
    assert np.isnan(ranking.auroc([0.1, 0.9], [1, 1]))
    assert np.isnan(ranking.auroc([0.1, 0.9], [0, 0]))
    assert np.isnan(ranking.average_precision([0.1, 0.9], [0, 0]))
    assert np.isnan(ranking.auroc([], []))


def test_area_worked_by_hand() -> None:
    # Pairs: 0.9 beats both; 0.5 ties with 0.5 and beats 0.1: (2 + 1.5) / 4.
    assert ranking.auroc([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0]) == pytest.approx(3.5 / 4)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=40))
def test_area_of_the_reversed_order_is_the_complement(rows: list[tuple[int, bool]]) -> None:
    scores, y = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    if y.any() and not y.all():
        assert ranking.auroc(scores, y) + ranking.auroc(-scores, y) == pytest.approx(1)


def test_curves_on_a_grid_follow_scikit_learn() -> None:
    scores, y, _ = _scores(5, 1)
    order = ranking.rank(scores, y)
    tp, fp = ranking.cumulated(order, np.ones((80, 1)))
    fpr, tpr, _ = oracle.roc_curve(y, scores, drop_intermediate=False)
    inner = np.unique(fpr)
    top = np.array([tpr[fpr == x].max() for x in inner])
    np.testing.assert_allclose(ranking.roc_at(tp, fp, inner)[:, 0], top)
    precision, recall, _ = oracle.precision_recall_curve(y, scores)
    for r in np.unique(recall)[1:]:
        # Of several thresholds with one recall the highest gives the curve's precision there.
        expected = precision[np.flatnonzero(recall == r)[-1]]
        assert ranking.precision_at(tp, fp, np.array([r]))[0, 0] == pytest.approx(expected)
