"""All figures of a classification at one unit: image by image, or patient by patient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.baselines import baselines
from medcnn.evaluation.counts import positive_index
from medcnn.evaluation.inputs import ClassificationTable
from medcnn.evaluation.judging import Judge, Judged
from medcnn.evaluation.rankings import rank_class
from medcnn.evaluation.resampling import Resampler, make_resampler
from medcnn.evaluation.sums import Key, calibration_figures, case_sums, count_figures, proportions
from medcnn.evaluation.unit import Settings, Unit
from medcnn.types import LabelSchema

Array = NDArray[np.float64]
FEW_ERRORS = 5


def evaluate_unit(
    table: ClassificationTable, decided: NDArray[np.bool_], schema: LabelSchema, settings: Settings, unit: str
) -> Unit:
    """Compute every figure with its interval.

    Args:
        table: Cases with a reference; for exclusive classes none is missing.
        decided: ``(N, C)``.
        schema: The classes.
        settings: How.
        unit: ``image`` or ``patient``.
    """
    fixed = settings.fixed_class_sizes and not schema.multilabel
    resampler = make_resampler(
        table.clusters,
        resamples=settings.resamples,
        seed=settings.seed,
        patients_known=settings.patients_known,
        patients=table.patients,
        fold=table.fold,
        classes=table.states.argmax(1) if fixed else None,
        noun="patients" if unit == "patient" else "images",
    )
    columns = case_sums(
        table.states, decided, table.probabilities if table.ranked else None, table.fold, schema,
        bins=settings.bins, binning=settings.binning,
    )  # fmt: skip
    out = Unit(table, decided, schema, settings, unit, resampler, columns, Judge(resampler, settings.level))
    _count(out)
    _rank(out, resampler)
    _judge(out)
    out.base = baselines(table.states, schema)
    return out


def evaluate_rows(whole: Unit, rows: NDArray[np.bool_]) -> Unit:
    """The figures of some of a unit's cases, from the same draws.

    Average precision and calibration are left out, and the interval of the mean AUROC comes from those of the
    classes, so that many subgroups cost little.
    """
    table, decided = whole.table.take(rows), whole.decided[rows]
    resampler = whole.resampler.restrict(rows)
    columns = case_sums(table.states, decided, None, table.fold, whole.schema)
    judge = Judge(resampler, whole.settings.level)
    out = Unit(table, decided, whole.schema, whole.settings, whole.unit, resampler, columns, judge, whole=False)
    _count(out)
    # The range over clusters needs each cluster's own area; the formulas need no resamples.
    _rank(out, resampler if judge.ranged else None)
    for key in [k for k in out.point if k[0] == "average_precision"]:
        del out.point[key]
    _judge(out)
    return out


def _count(out: Unit) -> None:
    """Point values and resamples of what follows from sums."""
    support = out.support

    def first(name: str, values: Array) -> NDArray[np.bool_]:
        out.chosen[name] = (support > 0) & np.isfinite(values[:, 0])
        return out.chosen[name]

    total = out.columns.total()
    point = count_figures(total, out.schema, first) | calibration_figures(total, out.schema, out.columns.folds)
    out.point = {k: float(v[0]) for k, v in point.items()}
    r = out.resampler
    sums = out.columns.split(r.sums(r.gather(out.columns.values)))
    samples = count_figures(sums, out.schema, lambda name, _: out.chosen[name])
    out.samples = {**samples, **calibration_figures(sums, out.schema, out.columns.folds)}


def _rank(out: Unit, resampler: Resampler | None) -> None:
    """AUROC and average precision by class and their means; without resamples where none are given."""
    if not out.table.ranked or not len(out.table):
        return
    names = out.schema.names
    wanted = [names[positive_index(out.schema)]] if out.schema.binary else list(names)
    for name in wanted:
        place = out.schema.index(name)
        found = rank_class(out.table.probabilities[:, place], out.table.states[:, place], out.table.fold, resampler)
        out.rankings[name] = found
        for figure, value, samples in (
            ("auroc", found.area, found.area_samples),
            ("average_precision", found.average, found.average_samples),
        ):
            out.point[(figure, name, None)], out.samples[(figure, name, None)] = value, samples
    if out.schema.binary:
        return
    for figure in ("auroc", "average_precision"):
        values = np.array([out.point[(figure, n, None)] for n in names])
        used = np.isfinite(values)
        out.chosen[figure] = used
        usable = [n for n, u in zip(names, used, strict=True) if u]
        out.point[(figure, None, "macro")] = float(values[used].mean()) if usable else np.nan
        columns = [out.samples[(figure, n, None)] for n in usable]
        out.samples[(figure, None, "macro")] = np.mean(columns, axis=0) if usable else np.zeros(0)


def _judge(out: Unit) -> None:
    """Intervals: shares first, because averages may fall back on them."""
    judge = out.judge
    for key, share in proportions(out.columns).items():
        out.judged[key] = judge.proportion(share)
    for name, found in out.rankings.items():
        parts = [(f.scores, f.positive, out.resampler.codes[f.rows]) for f in found.folds]
        out.judged[("auroc", name, None)] = judge.areas(parts, found.area_samples)
        if ("average_precision", name, None) not in out.point:
            continue
        with_positive = {int(c) for f in found.folds for c in out.resampler.codes[f.rows][f.positive]}
        fallback = judge.average_precision(found.average, len(with_positive)) if found.folds else None
        key = ("average_precision", name, None)
        out.judged[key] = judge.resampled(found.average_samples, fallback) if found.folds else Judged()
    for key in out.point:
        if key not in out.judged and np.isfinite(out.point[key]):
            out.judged[key] = _by_resampling(out, key)


def _by_resampling(out: Unit, key: Key) -> Judged:
    name, _target, _average = key
    samples = out.samples[key]
    if name == "ece":
        return out.judge.resampled(samples, shift_to=out.point[key])
    fallback = _fallback(out, key)
    if not samples.size:
        return fallback or Judged()
    if (
        fallback is not None
        and fallback.interval is not None
        and not out.judge.ranged
        and _errors(out, key) < FEW_ERRORS
    ):
        return fallback
    return out.judge.resampled(samples, fallback)


def _errors(out: Unit, key: Key) -> float:
    """Wrong decisions behind a figure; a rank figure has none of its own, its resamples decide."""
    name, target, _ = key
    if name in ("auroc", "average_precision", "brier", "log_loss"):
        return np.inf
    wrong = out.columns.column("fn") + out.columns.column("fp")
    if target is not None:
        return float(wrong[:, out.schema.index(target)].sum())
    # With exclusive classes a wrong decision is a miss of one class and an invention of another.
    return float(wrong.sum()) / (1 if out.schema.multilabel else 2)


def _fallback(out: Unit, key: Key) -> Judged | None:
    """An interval from formulas for what has none by itself."""
    name, target, average = key
    judge, names = out.judge, out.schema.names
    if average in ("macro", "weighted") or key == ("balanced_accuracy", None, None):
        part = "sensitivity" if name == "balanced_accuracy" else name
        used = out.chosen.get(part)
        keys = [(part, n, None) for n, u in zip(names, used, strict=True) if u] if used is not None else []
        if not keys or any(k not in out.judged for k in keys):
            return None
        weights = out.support[used] if average == "weighted" else np.ones(len(keys))
        return judge.average([out.point[k] for k in keys], [out.judged[k] for k in keys], list(weights))
    if name == "balanced_accuracy":
        pair: Sequence[Key] = [("sensitivity", target, None), ("specificity", target, None)]
        return judge.average([out.point[k] for k in pair], [out.judged[k] for k in pair], [1.0, 1.0])
    if name in ("kappa", "mcc"):
        accuracy = ("accuracy", target, None)
        return judge.carried(out.point[key], out.point[accuracy], out.judged[accuracy], _chance(out, target))
    return None


def _chance(out: Unit, target: str | None) -> float:
    """Agreement by chance of reference and decisions."""
    tp, fp, fn, tn = (out.columns.column(k).sum(0) for k in ("tp", "fp", "fn", "tn"))
    total = tp + fp + fn + tn
    if target is None:
        return float(((tp + fn) * (tp + fp) / total**2).sum())
    i = out.schema.index(target)
    return float(((tp + fn) * (tp + fp) + (tn + fp) * (tn + fn))[i] / total[i] ** 2)
