"""The evaluation of a regression: errors, agreement, and where they are largest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import DataError
from medcnn.evaluation import comparisons
from medcnn.evaluation.inputs import RegressionTable
from medcnn.evaluation.regression_figures import AGREEMENT, LABELS, Errors, label, measure
from medcnn.evaluation.remarks import check_settings, interval_warnings
from medcnn.evaluation.resampling import make_resampler
from medcnn.evaluation.results import (
    CaseTable,
    CurvePanel,
    DistributionPanel,
    Evaluation,
    Figure,
    GalleryItem,
    GalleryPanel,
    Panel,
    Series,
    TablePanel,
)
from medcnn.evaluation.subgroups import Subgroup, find_subgroups, floor_note

__all__ = ["RegressionTable", "case_rows", "evaluate_regression"]

HEADLINE = ("mae", "rmse", "r2", "bias")
_SHOWN = ("mae", "rmse", "bias")
MAX_POINTS = 2000
_NOTES = (
    "Definitions, undefined cases and interval methods: docs/metrics.md.",
    "Limits of agreement: bias ± 1.96 standard deviations of the differences (Bland & Altman).",
)


def evaluate_regression(
    table: RegressionTable,
    *,
    title: str,
    part: str,
    patients_known: bool,
    gallery: int,
    seed: int,
    unit: str,
    resamples: int = 2000,
    level: float = 0.95,
    subgroups: tuple[str, ...] | Literal["all"] = "all",
) -> Evaluation:
    """Figures with intervals, and what a report draws of them.

    Args:
        table: Predictions beside references; several folds are pooled.
        title: What is evaluated.
        part: Name of the evaluated part; ``test`` of several folds becomes ``out-of-fold``.
        patients_known: Whether patients are known, so that intervals may say so.
        gallery: Pictures in a gallery; 0 for none.
        seed: Fixes resamples.
        unit: Unit of the label; may be empty.
        resamples: Resamples of the bootstrap.
        level: Nominal coverage of intervals, between 0 and 1.
        subgroups: Attributes whose values get figures of their own, or all of them.

    Raises:
        DataError: If no case has a reference, or an option is out of range.
    """
    check_settings(resamples, level, 2, 1, ("image",))
    known = np.isfinite(table.values)
    if not known.any():
        raise DataError("no case of the evaluated part has a value", todo="check the column of the label")
    labelled = table.take(known)
    if len(np.unique(labelled.fold)) > 1 and part == "test":
        part = "out-of-fold"
    resampler = make_resampler(
        labelled.clusters, resamples=resamples, seed=seed, patients_known=patients_known, patients=labelled.patients,
        fold=labelled.fold,
    )  # fmt: skip
    return _gathered(measure(labelled, resampler, level, unit, part), table, title, gallery, subgroups)


def _gathered(
    errors: Errors, table: RegressionTable, title: str, gallery: int, subgroups: tuple[str, ...] | Literal["all"]
) -> Evaluation:
    """The figures with their panels, warnings and notes."""
    folds = len(np.unique(errors.table.fold))
    found = [errors.figure(name) for name in LABELS]
    groups, group_notes = find_subgroups(errors.table.attributes, subgroups)
    panels: list[Panel | None] = [_figures_table(errors), _missing(table), *_agreement(errors), _error_panel(errors)]
    panels += [*_subgroups(errors, groups), _folds(errors) if folds > 1 else None, _gallery(errors, gallery)]
    return Evaluation(
        task="regression",
        title=title,
        figures=found,
        headline=[(name, None, None, "image") for name in HEADLINE],
        panels=[p for p in panels if p is not None],
        warnings=interval_warnings(errors.resampler, folds, found),
        notes=[*_NOTES, *group_notes],
        details={
            "cases": len(table),
            "labelled": len(errors.table),
            "clusters": errors.resampler.count,
            "resampled": errors.resampler.resampled,
            "folds": folds,
            "unit": errors.unit,
        },
        cases=CaseTable(*case_rows(table)),
    )


def case_rows(table: RegressionTable) -> tuple[list[str], list[list[Any]]]:
    """A row a case for ``evaluation/cases.csv``: ids, reference, prediction and error (blank where unknown)."""
    rows: list[list[Any]] = []
    for i, case in enumerate(table.cases):
        value, predicted = float(table.values[i]), float(table.predicted[i])
        known = bool(np.isfinite(value))
        patient = "" if table.patients is None else str(table.patients[i])
        row = [case, patient, str(table.clusters[i]), int(table.fold[i])]
        rows.append([*row, value if known else "", predicted, predicted - value if known else ""])
    return ["case", "patient", "cluster", "fold", "reference", "predicted", "error"], rows


def _figures_table(errors: Errors) -> TablePanel:
    found = [errors.figure(name) for name in LABELS]
    # Bias, correlation and limits have no trivial figure to be held against: their place stays empty.
    rows = [[f.label, f, "" if f.baseline is None else f.baseline] for f in found]
    caption = "The baseline predicts the mean of these references for each case; blank where it says nothing."
    return TablePanel("errors", "Errors and agreement", ["Figure", "Value", "Baseline"], rows, caption)


def _missing(table: RegressionTable) -> TablePanel | None:
    count = int(np.isnan(table.values).sum())
    if not count:
        return None
    rows = [["without a value: predicted, not evaluated", count, len(table)]]
    return TablePanel("missing", "Missing labels", ["Cases", "Number", "Of"], rows)


def _agreement(errors: Errors) -> list[Panel]:
    """Predicted against reference, and difference against mean."""
    t, unit = errors.table, f" [{errors.unit}]" if errors.unit else ""
    shown = np.unique(np.linspace(0, len(t) - 1, min(len(t), MAX_POINTS)).round().astype(int))
    caption = f"{len(shown):,} of {len(t):,} cases, evenly chosen." if len(shown) < len(t) else ""
    both = np.concatenate([t.values, t.predicted])
    low, high = float(both.min()), float(both.max())
    scatter = Series("cases", _plain(t.values[shown]), _plain(t.predicted[shown]))
    mean, gap = (t.values + t.predicted) / 2, t.predicted - t.values
    ends = [float(mean.min()), float(mean.max())]
    lines = [Series("cases", _plain(mean[shown]), _plain(gap[shown]))]
    steps = np.linspace(ends[0], ends[1], 60)
    for name in ("loa_high", "bias", "loa_low"):
        # A line drawn of points, because the panel draws points.
        lines.append(Series(LABELS[name], _plain(steps), [float(errors.point[name])] * len(steps)))
    edges: tuple[float, float] = (low, high)
    text = f"{caption} Lines: bias and bias ± {AGREEMENT:g} standard deviations.".strip()
    return [
        CurvePanel(
            "agreement", "Predicted against reference", f"Reference{unit}", f"Predicted{unit}", [scatter], caption,
            diagonal=True, points=True, x_range=edges, y_range=edges,
        ),
        CurvePanel(
            "bland-altman", "Difference against mean", f"Mean of both{unit}", f"Predicted - reference{unit}", lines,
            text, points=True,
        ),
    ]  # fmt: skip


def _plain(values: Any) -> list[float]:
    return [float(f"{v:.6g}") for v in values]


def _error_panel(errors: Errors) -> DistributionPanel:
    gap = errors.table.predicted - errors.table.values
    shown = np.sort(gap)
    if len(shown) > MAX_POINTS:
        shown = shown[np.linspace(0, len(shown) - 1, MAX_POINTS).round().astype(int)]
    reach = float(np.abs(gap).max()) or 1.0
    unit = f" [{errors.unit}]" if errors.unit else ""
    bins = _plain(np.linspace(-reach, reach, 31))
    bins[0], bins[-1] = -reach * 1.000001, reach * 1.000001
    return DistributionPanel(
        "differences", "Differences", f"Predicted - reference{unit}", {"cases": _plain(shown)}, bins
    )


def _subgroups(errors: Errors, groups: Sequence[Subgroup]) -> list[TablePanel]:
    def row(rows: NDArray[np.bool_]) -> list[Any]:
        cases, found = _row(errors, rows)
        return [cases, *found, floor_note(cases, None)]

    return comparisons.subgroup_tables(groups, row, ["Cases", *(label(k, errors.unit) for k in _SHOWN)])


def _row(errors: Errors, rows: NDArray[np.bool_]) -> tuple[int, list[Figure]]:
    part = errors.rows(rows)
    return len(part.table), [part.figure(k) for k in _SHOWN]


def _folds(errors: Errors) -> TablePanel:
    heads = [label(k, errors.unit) for k in _SHOWN]
    return comparisons.folds_table(errors.table.fold, partial(_row, errors), heads)


def _gallery(errors: Errors, size: int) -> GalleryPanel | None:
    t, unit = errors.table, f" {errors.unit}" if errors.unit else ""
    order = np.argsort(-np.abs(t.predicted - t.values), kind="stable")[:size]
    items = [
        GalleryItem(t.cases[i], f"reference {t.values[i]:.4g}{unit}, predicted {t.predicted[i]:.4g}{unit}")
        for i in order.tolist()
    ]
    return GalleryPanel("errors", "Largest errors", items) if items else None
