"""The tables and the confusion matrix of a classification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation import comparisons
from medcnn.evaluation.compute import evaluate_rows
from medcnn.evaluation.counts import confusion, positive_index
from medcnn.evaluation.results import Figure, MatrixPanel, Panel, TablePanel
from medcnn.evaluation.subgroups import Subgroup, floor_note
from medcnn.evaluation.sums import Key
from medcnn.evaluation.thresholds import Choice
from medcnn.evaluation.unit import LABELS, Unit

# Two tables, because no page is wide enough for all of them.
_BY_CLASS = ("f1", "sensitivity", "precision", "accuracy", "specificity", "npv")
_BY_CLASS_MORE = ("balanced_accuracy", "mcc", "auroc", "average_precision", "brier", "ece")
_AVERAGED = (
    "f1",
    "sensitivity",
    "precision",
    "specificity",
    "npv",
    "auroc",
    "average_precision",
    "brier",
    "ece",
    "log_loss",
)


def headline_keys(unit: Unit) -> list[Key]:
    """The figures that stand first."""
    schema = unit.schema
    if schema.binary:
        positive = schema.names[positive_index(schema)]
        keys: list[Key] = [(k, positive, None) for k in ("f1", "sensitivity", "precision")]
        keys += [("accuracy", None, None), ("auroc", positive, None)]
    else:
        keys = [(k, None, "macro") for k in ("f1", "sensitivity", "precision")]
        keys.append(("exact_match" if schema.multilabel else "accuracy", None, None))
        keys.append(("auroc", None, "macro"))
    return [k for k in keys if k in unit.point]


# Heads of columns, where the full name makes a table too wide.
_SHORT = {
    "npv": "NPV",
    "average_precision": "Avg. precision",
    "balanced_accuracy": "Balanced acc.",
    "mcc": "Matthews",
    "ece": "Calibration err.",
}


def cells(unit: Unit, keys: Sequence[Key]) -> list[Figure | str]:
    """Figures by key; an empty text where the unit has no such figure, which is not the same as undefined."""
    return [unit.figure(*k) if k in unit.point else "" for k in keys]


def _heads(names: Sequence[str]) -> list[str]:
    return [_SHORT.get(n, LABELS[n]) for n in names]


def _suffix(unit: Unit) -> tuple[str, str]:
    return ("", "") if unit.unit == "image" else (f"-{unit.unit}", f", by {unit.unit}")


def class_tables(unit: Unit) -> list[TablePanel]:
    """A row a class: the figures of its decisions, then those of both sides together and of its probabilities."""
    names = list(unit.schema.names)
    if unit.schema.binary:
        names.insert(0, names.pop(positive_index(unit.schema)))
    about = "Each class against the rest."
    if unit.schema.binary:
        about = f"The positive class is {names[0]}; the other row looks from the other side."
    effects = [row["design_effect"] for row in unit.design_effects() if row["target"] is not None]
    caption = about if unit.schema.binary else f"{about} Accuracy stands beside that of calling no case positive."
    if effects:
        caption += f" Design effects of clusters: {min(effects):.2g} to {max(effects):.2g}, listed in metrics.json."
    tag, words = _suffix(unit)
    found = [_class_table(unit, names, _BY_CLASS, f"classes{tag}", f"Figures by class{words}", caption)]
    title = "Agreement and probabilities by class"
    if unit.schema.binary:
        title, about = "Probabilities", f"About {names[0]}, the positive class."
    found.append(_class_table(unit, names, _BY_CLASS_MORE, f"classes-more{tag}", f"{title}{words}", about))
    return [panel for panel in found if panel is not None]


def _class_table(
    unit: Unit, names: Sequence[str], figures: Sequence[str], panel: str, title: str, caption: str
) -> TablePanel | None:
    """Those of the figures that any class has; classes without any are left out."""
    columns = [k for k in figures if any((k, n, None) in unit.point for n in names)]
    # In the other table the known cases are the n of each figure.
    counted = unit.schema.multilabel and figures is _BY_CLASS
    rows: list[list[Any]] = []
    for name in names:
        found = cells(unit, [(k, name, None) for k in columns])
        if any(f != "" for f in found):
            place = unit.schema.index(name)
            known = [int(unit.known[place])] if counted else []
            rows.append([name, int(unit.support[place]), *known, *found])
    header = ["Class", "Positive", *(["Known"] if counted else []), *_heads(columns)]
    return TablePanel(panel, title, header, rows, caption) if rows else None


def averages_table(unit: Unit) -> TablePanel:
    """A row a figure: its macro, micro and weighted averages."""
    kinds = [a for a in ("macro", "micro", "weighted") if any(k[2] == a for k in unit.point)]
    names = [k for k in _AVERAGED if any(p[0] == k and p[2] is not None for p in unit.point)]
    rows = [[LABELS[name], *cells(unit, [(name, None, kind) for kind in kinds])] for name in names]
    tag, words = _suffix(unit)
    caption = "Macro: mean over the classes with a reference; weighted: by the number of positive cases."
    if unit.schema.multilabel:
        caption += " Micro: from the counts of all classes together."
    else:
        caption += " Micro-averaged figures of exclusive classes are equal to accuracy, which stands below."
    header = ["Figure", *(kind.capitalize() for kind in kinds)]
    return TablePanel(f"averages{tag}", f"Averages over classes{words}", header, rows, caption)


def overall_table(unit: Unit) -> TablePanel:
    """Figures over all classes, beside what needs no network."""
    keys = [k for k in unit.point if k[1] is None and k[2] is None]
    if unit.schema.binary:
        positive = unit.schema.names[positive_index(unit.schema)]
        keys += [k for k in unit.point if k in (("brier", positive, None), ("ece", positive, None))]
    order = list(LABELS)
    rows: list[list[Any]] = []
    for key in sorted(keys, key=lambda k: order.index(k[0])):
        figure = unit.figure(*key)
        # The baseline has a column of its own here.
        base: Any = "" if figure.baseline is None else figure.baseline
        rows.append([figure.label, replace(figure, baseline=None, baseline_label=""), base, figure.baseline_label])
    tag, words = _suffix(unit)
    caption = "The baseline is what a rule without any image would reach on these cases."
    return TablePanel(
        f"overall{tag}", f"Figures over all classes{words}", ["Figure", "Value", "Baseline", "Which one"], rows, caption
    )


def matrix_panel(unit: Unit) -> Panel:
    """The confusion matrix of exclusive classes; for several labels the four counts of each."""
    names = unit.schema.names
    tag, words = _suffix(unit)
    if unit.schema.multilabel:
        counts = [unit.columns.column(k).sum(0) for k in ("tp", "fp", "fn", "tn")]
        rows = [[n, *(int(c[i]) for c in counts)] for i, n in enumerate(names)]
        header = ["Class", "True positive", "False positive", "False negative", "True negative"]
        return TablePanel(f"counts{tag}", f"Counts by class{words}", header, rows, "Missing labels count nowhere.")
    table = confusion(unit.table.states, unit.decided)
    noun = "Images" if unit.unit == "image" else "Patients"
    caption = f"{noun} by reference (rows) and decision (columns)."
    return MatrixPanel(
        f"confusion{tag}", f"Confusion matrix{words}", "Reference", "Decision", list(names), list(names),
        [[int(v) for v in row] for row in table], caption,
    )  # fmt: skip


def thresholds_table(choices: Sequence[Sequence[Choice]], unit: Unit) -> TablePanel | None:
    """Thresholds with what they aimed at and reached on validation, and what they reached here.

    Args:
        choices: By fold.
        unit: Whose decisions they made.
    """
    several, aimed = len(choices) > 1, any(c.aimed is not None for chosen in choices for c in chosen)
    words = list(dict.fromkeys(c.rule for chosen in choices for c in chosen))
    rows: list[list[Any]] = []
    for fold, chosen in enumerate(choices):
        for c in chosen:
            chosen_on = f"{c.positives:,} + {c.negatives:,}" if c.positives + c.negatives else ""
            row: list[Any] = [f"fold {fold}"] if several else []
            row += [c.name, c.value, *([c.rule] if len(words) > 1 else []), *([c.aimed] if aimed else [])]
            row += [_or_blank(c.sensitivity), _or_blank(c.specificity), chosen_on]
            rows.append(row + _reached_here(unit, c.name, fold))
    if not rows:
        return None
    header = ["Fold"] if several else []
    header += ["Class", "Threshold", *(["Rule"] if len(words) > 1 else [])]
    header += ["Sensitivity aimed at"] if aimed else []
    header += [
        f"{what}, {where}" for where in ("validation", "here") for what in ("Sensitivity", "Specificity", "Cases")
    ]
    tag, by = _suffix(unit)
    caption = f"Rule: {words[0]}. " if len(words) == 1 else ""
    caption += (
        "A case is called positive from the threshold on. Cases: positive + negative ones. "
        "Intervals of what was reached here stand with the figures by class."
    )
    return TablePanel(f"thresholds{tag}", f"Thresholds{by}", header, rows, caption)


def _or_blank(value: float | None) -> float | str:
    """What was not measured is left blank: it is not undefined."""
    return "" if value is None else value


def _reached_here(unit: Unit, name: str, fold: int) -> list[Any]:
    rows, place = unit.table.fold == fold, unit.schema.index(name)
    tp, fp, fn, tn = (float(unit.columns.column(k)[rows, place].sum()) for k in ("tp", "fp", "fn", "tn"))
    reached = [tp / (tp + fn) if tp + fn else None, tn / (tn + fp) if tn + fp else None]
    return [*reached, f"{int(tp + fn):,} + {int(tn + fp):,}"]


def subgroup_keys(unit: Unit) -> list[Key]:
    """The figures shown for each subgroup and fold."""
    schema = unit.schema
    if schema.binary:
        positive = schema.names[positive_index(schema)]
        keys: list[Key] = [(k, positive, None) for k in ("f1", "sensitivity", "specificity", "precision")]
        keys += [("accuracy", None, None), ("auroc", positive, None)]
    else:
        keys = [(k, None, "macro") for k in ("f1", "sensitivity", "precision")]
        keys += [("exact_match" if schema.multilabel else "accuracy", None, None), ("auroc", None, "macro")]
    return [k for k in keys if k in unit.point]


def subgroup_panels(unit: Unit, groups: Sequence[Subgroup]) -> list[TablePanel]:
    """A table an attribute; cells under their floor are shown and marked."""
    keys = subgroup_keys(unit)
    tag, words = _suffix(unit)
    binary = unit.schema.binary

    def row(rows: NDArray[np.bool_]) -> list[Any]:
        part = evaluate_rows(unit, rows)
        positives = int(part.support[positive_index(unit.schema)]) if binary else None
        count = len(part.table)
        return [count, *([positives] if binary else []), *cells(part, keys), floor_note(count, positives)]

    heads = ["Cases", *(["Positive"] if binary else []), *(unit.figure(*k).label for k in keys)]
    return comparisons.subgroup_tables(groups, row, heads, tag=tag, words=words)


def folds_table(unit: Unit) -> TablePanel:
    """A row a fold, then mean, standard deviation and range of the folds' figures."""
    keys = subgroup_keys(unit)

    def row(rows: NDArray[np.bool_]) -> tuple[int, list[Figure | str]]:
        part = evaluate_rows(unit, rows)
        return len(part.table), cells(part, keys)

    return comparisons.folds_table(unit.table.fold, row, [unit.figure(*k).label for k in keys])


def units_table(images: Unit, patients: Unit, rule: str) -> TablePanel:
    """The main figures by image and by patient, side by side."""
    keys = subgroup_keys(images)
    rows = [[images.figure(*k).label, *cells(images, [k]), *cells(patients, [k])] for k in keys]
    caption = f"A patient's probability: {rule}. {len(images.table):,} images, {len(patients.table):,} patients."
    return TablePanel("units", "By image and by patient", ["Figure", "By image", "By patient"], rows, caption)
