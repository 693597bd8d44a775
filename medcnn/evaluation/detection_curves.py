"""FROC and average precision from matched boxes, with weights of the images, so that resamples never match again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

Array = NDArray[np.float64]
FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_RECALLS = np.linspace(0, 1, 101)
_BLOCK = 200_000


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """All counted predictions of a part under one hit rule, from the highest score to the lowest.

    Attributes:
        scores: ``(K,)``.
        image: ``(K,)`` position of the image that each lies in.
        hit: ``(K,)`` True where it hits a reference, False where it is a false positive. Predictions that count neither
            way are not among them.
        references: ``(N,)`` reference boxes of each image that count.
    """

    scores: Array
    image: NDArray[np.intp]
    hit: NDArray[np.bool_]
    references: Array

    @classmethod
    def of(cls, scores: ArrayLike, image: ArrayLike, hit: ArrayLike, references: ArrayLike) -> Candidates:
        """Put in order; of equal scores the first stays first, as in COCO's evaluation."""
        points = np.asarray(scores, np.float64)
        order = np.argsort(-points, kind="stable")
        return cls(
            points[order],
            np.asarray(image, np.intp)[order],
            np.asarray(hit, bool)[order],
            np.asarray(references, np.float64),
        )

    def cumulated(self, weights: NDArray[Any], places: NDArray[np.intp]) -> tuple[Array, Array]:
        """True and false positives ``(P, B)`` down to and with some places of the list.

        Args:
            weights: ``(N, B)`` weights of the images.
            places: ``(P,)`` rising. Few places cost little, however long the list is.
        """
        true, false = self.steps(places)
        columns = np.asarray(weights, np.float64)
        return np.cumsum(true @ columns, axis=0), np.cumsum(false @ columns, axis=0)

    def steps(self, places: NDArray[np.intp]) -> tuple[csr_array, csr_array]:
        """True and false positives ``(P, N)`` of each image between a place of the list and the one before."""
        step = np.searchsorted(places, np.arange(len(self.scores)))
        shape = (len(places), len(self.references))
        tables = []
        for kind in (self.hit, ~self.hit):
            rows = kind & (step < len(places))
            tables.append(csr_array((np.ones(int(rows.sum())), (step[rows], self.image[rows])), shape))
        return tables[0], tables[1]

    def take(self, rows: NDArray[np.intp]) -> Candidates:
        """Those of some images, by position."""
        place = np.full(len(self.references), -1, np.intp)
        place[rows] = np.arange(len(rows))
        kept = place[self.image] >= 0
        return Candidates(self.scores[kept], place[self.image[kept]], self.hit[kept], self.references[rows])

    @property
    def ends(self) -> NDArray[np.intp]:
        """The last place of each group of equal scores: a threshold takes all of them or none."""
        if not len(self.scores):
            return np.zeros(0, np.intp)
        return np.flatnonzero(np.append(self.scores[:-1] != self.scores[1:], True))

    @property
    def turns(self) -> NDArray[np.intp]:
        """The places between which a free-response curve is straight: before and after each group with a hit."""
        ends = self.ends
        if not len(ends):
            return ends
        own = np.unique(np.searchsorted(ends, np.flatnonzero(self.hit)))
        kept = np.unique(np.concatenate([own, own[own > 0] - 1, [len(ends) - 1]]))
        return np.asarray(ends[kept])


@dataclass(frozen=True, slots=True, eq=False)
class Froc:
    """A free-response curve; it is flat from its last point on.

    Attributes:
        rates: ``(P,)`` false positives an image, rising from 0.
        sensitivities: ``(P,)`` share of the references that are found.
        thresholds: ``(P,)`` lowest score that counts; infinite at the first point, where nothing does.
    """

    rates: Array
    sensitivities: Array
    thresholds: Array


def _ones(found: Candidates) -> Array:
    return np.ones((len(found.references), 1))


def froc_curve(found: Candidates, units: float | None = None) -> Froc:
    """Sensitivity by object against false positives an image (Bunch et al. 1977; Chakraborty 1989).

    Args:
        found: The matched predictions.
        units: What false positives are counted per: the number of images, studies or patients; absent: the images.

    Returns:
        One point a distinct score, after the point (0, 0). Sensitivities are NaN where there are no references.
    """
    ends = found.ends
    true, false = found.cumulated(_ones(found), ends)
    total, count = found.references.sum(), float(len(found.references) if units is None else units)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Froc(
            np.append(0.0, false[:, 0]) / count,
            np.append(0.0, true[:, 0]) / total,
            np.append(np.inf, found.scores[ends]),
        )


