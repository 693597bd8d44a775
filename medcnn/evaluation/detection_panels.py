"""The tables of a detection: FROC, average precision, objects, images and patients, thresholds, subgroups, folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation import comparisons
from medcnn.evaluation.detection_figures import Detections, Key
from medcnn.evaluation.detection_findings import FindingFigures
from medcnn.evaluation.detection_words import (
    AGNOSTIC,
    AT_RATES,
    CURVES,
    FINDINGS,
    MAIN_RATE,
    OVERLAPS,
    label_of,
    per_words,
    rate_head,
)
from medcnn.evaluation.results import Figure, Panel, TablePanel
from medcnn.evaluation.subgroups import Subgroup, floor_note

_ALL = "all objects"
_FOUR = ("f1", "sensitivity", "precision", "accuracy")


def headline_keys(detections: Detections) -> list[Key]:
    """The figures that stand first."""
    keys: list[Key] = [(MAIN_RATE, None, None, "object"), ("average_precision_50", None, None, "object")]
    keys += [("average_precision_50", None, "macro", "object")] if detections.several else []
    keys.append(("f1", None, None, "object"))
    return [*keys, *((name, None, None, "image") for name in _FOUR)]


def main_tables(detections: Detections, thresholds: Sequence[Mapping[str, float]]) -> list[Panel]:
    """The tables of all figures."""
    return [
        froc_table(detections),
        precision_table(detections),
        object_table(detections),
        finding_table(detections),
        outcome_table(detections),
        threshold_table(detections, thresholds),
    ]


def _first(detections: Detections) -> str:
    return AGNOSTIC if detections.several else _ALL


def _targets(detections: Detections) -> list[tuple[str, str | None]]:
    """The rows of a table by class: its name, and the class."""
    rows: list[tuple[str, str | None]] = [(_first(detections), None)]
    return rows + ([(name, name) for name in detections.schema.names] if detections.several else [])


def froc_table(detections: Detections) -> TablePanel:
    """The mean of the sensitivities at the seven rates, and these."""
    rows = [
        [title, *(detections.figure((name, target, None, "object")) for name in CURVES)]
        for title, target in _targets(detections)
    ]
    header = ["Objects", "Mean", *(rate_head(rate) for rate in AT_RATES.values())]
    caption = (
        f"Share of the objects that is found, at so many {per_words(detections.settings.per)}. A row by class matches "
        "boxes of that class alone."
    )
    if not detections.images.negatives:
        caption += " No image is without findings: these are false positives of images with objects alone."
    return TablePanel("froc-table", "Sensitivity at rates of false positives (FROC)", header, rows, caption)


def precision_table(detections: Detections) -> TablePanel:
    """Average precision at its three overlaps."""
    rows: list[list[Any]] = []
    for title, target in _targets(detections):
        rows.append([title, *(detections.figure((name, target, None, "object")) for name in OVERLAPS)])
    if detections.several:
        rows.insert(1, ["mean over classes", *(detections.figure((k, None, "macro", "object")) for k in OVERLAPS)])
    header = ["Objects", "IoU 0.1", "IoU 0.5", "IoU 0.5:0.95"]
    caption = "By COCO's rule: interpolated at 101 recalls; 0.5:0.95 is the mean over ten overlaps."
    return TablePanel("average-precision", "Average precision", header, rows, caption)


def object_table(detections: Detections) -> TablePanel:
    """Objects found, missed and invented at the operating point."""
    kinds: list[tuple[str, str | None, str | None]] = [(_first(detections), None, None)]
    if detections.several:
        kinds += [("with the right class", None, "micro"), *((n, n, None) for n in detections.schema.names)]
    rows: list[list[Any]] = []
    for title, target, average in kinds:
        counts = [int(v.sum()) for v in detections.counts(target, average)]
        figures = [detections.figure((k, target, average, "object")) for k in ("sensitivity", "precision", "f1")]
        rows.append([title, counts[0], counts[2], counts[1], *figures])
    if detections.several:
        figures = [detections.figure((k, None, "macro", "object")) for k in ("sensitivity", "precision", "f1")]
        rows.insert(2, ["mean over classes", "", "", "", *figures])
    header = ["Objects", "Found", "Missed", "False positives", "Sensitivity", "Precision", "F1"]
    caption = "Boxes whose score reaches the threshold of their class. Objects have no true negatives: no accuracy."
    return TablePanel("objects", "Objects at the operating point", header, rows, caption)


def finding_table(detections: Detections) -> TablePanel:
    """Images and patients by any finding or none."""
    units = ["image", *(["patient"] if detections.patients is not None else [])]
    rows = [[f"{unit}s", *(detections.figure((k, None, None, unit)) for k in FINDINGS)] for unit in units]
    header = ["Unit", *(label_of(k, "image") for k in FINDINGS)]
    caption = (
        "Any finding or none: positive where the reference has an object, called positive where a box reaches its "
        "threshold; AUROC by the highest score. Right for the wrong place: the share of those rightly called positive "
        "in which no box hits an object."
    )
    return TablePanel("findings", "Any finding or none", header, rows, caption)


def outcome_table(detections: Detections) -> TablePanel:
    """How many images and patients are right and wrong."""
    sources: list[FindingFigures] = [detections.images]
    sources += [detections.patients] if detections.patients is not None else []
    rows = []
    for source in sources:
        tp, fp, fn, tn = (int(v.sum()) for v in source.four)
        unknown = int(np.isnan(source.findings.positive).sum())
        rows.append([f"{source.unit}s", tp, int(source.misplaced.sum()), fn, fp, tn, unknown])
    header = ["Unit", "Rightly positive", "Of these off the object", "Missed", "False alarm", "Rightly negative"]
    caption = "Not known: with ignored regions alone, which count neither way."
    return TablePanel("outcomes", "Right and wrong", [*header, "Not known"], rows, caption)


def threshold_table(detections: Detections, thresholds: Sequence[Mapping[str, float]]) -> TablePanel:
    """From which score on a box is called a finding, by class and fold."""
    names, fallback = detections.schema.names, detections.settings.fallback
    folds = max(len(thresholds), 1)
    chosen = [thresholds[k] if k < len(thresholds) else {} for k in range(folds)]
    rows: list[list[Any]] = [
        [name, *(float(t[name]) if name in t else f"{fallback:g} (not chosen)" for t in chosen)] for name in names
    ]
    header = ["Class", *([f"Fold {k}" for k in range(folds)] if folds > 1 else ["Threshold"])]
    words = detections.settings.operating_point
    return TablePanel("thresholds", "Operating point", header, rows, f"{words[:1].upper()}{words[1:]}.")


def _compared(detections: Detections) -> list[Key]:
    """The figures that subgroups and folds are compared by."""
    keys: list[Key] = [(MAIN_RATE, None, None, "object"), ("average_precision_50", None, None, "object")]
    keys += [("average_precision_50", None, "macro", "object")] if detections.several else []
    return [*keys, ("f1", None, None, "object"), ("f1", None, None, "image")]


def _heads(detections: Detections, keys: Sequence[Key]) -> list[str]:
    return [f"{detections.label(k)}{', mean over classes' if k[2] == 'macro' else ''}" for k in keys]


def _plain(detections: Detections, keys: Sequence[Key]) -> list[Figure]:
    return [replace(detections.figure(k), baseline=None, baseline_label="") for k in keys]


def subgroup_panels(detections: Detections, groups: Sequence[Subgroup]) -> list[TablePanel]:
    """A table an attribute; cells under their floor are shown and marked."""
    keys = _compared(detections)

    def row(rows: NDArray[np.bool_]) -> list[Any]:
        part = detections.rows(rows)
        return [len(part.table), *_plain(part, keys), floor_note(len(part.table), part.images.positives)]

    return comparisons.subgroup_tables(groups, row, ["Cases", *_heads(detections, keys)])


def folds_table(detections: Detections) -> TablePanel:
    """A row a fold, then mean, standard deviation and range of the folds' figures."""
    keys = _compared(detections)

    def row(rows: NDArray[np.bool_]) -> tuple[int, list[Figure]]:
        part = detections.rows(rows)
        return len(part.table), _plain(part, keys)

    return comparisons.folds_table(detections.table.fold, row, _heads(detections, keys))
