"""What is drawn of a detection: curves with bands, confusion of classes, sizes and places of objects, scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.detection_curves import Candidates, precisions_at, sensitivities_at
from medcnn.evaluation.detection_figures import Detections
from medcnn.evaluation.detection_scene import USUAL_IOU, Matched
from medcnn.evaluation.detection_sizes import Sizes, edge_lengths, found_references
from medcnn.evaluation.detection_table import DetectionTable
from medcnn.evaluation.detection_words import AGNOSTIC, per_words
from medcnn.evaluation.results import CurvePanel, DistributionPanel, MatrixPanel, Panel, Series
from medcnn.geometry.boxes import centres

Array = NDArray[np.float64]
BAND_RESAMPLES = 500
MAX_POINTS = 1000
# A little beyond the seven rates to both sides.
RATES = np.geomspace(1 / 16, 16, 81)
RECALLS = np.linspace(0, 1, 101)
_UNIT = (0.0, 1.0)
_KINDS = ("found", "missed", "false positive")


def curve_panels(detections: Detections) -> list[Panel]:
    """FROC and precision-recall of all objects and of each class, averaged over folds, with vertical bands."""
    froc, precision = [], []
    names: list[str | None] = [None, *(detections.schema.names if detections.several else ())]
    for name in names:
        if not detections.references(name).any():
            continue
        marks = _operating_point(detections) if name is None else ()
        title = name or (AGNOSTIC if detections.several else "all objects")
        froc.append(_series(detections, title, detections.scene.froc[name], RATES, marks))
        precision.append(_series(detections, title, detections.scene.overlaps[USUAL_IOU, name], RECALLS, ()))
    if not froc:
        return []
    words, caption = per_words(detections.settings.per), _band_words(detections)
    axis = f"{words[0].upper()}{words[1:]}"
    return [
        CurvePanel(
            "froc", "FROC", axis, "Share of objects found", froc, f"{caption} {_end_words(detections)}",
            x_range=(float(RATES[0]), float(RATES[-1])), y_range=_UNIT, x_log=True,
        ),
        CurvePanel(
            "pr", f"Precision-recall curve at IoU {USUAL_IOU:g}", "Recall (share of objects found)", "Precision",
            precision, f"{caption} The best precision at a recall or above.", x_range=_UNIT, y_range=_UNIT,
        ),
    ]  # fmt: skip


def _series(
    detections: Detections, title: str, found: Candidates, grid: Array, marks: Sequence[tuple[float, float, str]]
) -> Series:
    def curve(own: Candidates, weights: Array | None, shares: Array) -> Array:
        if grid is RECALLS:
            return precisions_at(own, grid, weights)
        return sensitivities_at(own, grid, weights, shares)

    points, columns, _ = detections.folded(found, curve, BAND_RESAMPLES)
    low = high = None
    usable = columns[np.isfinite(columns).all(1)]
    if detections.resampler.kind == "bootstrap" and len(usable) > 1:
        share = (1 - detections.judge.level) / 2
        low, high = (_plain(v) for v in np.quantile(usable, [share, 1 - share], axis=0))
    return Series(title, _plain(grid), _plain(points), low, high, tuple(marks))


def _operating_point(detections: Detections) -> list[tuple[float, float, str]]:
    tp, fp, fn = (float(v.sum()) for v in detections.counts(None, None))
    rate = fp / float(detections.scene.shares.sum())
    if not RATES[0] <= rate <= RATES[-1]:
        return []
    return [(rate, tp / (tp + fn), "operating point")]


def curve_end(detections: Detections) -> float:
    """False positives an image (or what they are counted per) when all kept boxes count; the least of the folds."""
    ends = []
    for fold in np.unique(detections.table.fold):
        rows = np.flatnonzero(detections.table.fold == fold)
        found = detections.scene.froc[None].take(rows)
        ends.append(float((~found.hit).sum()) / float(detections.scene.shares[rows].sum()))
    return min(ends)


def _end_words(detections: Detections) -> str:
    end = curve_end(detections)
    if end >= RATES[-1]:
        return ""
    where = "" if len(np.unique(detections.table.fold)) == 1 else ", in the fold where it ends first"
    return f"The curve ends at {end:.3g} {per_words(detections.settings.per)}{where}, and is flat from there."


def _band_words(detections: Detections) -> str:
    folds = len(np.unique(detections.table.fold))
    text = f"Mean of {folds} folds' curves. " if folds > 1 else ""
    r = detections.resampler
    if r.kind == "range":
        return f"{text}No band: fewer than 20 {r.noun}."
    caution = f" ({r.caution})" if r.caution else ""
    count = min(BAND_RESAMPLES, r.weights.shape[1])
    where = f"{detections.judge.level * 100:g} % at each place of the x axis"
    return f"{text}Band: {where}, {count:,} resamples over {r.count:,} {r.noun}{caution}."


def confusion_panel(detections: Detections, matched: Matched) -> MatrixPanel | None:
    """Classes of matched boxes, with what is missed and invented; ``None`` for one class."""
    if not detections.several:
        return None
    names, called = detections.schema.names, matched.called
    table = np.zeros((len(names) + 1, len(names) + 1), np.int64)
    hit = called.hit >= 0
    np.add.at(table, (matched.objects.label[called.hit[hit]], called.label[hit]), 1)
    false = ~hit & ~called.ignored
    table[-1] += np.bincount(called.label[false], minlength=len(names) + 1)
    missed = matched.objects.counted & ~found_references(called, len(matched.objects.image))
    table[:, -1] += np.bincount(matched.objects.label[missed], minlength=len(names) + 1)
    return MatrixPanel(
        "confusion", "Classes of matched boxes", "Reference", "Box", [*names, "no object"], [*names, "missed"],
        table.tolist(), "Boxes called findings, matched whatever their class. No object: false positives.",
    )  # fmt: skip


def map_panels(table: DetectionTable, matched: Matched, sizes: Sizes) -> list[Panel]:
    """Sizes, and places in the image, of objects that are found and missed and of false positives; and scores."""
    boxes = _by_kind(table, matched)
    panels: list[Panel] = []
    lengths = {k: _lengths(table, v, sizes) for k, v in boxes.items()}
    longest = {k: _thinned(np.sort(v.max(1, initial=0))) for k, v in lengths.items() if len(v)}
    if longest:
        counts = {k: len(lengths[k]) for k in longest}
        groups = {k: _plain(v) for k, v in longest.items()}
        axis = f"Longest edge [{sizes.unit}]"
        panels.append(DistributionPanel("size", "Size of boxes", axis, groups, counts=counts))
        series = [_cloud(k, lengths[k][:, 0], lengths[k][:, 1]) for k in _KINDS[:2] if len(lengths.get(k, ()))]
        if series:
            across, down = (f"Extent along {a} [{sizes.unit}]" for a in "xy")
            title = "Width and height of objects"
            panels.append(CurvePanel("size-map", title, across, down, series, points=True))
    panels += _places(table, boxes)
    scores = _scores(matched)
    return [*panels, *([scores] if scores else [])]


def _by_kind(table: DetectionTable, matched: Matched) -> dict[str, list[tuple[int, NDArray[np.float32]]]]:
    """Image and corners of each box: objects found, objects missed, false positives."""
    objects, called = matched.objects, matched.called
    found = found_references(called, len(objects.image))
    groups: dict[str, list[tuple[int, NDArray[np.float32]]]] = {kind: [] for kind in _KINDS}
    for place in np.flatnonzero(objects.counted):
        image = int(objects.image[place])
        corners = table.references[image].corners[place - objects.start[image]]
        groups["found" if found[place] else "missed"].append((image, corners))
    for place in np.flatnonzero((called.hit < 0) & ~called.ignored):
        image = int(called.image[place])
        groups["false positive"].append((image, table.predictions[image].corners[called.place[place]]))
    return groups


def _lengths(table: DetectionTable, boxes: Sequence[tuple[int, NDArray[np.float32]]], sizes: Sizes) -> Array:
    """``(n, D)`` of the boxes in images of the unit that is shown."""
    known = [(i, c) for i, c in boxes if (table.spacings[i] is not None) == (sizes.unit == "mm")]
    found = [edge_lengths(corners[None], table.spacings[i])[0] for i, corners in known]
    return np.array(found, np.float64).reshape(-1, table.dims)


def _places(table: DetectionTable, boxes: dict[str, list[tuple[int, NDArray[np.float32]]]]) -> list[Panel]:
    """Middles of boxes as shares of the image, in the plane of the first two axes, and of the first and third."""
    middles = {}
    for kind, group in boxes.items():
        known = [(centres(c[None])[0], table.shapes[i]) for i, c in group if table.shapes[i]]
        middles[kind] = np.array([m / np.array(shape) for m, shape in known], np.float64).reshape(-1, table.dims)
    if not any(len(v) for v in middles.values()):
        return []
    flat = table.dims == 2
    caption = "Middles of boxes as shares of the image's axes" + (", the image upright." if flat else " in its grid.")
    panels: list[Panel] = []
    for first, second in [(0, 1)] if flat else [(0, 1), (0, 2)]:
        # Rows of an image run downwards, and the axis of a drawing upwards.
        series = [
            _cloud(kind, v[:, first], 1 - v[:, second] if flat else v[:, second])
            for kind, v in middles.items()
            if len(v)
        ]
        names = ("From the left", "From the bottom") if flat else (f"Along {'xyz'[first]}", f"Along {'xyz'[second]}")
        panels.append(
            CurvePanel(
                f"place-{'xyz'[first]}{'xyz'[second]}", "Where objects are found, missed and invented", names[0],
                names[1], series, caption, points=True, x_range=_UNIT, y_range=_UNIT,
            )
        )  # fmt: skip
    return panels


def _scores(matched: Matched) -> DistributionPanel | None:
    every = matched.all
    groups = {
        "hits": np.sort(every.score[every.hit >= 0]),
        "false positives": np.sort(every.score[(every.hit < 0) & ~every.ignored]),
    }
    groups = {k: v for k, v in groups.items() if len(v)}
    if not groups:
        return None
    counts = {k: len(v) for k, v in groups.items()}
    bins = _plain(np.linspace(0, 1, 21))
    shown = {k: _plain(_thinned(v)) for k, v in groups.items()}
    caption = "All kept boxes, whatever the operating point. Each group by itself is 100 %."
    return DistributionPanel("scores", "Scores of boxes", "Score", shown, bins, caption, counts=counts)


def _cloud(name: str, x: Array, y: Array) -> Series:
    at = np.unique(np.linspace(0, len(x) - 1, min(len(x), MAX_POINTS)).round().astype(int))
    return Series(f"{name} (n = {len(x):,})", _plain(x[at]), _plain(y[at]))


def _thinned(ordered: Array) -> Array:
    if len(ordered) <= 2 * MAX_POINTS:
        return ordered
    return np.asarray(ordered[np.linspace(0, len(ordered) - 1, 2 * MAX_POINTS).round().astype(int)])


def _plain(values: Any) -> list[float]:
    return [float(f"{v:.5g}") for v in values]
