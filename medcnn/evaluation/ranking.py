"""Figures that depend on the order of scores alone: ROC and precision-recall curves, AUROC, average precision.

All take weights, several columns at a time, so that resamples are products and sums, never sorted again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
_BLOCK = 4_000_000
SMALL = 1e-9


@dataclass(frozen=True, slots=True)
class Ranking:
    """Cases from the highest score to the lowest, with the places where the score changes.

    Attributes:
        order: ``(N,)`` positions of the cases.
        positive: ``(N,)`` whether the case at each place is positive.
        ends: ``(K,)`` last place of each group of equal scores.
        values: ``(K,)`` the scores.
    """

    order: NDArray[np.intp]
    positive: NDArray[np.bool_]
    ends: NDArray[np.intp]
    values: Array

    @property
    def both(self) -> bool:
        """Whether there are positive and negative cases."""
        return bool(self.positive.any()) and not bool(self.positive.all())


def rank(scores: ArrayLike, positive: ArrayLike) -> Ranking:
    """Order ``(N,)`` scores, positives given as ``(N,)`` true or 1."""
    scores = np.asarray(scores, np.float64)
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[:-1] != ordered[1:], True)) if len(ordered) else np.zeros(0, np.intp)
    return Ranking(order, np.asarray(positive, bool)[order], ends, ordered[ends])


def cumulated(ranking: Ranking, weights: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """True and false positives at each group's end: ``(K, B)`` twice, for ``(N, B)`` weights of the cases."""
    ordered = weights[ranking.order]
    true = np.where(ranking.positive[:, None], ordered, ordered.dtype.type(0))
    tp = np.cumsum(true, axis=0, dtype=ordered.dtype)
    fp = np.cumsum(ordered - true, axis=0, dtype=ordered.dtype)
    return tp[ranking.ends], fp[ranking.ends]


def _areas(tp: NDArray[Any], fp: NDArray[Any]) -> tuple[Array, Array]:
    """AUROC and average precision ``(B,)`` from cumulated counts ``(K, B)``."""
    positives, negatives = tp[-1].astype(np.float64), fp[-1].astype(np.float64)
    steps = np.diff(tp, axis=0, prepend=np.zeros_like(tp[:1]))
    # Pairs won: positives above the group's negatives, and half of those that tie with them.
    below = np.diff(fp, axis=0, prepend=np.zeros_like(fp[:1]))
    won = np.einsum("kb,kb->b", below, tp - steps / 2, dtype=np.float64)
    called = tp + fp
    precision = np.divide(tp, called, out=np.zeros_like(called), where=called > 0)
    gained = np.einsum("kb,kb->b", precision, steps, dtype=np.float64)
    pairs = positives * negatives
    area = np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    average = np.divide(gained, positives, out=np.full(len(pairs), np.nan), where=positives > 0)
    return area, average


def areas(ranking: Ranking, weights: NDArray[Any]) -> tuple[Array, Array]:
    """AUROC and average precision, ``(B,)`` each, for ``(N, B)`` weights; NaN where undefined."""
    count, columns = weights.shape
    if not count:
        return np.full(columns, np.nan), np.full(columns, np.nan)
    block = max(1, min(columns, _BLOCK // count))
    found = [_areas(*cumulated(ranking, weights[:, i : i + block])) for i in range(0, columns, block)]
    return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])


def auroc(scores: ArrayLike, positive: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Area under the ROC curve, ties count one half; NaN without positive or negative cases.

    Args:
        scores: ``(N,)``.
        positive: ``(N,)`` true or 1 for positive cases.
        weights: ``(N,)``; absent: 1 each.
    """
    return float(areas(rank(scores, positive), _column(scores, weights))[0][0])


def average_precision(scores: ArrayLike, positive: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Sum of (R_k - R_k-1) P_k over the distinct scores, without interpolation; NaN without positive cases.

    Arguments as in :func:`auroc`.
    """
    return float(areas(rank(scores, positive), _column(scores, weights))[1][0])


def _column(scores: ArrayLike, weights: ArrayLike | None) -> Array:
    return np.ones((len(np.asarray(scores)), 1)) if weights is None else np.asarray(weights, np.float64)[:, None]


def roc_at(tp: NDArray[Any], fp: NDArray[Any], grid: Array) -> Array:
    """Sensitivity on a grid of false-positive rates, ``(G, B)``, for cumulated counts ``(K, B)``."""
    out = np.full((len(grid), tp.shape[1]), np.nan)
    for b in range(tp.shape[1]):
        if tp[-1, b] > 0 and fp[-1, b] > 0:
            x = np.append(0.0, fp[:, b] / fp[-1, b])
            y = np.append(0.0, tp[:, b] / tp[-1, b])
            # At a vertical step the upper end is the curve's value: the last of equal x wins.
            last = np.append(x[1:] != x[:-1], True)
            out[:, b] = np.interp(grid, x[last], y[last])
    return out


def precision_at(tp: NDArray[Any], fp: NDArray[Any], grid: Array) -> Array:
    """Precision at the first group whose recall reaches each grid point (above 0), ``(G, B)``."""
    out = np.full((len(grid), tp.shape[1]), np.nan)
    for b in range(tp.shape[1]):
        if tp[-1, b] > 0:
            called = np.maximum(tp[:, b] + fp[:, b], SMALL)
            at = np.searchsorted(tp[:, b] / tp[-1, b], grid - SMALL)
            out[:, b] = (tp[:, b] / called)[np.minimum(at, len(called) - 1)]
    return out
