"""Calibration figures against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as oracle
from sklearn.calibration import calibration_curve

from medcnn.evaluation import calibration


@pytest.fixture
def events() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    p = rng.beta(0.5, 0.8, 400)
    return p, rng.random(400) < p**1.3


@pytest.mark.parametrize(("binning", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_reliability_curve_equals_scikit_learn(
    events: tuple[np.ndarray, np.ndarray], binning: calibration.Binning, strategy: str
) -> None:
    p, y = events
    observed, predicted = calibration_curve(y, p, n_bins=10, strategy=strategy)
    curve = calibration.reliability_curve(p, y, bins=10, binning=binning)
    np.testing.assert_allclose(curve.observed, observed, rtol=1e-9)
    np.testing.assert_allclose(curve.predicted, predicted, rtol=1e-9)
    assert curve.count.sum() == 400
    assert curve.positives.sum() == y.sum()


def test_bins_of_equal_mass_hold_equally_many_cases(events: tuple[np.ndarray, np.ndarray]) -> None:
    curve = calibration.reliability_curve(*events, bins=8, binning="mass")
    assert curve.count.min() >= 49
    assert curve.count.max() <= 51


def test_calibration_error_worked_by_hand() -> None:
    p = np.array([0.1, 0.2, 0.8, 0.9])
    y = np.array([0, 1, 1, 1])
    # Bin [0, 0.5): 0.15 against 0.5; bin [0.5, 1]: 0.85 against 1; half the cases each.
    expected = 0.5 * 0.35 + 0.5 * 0.15
    assert calibration.expected_calibration_error(p, y, bins=2, binning="width") == pytest.approx(expected)


def test_calibration_error_of_nothing_is_undefined() -> None:
    assert np.isnan(calibration.expected_calibration_error([], []))


def test_many_equal_probabilities_give_fewer_bins() -> None:
    curve = calibration.reliability_curve(np.repeat([0.2, 0.7], 50), np.tile([0, 1], 50), bins=10)
    assert len(curve.count) <= 2
    assert calibration.expected_calibration_error(np.full(9, 0.4), np.arange(9) < 4) == pytest.approx(4 / 9 - 0.4)


def test_brier_and_log_loss_equal_scikit_learn(events: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = events
    assert calibration.brier_score(p, y) == pytest.approx(oracle.brier_score_loss(y, p))
    both = np.stack([1 - p, p], 1)
    states = np.stack([1 - y, y], 1)
    p32 = np.clip(both, calibration.SMALLEST, 1 - calibration.SMALLEST)
    assert calibration.log_loss(both, states, exclusive=True) == pytest.approx(oracle.log_loss(y, p32[:, 1]), rel=1e-5)
    assert calibration.brier_score(both, states) == pytest.approx(2 * oracle.brier_score_loss(y, p))


def test_parts_of_the_brier_score_add_up(events: tuple[np.ndarray, np.ndarray]) -> None:
    parts = calibration.brier_parts(*events, bins=10)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within
    assert total == pytest.approx(parts.score)
    assert parts.uncertainty == pytest.approx(events[1].mean() * (1 - events[1].mean()))
    assert abs(parts.within) < 0.01


def test_certain_and_wrong_has_a_finite_loss() -> None:
    assert calibration.log_loss(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), exclusive=True) == pytest.approx(
        23 * np.log(2)
    )
