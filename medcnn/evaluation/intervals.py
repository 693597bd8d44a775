"""Intervals from formulas: Wilson on an effective n, DeLong and Obuchowski for AUROC, MOVER for averages.

All pure functions; ``docs/metrics.md`` gives the sources and when each is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtri
from scipy.stats import rankdata

Array = NDArray[np.float64]
Ends = tuple[float, float]
FEW = 5


def quantile(level: float) -> float:
    """The two-sided normal quantile of a level: 1.96 for 0.95."""
    return float(ndtri((1 + level) / 2))


def wilson(share: float, n: float, level: float = 0.95) -> Ends:
    """Wilson's (1927) interval of a proportion; never of zero width.

    Args:
        share: The proportion.
        n: The number it rests on, or its effective number (need not be whole).
        level: Nominal coverage.
    """
    z2 = quantile(level) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # The formula gives the end exactly where nothing or everything is right; rounding must not move it.
    return (0.0 if share == 0 else max(0.0, float(centre - half))), (
        1.0 if share == 1 else min(1.0, float(centre + half))
    )


@dataclass(frozen=True, slots=True)
class EffectiveNumber:
    """What a clustered proportion rests on.

    Attributes:
        n: Number of units in the denominator.
        effective: n over the design effect.
        design_effect: 1 where units are independent.
        clusters: Clusters with a unit in the denominator.
    """

    n: float
    effective: float
    design_effect: float
    clusters: int


def effective_number(hits: ArrayLike, totals: ArrayLike) -> EffectiveNumber:
    """Effective number behind a proportion of clustered units (Rao & Scott 1992).

    The design effect is the variance of the ratio estimator over clusters against the binomial one, and at
    least 1. From fewer than :data:`FEW` errors, or hits, it cannot be estimated: the number of clusters is then
    the most that the effective number may be.

    Args:
        hits: ``(G,)`` units of each cluster that count in the numerator.
        totals: ``(G,)`` units of each cluster in the denominator.
    """
    x, m = np.asarray(hits, np.float64), np.asarray(totals, np.float64)
    x, m = x[m > 0], m[m > 0]
    clusters, n = len(m), float(m.sum())
    if clusters == 0:
        return EffectiveNumber(0.0, 0.0, 1.0, 0)
    if m.max() <= 1:
        return EffectiveNumber(n, n, 1.0, clusters)
    share = float(x.sum()) / n
    effect = 1.0
    if 0 < share < 1 and clusters > 1:
        variance = clusters / (clusters - 1) * float(((x - share * m) ** 2).sum()) / n**2
        effect = max(effect, variance * n / (share * (1 - share)))
    if min(float(x.sum()), n - float(x.sum())) < FEW:
        effect = max(effect, n / clusters)
    return EffectiveNumber(n, n / effect, effect, clusters)


@dataclass(frozen=True, slots=True)
class Area:
    """An AUROC with its variance.

    Attributes:
        value: The area.
        variance: Of the area.
        positives: Number of clusters with a positive case.
        negatives: Number of clusters with a negative case.
    """

    value: float
    variance: float
    positives: int
    negatives: int


def auroc_variance(scores: ArrayLike, positive: ArrayLike, clusters: ArrayLike | None = None) -> Area:
    """AUROC and its variance: DeLong 1988, and for clustered cases Obuchowski 1997, which equals it for single ones.

    Args:
        scores: ``(N,)``.
        positive: ``(N,)`` true or 1 for positive cases; both kinds must be there.
        clusters: ``(N,)`` cluster of each case; absent: each case by itself.
    """
    s, y = np.asarray(scores, np.float64), np.asarray(positive, bool)
    m, n = int(y.sum()), int((~y).sum())
    ranks = rankdata(s)
    # Placement values by mid-ranks (Sun & Xu 2014): the share of the other kind that each case beats.
    placement = np.empty(len(s))
    placement[y] = (ranks[y] - rankdata(s[y])) / n
    placement[~y] = 1 - (ranks[~y] - rankdata(s[~y])) / m
    area = float(placement[y].mean())
    codes = np.arange(len(s)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    size = int(codes.max()) + 1
    deviation = placement - area
    up = np.bincount(codes[y], weights=deviation[y], minlength=size)
    down = np.bincount(codes[~y], weights=deviation[~y], minlength=size)
    with_up = int((np.bincount(codes[y], minlength=size) > 0).sum())
    with_down = int((np.bincount(codes[~y], minlength=size) > 0).sum())
    variance = (
        _inflated(with_up) * float((up**2).sum()) / m**2
        + _inflated(with_down) * float((down**2).sum()) / n**2
        + 2 * _inflated(size) * float((up * down).sum()) / (m * n)
    )
    return Area(area, max(0.0, variance), with_up, with_down)


def _inflated(count: int) -> float:
    return count / (count - 1) if count > 1 else 1.0


def logit_interval(value: float, variance: float, level: float = 0.95) -> Ends:
    """A normal interval on the logit scale, so that it stays within (0, 1); the value must lie within too."""
    spread = quantile(level) * np.sqrt(variance) / (value * (1 - value))
    return float(expit(logit(value) - spread)), float(expit(logit(value) + spread))


def newcombe_auroc(value: float, positives: float, negatives: float, level: float = 0.95) -> Ends:
    """Newcombe's (2006) method 5 for an AUROC, which has a width also where the value is 0 or 1.

    The ends are the areas whose Hanley-McNeil variance, with both group sizes replaced by
    N* = (m + n) / 2 - 1 in its bracket, just makes the value plausible.

    Args:
        value: The area.
        positives: m, the number of independent positive cases.
        negatives: n, of independent negative ones.
        level: Nominal coverage.
    """
    from scipy.optimize import brentq

    z = quantile(level)
    star = (positives + negatives) / 2 - 1

    def distance(theta: float) -> float:
        bracket = 1 + star * (1 - theta) / (2 - theta) + star * theta / (1 + theta)
        deviation = np.sqrt(theta * (1 - theta) * bracket / (positives * negatives))
        return float(abs(value - theta) - z * deviation)

    edge = 1e-12
    low = brentq(distance, edge, value - edge) if value > edge and distance(edge) > 0 else 0.0
    high = brentq(distance, value + edge, 1 - edge) if value < 1 - edge and distance(1 - edge) > 0 else 1.0
    return float(low), float(high)


def mover(values: ArrayLike, lows: ArrayLike, highs: ArrayLike, weights: ArrayLike) -> Ends:
    """Interval of a weighted sum from the intervals of its independent parts (MOVER, Zou & Donner 2008).

    Args:
        values: ``(K,)`` the parts.
        lows: ``(K,)`` their lower ends.
        highs: ``(K,)`` their upper ends.
        weights: ``(K,)`` not negative.
    """
    v, low, high, w = (np.asarray(a, np.float64) for a in (values, lows, highs, weights))
    total = float((w * v).sum())
    below = np.sqrt((w**2 * (v - low) ** 2).sum())
    above = np.sqrt((w**2 * (high - v) ** 2).sum())
    return float(total - below), float(total + above)


def percentile(samples: ArrayLike, level: float = 0.95) -> Ends:
    """The percentile interval of ``(B,)`` resampled values, undefined ones left out."""
    defined = np.asarray(samples, np.float64)
    defined = defined[np.isfinite(defined)]
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
