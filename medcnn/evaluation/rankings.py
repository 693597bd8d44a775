"""AUROC and average precision of each class, within folds, with their resamples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.ranking import Ranking, areas, rank
from medcnn.evaluation.resampling import Resampler

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FoldRanking:
    """One class in one fold, where there are positive and negative cases.

    Attributes:
        fold: Which.
        rows: ``(n,)`` the fold's cases whose state is known.
        scores: ``(n,)`` float64.
        positive: ``(n,)``.
        ranking: Their order.
    """

    fold: int
    rows: NDArray[np.intp]
    scores: Array
    positive: NDArray[np.bool_]
    ranking: Ranking


@dataclass(frozen=True, slots=True, eq=False)
class ClassRanking:
    """The rank figures of one class.

    Attributes:
        folds: The folds in which they are defined.
        total: Number of folds.
        area: AUROC, averaged over the folds; NaN where undefined.
        average: Average precision, likewise.
        area_samples: ``(B,)`` AUROC by resample; empty where resamples were not asked for.
        average_samples: ``(B,)`` likewise.
        cases: Number of cases whose state is known.
        positives: Number of positive ones.
    """

    folds: Sequence[FoldRanking]
    total: int
    area: float
    average: float
    area_samples: Array
    average_samples: Array
    cases: int
    positives: int

    @property
    def note(self) -> str:
        """Which folds could not be used."""
        if len(self.folds) == self.total or not self.folds:
            return ""
        return f"defined in {len(self.folds)} of {self.total} folds"


def rank_class(
    scores: NDArray[Any], states: NDArray[Any], fold: NDArray[Any], resampler: Resampler | None
) -> ClassRanking:
    """Rank one class.

    Args:
        scores: ``(N,)`` its probabilities.
        states: ``(N,)``: 1, 0, NaN missing.
        fold: ``(N,)``.
        resampler: Gives the weights; ``None`` leaves the resamples out.
    """
    known = np.isfinite(states)
    folds = []
    for f in np.unique(fold):
        rows = np.flatnonzero(known & (fold == f))
        p, y = np.asarray(scores[rows], np.float64), states[rows] == 1
        if y.any() and not y.all():
            folds.append(FoldRanking(int(f), rows, p, y, rank(p, y)))
    points = np.array([areas(f.ranking, np.ones((len(f.rows), 1))) for f in folds]).reshape(len(folds), 2)
    area, average = points.mean(0) if folds else (np.nan, np.nan)
    columns = 0 if resampler is None else resampler.weights.shape[1]
    area_samples = average_samples = np.full(columns, np.nan)
    if resampler is not None and folds:
        found = [areas(f.ranking, resampler.case_weights(f.rows)) for f in folds]
        if resampler.kind == "bootstrap":
            area_samples, average_samples = (np.mean([x[k] for x in found], axis=0) for k in (0, 1))
        else:
            # A cluster lies in one fold as a rule: its own value is that of the fold where it has one.
            area_samples, average_samples = (_any([x[k] for x in found]) for k in (0, 1))
    return ClassRanking(
        folds, len(np.unique(fold)), float(area), float(average), area_samples, average_samples,
        int(known.sum()), int((states == 1).sum()),
    )  # fmt: skip


def _any(columns: Sequence[Array]) -> Array:
    """Mean of the defined values of each column's place; NaN where none is."""
    values = np.stack(columns)
    defined = np.isfinite(values)
    count = defined.sum(0)
    total = np.where(defined, values, 0.0).sum(0)
    return np.asarray(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))
