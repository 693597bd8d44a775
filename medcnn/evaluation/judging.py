"""Which interval a figure gets, by what kind of figure it is and what its cases allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation import intervals
from medcnn.evaluation.metrics import f1_from_overlap, ratio
from medcnn.evaluation.resampling import MIN_CLUSTERS, Resampler
from medcnn.evaluation.results import Interval
from medcnn.evaluation.sums import Proportion

Array = NDArray[np.float64]
MAX_UNDEFINED = 0.05


@dataclass(frozen=True, slots=True)
class Judged:
    """An interval, or why there is none.

    Attributes:
        interval: ``None`` where withheld.
        note: Why, or how many resamples were undefined.
    """

    interval: Interval | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Judge:
    """Makes intervals from one set of resamples.

    Attributes:
        resampler: The draws.
        level: Nominal coverage.
    """

    resampler: Resampler
    level: float

    def named(self, low: float, high: float, method: str, *, level: bool = True) -> Interval:
        """An interval whose method carries the caution about unknown patients."""
        caution = self.resampler.caution
        text = f"{method}; {caution}" if caution else method
        return Interval(float(low), float(high), self.level if level else None, text, self.resampler.resampled)

    @property
    def ranged(self) -> bool:
        """Whether there are too few clusters of several cases, so that a range over them stands in."""
        return self.resampler.kind == "range" and not self.resampler.single

    def proportion(self, share: Proportion) -> Judged:
        """Wilson's interval on the effective n; for F1 carried over from tp / (tp + fp + fn)."""
        gathered = self.resampler.gather(np.stack([share.hits, share.totals], axis=1))
        hits, totals = gathered.T
        found = intervals.effective_number(hits, totals)
        if found.n == 0:
            return Judged()
        if self.ranged:
            values = ratio(hits, totals)
            return self.range(f1_from_overlap(values) if share.overlap else values)
        ends = intervals.wilson(float(hits.sum()) / found.n, found.effective, self.level)
        if share.overlap:
            ends = (float(f1_from_overlap(ends[0])), float(f1_from_overlap(ends[1])))
        method = "Wilson" + (" of tp/(tp+fp+fn), carried over to F1" if share.overlap else "")
        if found.clusters < found.n:
            # Without numbers of its own, so that a table's figures share a footnote; the details list them.
            method += ", on the effective n"
        return Judged(self.named(*ends, method))

    def resampled(self, samples: Array, fallback: Judged | None = None, *, shift_to: float | None = None) -> Judged:
        """The percentile interval of resamples, or the range over clusters.

        Args:
            samples: ``(B,)`` the figure in each resample, or in each cluster.
            fallback: Used where the resamples do not differ, or there are too few single cases for any.
            shift_to: Centre the resamples on this value, for a figure that resampling itself makes larger.
        """
        if self.ranged:
            return self.range(samples)
        if self.resampler.kind == "range":
            few = f"fewer than {MIN_CLUSTERS} {self.resampler.noun}: no interval by resampling"
            return fallback if fallback is not None and fallback.interval else Judged(None, few)
        count = len(samples)
        defined = samples[np.isfinite(samples)]
        missing = count - len(defined)
        note = f"undefined in {missing:,} of {count:,} resamples" if missing else ""
        if missing > MAX_UNDEFINED * count:
            return Judged(None, f"interval withheld: {note}")
        if np.ptp(defined) <= 1e-9:
            return fallback or Judged(None, "interval withheld: all resamples give the same value")
        if shift_to is not None:
            defined = np.maximum(defined - defined.mean() + shift_to, 0.0)
        low, high = intervals.percentile(defined, self.level)
        return Judged(self.named(low, high, self.bootstrap_text(count, shifted=shift_to is not None)), note)

    def bootstrap_text(self, count: int, *, shifted: bool = False) -> str:
        """The bootstrap's name with its resamples and strata; the number of clusters stands beside the figure."""
        r = self.resampler
        parts = [f"bootstrap over {r.noun}", f"{count:,} resamples"]
        parts += [r.strata] if r.strata else []
        parts += ["centred on the figure"] if shifted else []
        return ", ".join(parts)

    def range(self, values: Array) -> Judged:
        """Smallest and largest value of the clusters one by one, where the figure is defined."""
        r = self.resampler
        defined = values[np.isfinite(values)]
        if len(defined) < 2:
            some = f"defined by itself in {len(defined)} of {r.count}"
            return Judged(None, f"no interval: fewer than {MIN_CLUSTERS} {r.noun}, and no range: {some}")
        low, high = float(defined.min()), float(defined.max())
        if low == high:
            return Judged(None, f"interval withheld: all of the {len(defined)} {r.noun} give the same value")
        some = f"{len(defined)} of {r.count}" if len(defined) < r.count else f"{r.count}"
        return Judged(self.named(low, high, f"range over {some} {r.noun}, each by itself", level=False))

    def outside(self, value: float, judged: Judged) -> str:
        """A caution where a figure of all cases lies outside its range over the clusters one by one."""
        interval = judged.interval
        if interval is None or interval.level is not None or interval.low <= value <= interval.high:
            return ""
        return (
            f"lies outside the range over single {self.resampler.noun}: that is no interval, and the figure also "
            f"compares cases of different {self.resampler.noun}"
        )

    def average(self, values: Sequence[float], parts: Sequence[Judged], weights: Sequence[float]) -> Judged:
        """An average's interval from those of its parts, for averages that resampling cannot serve."""
        ends = [p.interval for p in parts]
        if not ends or any(e is None or e.level is None for e in ends):
            return Judged(None, "interval withheld: all resamples give the same value")
        low, high = intervals.mover(
            values, [e.low for e in ends if e], [e.high for e in ends if e], np.asarray(weights) / np.sum(weights)
        )
        return Judged(self.named(max(0.0, low), min(1.0, high), "MOVER from the intervals of the parts"))

    def carried(self, value: float, accuracy: float, judged: Judged, chance: float) -> Judged:
        """Kappa's or Matthews' interval from that of accuracy, with the agreement by chance held fixed."""
        inner = judged.interval
        if inner is None or inner.level is None or chance >= 1:
            return Judged(None, "interval withheld: all resamples give the same value")
        low = value - (accuracy - inner.low) / (1 - chance)
        high = value + (inner.high - accuracy) / (1 - chance)
        method = "from the interval of accuracy (Wilson), chance agreement held fixed"
        return Judged(self.named(max(-1.0, low), min(1.0, high), method))

    def areas(self, parts: Sequence[tuple[Array, NDArray[np.bool_], NDArray[Any]]], samples: Array) -> Judged:
        """The interval of an AUROC, or of its mean over folds.

        Args:
            parts: Scores, positives and clusters of each fold in which the area is defined.
            samples: ``(B,)`` the figure by cluster, for the range.
        """
        found = [intervals.auroc_variance(s, y, c) for s, y, c in parts]
        if not found:
            return Judged()
        if self.ranged:
            return self.range(samples)
        value = float(np.mean([a.value for a in found]))
        variance = sum(a.variance for a in found) / len(found) ** 2
        folds = f", mean of {len(found)} folds" if len(found) > 1 else ""
        # From 1e-12 on the difference of an area from 1 is rounding.
        if variance <= 1e-14 or not 1e-12 < value < 1 - 1e-12:
            up, down = sum(a.positives for a in found), sum(a.negatives for a in found)
            ends = intervals.newcombe_auroc(value, up, down, self.level)
            method = f"Newcombe's method 5 on the numbers of positive and negative {self.resampler.noun}{folds}"
            return Judged(self.named(*ends, method))
        ends = intervals.logit_interval(value, variance, self.level)
        name = "DeLong" if self.resampler.single else "Obuchowski (clustered DeLong)"
        method = f"{name} on the logit scale{folds}"
        return Judged(self.named(*ends, method))

    def average_precision(self, value: float, clusters: int) -> Judged:
        """A proportion's interval for an average precision that does not vary, on the independent positives."""
        if self.resampler.kind == "range" and not self.resampler.single:
            return Judged()
        ends = intervals.wilson(value, max(clusters, 1), self.level)
        return Judged(self.named(*ends, f"Wilson on the number of {self.resampler.noun} with a positive case"))
