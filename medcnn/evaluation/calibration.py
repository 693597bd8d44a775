"""Whether probabilities mean what they say: reliability curve, calibration error, Brier score, log loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Binning = Literal["mass", "width"]
# Resolution of float32 below 1: no probability of a float32 softmax is surer than that.
SMALLEST = 2.0**-23


@dataclass(frozen=True, slots=True)
class Reliability:
    """A reliability curve, a row a bin that is not empty.

    Attributes:
        predicted: Mean predicted probability of the bin.
        observed: Share of positive cases in it.
        count: Number of cases in it.
        positives: Number of positive cases in it.
        edges: ``(bins + 1,)`` limits of all bins.
    """

    predicted: Array
    observed: Array
    count: NDArray[np.int64]
    positives: NDArray[np.int64]
    edges: Array


@dataclass(frozen=True, slots=True)
class BrierParts:
    """Murphy's (1973) parts of a binary Brier score over bins.

    score = reliability - resolution + uncertainty + within, where ``within`` is what binning loses.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


def bin_edges(probabilities: ArrayLike, bins: int, binning: Binning) -> Array:
    """Limits of the bins: quantiles of the probabilities (``mass``) or equal steps of [0, 1] (``width``).

    Equal quantiles are joined, so that many equal probabilities give fewer bins.
    """
    p = np.asarray(probabilities, np.float64)
    if binning == "width" or not len(p):
        return np.linspace(0, 1, bins + 1)
    edges = np.unique(np.quantile(p, np.linspace(0, 1, bins + 1)))
    return edges if len(edges) > 1 else np.array([0.0, 1.0])


def bin_index(probabilities: ArrayLike, edges: Array) -> NDArray[np.intp]:
    """Bin of each probability; bins hold their lower limit, the last one also its upper limit."""
    found = np.searchsorted(edges, np.asarray(probabilities, np.float64), side="right") - 1
    return np.clip(found, 0, len(edges) - 2)


def reliability_curve(
    probabilities: ArrayLike, positive: ArrayLike, *, bins: int = 15, binning: Binning = "mass"
) -> Reliability:
    """Observed against predicted by bin.

    Args:
        probabilities: ``(N,)`` in [0, 1].
        positive: ``(N,)`` true or 1 where the event came.
        bins: Number of bins.
        binning: ``mass``: about equally many cases a bin; ``width``: equal steps of probability.
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(positive, np.float64)
    edges = bin_edges(p, bins, binning)
    index = bin_index(p, edges)
    count = np.bincount(index, minlength=len(edges) - 1)
    total = np.bincount(index, weights=p, minlength=len(count))
    events = np.bincount(index, weights=y, minlength=len(count))
    full = count > 0
    return Reliability(
        total[full] / count[full],
        events[full] / count[full],
        count[full].astype(np.int64),
        np.rint(events[full]).astype(np.int64),
        edges,
    )


def expected_calibration_error(
    probabilities: ArrayLike, positive: ArrayLike, *, bins: int = 15, binning: Binning = "mass"
) -> float:
    """Mean over cases of \\|observed - predicted\\| of their bin (Naeini 2015); NaN on no case.

    Arguments as in :func:`reliability_curve`. Biased upwards in small samples.
    """
    if not len(np.asarray(probabilities)):
        return float("nan")
    curve = reliability_curve(probabilities, positive, bins=bins, binning=binning)
    return float((np.abs(curve.observed - curve.predicted) * curve.count).sum() / curve.count.sum())


def brier_score(probabilities: ArrayLike, positive: ArrayLike) -> float:
    """Mean squared difference of probability and event.

    ``(N,)``: of one class, 0 to 1. ``(N, C)`` exclusive classes: summed over the classes (Brier 1950), 0 to 2.
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(positive, np.float64)
    if not len(p):
        return float("nan")
    squared = (p - y) ** 2
    return float(squared.mean() if p.ndim == 1 else squared.sum(1).mean())


def brier_parts(
    probabilities: ArrayLike, positive: ArrayLike, *, bins: int = 15, binning: Binning = "mass"
) -> BrierParts:
    """The binary Brier score taken apart; arguments as in :func:`reliability_curve`."""
    curve = reliability_curve(probabilities, positive, bins=bins, binning=binning)
    weight = curve.count / curve.count.sum()
    base = float((weight * curve.observed).sum())
    reliability = float((weight * (curve.predicted - curve.observed) ** 2).sum())
    resolution = float((weight * (curve.observed - base) ** 2).sum())
    score = brier_score(probabilities, positive)
    uncertainty = base * (1 - base)
    return BrierParts(score, reliability, resolution, uncertainty, score - (reliability - resolution + uncertainty))


def log_losses(probabilities: NDArray[Any], states: NDArray[Any], *, exclusive: bool) -> Array:
    """Negative natural log of the probability given to what came: ``(N,)``, or ``(N, C)`` for several labels.

    Probabilities are clipped to [2^-23, 1 - 2^-23]. NaN where the label is missing.
    """
    p = np.clip(np.asarray(probabilities, np.float64), SMALLEST, 1 - SMALLEST)
    y = np.asarray(states, np.float64)
    if exclusive:
        return np.asarray(-(np.log(p) * y).sum(1))
    return np.asarray(-(np.log(p) * y + np.log1p(-p) * (1 - y)))


def log_loss(probabilities: NDArray[Any], states: NDArray[Any], *, exclusive: bool) -> float:
    """Mean of :func:`log_losses` over the known labels; NaN where there is none."""
    losses = log_losses(probabilities, states, exclusive=exclusive)
    known = np.isfinite(losses)
    return float(losses[known].mean()) if known.any() else float("nan")
