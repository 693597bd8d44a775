"""What is summed over cases, and the figures that follow from the sums.

Every figure but the rank figures is a function of a few sums over cases. One function computes them from sums
over all cases (the figure), over resamples (its interval), over one cluster, one subgroup or one fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation import metrics
from medcnn.evaluation.calibration import Binning, bin_edges, bin_index, log_losses
from medcnn.evaluation.counts import count, positive_index
from medcnn.types import LabelSchema

Array = NDArray[np.float64]
Key = tuple[str, str | None, str | None]
Sums = Mapping[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class CaseSums:
    """Columns to be summed over cases.

    Attributes:
        values: ``(N, K)``.
        places: Columns by name.
        schema: The classes.
        folds: Number of folds, within which calibration is computed.
    """

    values: Array
    places: Mapping[str, slice]
    schema: LabelSchema
    folds: int = 1

    def split(self, sums: Array) -> Sums:
        """``(K, B)`` sums by name, ``(columns, B)`` each."""
        return {name: sums[place] for name, place in self.places.items()}

    def column(self, name: str) -> Array:
        """``(N, columns)`` of one name."""
        return self.values[:, self.places[name]]

    def total(self, rows: NDArray[Any] | None = None) -> Sums:
        """Sums over all cases, or some of them, ``(columns, 1)`` each."""
        chosen = self.values if rows is None else self.values[rows]
        return self.split(chosen.sum(0)[:, None])


def case_sums(
    states: NDArray[Any],
    decided: NDArray[np.bool_],
    probabilities: NDArray[Any] | None,
    fold: NDArray[Any],
    schema: LabelSchema,
    *,
    bins: int = 15,
    binning: Binning = "mass",
) -> CaseSums:
    """The columns for classification.

    Args:
        states: ``(N, C)``: 1, 0 or NaN for missing; exclusive classes have no missing row any more.
        decided: ``(N, C)``.
        probabilities: ``(N, C)``; ``None`` where there are decisions alone.
        fold: ``(N,)``.
        schema: The classes.
        bins: Bins of the calibration error.
        binning: How they are laid.
    """
    counts = count(states, decided, schema.names)
    assert counts.tn is not None
    known = np.isfinite(states)
    four = {"tp": counts.tp, "fp": counts.fp, "fn": counts.fn, "tn": counts.tn}
    columns: dict[str, Array] = {k: np.asarray(v, np.float64) for k, v in four.items()}
    if schema.multilabel:
        whole = known.all(1)
        columns["whole"] = whole[:, None].astype(np.float64)
        columns["exact"] = (whole & (decided == (states == 1)).all(1))[:, None].astype(np.float64)
    else:
        true, called = (states == 1).astype(np.float64), decided.astype(np.float64)
        columns["confusion"] = (true[:, :, None] * called[:, None, :]).reshape(len(states), len(schema.names) ** 2)
    if probabilities is not None:
        columns |= _calibration_columns(
            np.asarray(probabilities, np.float64), states, known, fold, schema, bins, binning
        )
    places, start = {}, 0
    for name, column in columns.items():
        places[name] = slice(start, start + column.shape[1])
        start += column.shape[1]
    values = np.concatenate(list(columns.values()), axis=1)
    return CaseSums(values, places, schema, len(np.unique(fold)) if len(fold) else 1)


def _calibration_columns(
    p: Array, states: NDArray[Any], known: NDArray[np.bool_], fold: NDArray[Any], schema: LabelSchema, bins: int,
    binning: Binning,
) -> dict[str, Array]:  # fmt: skip
    squared = np.where(known, (p - states) ** 2, 0.0)
    columns = {"brier": squared}
    losses = log_losses(p, states, exclusive=not schema.multilabel)
    columns["log_loss"] = np.nan_to_num(losses if schema.multilabel else losses[:, None])
    pairs = {f"ece:{n}": (p[:, i], states[:, i]) for i, n in enumerate(schema.names)}
    if not schema.multilabel and not schema.binary and len(p):
        # The calibration of the decision itself: is the highest probability the share of right decisions?
        top = p.argmax(1)
        pairs["ece"] = (p.max(1), (states[np.arange(len(p)), top] == 1).astype(np.float64))
    for name, (predicted, observed) in pairs.items():
        blocks = [_gaps(predicted, observed, fold == f, bins, binning) for f in np.unique(fold)]
        columns[name] = np.concatenate(blocks, axis=1) if blocks else np.zeros((0, 0))
    folds = np.unique(fold)
    # Cases by class and fold, the denominators of the calibration error.
    columns["folds"] = np.concatenate([known * (fold == f)[:, None] for f in folds], axis=1).astype(np.float64)
    return columns


def _gaps(p: Array, y: NDArray[Any], rows: NDArray[np.bool_], bins: int, binning: Binning) -> Array:
    """``(N, bins)`` observed minus predicted of each case in the column of its bin; 0 outside the rows."""
    rows = rows & np.isfinite(y)
    edges = bin_edges(p[rows], bins, binning)
    # Joined quantiles leave columns of zeros, so that all folds have the same number of columns.
    out = np.zeros((len(p), bins))
    at = np.flatnonzero(rows)
    out[at, bin_index(p[at], edges)] = y[at] - p[at]
    return out


def count_figures(sums: Sums, schema: LabelSchema, used: Callable[[str, Array], NDArray[np.bool_]]) -> dict[Key, Array]:
    """Figures from counts, ``(B,)`` each.

    Args:
        sums: By name, ``(columns, B)`` each.
        schema: The classes.
        used: Tells, for the name of a figure and its ``(C, B)`` values, which classes its averages take.
    """
    tp, fp, fn, tn = (sums[k] for k in ("tp", "fp", "fn", "tn"))
    support = tp + fn
    by_class = {
        "f1": metrics.f1(tp, fp, fn),
        "sensitivity": metrics.sensitivity(tp, fn),
        "precision": metrics.precision(tp, fp),
        "specificity": metrics.specificity(tn, fp),
        "npv": metrics.npv(tn, fn),
    }
    averaged = ("f1", "sensitivity", "precision", "specificity", "npv")
    if not schema.binary:
        by_class |= {
            "accuracy": metrics.accuracy(tp, fp, fn, tn),
            "balanced_accuracy": metrics.balanced_accuracy(tp, fp, fn, tn),
            "mcc": metrics.matthews(tp, fp, fn, tn),
        }
    out: dict[Key, Array] = {}
    for name, values in by_class.items():
        out |= {(name, c, None): v for c, v in zip(schema.names, values, strict=True)}
    for name in averaged:
        values = by_class[name]
        chosen = used(name, values)
        # A class that a resample has lost leaves the average undefined there, not smaller.
        present = np.where(support > 0, values, np.nan)
        out[(name, None, "macro")] = metrics.macro(present, chosen)
        if name in ("f1", "sensitivity", "precision"):
            out[(name, None, "weighted")] = metrics.weighted(values, support, chosen)
    return out | (_multilabel(sums) if schema.multilabel else _exclusive(sums, support, out))


def _multilabel(sums: Sums) -> dict[Key, Array]:
    tp, fp, fn, tn = (sums[k].sum(0) for k in ("tp", "fp", "fn", "tn"))
    return {
        ("f1", None, "micro"): metrics.f1(tp, fp, fn),
        ("sensitivity", None, "micro"): metrics.sensitivity(tp, fn),
        ("precision", None, "micro"): metrics.precision(tp, fp),
        ("exact_match", None, None): metrics.ratio(sums["exact"][0], sums["whole"][0]),
        ("hamming_accuracy", None, None): metrics.accuracy(tp, fp, fn, tn),
    }


def _exclusive(sums: Sums, support: Array, figures: Mapping[Key, Array]) -> dict[Key, Array]:
    classes = len(support)
    matrix = np.moveaxis(sums["confusion"].reshape(classes, classes, -1), -1, 0)
    return {
        ("accuracy", None, None): metrics.ratio(sums["tp"].sum(0), support.sum(0)),
        ("balanced_accuracy", None, None): figures[("sensitivity", None, "macro")],
        ("mcc", None, None): metrics.matthews_matrix(matrix),
        ("kappa", None, None): metrics.cohen_kappa(matrix),
    }


def calibration_figures(sums: Sums, schema: LabelSchema, folds: int) -> dict[Key, Array]:
    """Brier score, log loss and calibration error, ``(B,)`` each; empty where there are no probabilities."""
    if "brier" not in sums:
        return {}
    names = schema.names
    known = sum(sums[k] for k in ("tp", "fp", "fn", "tn"))
    by_fold = sums["folds"].reshape(folds, len(names), -1)
    brier, ece = metrics.ratio(sums["brier"], known), {}
    for i, name in enumerate(names):
        ece[name] = _calibration_error(sums[f"ece:{name}"], by_fold[:, i])
    out: dict[Key, Array] = {}
    if schema.multilabel:
        losses = metrics.ratio(sums["log_loss"], known)
        out |= {("brier", n, None): v for n, v in zip(names, brier, strict=True)}
        out |= {("ece", n, None): v for n, v in ece.items()}
        return out | {
            ("brier", None, "macro"): brier.mean(0),
            ("ece", None, "macro"): np.mean(list(ece.values()), axis=0),
            ("log_loss", None, "macro"): losses.mean(0),
        }
    # Every row has as many known states as there are classes: any class's number is the number of cases.
    total = np.asarray(known)[0]
    out[("log_loss", None, None)] = metrics.ratio(sums["log_loss"][0], total)
    if schema.binary:
        positive = positive_index(schema)
        return out | {
            ("brier", names[positive], None): brier[positive],
            ("ece", names[positive], None): ece[names[positive]],
        }
    out |= {("brier", n, None): v for n, v in zip(names, brier, strict=True)}
    out |= {("ece", n, None): v for n, v in ece.items()}
    out[("brier", None, None)] = metrics.ratio(sums["brier"].sum(0), total)
    out[("ece", None, None)] = _calibration_error(sums["ece"], by_fold[:, 0])
    return out


def _calibration_error(gaps: Array, totals: Array) -> Array:
    """Calibration error within each fold, averaged; ``gaps`` ``(bins of all folds, B)``, ``totals`` ``(folds, B)``."""
    folds, columns = totals.shape
    errors = metrics.ratio(np.abs(gaps).reshape(folds, -1, columns).sum(1), totals)
    defined = np.isfinite(errors)
    return metrics.ratio(np.where(defined, errors, 0.0).sum(0), defined.sum(0))


@dataclass(frozen=True, slots=True, eq=False)
class Proportion:
    """A figure that is a share of units, or F1 by way of one.

    Attributes:
        hits: ``(N,)`` units of each case in the numerator.
        totals: ``(N,)`` units of each case in the denominator.
        overlap: The share is tp / (tp + fp + fn), to be carried over to F1.
    """

    hits: Array
    totals: Array
    overlap: bool = False


def proportions(columns: CaseSums) -> dict[Key, Proportion]:
    """The figures that are shares, from the columns of :func:`case_sums`."""
    schema = columns.schema
    tp, fp, fn, tn = (columns.column(k) for k in ("tp", "fp", "fn", "tn"))
    out: dict[Key, Proportion] = {}
    for i, name in enumerate(schema.names):
        a, b, c, d = tp[:, i], fp[:, i], fn[:, i], tn[:, i]
        out[("f1", name, None)] = Proportion(a, a + b + c, overlap=True)
        out[("sensitivity", name, None)] = Proportion(a, a + c)
        out[("precision", name, None)] = Proportion(a, a + b)
        out[("specificity", name, None)] = Proportion(d, d + b)
        out[("npv", name, None)] = Proportion(d, d + c)
        if not schema.binary:
            out[("accuracy", name, None)] = Proportion(a + d, a + b + c + d)
    a, b, c, d = (v.sum(1) for v in (tp, fp, fn, tn))
    if schema.multilabel:
        out[("f1", None, "micro")] = Proportion(a, a + b + c, overlap=True)
        out[("sensitivity", None, "micro")] = Proportion(a, a + c)
        out[("precision", None, "micro")] = Proportion(a, a + b)
        out[("hamming_accuracy", None, None)] = Proportion(a + d, a + b + c + d)
        out[("exact_match", None, None)] = Proportion(columns.column("exact")[:, 0], columns.column("whole")[:, 0])
    else:
        out[("accuracy", None, None)] = Proportion(a, a + c)
    return out
