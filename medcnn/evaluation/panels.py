"""The tables and the confusion matrix of a classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medcnn.evaluation.compute import evaluate_rows
from medcnn.evaluation.counts import confusion, positive_index
from medcnn.evaluation.results import Figure, MatrixPanel, Panel, TablePanel
from medcnn.evaluation.subgroups import Subgroup, floor_note
from medcnn.evaluation.sums import Key
from medcnn.evaluation.thresholds import Choice
from medcnn.evaluation.unit import LABELS, Unit

_BY_CLASS = ("f1", "sensitivity", "precision", "specificity", "npv", "accuracy", "auroc", "average_precision")
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


def cells(unit: Unit, keys: Sequence[Key | None]) -> list[Figure | None]:
    """Figures by key; ``None`` where the unit has no such figure."""
    return [unit.figure(*k) if k is not None and k in unit.point else None for k in keys]


def _suffix(unit: Unit) -> tuple[str, str]:
    return ("", "") if unit.unit == "image" else (f"-{unit.unit}", f", by {unit.unit}")


def class_table(unit: Unit) -> TablePanel:
    """A row a class: positives and the figures of the class against the rest."""
    columns = [k for k in _BY_CLASS if any(k == p[0] and p[1] is not None for p in unit.point)]
    names = list(unit.schema.names)
    if unit.schema.binary:
        names.insert(0, names.pop(positive_index(unit.schema)))
    rows = []
    for name in names:
        place = unit.schema.index(name)
        found = cells(unit, [(k, name, None) for k in columns])
        rows.append([name, int(unit.support[place]), int(unit.known[place]), *found])
    tag, words = _suffix(unit)
    caption = "Each class against the rest. Accuracy stands beside that of calling no case positive."
    if unit.schema.binary:
        caption = f"{names[0]} is the positive class; the other row looks from the other side."
    header = ["Class", "Positive", "Known", *(LABELS[k] for k in columns)]
    return TablePanel(f"classes{tag}", f"Figures by class{words}", header, rows, caption)


def averages_table(unit: Unit) -> TablePanel:
    """Macro, micro and weighted averages."""
    kinds = [a for a in ("macro", "micro", "weighted") if any(k[2] == a for k in unit.point)]
    columns = [k for k in _AVERAGED if any(p[0] == k and p[2] is not None for p in unit.point)]
    rows = [[kind, *cells(unit, [(k, None, kind) for k in columns])] for kind in kinds]
    tag, words = _suffix(unit)
    caption = "macro: mean over the classes with a reference; weighted: by the number of positive cases."
    if unit.schema.multilabel:
        caption += " micro: from the counts of all classes together."
    else:
        caption += " Micro-averaged figures of exclusive classes are equal to accuracy, which stands below."
    return TablePanel(
        f"averages{tag}", f"Averages over classes{words}", ["Average", *(LABELS[k] for k in columns)], rows, caption
    )


def overall_table(unit: Unit) -> TablePanel:
    """Figures over all classes, beside what needs no network."""
    keys = [k for k in unit.point if k[1] is None and k[2] is None]
    if unit.schema.binary:
        positive = unit.schema.names[positive_index(unit.schema)]
        keys += [k for k in unit.point if k in (("brier", positive, None), ("ece", positive, None))]
    order, rows = list(LABELS), []
    for key in sorted(keys, key=lambda k: order.index(k[0])):
        figure = unit.figure(*key)
        rows.append([figure.label, figure, figure.baseline, figure.baseline_label or None])
    tag, words = _suffix(unit)
    caption = "The baseline is what a rule without any image would reach on these cases."
    return TablePanel(
        f"overall{tag}", f"Figures over all classes{words}", ["Figure", "Value", "Baseline", "Which"], rows, caption
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
    several = len(choices) > 1
    rows: list[list[Any]] = []
    for fold, chosen in enumerate(choices):
        for c in chosen:
            here = unit.table.fold == fold
            place = unit.schema.index(c.name)
            tp, fp, fn, tn = (float(unit.columns.column(k)[here, place].sum()) for k in ("tp", "fp", "fn", "tn"))
            row: list[Any] = [c.name, c.value, c.rule, c.aimed, c.sensitivity, c.specificity, c.positives, c.negatives]
            row += [
                tp / (tp + fn) if tp + fn else None,
                tn / (tn + fp) if tn + fp else None,
                int(tp + fn),
                int(tn + fp),
            ]
            rows.append([fold, *row] if several else row)
    if not rows:
        return None
    header = [
        "Class",
        "Threshold",
        "Rule",
        "Sensitivity aimed at",
        "Reached on validation",
        "Specificity on validation",
    ]
    header += [
        "Positive there",
        "Negative there",
        "Sensitivity here",
        "Specificity here",
        "Positive here",
        "Negative here",
    ]
    tag, words = _suffix(unit)
    caption = (
        "A case is called positive from the threshold on. Intervals of what was reached here stand in the figures."
    )
    return TablePanel(f"thresholds{tag}", f"Thresholds{words}", ["Fold", *header] if several else header, rows, caption)


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
    panels = []
    for attribute in dict.fromkeys(g.attribute for g in groups):
        rows = [_subgroup_row(unit, g, keys) for g in groups if g.attribute == attribute]
        header = [attribute, "Cases", *(["Positive"] if unit.schema.binary else [])]
        header += [unit.figure(*k).label for k in keys] + ["Caution"]
        caption = (
            "Intervals are of each group by itself; a difference between groups needs more than two that do not meet."
        )
        panels.append(
            TablePanel(f"subgroup-{attribute}{tag}", f"By {attribute}{words}", header, rows, caption, "subgroups")
        )
    return panels


def _subgroup_row(unit: Unit, group: Subgroup, keys: Sequence[Key]) -> list[Any]:
    part = evaluate_rows(unit, group.rows)
    positives = int(part.support[positive_index(unit.schema)]) if unit.schema.binary else None
    count = len(part.table)
    row: list[Any] = [group.value, count, *([positives] if unit.schema.binary else [])]
    return [*row, *cells(part, keys), floor_note(count, positives)]


def folds_table(unit: Unit) -> TablePanel:
    """A row a fold, then mean, standard deviation and range of the folds' figures."""
    keys = subgroup_keys(unit)
    rows: list[list[Any]] = []
    values = []
    for fold in np.unique(unit.table.fold):
        part = evaluate_rows(unit, unit.table.fold == fold)
        found = cells(part, keys)
        rows.append([f"fold {fold}", len(part.table), *found])
        values.append([np.nan if f is None or f.value is None else float(f.value) for f in found])
    columns = [np.array(v)[np.isfinite(v)] for v in zip(*values, strict=True)]
    rows.append(["mean of the folds", None, *(float(c.mean()) if len(c) else None for c in columns)])
    rows.append(["standard deviation", None, *(float(c.std(ddof=1)) if len(c) > 1 else None for c in columns)])
    rows.append(["lowest", None, *(float(c.min()) if len(c) else None for c in columns)])
    rows.append(["highest", None, *(float(c.max()) if len(c) else None for c in columns)])
    caption = "Each fold's network on the cases that it did not see. The spread mixes networks and cases."
    header = ["Fold", "Cases", *(unit.figure(*k).label for k in keys)]
    return TablePanel("folds", "Figures by fold", header, rows, caption, "folds")


def units_table(images: Unit, patients: Unit, rule: str) -> TablePanel:
    """The main figures by image and by patient, side by side."""
    keys = subgroup_keys(images)
    rows = [[images.figure(*k).label, *cells(images, [k]), *cells(patients, [k])] for k in keys]
    caption = f"A patient's probability: {rule}. {len(images.table):,} images, {len(patients.table):,} patients."
    return TablePanel("units", "By image and by patient", ["Figure", "By image", "By patient"], rows, caption)
