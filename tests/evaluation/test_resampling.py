"""The draws: their margins, their strata, and what they say of themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medcnn.evaluation.resampling import Resampler, make_resampler


def _make(clusters: Any, **changes: Any) -> Resampler:
    options: dict[str, Any] = {"resamples": 200, "seed": 0, "patients_known": True}
    return make_resampler(np.asarray(clusters), **{**options, **changes})


def test_each_resample_draws_as_many_clusters_as_there_are() -> None:
    made = _make(np.repeat(np.arange(30), 3))
    assert made.weights.shape == (30, 200)
    assert (made.weights.sum(0) == 30).all()
    assert made.weights.mean() == pytest.approx(1)
    assert made.weights.var() == pytest.approx(29 / 30, abs=0.05)


def test_strata_keep_their_size_in_each_resample() -> None:
    fold = np.repeat([0, 1], [25, 15])
    classes = np.arange(40) % 2
    made = _make(np.arange(40), fold=fold, classes=classes)
    for f in (0, 1):
        for c in (0, 1):
            rows = (fold == f) & (classes == c)
            assert (made.weights[made.codes[rows]].sum(0) == rows.sum()).all()
    assert made.strata == "stratified by fold and class"


def test_a_stratum_that_divides_a_cluster_is_not_kept() -> None:
    made = _make(np.repeat(np.arange(30), 2), classes=np.tile([0, 1], 30))
    assert made.strata == ""


def test_the_seed_fixes_the_draws_and_another_changes_them() -> None:
    first, again, other = (_make(np.arange(50), seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.weights, again.weights)
    assert (first.weights != other.weights).any()


@pytest.mark.parametrize(("count", "kind"), [(19, "range"), (20, "bootstrap")])
def test_fewer_than_twenty_clusters_stand_one_by_one(count: int, kind: str) -> None:
    made = _make(np.repeat(np.arange(count), 4))
    assert made.kind == kind
    if kind == "range":
        np.testing.assert_array_equal(made.weights, np.eye(19))


def test_sums_equal_repeated_cases() -> None:
    clusters = np.random.default_rng(0).integers(0, 25, 90)
    made = _make(clusters)
    values = np.random.default_rng(1).random((90, 3))
    sums = made.sums(made.gather(values))
    for b in (0, 7):
        times = made.weights[made.codes, b].astype(int)
        np.testing.assert_allclose(sums[:, b], np.repeat(values, times, axis=0).sum(0), rtol=1e-5)


def test_draws_do_not_depend_on_the_order_of_cases() -> None:
    clusters = np.array([f"k{i:02d}" for i in range(40)])
    order = np.random.default_rng(0).permutation(40)
    straight, shuffled = _make(clusters), _make(clusters[order])
    np.testing.assert_array_equal(straight.case_weights(order), shuffled.case_weights(np.arange(40)))


def test_some_rows_keep_their_draws() -> None:
    made = _make(np.repeat(np.arange(60), 2))
    rows = np.arange(120) < 80
    part = made.restrict(rows)
    np.testing.assert_array_equal(part.case_weights(np.arange(80)), made.case_weights(np.flatnonzero(rows)))
    assert made.restrict(np.arange(120) < 20).kind == "range"


@pytest.mark.parametrize(
    ("clusters", "patients", "known", "resampled", "caution"),
    [
        (range(30), range(30), True, "patient", ""),
        (range(30), [i // 2 for i in range(30)], True, "cluster", ""),
        (range(30), None, False, "image", "too narrow if patients repeat"),
        ([i // 2 for i in range(60)], None, False, "cluster", "too narrow if patients span clusters"),
    ],
)
def test_a_resampler_says_what_it_draws(
    clusters: Any, patients: Any, known: bool, resampled: str, caution: str
) -> None:
    made = _make(list(clusters), patients=None if patients is None else np.array(list(patients)), patients_known=known)
    assert made.resampled == resampled
    assert caution in made.caution
    assert bool(made.caution) == bool(caution)
