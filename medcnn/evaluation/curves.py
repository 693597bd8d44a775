"""ROC and precision-recall curves with bands, reliability diagrams and distributions of scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation import intervals
from medcnn.evaluation.calibration import Reliability, bin_index, brier_parts, reliability_curve
from medcnn.evaluation.counts import positive_index
from medcnn.evaluation.ranking import cumulated, precision_at, roc_at
from medcnn.evaluation.rankings import ClassRanking
from medcnn.evaluation.resampling import MIN_CLUSTERS
from medcnn.evaluation.results import CurvePanel, DistributionPanel, Panel, Series, TablePanel
from medcnn.evaluation.thresholds import Choice
from medcnn.evaluation.unit import Unit

Array = NDArray[np.float64]
POINTS = 200
BAND_RESAMPLES = 500
MAX_VALUES = 2000
UNIT_SQUARE = (0.0, 1.0)


def rank_curves(unit: Unit, choices: Sequence[Sequence[Choice]]) -> list[CurvePanel]:
    """The ROC and precision-recall curves of each class, averaged over folds, with vertical bands.

    Args:
        unit: Whose.
        choices: Thresholds by fold; a single network's is marked on its curve.
    """
    usable = {name: found for name, found in unit.rankings.items() if found.folds}
    if not usable:
        return []
    # Denser where curves of good classifiers bend.
    rates = np.linspace(0, 1, POINTS) ** 2
    recalls = 1 - (1 - np.linspace(1 / POINTS, 1, POINTS)) ** 2
    chosen = {c.name: c for c in choices[0]} if len(choices) == 1 else {}
    roc, pr = [], []
    for name, found in usable.items():
        mark = _operating_point(unit, name, chosen[name].value) if name in chosen else None
        roc.append(_series(name, found, unit, rates, roc_at, mark and [(mark[0], mark[1], mark[3])]))
        pr.append(_series(name, found, unit, recalls, precision_at, mark and [(mark[1], mark[2], mark[3])]))
    caption, square = _band_text(unit), (UNIT_SQUARE, UNIT_SQUARE)
    return [
        CurvePanel("roc", "ROC curve", "1 − specificity", "Sensitivity", roc, caption, True, False, *square),
        CurvePanel(
            "pr", "Precision-recall curve", "Sensitivity (recall)", "Precision", pr, caption, False, False, *square
        ),
    ]


def _band_text(unit: Unit) -> str:
    folds = f"Mean of {unit.columns.folds} folds' curves. " if unit.columns.folds > 1 else ""
    r = unit.resampler
    if r.kind == "range":
        return f"{folds}No band: fewer than 20 {r.noun}."
    count = min(BAND_RESAMPLES, r.weights.shape[1])
    caution = f" ({r.caution})" if r.caution else ""
    where = f"{unit.settings.level * 100:g} % at each place of the x axis"
    return f"{folds}Band: {where}, {count:,} resamples over {r.count:,} {r.noun}{caution}."


def _series(name: str, found: ClassRanking, unit: Unit, grid: Array, at: Any, marks: Any) -> Series:
    lines = [at(*cumulated(f.ranking, np.ones((len(f.rows), 1))), grid)[:, 0] for f in found.folds]
    y = np.mean(lines, axis=0)
    low = high = None
    if unit.resampler.kind == "bootstrap":
        drawn = np.mean(
            [at(*cumulated(f.ranking, unit.resampler.case_weights(f.rows, BAND_RESAMPLES)), grid) for f in found.folds],
            axis=0,
        )
        defined = drawn[:, np.isfinite(drawn).all(0)]
        if defined.shape[1] > 1:
            share = (1 - unit.settings.level) / 2
            low, high = np.quantile(defined, [share, 1 - share], axis=1)
    return Series(
        name,
        _plain(grid),
        _plain(y),
        None if low is None else _plain(low),
        None if high is None else _plain(high),
        tuple(marks or ()),
    )


def _plain(values: Any) -> list[float]:
    return [round(float(v), 5) for v in values]


def _operating_point(unit: Unit, name: str, threshold: float) -> tuple[float, float, float, str] | None:
    i = unit.schema.index(name)
    tp, fp, fn, tn = (float(unit.columns.column(k)[:, i].sum()) for k in ("tp", "fp", "fn", "tn"))
    if not (tp + fn and fp + tn and tp + fp):
        return None
    # One legend serves many classes, whose thresholds stand in their table.
    several = len(unit.rankings) > 1
    text = "at the class's threshold" if several else f"threshold {threshold:.3g} of {name}"
    return fp / (fp + tn), tp / (tp + fn), tp / (tp + fp), text


def reliability_panels(unit: Unit) -> list[Panel]:
    """The reliability diagram with Wilson intervals, and its bins as a table."""
    settings = unit.settings
    series, tables = [], []
    parts: list[list[Any]] = []
    for name, p, y, places in _events(unit):
        if not len(p):
            continue
        curve = reliability_curve(p, y, bins=settings.bins, binning=settings.binning)
        ends = _bin_ends(unit, bin_index(p, curve.edges), y, places)
        low, high = ([_plain(e) for e in zip(*ends, strict=True)]) if ends else (None, None)
        series.append(Series(name, _plain(curve.predicted), _plain(curve.observed), low, high))
        tables.append(_bins_table(name, curve, ends, settings.level))
        b = brier_parts(p, y, bins=settings.bins, binning=settings.binning)
        parts.append([name, b.score, b.reliability, b.resolution, b.uncertainty, b.within, len(p)])
    if not series:
        return []
    laid = "about equally many cases each" if settings.binning == "mass" else "equal width"
    pooled = (
        " Cases of all folds together; the calibration error is computed within folds."
        if unit.columns.folds > 1
        else ""
    )
    caption = f"{settings.bins} bins of {laid}; {_bins_text(unit)}.{pooled}"
    shape: tuple[Any, ...] = (True, False, UNIT_SQUARE, UNIT_SQUARE)
    panels: list[Panel] = [
        CurvePanel(
            "reliability", "Reliability diagram", "Predicted probability", "Observed share", series, caption, *shape
        )
    ]
    header = ["Event", "Brier score", "Reliability", "Resolution", "Uncertainty", "Within bins", "n"]
    text = "Brier score = reliability (best 0) - resolution (best high) + uncertainty + what binning loses."
    panels.append(TablePanel("brier", "The Brier score taken apart", header, parts, text, "curves"))
    return [*panels, *(tables if len(tables) == 1 else [])]


def _bins_table(name: str, curve: Reliability, ends: Sequence[tuple[float, float]], level: float) -> TablePanel:
    header = ["Bin", "Predicted", "Observed", *([f"{level * 100:g} % interval"] if ends else []), "Positive", "Cases"]
    columns = (curve.predicted.tolist(), curve.observed.tolist(), curve.positives.tolist(), curve.count.tolist())
    rows: list[list[Any]] = [[f"bin {i + 1}", *values] for i, values in enumerate(zip(*columns, strict=True))]
    for row, (low, high) in zip(rows, ends, strict=False):
        row.insert(3, f"{low:.3f}–{high:.3f}")
    title = "Bins of the reliability diagram"
    return TablePanel("reliability-bins", title, header, rows, f"Event: {name}.", "curves")


def _bin_ends(
    unit: Unit, index: NDArray[np.intp], y: NDArray[np.bool_], places: NDArray[np.intp]
) -> list[tuple[float, float]]:
    """Wilson's interval of the share observed in each bin, on the effective n; none where clusters are too few.

    Args:
        unit: Whose.
        index: ``(K,)`` bin of each case.
        y: ``(K,)`` whether the event came.
        places: ``(K,)`` rows of the cases in the unit's table.
    """
    if unit.judge.ranged:
        return []
    found = []
    codes, count = unit.resampler.codes[places], unit.resampler.count
    for k in np.unique(index):
        own = index == k
        hits = np.bincount(codes[own], weights=y[own], minlength=count)
        n = intervals.effective_number(hits, np.bincount(codes[own], minlength=count))
        found.append(intervals.wilson(float(hits.sum()) / n.n, n.effective, unit.settings.level))
    return found


def _bins_text(unit: Unit) -> str:
    if unit.judge.ranged:
        return f"no intervals: fewer than {MIN_CLUSTERS} {unit.resampler.noun}"
    caution = f" ({unit.resampler.caution})" if unit.resampler.caution else ""
    effective = "" if unit.resampler.single else " on the effective n"
    return f"intervals by Wilson{effective}, over {unit.resampler.count:,} {unit.resampler.noun}{caution}"


def _events(unit: Unit) -> list[tuple[str, Array, NDArray[np.bool_], NDArray[np.intp]]]:
    """What is predicted: the positive class, each of several labels, or that the decision is right; and its rows."""
    p, states, schema = unit.table.probabilities.astype(np.float64), unit.table.states, unit.schema
    if schema.multilabel or schema.binary:
        names = schema.names if schema.multilabel else (schema.names[positive_index(schema)],)
        out = []
        for name in names:
            i = schema.index(name)
            known = np.isfinite(states[:, i])
            out.append((name, p[known, i], states[known, i] == 1, np.flatnonzero(known)))
        return out
    if not len(p):
        return []
    right = states[np.arange(len(p)), p.argmax(1)] == 1
    return [("the most probable class is right", p.max(1), right, np.arange(len(p)))]


def score_panel(unit: Unit) -> DistributionPanel | None:
    """Probabilities by reference, or of right and wrong decisions."""
    p, states, schema = unit.table.probabilities.astype(np.float64), unit.table.states, unit.schema
    if not len(p):
        return None
    if schema.binary:
        i = positive_index(schema)
        groups = {schema.names[j]: p[states[:, j] == 1, i] for j in (i, 1 - i)}
        title, label = "Scores by reference", f"Probability of {schema.names[i]}"
    elif schema.multilabel:
        groups = {"label present": p[states == 1], "label absent": p[states == 0]}
        title, label = "Scores by reference, all classes", "Probability of the label"
    else:
        right = (unit.decided & (states == 1)).any(1)
        groups = {"right": p.max(1)[right], "wrong": p.max(1)[~right]}
        title, label = "Confidence of right and wrong decisions", "Highest probability"
    thinned = {name: _thin(values) for name, values in groups.items() if len(values)}
    counts = {name: len(groups[name]) for name in thinned}
    many = max(counts.values(), default=0) > MAX_VALUES
    caption = "Each group by itself is 100 %."
    caption += f" Of a larger group {MAX_VALUES:,} quantiles are drawn." if many else ""
    bins = _plain(np.linspace(0, 1, 21))
    return DistributionPanel("scores", title, label, thinned, bins, caption, counts=counts)


def _thin(values: Array) -> list[float]:
    """The values in order, or evenly spaced ones of them where there are too many."""
    ordered = np.sort(values)
    if len(ordered) > MAX_VALUES:
        ordered = ordered[np.linspace(0, len(ordered) - 1, MAX_VALUES).round().astype(int)]
    return _plain(ordered)
