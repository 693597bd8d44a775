"""The figures of a detection: curves over boxes, objects and images at the operating point, computed when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation import intervals, metrics
from medcnn.evaluation.detection_curves import FROC_RATES, Candidates, average_precisions, sensitivities_at
from medcnn.evaluation.detection_findings import FindingFigures
from medcnn.evaluation.detection_scene import Scene, Settings
from medcnn.evaluation.detection_table import DetectionTable
from medcnn.evaluation.detection_words import (
    AGNOSTIC,
    CURVES,
    FINDINGS,
    FROC,
    OBJECTS,
    OVERLAPS,
    label_of,
    why_undefined,
)
from medcnn.evaluation.judging import Judge, Judged
from medcnn.evaluation.resampling import Resampler
from medcnn.evaluation.results import Figure
from medcnn.evaluation.sums import Proportion
from medcnn.types import Counts, LabelSchema

Array = NDArray[np.float64]
# Figure, class, average over classes, unit.
Key = tuple[str, str | None, str | None, str]
Curve = Callable[[Candidates, Array | None, Array], Array]


@dataclass(frozen=True, slots=True)
class Value:
    """A figure before it is told.

    Attributes:
        point: The figure; NaN undefined.
        samples: ``(B,)`` in each resample.
        n: What it rests on.
        clusters: Clusters behind ``n``.
        note: A caution.
        judged: An interval that does not come from the resamples.
        fallback: Stands in where the resamples do not differ.
    """

    point: float
    samples: Array
    n: int
    clusters: int
    note: str = ""
    judged: Judged | None = None
    fallback: Judged | None = None


@dataclass(eq=False)
class Detections:
    """A matched table with the figures that follow from it.

    Attributes:
        table: The images.
        schema: The classes.
        scene: The table, matched.
        settings: How it is judged.
        resampler: The draws.
        judge: Makes the intervals.
        part: Name of the evaluated part.
        patients: Figures by patient; ``None`` where there are none.
        baseline: The same of the trivial baseline; ``None`` where there is none.
    """

    table: DetectionTable
    schema: LabelSchema
    scene: Scene
    settings: Settings
    resampler: Resampler
    judge: Judge
    part: str
    patients: FindingFigures | None = None
    baseline: Detections | None = None
    _known: dict[Key, Value] = field(default_factory=dict)
    _curves: dict[str | None, tuple[Array, Array, str]] = field(default_factory=dict)

    @property
    def several(self) -> bool:
        """Whether there is more than one class."""
        return len(self.schema.names) > 1

    @property
    def images(self) -> FindingFigures:
        """Figures of images by any finding or none."""
        return FindingFigures(self.scene.findings, self.resampler, self.judge, "image")

    def rows(self, rows: NDArray[np.bool_]) -> Detections:
        """The figures of some of the images, from the same draws."""
        resampler = self.resampler.restrict(rows)
        return Detections(
            self.table.take(rows), self.schema, self.scene.take(np.flatnonzero(rows)), self.settings, resampler,
            Judge(resampler, self.judge.level), self.part,
        )  # fmt: skip

    def every_key(self) -> list[Key]:
        """All figures, in the order of a reader's interest."""
        boxes = [*CURVES, *OVERLAPS]
        found: list[Key] = [(k, None, None, "object") for k in (*boxes, *OBJECTS)]
        found += [(k, None, None, "image") for k in FINDINGS]
        found += [(k, None, None, "patient") for k in FINDINGS if self.patients is not None]
        if self.several:
            found += [(k, None, "macro", "object") for k in (*OVERLAPS, *OBJECTS)]
            found += [(k, None, "micro", "object") for k in OBJECTS]
            found += [(k, name, None, "object") for name in self.schema.names for k in (*boxes, *OBJECTS)]
        return found

    def figure(self, key: Key) -> Figure:
        """One figure with its n, interval and notes."""
        value = self.value(key)
        return self.told(key, value, "" if np.isfinite(value.point) else self._why(key), self._baseline(key))

    def told(
        self, key: Key, value: Value, why: str, baseline: tuple[float | None, str] = (None, ""), label: str = ""
    ) -> Figure:
        """A value as a figure.

        Args:
            key: What it is.
            value: The value.
            why: Why it is undefined, where it is.
            baseline: The trivial figure and what that is.
            label: What it is called; absent: by its name.
        """
        name, target, average, unit = key
        finite = bool(np.isfinite(value.point))
        judged = value.judged or (self.judge.resampled(value.samples, value.fallback) if finite else Judged())
        notes = [why, value.note, judged.note, self.judge.outside(value.point, judged) if finite else ""]
        return Figure(
            name, label or self.label(key), value.point if finite else None, value.n, unit, target, average, self.part,
            judged.interval if finite else None, value.clusters, "; ".join(dict.fromkeys(t for t in notes if t)),
            *baseline,
        )  # fmt: skip

    def label(self, key: Key) -> str:
        """The figure's name as a person reads it."""
        name, target, average, unit = key
        text = label_of(name, self.settings.per)
        agnostic = self.several and unit == "object" and target is None and average is None
        if unit == "image":
            # Beside figures of objects the unit must be said.
            return f"{text}, by image"
        return f"{text}, {AGNOSTIC}" if agnostic else text

    def value(self, key: Key) -> Value:
        """A figure with its resamples."""
        if key not in self._known:
            name, target, average, unit = key
            if unit != "object":
                self._known[key] = self._finding(name, unit)
            elif average == "macro":
                self._known[key] = self._macro(name)
            elif name in OBJECTS:
                self._known[key] = self._objects(name, target, average)
            else:
                self._known[key] = self._ranked(name, target)
        return self._known[key]

    def references(self, target: str | None) -> Array:
        """How many references of each image count, ``(N,)``, of one class or of all."""
        return self.scene.froc[target].references

    def _ranked(self, name: str, target: str | None) -> Value:
        counts = self.references(target)
        n, clusters = int(counts.sum()), self._clusters(counts > 0)
        if name in OVERLAPS:
            point, samples, note = self._average_precision(name, target)
            fallback = self._wilson(point, clusters)
            return Value(point, samples, n, clusters, note, fallback=fallback)
        if target not in self._curves:
            self._curves[target] = self.folded(self.scene.froc[target], _froc)
        points, columns, note = self._curves[target]
        place = CURVES.index(name)
        return self.share(float(points[place]), columns[:, place], counts, note, few=name != FROC)

    def share(self, point: float, samples: Array, references: Array, note: str = "", *, few: bool = True) -> Value:
        """A share of objects that follows from a curve.

        Args:
            point: The share.
            samples: ``(B,)`` in each resample.
            references: ``(N,)`` objects of each image.
            note: A caution.
            few: Of few misses, or few hits, resamples know too little: Wilson's interval stands in.
        """
        n, clusters = int(references.sum()), self._clusters(references > 0)
        fallback = self._wilson(point, clusters)
        sure = few and np.isfinite(point) and min(point * n, n - point * n) < intervals.FEW
        return Value(point, samples, n, clusters, note, fallback if sure and fallback.interval else None, fallback)

    def _average_precision(self, name: str, target: str | None) -> tuple[float, Array, str]:
        parts = [self.folded(self.scene.overlaps[least, target], _precision) for least in OVERLAPS[name]]
        point = float(np.mean([points[0] for points, _, _ in parts]))
        return point, np.mean([columns[:, 0] for _, columns, _ in parts], axis=0), parts[0][2]

    def folded(self, found: Candidates, curve: Curve, most: int | None = None) -> tuple[Array, Array, str]:
        """A curve's values within each fold, averaged over the folds in which they are defined.

        Args:
            found: The ordered predictions of all folds.
            curve: Gives ``(B, R)`` of predictions, ``(N, B)`` weights (``None``: 1) and shares of units.
            most: Take the first resamples alone.

        Returns:
            ``(R,)`` values, ``(B, R)`` of the resamples, and which folds could not be used.
        """
        folds = np.unique(self.table.fold)
        points, columns = [], []
        for fold in folds:
            rows = np.flatnonzero(self.table.fold == fold)
            own = found if len(folds) == 1 else found.take(rows)
            shares = self.scene.shares[rows]
            point = curve(own, None, shares)[0]
            if np.isfinite(point).all():
                points.append(point)
                columns.append(curve(own, self.resampler.case_weights(rows, most).astype(np.float64), shares))
        if not points:
            width = curve(found, None, self.scene.shares).shape[1]
            return np.full(width, np.nan), np.full((self.resampler.weights.shape[1], width), np.nan), ""
        note = f"defined in {len(points)} of {len(folds)} folds" if len(points) < len(folds) else ""
        stacked = np.stack(columns)
        if self.resampler.kind == "range":
            # A cluster lies in one fold as a rule: its own value is that of the fold where it has one.
            known = np.isfinite(stacked)
            samples = metrics.ratio(np.where(known, stacked, 0.0).sum(0), known.sum(0))
        else:
            samples = stacked.mean(0)
        return np.mean(points, axis=0), samples, note

    def counts(self, target: str | None, average: str | None) -> tuple[Array, Array, Array]:
        """True and false positives and misses by object, ``(N,)`` each."""
        source: Counts = self.scene.anywhere if target is None and average is None else self.scene.by_class
        columns = slice(None) if target is None else slice(self.schema.index(target), self.schema.index(target) + 1)
        tp, fp, fn = (np.asarray(v, np.float64)[:, columns].sum(1) for v in (source.tp, source.fp, source.fn))
        return tp, fp, fn

    def _objects(self, name: str, target: str | None, average: str | None) -> Value:
        tp, fp, fn = self.counts(target, average)
        totals = {"sensitivity": tp + fn, "precision": tp + fp, "f1": tp + fp + fn}[name]
        overlap = name == "f1"
        columns = np.stack([tp, totals], axis=1)
        shares = [metrics.ratio(*columns.sum(0)[:, None])]
        shares += [metrics.ratio(*self.resampler.sums(self.resampler.gather(columns)))]
        point, samples = (metrics.f1_from_overlap(v) if overlap else v for v in shares)
        judged = self.judge.proportion(Proportion(tp, totals, overlap=overlap))
        return Value(float(point[0]), samples, int(totals.sum()), self._clusters(totals > 0), judged=judged)

    def _macro(self, name: str) -> Value:
        """The mean over the classes that have an object in the reference and in which the figure is defined."""
        parts = {n: self.value((name, n, None, "object")) for n in self.schema.names if self.references(n).any()}
        used = {n: p for n, p in parts.items() if np.isfinite(p.point)}
        if not used:
            return Value(np.nan, np.full(self.resampler.weights.shape[1], np.nan), 0, 0)
        left_out = [n for n in self.schema.names if n not in used]
        note = f"over {len(used)} of {len(self.schema.names)} classes (without {', '.join(left_out[:5])})"
        chosen = list(used.values())
        points = [p.point for p in chosen]
        judged = [p.judged or p.fallback or Judged() for p in chosen]
        return Value(
            float(np.mean(points)), np.mean([p.samples for p in chosen], axis=0), sum(p.n for p in chosen),
            max(p.clusters for p in chosen), note if left_out else "",
            fallback=self.judge.average(points, judged, [1.0] * len(points)),
        )  # fmt: skip

    def _finding(self, name: str, unit: str) -> Value:
        source = self.images if unit == "image" else self.patients
        assert source is not None
        found = source.value(name)
        return Value(found.point, np.zeros(0), found.n, found.clusters, found.note, found.judged)

    def _clusters(self, rows: NDArray[np.bool_]) -> int:
        return len(np.unique(self.resampler.codes[rows]))

    def _wilson(self, value: float, clusters: int) -> Judged:
        """An interval for what does not vary between resamples, on the independent images with an object."""
        if not np.isfinite(value) or not clusters or self.judge.ranged:
            return Judged()
        ends = intervals.wilson(min(max(value, 0.0), 1.0), clusters, self.judge.level)
        return Judged(self.judge.named(*ends, f"Wilson on the number of {self.resampler.noun} with an object"))

    def _why(self, key: Key) -> str:
        name, target, _, unit = key
        if unit == "object":
            return why_undefined(name, unit, int(self.references(target).sum()), 0)
        source = self.images if unit == "image" else self.patients
        assert source is not None
        return why_undefined(name, unit, source.positives, source.negatives)

    def _baseline(self, key: Key) -> tuple[float | None, str]:
        name, _, _, unit = key
        if unit != "object":
            source = self.images if unit == "image" else self.patients
            assert source is not None
            return source.baseline(name)
        if self.baseline is None or name in ("sensitivity", "precision"):
            return None, ""
        point = self.baseline.value(key).point
        where = ", at its own best threshold here" if name == "f1" else ""
        return (float(point), f"heat map of the training boxes{where}") if np.isfinite(point) else (None, "")


def _froc(found: Candidates, weights: Array | None, shares: Array) -> Array:
    """The mean of the sensitivities at the seven rates, and these."""
    seven: NDArray[Any] = sensitivities_at(found, FROC_RATES, weights, shares)
    return np.concatenate([seven.mean(1, keepdims=True), seven], axis=1)


def _precision(found: Candidates, weights: Array | None, shares: Array) -> Array:
    return average_precisions(found, weights)[:, None]
