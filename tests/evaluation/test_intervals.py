"""Intervals from formulas: published values, simple cases, and coverage in small simulations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from medcnn.evaluation import intervals
from medcnn.evaluation.metrics import f1_from_overlap
from medcnn.evaluation.ranking import auroc


@pytest.mark.parametrize(("hits", "n"), [(0, 30), (30, 30), (7, 30), (499, 500)])
def test_wilson_equals_scipy(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert intervals.wilson(hits / n, n) == pytest.approx((expected.low, expected.high))


@given(st.floats(0, 1), st.floats(1, 1e6))
def test_wilson_has_a_width_and_holds_the_proportion(share: float, n: float) -> None:
    low, high = intervals.wilson(share, n)
    assert 0 <= low < high <= 1
    assert low <= share + 1e-12
    assert high >= share - 1e-12


def test_independent_units_have_no_design_effect() -> None:
    found = intervals.effective_number([1, 0, 1, 1, 0], [1, 1, 1, 1, 0])
    assert (found.n, found.effective, found.clusters) == (4, 4, 4)


def test_clusters_of_equal_units_have_their_size_as_design_effect() -> None:
    hits = np.repeat([0, 4], 100)
    found = intervals.effective_number(hits, np.full(200, 4))
    assert found.design_effect == pytest.approx(4, rel=0.02)
    assert found.effective == pytest.approx(200, rel=0.02)


def test_without_an_error_the_clusters_count() -> None:
    found = intervals.effective_number(np.full(25, 8), np.full(25, 8))
    assert (found.n, found.effective) == (200, 25)


def test_no_unit_is_nothing() -> None:
    assert intervals.effective_number([0, 0], [0, 0]).n == 0


def test_delong_equals_placements_worked_by_hand() -> None:
    scores, y = np.array([0.9, 0.4, 0.6, 0.1, 0.3]), np.array([1, 1, 0, 0, 0])
    # Placements of the positives 1 and 2/3; of the negatives 1/2, 1, 1.
    up, down = np.array([1, 2 / 3]), np.array([0.5, 1, 1])
    found = intervals.auroc_variance(scores, y)
    assert found.value == pytest.approx(5 / 6)
    assert found.variance == pytest.approx(up.var(ddof=1) / 2 + down.var(ddof=1) / 3)


def test_single_cases_as_clusters_equal_delong() -> None:
    rng = np.random.default_rng(0)
    y = rng.random(60) < 0.4
    scores = np.round(rng.normal(size=60) + y, 1)
    alone = intervals.auroc_variance(scores, y)
    clustered = intervals.auroc_variance(scores, y, np.arange(60)[::-1])
    assert clustered.variance == pytest.approx(alone.variance)
    assert alone.value == pytest.approx(auroc(scores, y))


def test_repeated_cases_in_clusters_keep_the_variance_of_the_originals() -> None:
    rng = np.random.default_rng(1)
    y = rng.random(80) < 0.5
    scores = rng.normal(size=80) + y
    once = intervals.auroc_variance(scores, y)
    twice = intervals.auroc_variance(np.tile(scores, 3), np.tile(y, 3), np.tile(np.arange(80), 3))
    naive = intervals.auroc_variance(np.tile(scores, 3), np.tile(y, 3))
    assert twice.variance == pytest.approx(once.variance, rel=0.03)
    assert naive.variance == pytest.approx(once.variance / 3, rel=0.05)


@pytest.mark.parametrize("value", [0.0, 0.3, 0.9, 1.0])
def test_newcombe_has_a_width_and_holds_the_area(value: float) -> None:
    low, high = intervals.newcombe_auroc(value, 30, 50)
    assert 0 <= low < high <= 1
    assert low <= value <= high


def test_newcombe_narrows_with_more_cases() -> None:
    assert intervals.newcombe_auroc(1.0, 20, 20)[0] < intervals.newcombe_auroc(1.0, 200, 200)[0] < 1


def test_mover_of_one_part_is_its_interval() -> None:
    assert intervals.mover([0.8], [0.7], [0.85], [1]) == pytest.approx((0.7, 0.85))


def test_mover_of_equal_parts_narrows_with_their_number() -> None:
    low, high = intervals.mover([0.8] * 4, [0.7] * 4, [0.9] * 4, [0.25] * 4)
    assert (low, high) == pytest.approx((0.75, 0.85))


def test_wilson_on_the_effective_n_covers_and_the_naive_one_does_not() -> None:
    rng = np.random.default_rng(2)
    clustered = naive = 0
    for _ in range(400):
        share = rng.beta(8, 2, 60)
        hits = rng.binomial(10, share)
        found = intervals.effective_number(hits, np.full(60, 10))
        value = hits.sum() / 600
        low, high = intervals.wilson(value, found.effective)
        clustered += low <= 0.8 <= high
        low, high = intervals.wilson(value, 600)
        naive += low <= 0.8 <= high
    assert 0.91 <= clustered / 400 <= 0.985
    assert naive / 400 < 0.88


def test_wilson_carried_over_to_f1_covers() -> None:
    rng = np.random.default_rng(3)
    truth = float(f1_from_overlap(0.25 / 0.38))
    inside = 0
    for tp, fp, fn, _ in rng.multinomial(150, [0.25, 0.08, 0.05, 0.62], 600):
        low, high = f1_from_overlap(intervals.wilson(tp / (tp + fp + fn), tp + fp + fn))
        inside += low <= truth <= high
    assert 0.925 <= inside / 600 <= 0.975


def test_obuchowski_covers_in_clusters_and_delong_does_not() -> None:
    from scipy.stats import norm

    rng = np.random.default_rng(4)
    truth = norm.cdf(1 / np.sqrt(2 * (1 + 1.5**2)))
    clustered = naive = 0
    for _ in range(300):
        owner = np.repeat(np.arange(60), 6)
        # A patient's images share a label and a shift, so that they count for little more than one.
        y = (np.arange(60) % 2 == 0)[owner]
        scores = y + rng.normal(0, 1.5, 60)[owner] + rng.normal(0, 1, 360)
        for kind in ("clustered", "naive"):
            found = intervals.auroc_variance(scores, y, owner if kind == "clustered" else None)
            low, high = intervals.logit_interval(found.value, found.variance)
            clustered += kind == "clustered" and low <= truth <= high
            naive += kind == "naive" and low <= truth <= high
    assert 0.90 <= clustered / 300 <= 0.985
    assert naive / 300 < 0.8


def test_obuchowski_equals_the_variance_seen_where_clusters_hold_both_kinds() -> None:
    rng = np.random.default_rng(5)
    owner = np.repeat(np.arange(40), 4)
    y = np.tile([True, False, True, False], 40)
    found = []
    for _ in range(400):
        # The shift of a patient moves positive and negative images alike: the area hardly notices it.
        scores = 0.8 * y + rng.normal(0, 1.5, 40)[owner] + rng.normal(0, 1, 160)
        found.append(intervals.auroc_variance(scores, y, owner))
    seen = np.var([f.value for f in found])
    assert np.mean([f.variance for f in found]) == pytest.approx(seen, rel=0.2)
