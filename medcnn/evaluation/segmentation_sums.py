"""Figures of a segmentation from sums and ranks over cases, as pure functions of arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation import metrics
from medcnn.evaluation.metrics import ratio

Array = NDArray[np.float64]
# 95 % of normally distributed differences lie within (Bland & Altman 1986).
AGREEMENT = 1.96


def weighted_quantile(ordered: Array, weights: NDArray[np.floating[Any]], share: float) -> Array:
    """Quantiles ``(B,)`` of values by weight: where the cumulated weight reaches the share.

    Where it reaches the share exactly between two values, their mean; with equal weights the half is the median.

    Args:
        ordered: ``(N,)`` rising; the last ones may be infinite.
        weights: ``(N, B)``, not negative.
        share: Between 0 and 1.

    Returns:
        NaN where all weights are 0.
    """
    cumulated = np.cumsum(weights, axis=0, dtype=np.float64)
    total = cumulated[-1]
    goal = share * total
    # Sums of fractions such as 1/3 miss their whole by rounding.
    slack = 1e-9 * total
    low = np.minimum((cumulated < goal - slack).sum(0), len(ordered) - 1)
    high = np.minimum((cumulated <= goal + slack).sum(0), len(ordered) - 1)
    return np.where(total > 0, (ordered[low] + ordered[high]) / 2, np.nan)


def agreement_limit(sums: Array, sign: int) -> Array:
    """A limit of agreement ``(B,)``: the mean and 1.96 standard deviations (n - 1) of differences d.

    Args:
        sums: ``(3, B)`` of 1, d and d².
        sign: 1 for the upper limit, -1 for the lower one.
    """
    n, total, squares = sums
    mean = ratio(total, n)
    spread = np.sqrt(np.maximum(ratio(squares - n * np.nan_to_num(mean) ** 2, n - 1), 0))
    return np.asarray(mean + sign * AGREEMENT * spread)


def _f1(tp: Array, fp: Array, fn: Array, tn: Array) -> Array:
    return metrics.f1(tp, fp, fn)


def _sensitivity(tp: Array, fp: Array, fn: Array, tn: Array) -> Array:
    return metrics.sensitivity(tp, fn)


def _precision(tp: Array, fp: Array, fn: Array, tn: Array) -> Array:
    return metrics.precision(tp, fp)


def _foreground(tp: Array, fp: Array, fn: Array, tn: Array) -> Array:
    return ratio(tp + fn, tp + fp + fn + tn)


Formula = Callable[[Array, Array, Array, Array], Array]
# Figures of tp, fp, fn, tn, and the places of those that each rests on.
POOLED_FORMULAS: dict[str, tuple[Formula, Sequence[int]]] = {
    "f1": (_f1, (0, 1, 2)),
    "sensitivity": (_sensitivity, (0, 2)),
    "precision": (_precision, (0, 1)),
    "accuracy": (metrics.accuracy, (0, 1, 2, 3)),
    "foreground_share": (_foreground, (0, 1, 2, 3)),
}