def sensitivities_at(
    found: Candidates,
    rates: ArrayLike = FROC_RATES,
    weights: NDArray[Any] | None = None,
    units: NDArray[Any] | None = None,
) -> Array:
    """Sensitivities ``(B, R)`` at given rates of false positives.

    Between two points of the curve the sensitivity is interpolated linearly, and after its last point it stays, as in
    the evaluation of LUNA16 (Setio et al. 2017).

    Args:
        found: The matched predictions.
        rates: ``(R,)`` false positives an image.
        weights: ``(N, B)`` weights of the images; absent: 1.
        units: ``(N,)`` what each image adds to the number that false positives are divided by (1 / its patient's images
            where they are counted per patient); absent: 1.
    """
    columns = _ones(found) if weights is None else np.asarray(weights, np.float64)
    share = np.ones(len(found.references)) if units is None else np.asarray(units, np.float64)
    wanted, places = np.asarray(rates, np.float64), found.turns
    steps = found.steps(places)
    result = np.full((columns.shape[1], len(wanted)), np.nan)
    for part in _blocks(columns.shape[1], len(places)):
        chosen = columns[:, part]
        true, false = (np.cumsum(counts @ chosen, axis=0) for counts in steps)
        total, count = found.references @ chosen, share @ chosen
        with np.errstate(invalid="ignore", divide="ignore"):
            x, y = _from_nothing(false / count), _from_nothing(true / total)
        for row in np.flatnonzero((total > 0) & (count > 0)).tolist():
            result[part.start + row] = np.interp(wanted, x[row], y[row])
    return result


def _from_nothing(values: Array) -> Array:
    """``(B, P + 1)`` lines that start at 0, of ``(P, B)``."""
    lines = np.zeros((values.shape[1], values.shape[0] + 1))
    lines[:, 1:] = values.T
    return lines


def average_precisions(found: Candidates, weights: NDArray[Any] | None = None) -> Array:
    """Average precision ``(B,)`` by COCO's rule.

    The mean, over the recalls 0, 0.01 to 1, of the best precision at that recall or above; 0 where a recall is not
    reached. NaN where there are no references.

    Args:
        found: The matched predictions.
        weights: ``(N, B)`` weights of the images; absent: 1.
    """
    columns = _ones(found) if weights is None else np.asarray(weights, np.float64)
    result = np.empty(columns.shape[1])
    # Between two hits precision falls, and recall stays: the hits alone decide.
    places = np.flatnonzero(found.hit)
    steps = found.steps(places)
    for part in _blocks(columns.shape[1], len(places)):
        chosen = columns[:, part]
        total = found.references @ chosen
        recall, best = _envelope(steps, total, chosen)
        # How many of the recalls are reached, compared exactly as COCO's code compares them, rounding included.
        reached = np.searchsorted(_RECALLS, recall.ravel(), side="right").reshape(recall.shape)
        gained = np.diff(reached, axis=0, prepend=0)
        result[part] = np.where(total > 0, (best * gained).sum(0) / len(_RECALLS), np.nan)
    return result


def precisions_at(found: Candidates, recalls: ArrayLike, weights: NDArray[Any] | None = None) -> Array:
    """The best precision ``(B, R)`` at given recalls or above; 0 where a recall is not reached, NaN as above.

    Args:
        found: The matched predictions.
        recalls: ``(R,)`` in [0, 1].
        weights: ``(N, B)`` weights of the images; absent: 1.
    """
    columns = _ones(found) if weights is None else np.asarray(weights, np.float64)
    wanted = np.asarray(recalls, np.float64)
    total = found.references @ columns
    recall, best = _envelope(found.steps(np.flatnonzero(found.hit)), total, columns)
    padded = np.append(best, np.zeros((1, best.shape[1])), axis=0)
    places = [np.searchsorted(column, wanted) for column in recall.T]
    lines = np.array([padded[place, row] for row, place in enumerate(places)]).reshape(-1, len(wanted))
    return np.where((total > 0)[:, None], lines, np.nan)


def _envelope(steps: tuple[csr_array, csr_array], total: Array, weights: Array) -> tuple[Array, Array]:
    """Recall at each hit, and the best precision there or further down: ``(P, B)`` twice."""
    true, false = (np.cumsum(counts @ weights, axis=0) for counts in steps)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.nan_to_num(true / (true + false))
        recall = true / total
    return recall, np.maximum.accumulate(precision[::-1], axis=0)[::-1]


def _blocks(columns: int, rows: int) -> list[slice]:
    step = max(1, _BLOCK // max(rows, 1))
    return [slice(start, min(start + step, columns)) for start in range(0, columns, step)]
