"""Metrics as pure functions: of tp, fp, fn, tn (arrays of any shape), of a confusion matrix, of probabilities.

Undefined is NaN in here and becomes ``None`` on the way out. ``docs/metrics.md`` has the definitions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medcnn.evaluation.calibration import brier_score, expected_calibration_error, log_loss
from medcnn.evaluation.ranking import auroc, average_precision

__all__ = [
    "accuracy",
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "brier_score",
    "cohen_kappa",
    "expected_calibration_error",
    "f1",
    "f1_from_overlap",
    "log_loss",
    "macro",
    "matthews",
    "matthews_matrix",
    "npv",
    "precision",
    "ratio",
    "sensitivity",
    "specificity",
    "validation_scores",
    "weighted",
]

Array = NDArray[np.float64]


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Array:
    """Quotient; NaN where the denominator is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.asarray(np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0))


def f1(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike) -> Array:
    """2tp / (2tp + fp + fn): 0 where tp = 0 and something was missed or invented, undefined on 0/0."""
    twice = 2 * np.asarray(tp, np.float64)
    return ratio(twice, twice + np.add(fp, fn))


def f1_from_overlap(overlap: ArrayLike) -> Array:
    """F1 = 2J / (1 + J) of J = tp / (tp + fp + fn), a proportion whose interval carries over to F1."""
    overlap = np.asarray(overlap, np.float64)
    return np.asarray(2 * overlap / (1 + overlap))


def sensitivity(tp: ArrayLike, fn: ArrayLike) -> Array:
    """tp / (tp + fn), the recall; undefined without a positive reference."""
    return ratio(tp, np.add(tp, fn))


def precision(tp: ArrayLike, fp: ArrayLike) -> Array:
    """tp / (tp + fp), the positive predictive value; undefined where nothing is called positive."""
    return ratio(tp, np.add(tp, fp))


def specificity(tn: ArrayLike, fp: ArrayLike) -> Array:
    """tn / (tn + fp); undefined without a negative reference."""
    return ratio(tn, np.add(tn, fp))


def npv(tn: ArrayLike, fn: ArrayLike) -> Array:
    """tn / (tn + fn), the negative predictive value; undefined where nothing is called negative."""
    return ratio(tn, np.add(tn, fn))


def accuracy(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike) -> Array:
    """(tp + tn) / all; undefined on no case."""
    right = np.add(tp, tn)
    return ratio(right, np.add(right, np.add(fp, fn)))


def balanced_accuracy(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike) -> Array:
    """Mean of sensitivity and specificity; undefined where either is."""
    return np.asarray((sensitivity(tp, fn) + specificity(tn, fp)) / 2)


def matthews(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike) -> Array:
    """Matthews' correlation of reference and decision; undefined where either has one value only (0/0)."""
    tp, fp, fn, tn = (np.asarray(v, np.float64) for v in (tp, fp, fn, tn))
    # The product of four sums overflows nothing in float64 but loses digits: two roots keep them.
    scale = np.sqrt((tp + fp) * (tp + fn)) * np.sqrt((tn + fp) * (tn + fn))
    return ratio(tp * tn - fp * fn, scale)


def matthews_matrix(confusion: ArrayLike) -> Array:
    """Matthews' correlation for several classes (Gorodkin 2004) of ``(..., C, C)`` reference by prediction."""
    m = np.asarray(confusion, np.float64)
    total, right = m.sum((-2, -1)), np.trace(m, axis1=-2, axis2=-1)
    reference, predicted = m.sum(-1), m.sum(-2)
    top = right * total - (reference * predicted).sum(-1)
    spread = np.sqrt(total**2 - (reference**2).sum(-1)) * np.sqrt(total**2 - (predicted**2).sum(-1))
    return ratio(top, spread)


def cohen_kappa(confusion: ArrayLike) -> Array:
    """Cohen's kappa of ``(..., C, C)``: agreement beyond chance; undefined where chance agreement is complete."""
    m = np.asarray(confusion, np.float64)
    total = m.sum((-2, -1))
    observed = ratio(np.trace(m, axis1=-2, axis2=-1), total)
    chance = ratio((m.sum(-1) * m.sum(-2)).sum(-1), total**2)
    return ratio(observed - chance, 1 - chance)


def macro(values: ArrayLike, used: NDArray[np.bool_]) -> Array:
    """Mean over the classes in ``used`` of ``(C, ...)``; undefined where one of them is, or where there is none."""
    values = np.asarray(values, np.float64)
    if not used.any():
        return np.full(values.shape[1:], np.nan)
    return np.asarray(values[used].mean(0))


def weighted(values: ArrayLike, support: ArrayLike, used: NDArray[np.bool_]) -> Array:
    """Mean over the classes in ``used`` of ``(C, ...)``, weighted by their support of the same shape."""
    values, support = np.asarray(values, np.float64)[used], np.asarray(support, np.float64)[used]
    return ratio((values * support).sum(0), support.sum(0))


def validation_scores(
    probabilities: NDArray[Any], states: NDArray[Any], valid: NDArray[np.bool_], *, exclusive: bool
) -> dict[str, float]:
    """The figures by which a training is followed; NaN where undefined.

    Args:
        probabilities: ``(N, C)``.
        states: ``(N, C)``, 1 present, 0 absent.
        valid: ``(N, C)``, whether the state is known.
        exclusive: One class a case: the most probable one is the decision. Otherwise 0.5 is the threshold.

    Returns:
        ``macro_f1`` over the classes with a reference, ``accuracy`` (for several labels: all known labels of
        the case right, over cases with one known at least) and ``log_loss``.
    """
    if exclusive:
        keep = valid.all(1)
        probabilities, states, valid = probabilities[keep], states[keep], valid[keep]
        decided = np.zeros(states.shape, bool)
        if len(states):
            decided[np.arange(len(states)), probabilities.argmax(1)] = True
    else:
        decided = probabilities >= 0.5
    true = (states > 0.5) & valid
    decided = decided & valid
    tp, fp, fn = ((a & b).sum(0) for a, b in ((true, decided), (~true, decided), (true, ~decided)))
    used = true.sum(0) > 0
    known = valid.any(1)
    right = ((true == decided) | ~valid).all(1)
    masked = np.where(valid, states, np.nan)
    return {
        "macro_f1": float(macro(f1(tp, fp, fn), used)),
        "accuracy": float(ratio((right & known).sum(), known.sum())),
        "log_loss": log_loss(probabilities, masked, exclusive=exclusive),
    }
