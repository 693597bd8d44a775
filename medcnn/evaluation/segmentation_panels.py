"""The tables of a segmentation: overlap, surfaces, voxels, lesions, volumes, empty masks, subgroups, folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation import comparisons
from medcnn.evaluation.results import Figure, Panel, TablePanel
from medcnn.evaluation.segmentation_figures import Key, Segments
from medcnn.evaluation.subgroups import Subgroup, floor_note

_MEAN_ROW = "mean over labels"
_FEW_LABELS = 3


def headline_keys(segments: Segments) -> list[Key]:
    """The figures that stand first: Dice of all labels and of each of a few, surfaces, lesions."""
    names = segments.schema.names
    keys = [segments.main("dice")]
    if 1 < len(names) <= _FEW_LABELS:
        keys += [("dice", name, None, "image") for name in names]
    return [*keys, segments.main("nsd"), segments.main("hd95_median"), segments.main("sensitivity", "object")]


def label_tables(segments: Segments) -> list[Panel]:
    """The tables with a row a label."""
    return [
        _overlap(segments),
        _surfaces(segments),
        _voxels(segments),
        _pooled(segments),
        _lesions(segments),
        presence_table(segments),
        _volumes(segments),
    ]


def _rows(segments: Segments, columns: Sequence[tuple[str, str]], *, mean: bool = True) -> list[list[Any]]:
    """The name of the label and its figures; last the mean over several labels, blank for what has none."""
    rows: list[list[Any]] = []
    for name in segments.schema.names:
        rows.append([name, *(segments.figure((k, name, None, u)) for k, u in columns)])
    if mean and len(segments.schema.names) > 1:
        known = set(segments.every_key())
        keys: list[Key] = [(k, None, "macro", u) for k, u in columns]
        rows.append([_MEAN_ROW, *(segments.figure(key) if key in known else "" for key in keys)])
    return rows


def _quartiles(segments: Segments, name: str, place: int) -> str:
    """``0.81 to 0.92``."""
    low, high = segments.quartiles(name, place)
    if np.isnan(low):
        return "–"
    return " to ".join("∞" if np.isinf(v) else f"{v:.3f}" if abs(v) < 10 else f"{v:.4g}" for v in (low, high))


def _with_quartiles(segments: Segments, rows: list[list[Any]], name: str, column: int) -> None:
    for place, row in enumerate(rows):
        row.insert(column, _quartiles(segments, name, place) if place < len(segments.schema.names) else "")


def _overlap(segments: Segments) -> TablePanel:
    rows = _rows(segments, [("dice", "image"), ("dice_median", "image"), ("iou", "image")])
    _with_quartiles(segments, rows, "dice", 3)
    counted = "patients, each by the mean of its cases" if segments.by_patient else "cases"
    caption = f"Of each case in its own grid, averaged over {counted}. Where one mask is empty and the other is not, 0."
    header = ["Label", "Dice", "Dice, median", "Dice, quartiles", "IoU"]
    return TablePanel("overlap", "Overlap by label", header, rows, caption)


def _surfaces(segments: Segments) -> TablePanel:
    keys = ["nsd", "hd95_median", "hd95", "assd_median", "assd"]
    rows = _rows(segments, [(k, "image") for k in keys])
    _with_quartiles(segments, rows, "hd95", 3)
    infinite = np.isinf(segments.cases("hd95")).sum(0)
    for place, row in enumerate(rows):
        row.append(int(infinite[place]) if place < len(infinite) else "")
    length = segments.units.length
    header = ["Label", segments.label("nsd"), segments.label("hd95_median"), "HD95, quartiles", "HD95, mean"]
    header += [segments.label("assd_median"), "ASSD, mean", "Infinite"]
    caption = (
        "HD95 is the 95th percentile of the Hausdorff distance, ASSD the average symmetric surface distance, both by "
        "area. Where one mask is empty and the other is not, a distance is infinite: it ranks last in median and "
        "quartiles, and leaves the mean undefined; the last column counts these cases."
    )
    if length == "px":
        caption += " The images have no spacing: distances are in pixels."
    return TablePanel("surfaces", "Surfaces by label", header, rows, caption)


def _voxels(segments: Segments) -> TablePanel:
    names = ["sensitivity", "precision", "accuracy"]
    rows = _rows(segments, [(k, "image") for k in names])
    caption = (
        "Of the voxels of each case, averaged over cases. F1 of voxels is Dice, which stands above. Accuracy counts "
        "background too, and says little where labels are small: beside it stands that of calling all background."
    )
    header = ["Label", "Sensitivity", "Precision", "Accuracy"]
    return TablePanel("voxels", "Voxels of a case by label", header, rows, caption)


def _pooled(segments: Segments) -> TablePanel:
    names = ["f1", "sensitivity", "precision", "accuracy", "foreground_share"]
    rows = _rows(segments, [(k, "voxel") for k in names])
    caption = "The voxels of all cases together, so that large objects weigh more."
    header = ["Label", "F1 (= Dice)", "Sensitivity", "Precision", "Accuracy", "Foreground share"]
    return TablePanel("pooled", "All voxels together", header, rows, caption)


def _lesions(segments: Segments) -> TablePanel:
    rows = _rows(segments, [(k, "object") for k in ("sensitivity", "precision", "f1")])
    counts = {k: segments.table.measures[f"lesion_{k}"].sum(0) for k in ("tp", "fp", "fn")}
    for place, row in enumerate(rows):
        found = [int(counts[k][place]) if place < len(counts[k]) else "" for k in ("tp", "fn", "fp")]
        row[1:1] = found
    caption = (
        "Lesions are connected components (26 neighbours, 8 in 2D), matched one to one. Where there are no true "
        "negatives, there is no accuracy."
    )
    header = ["Label", "Found", "Missed", "Invented", "Sensitivity", "Precision", "F1"]
    return TablePanel("lesions", "Lesions by label", header, rows, caption)


def presence_table(segments: Segments) -> TablePanel:
    """Cases by whether reference and prediction hold the label at all."""
    m = segments.table.measures
    annotated = m["annotated"] == 1
    wanted, made = m["tp"] + m["fn"] > 0, m["tp"] + m["fp"] > 0
    columns = [wanted & made, wanted & ~made, ~wanted & made & annotated, ~wanted & ~made & annotated, ~annotated]
    rows = [[name, *(int(c[:, i].sum()) for c in columns)] for i, name in enumerate(segments.schema.names)]
    header = ["Label", "In both", "Reference alone", "Prediction alone", "In neither", "Not annotated"]
    caption = (
        "Cases by whether a mask holds the label at all. In one mask alone: Dice 0, distance infinite. In neither: "
        "undefined, counted here and nowhere else."
    )
    return TablePanel("presence", "Cases with and without the label", header, rows, caption)


def _volumes(segments: Segments) -> TablePanel:
    names = ["volume_difference", "volume_loa_low", "volume_loa_high", "relative_volume_difference"]
    rows = _rows(segments, [(k, "image") for k in names], mean=False)
    reference = np.where(segments.comparable[:, None], segments.table.measures["reference_volume"], np.nan)
    reference = np.where(reference > 0, reference / segments.units.divisor, np.nan)
    for place, row in enumerate(rows):
        known = reference[~np.isnan(reference[:, place]), place]
        row.insert(1, float(known.mean()) if len(known) else None)
    unit = segments.units.volume
    header = [
        "Label",
        f"Mean reference volume [{unit}]",
        f"Difference [{unit}]",
        "Lower limit of agreement",
        "Upper limit of agreement",
        "Relative difference [%]",
    ]
    caption = "Predicted - reference; limits of agreement: mean ± 1.96 standard deviations of the differences of cases."
    return TablePanel("volumes", "Volumes by label", header, rows, caption)


def _compared(segments: Segments) -> list[Key]:
    """The figures that subgroups and folds are compared by."""
    names = segments.schema.names
    keys = [segments.main("dice")]
    if 1 < len(names) <= _FEW_LABELS:
        keys += [("dice", name, None, "image") for name in names]
    return [*keys, segments.main("nsd"), segments.main("hd95_median")]


def _heads(segments: Segments, keys: Sequence[Key]) -> list[str]:
    several = len(segments.schema.names) > 1
    labels = [segments.label(name, unit) for name, _, _, unit in keys]
    return [f"{text}, {key[1]}" if several and key[1] else text for text, key in zip(labels, keys, strict=True)]


def _plain(segments: Segments, keys: Sequence[Key]) -> list[Figure]:
    return [replace(segments.figure(k), baseline=None, baseline_label="") for k in keys]


def subgroup_panels(segments: Segments, groups: Sequence[Subgroup]) -> list[TablePanel]:
    """A table an attribute; cells under their floor are shown and marked."""
    keys = _compared(segments)

    def row(rows: NDArray[np.bool_]) -> list[Any]:
        part = segments.rows(rows)
        return [len(part.table), *_plain(part, keys), floor_note(len(part.table), None)]

    return comparisons.subgroup_tables(groups, row, ["Cases", *_heads(segments, keys)])


def folds_table(segments: Segments) -> TablePanel:
    """A row a fold, then mean, standard deviation and range of the folds' figures."""
    keys = _compared(segments)

    def row(rows: NDArray[np.bool_]) -> tuple[int, list[Figure]]:
        part = segments.rows(rows)
        return len(part.table), _plain(part, keys)

    return comparisons.folds_table(segments.table.fold, row, _heads(segments, keys))
