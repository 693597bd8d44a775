"""The figures of a segmentation: over cases, over voxels, over lesions, each computed when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation import metrics
from medcnn.evaluation.judging import Judge, Judged
from medcnn.evaluation.metrics import ratio
from medcnn.evaluation.resampling import Resampler
from medcnn.evaluation.results import Figure
from medcnn.evaluation.segmentation_sums import POOLED_FORMULAS, agreement_limit, weighted_quantile
from medcnn.evaluation.segmentation_table import SegmentationTable
from medcnn.evaluation.segmentation_words import (
    DISTANCES,
    LESIONS,
    MEDIANS,
    OVERLAPS,
    POOLED,
    SHARES,
    SINGLE,
    VOLUMES,
    label_of,
    stem_of,
    why_undefined,
)
from medcnn.evaluation.sums import Proportion
from medcnn.types import LabelSchema

Array = NDArray[np.float64]
# Figure, label, average over labels, unit.
Key = tuple[str, str | None, str | None, str]

# From this reference volume on, in mm³, volumes are shown in ml.
_SHOWN_IN_ML = 10_000.0
_BLOCK = 4_000_000


@dataclass(frozen=True, slots=True)
class Value:
    """A figure before it is told.

    Attributes:
        point: The figure; NaN undefined, infinite where distances are.
        samples: ``(B,)`` in each resample.
        n: What it rests on.
        clusters: Clusters behind ``n``.
        note: A caution.
        infinite: Cases in which it is infinite.
        judged: An interval that does not come from the resamples.
        fallback: Stands in where the resamples do not differ.
    """

    point: float
    samples: Array
    n: int
    clusters: int
    note: str = ""
    infinite: int = 0
    judged: Judged | None = None
    fallback: Judged | None = None


@dataclass(frozen=True, slots=True)
class Units:
    """In what distances and volumes are shown: those of most cases, the others' being left out.

    Attributes:
        length: ``mm`` or ``px``.
        dims: Number of spatial axes.
        volume: ``mm³``, ``ml``, ``mm²``, ``px`` or ``voxels``.
        divisor: What stored volumes are divided by.
    """

    length: str
    dims: int
    volume: str
    divisor: float


def find_units(table: SegmentationTable) -> Units:
    """The units in which most cases of a table are; large volumes are shown in ml."""
    pairs = list(zip(table.unit.tolist(), table.dims.tolist(), strict=True))
    length, dims = max(sorted(set(pairs)), key=pairs.count, default=("mm", 3))
    if length == "px":
        return Units(length, dims, "px" if dims == 2 else "voxels", 1.0)
    reference = table.measures["reference_volume"][[p == (length, dims) for p in pairs]]
    seen = reference[reference > 0]
    if dims == 3 and len(seen) and float(np.median(seen)) >= _SHOWN_IN_ML:
        return Units(length, dims, "ml", 1000.0)
    return Units(length, dims, "mm³" if dims == 3 else "mm²", 1.0)


@dataclass(eq=False)
class Segments:
    """A table with the figures that follow from it.

    Attributes:
        table: The cases.
        schema: The labels.
        resampler: The draws.
        judge: Makes the intervals.
        part: Name of the evaluated part.
        by_patient: Whether each patient counts once in a mean over cases.
        tolerance: Of the normalised surface Dice.
        units: In what distances and volumes are shown.
        baseline: ``(N, L)`` Dice of the trivial baseline; ``None`` where there is none.
    """

    table: SegmentationTable
    schema: LabelSchema
    resampler: Resampler
    judge: Judge
    part: str
    by_patient: bool
    tolerance: float
    units: Units
    baseline: Array | None = None
    _known: dict[Key, Value] = field(default_factory=dict)

    def rows(self, rows: NDArray[np.bool_]) -> Segments:
        """The figures of some of the cases, from the same draws."""
        resampler = self.resampler.restrict(rows)
        baseline = None if self.baseline is None else self.baseline[rows]
        return Segments(
            self.table.take(rows), self.schema, resampler, Judge(resampler, self.judge.level), self.part,
            self.by_patient, self.tolerance, self.units, baseline,
        )  # fmt: skip

    def every_key(self) -> list[Key]:
        """All figures, in the order of a reader's interest: over labels, then label by label."""
        several = len(self.schema.names) > 1
        over = [*OVERLAPS, "nsd", *DISTANCES, *(f"{k}_median" for k in MEDIANS), *SHARES, *VOLUMES]
        kinds = [(k, "image") for k in over] + [(k, "voxel") for k in POOLED] + [(k, "object") for k in LESIONS]
        found: list[Key] = [(k, None, "macro", u) for k, u in kinds if several and k not in SINGLE]
        return found + [(k, name, None, u) for name in self.schema.names for k, u in kinds]

    def main(self, name: str, unit: str = "image") -> Key:
        """The figure over all labels: their mean, or that of the only one."""
        names = self.schema.names
        return (name, None, "macro", unit) if len(names) > 1 else (name, names[0], None, unit)

    def figure(self, key: Key) -> Figure:
        """One figure with its n, interval and notes."""
        name, target, average, unit = key
        value = self.value(key)
        finite = bool(np.isfinite(value.point))
        judged = value.judged or (self.judge.resampled(value.samples, value.fallback) if finite else Judged())
        notes = [] if finite else [why_undefined(name, infinite=bool(np.isinf(value.point)))]
        notes += [value.note, judged.note, self.judge.outside(value.point, judged) if finite else ""]
        base, base_label = self._baseline(key)
        return Figure(
            name, self.label(name, unit), value.point if finite else None, value.n, unit, target, average, self.part,
            judged.interval if finite else None, value.clusters, "; ".join(dict.fromkeys(t for t in notes if t)),
            base, base_label,
        )  # fmt: skip

    def label(self, name: str, unit: str = "image") -> str:
        """The figure's name as a person reads it, with its unit."""
        return label_of(name, unit, self.tolerance, self.units.length, self.units.volume)

    @cached_property
    def comparable(self) -> NDArray[np.bool_]:
        """``(N,)`` cases whose distances and volumes are in the units that are shown."""
        return np.asarray((self.table.unit == self.units.length) & (self.table.dims == self.units.dims))

    def cases(self, name: str) -> Array:
        """``(N, L)`` of a figure of single cases; NaN where it is undefined there."""
        m = self.table.measures
        tp, fp, fn, tn = (m[k] for k in ("tp", "fp", "fn", "tn"))
        if name == "sensitivity":
            return metrics.sensitivity(tp, fn)
        if name == "precision":
            return metrics.precision(tp, fp)
        if name == "accuracy":
            return metrics.accuracy(tp, fp, fn, tn)
        if name == "background_accuracy":
            return ratio(tn + fp, tp + fp + fn + tn)
        if name in OVERLAPS:
            return m[name]
        if name in (*DISTANCES, "nsd"):
            return np.where(self.comparable[:, None], m[name], np.nan)
        gap = m["predicted_volume"] - m["reference_volume"]
        if name == "relative_volume_difference":
            values = 100 * ratio(gap, m["reference_volume"])
        else:
            values = np.where(tp + fp + fn > 0, gap, np.nan) / self.units.divisor
        return np.where(self.comparable[:, None], values, np.nan)

    def value(self, key: Key) -> Value:
        """A figure with its resamples."""
        if key not in self._known:
            name, target, average, unit = key
            if average is not None:
                self._known[key] = self._macro(name, unit)
            else:
                assert target is not None
                compute = {"image": self._over_cases, "voxel": self._pooled, "object": self._lesions}[unit]
                self._known[key] = compute(name, self.schema.index(target))
        return self._known[key]

    def _over_cases(self, name: str, place: int) -> Value:
        stem = stem_of(name)
        values = self.cases(stem)[:, place]
        defined = ~np.isnan(values)
        # Agreement of volumes is about single measurements (Bland & Altman), whoever was measured.
        weights = defined.astype(np.float64) if stem in VOLUMES else self._weights(defined)
        if stem in ("volume_loa_low", "volume_loa_high"):
            point, samples = self._limits(values, defined, 1 if stem.endswith("high") else -1)
        elif name == stem:
            point, samples = self._mean(values, weights)
        else:
            point, samples = self._quantile(values, weights, 0.5)
        infinite = int(np.isinf(values).sum())
        notes = (
            [f"infinite in {infinite:,} of {int(defined.sum()):,} cases, where one mask is empty"] if infinite else []
        )
        return Value(point, samples, *self._number(defined), "; ".join(notes + self._left_out(stem)), infinite)

    def _left_out(self, stem: str) -> list[str]:
        count = int((~self.comparable).sum())
        return [f"without {count:,} cases in another unit"] if count and stem in (*DISTANCES, "nsd", *VOLUMES) else []

    def _weights(self, defined: NDArray[np.bool_]) -> Array:
        """``(N,)``: each patient counts once, by the mean of its cases; each case where patients are unknown."""
        if not self.by_patient or self.table.patients is None or not len(defined):
            return defined.astype(np.float64)
        codes = np.unique(self.table.patients, return_inverse=True)[1].reshape(-1)
        counts = np.bincount(codes, weights=defined)[codes]
        return np.where(defined, 1 / np.maximum(counts, 1), 0.0)

    def _mean(self, values: Array, weights: Array) -> tuple[float, Array]:
        used = weights > 0
        if np.isinf(values[used]).any():
            return float("inf"), np.full(self.resampler.weights.shape[1], np.nan)
        columns = np.stack([np.where(used, values, 0.0) * weights, weights], axis=1)
        columns[~used] = 0
        top, bottom = columns.sum(0)
        return float(ratio(top, bottom)), ratio(*self.resampler.sums(self.resampler.gather(columns)))

    def _limits(self, values: Array, defined: NDArray[np.bool_], sign: int) -> tuple[float, Array]:
        """Bias and 1.96 standard deviations of the differences of single cases."""
        # Sums of squares lose digits far from zero: the mean is taken off first.
        centre = float(values[defined].mean()) if defined.any() else 0.0
        gap = np.where(defined, values - centre, 0.0)
        columns = np.stack([defined.astype(np.float64), gap, gap**2], axis=1)
        samples = agreement_limit(self.resampler.sums(self.resampler.gather(columns)), sign)
        return centre + float(agreement_limit(columns.sum(0)[:, None], sign)[0]), centre + samples

    def _quantile(self, values: Array, weights: Array, share: float) -> tuple[float, Array]:
        used = np.flatnonzero(weights > 0)
        if not len(used):
            return float("nan"), np.full(self.resampler.weights.shape[1], np.nan)
        used = used[np.argsort(values[used], kind="stable")]
        ordered, own = values[used], weights[used]
        point = float(weighted_quantile(ordered, own[:, None], share)[0])
        resamples = self.resampler.weights.shape[1]
        step = max(1, _BLOCK // len(used))
        found = [
            weighted_quantile(
                ordered, self.resampler.weights[self.resampler.codes[used], i : i + step] * own[:, None], share
            )
            for i in range(0, resamples, step)
        ]
        return point, np.concatenate(found)

    def quartiles(self, name: str, place: int) -> tuple[float, float]:
        """First and third quartile of a figure over cases, weighted as its median; NaN where there is no case."""
        values = self.cases(name)[:, place]
        weights = self._weights(~np.isnan(values))
        used = np.flatnonzero(weights > 0)
        if not len(used):
            return float("nan"), float("nan")
        used = used[np.argsort(values[used], kind="stable")]
        low, high = (weighted_quantile(values[used], weights[used][:, None], q)[0] for q in (0.25, 0.75))
        return float(low), float(high)

    def _pooled(self, name: str, place: int) -> Value:
        counts = np.stack([self.table.measures[k][:, place] for k in ("tp", "fp", "fn", "tn")], axis=1)
        formula, places = POOLED_FORMULAS[name]
        samples = formula(*self.resampler.sums(self.resampler.gather(counts)))
        basis = counts[:, list(places)].sum(1)
        point = float(formula(*counts.sum(0)[:, None])[0])
        return Value(point, samples, int(basis.sum()), self._number(basis > 0)[1])

    def _lesions(self, name: str, place: int) -> Value:
        tp, fp, fn = (self.table.measures[f"lesion_{k}"][:, place] for k in ("tp", "fp", "fn"))
        totals = {"sensitivity": tp + fn, "precision": tp + fp, "f1": tp + fp + fn}[name]
        overlap = name == "f1"
        columns = np.stack([tp, totals], axis=1)
        shares = [ratio(*columns.sum(0)[:, None]), ratio(*self.resampler.sums(self.resampler.gather(columns)))]
        point, samples = (metrics.f1_from_overlap(v) if overlap else v for v in shares)
        judged = self.judge.proportion(Proportion(tp, totals, overlap=overlap))
        return Value(float(point[0]), samples, int(totals.sum()), self._number(totals > 0)[1], judged=judged)

    def _macro(self, name: str, unit: str) -> Value:
        """The mean over the labels in which the figure is defined in some case."""
        parts = [self.value((name, label, None, unit)) for label in self.schema.names]
        used = [not np.isnan(p.point) for p in parts]
        chosen = [p for p, u in zip(parts, used, strict=True) if u]
        if not chosen:
            return Value(float("nan"), np.full(self.resampler.weights.shape[1], np.nan), 0, 0)
        left_out = [n for n, u in zip(self.schema.names, used, strict=True) if not u]
        notes = [f"over {len(chosen)} of {len(parts)} labels (without {', '.join(left_out[:5])})"] if left_out else []
        counts = [f"{n} {p.infinite:,}" for n, p in zip(self.schema.names, parts, strict=True) if p.infinite]
        notes += [f"infinite in some cases, where one mask is empty ({', '.join(counts[:5])})"] if counts else []
        notes += self._left_out(stem_of(name)) if unit == "image" else []
        point, samples = float(np.mean([p.point for p in chosen])), np.mean([p.samples for p in chosen], axis=0)
        if unit == "image":
            defined = np.asarray(~np.isnan(self.cases(stem_of(name))).all(1))
            number, clusters = self._number(defined)
        else:
            number, clusters = sum(p.n for p in chosen), max(p.clusters for p in chosen)
        judged = [p.judged for p in chosen if p.judged is not None]
        whole = len(judged) == len(chosen)
        fallback = self.judge.average([p.point for p in chosen], judged, [1.0] * len(judged)) if whole else None
        return Value(point, samples, number, clusters, "; ".join(notes), fallback=fallback)

    def _number(self, rows: NDArray[np.bool_]) -> tuple[int, int]:
        return int(rows.sum()), len(np.unique(self.resampler.codes[rows]))

    def _baseline(self, key: Key) -> tuple[float | None, str]:
        name, target, _, unit = key
        if name == "accuracy" and target is not None:
            place = self.schema.index(target)
            if unit == "voxel":
                share = self.value(("foreground_share", target, None, unit)).point
                return (None if np.isnan(share) else 1 - share), "all background"
            base = self.cases("background_accuracy")[:, place]
            point, _ = self._mean(base, self._weights(~np.isnan(base)))
            return (None if np.isnan(point) else point), "all background"
        if name != "dice" or unit != "image" or self.baseline is None:
            return None, ""
        places = range(len(self.schema.names)) if target is None else [self.schema.index(target)]
        found = [self._baseline_dice(place) for place in places]
        known = [v for v in found if np.isfinite(v)]
        return (float(np.mean(known)) if known else None), "mean training mask" if known else ""

    def _baseline_dice(self, place: int) -> float:
        assert self.baseline is not None
        values = np.where(np.isnan(self.cases("dice")[:, place]), np.nan, self.baseline[:, place])
        return self._mean(values, self._weights(~np.isnan(values)))[0]
