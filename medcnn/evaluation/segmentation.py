"""The evaluation of a segmentation: overlap, surfaces, volumes and lesions of cases, in their own grids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from medcnn.errors import DataError
from medcnn.evaluation.judging import Judge
from medcnn.evaluation.remarks import check_settings, interval_warnings
from medcnn.evaluation.resampling import make_resampler
from medcnn.evaluation.results import CaseTable, Evaluation, Panel
from medcnn.evaluation.segmentation_cases import (
    agreement_panels,
    case_rows,
    distributions,
    galleries,
    worst_table,
)
from medcnn.evaluation.segmentation_figures import Segments, find_units
from medcnn.evaluation.segmentation_panels import folds_table, headline_keys, label_tables, subgroup_panels
from medcnn.evaluation.segmentation_table import SegmentationTable, read_measures, write_measures
from medcnn.evaluation.subgroups import find_subgroups
from medcnn.types import LabelSchema

__all__ = [
    "SegmentationTable",
    "check_segmentation_options",
    "evaluate_segmentation",
    "measure_options",
    "read_measures",
    "write_measures",
]


def evaluate_segmentation(
    table: SegmentationTable, schema: LabelSchema, *,
    title: str, part: str, patients_known: bool, gallery: int, seed: int, baseline: SegmentationTable | None,
    tolerance: float = 1.0, match_iou: float = 0.1, resamples: int = 2000, level: float = 0.95,
    subgroups: tuple[str, ...] | Literal["all"] = "all",
) -> Evaluation:  # fmt: skip
    """Figures with intervals, and what a report draws of them; docs/metrics.md has all definitions.

    Args:
        table: The measures of cases; several folds are pooled.
        schema: The labels, in the order of the table's columns.
        title: What is evaluated.
        part: Name of the evaluated part; ``test`` of several folds becomes ``out-of-fold``.
        patients_known: Whether patients are known, so that intervals may say so and each patient counts once.
        gallery: Pictures in a gallery; 0 for none.
        seed: Fixes resamples.
        baseline: The measures of the trivial baseline, the mean training mask, for the same rows; ``None`` where
            there is none.
        tolerance: Distance in mm (px without spacing) up to which a surface counts as right in the surface Dice.
        match_iou: Least intersection over union at which a predicted lesion stands for one of the reference.
        resamples: Resamples of the bootstrap.
        level: Nominal coverage of intervals, between 0 and 1.
        subgroups: Attributes whose values get figures of their own, or all of them.

    Raises:
        DataError: If no label of any case is annotated, or an option is out of range.
        ValueError: If table, labels and baseline do not go together.
    """
    if (len(table) and table.labels != len(schema.names)) or (baseline is not None and baseline.cases != table.cases):
        raise ValueError(f"{len(schema.names)} labels and a table with {table.labels}, or a baseline of other cases")
    options = {"tolerance": tolerance, "match_iou": match_iou, "resamples": resamples, "level": level}
    check_segmentation_options(schema, options)
    if not (table.measures["annotated"] == 1).any():
        raise DataError("no case of the evaluated part has a reference mask", todo="check how masks are found")
    folds = len(np.unique(table.fold))
    resampler = make_resampler(
        table.clusters, resamples=resamples, seed=seed, patients_known=patients_known, patients=table.patients,
        fold=table.fold,
    )  # fmt: skip
    by_patient = bool(patients_known and table.patients is not None and len(np.unique(table.patients)) < len(table))
    part = "out-of-fold" if folds > 1 and part == "test" else part
    units = find_units(table)
    judge = Judge(resampler, level)
    trivial = None if baseline is None else baseline.measures["dice"]
    segments = Segments(table, schema, resampler, judge, part, by_patient, tolerance, units, trivial)
    return _gathered(segments, title, gallery, subgroups, match_iou)


def check_segmentation_options(schema: LabelSchema, options: Mapping[str, Any]) -> None:
    """Refuse options of a recipe's ``evaluation`` section that are out of range, before training.

    Raises:
        DataError: Naming the key.
    """
    check_settings(options.get("resamples", 2000), options.get("level", 0.95), 2, 1, ("image",))
    tolerance, least = options.get("tolerance", 1.0), options.get("match_iou", 0.1)
    if not 0 <= tolerance < float("inf"):
        raise DataError(f"{tolerance:g} is no distance", where="evaluation.tolerance", todo="give mm, 0 or more")
    if not 0 < least <= 1:
        raise DataError(
            f"{least:g} is no intersection over union",
            where="evaluation.match_iou",
            todo="give a share above 0 and up to 1",
        )


def measure_options(options: Mapping[str, Any]) -> dict[str, float]:
    """Those options of the ``evaluation`` section that single cases are measured by, with their defaults."""
    return {"tolerance": float(options.get("tolerance", 1.0)), "match_iou": float(options.get("match_iou", 0.1))}


def _gathered(
    segments: Segments, title: str, gallery: int, subgroups: tuple[str, ...] | Literal["all"], match_iou: float
) -> Evaluation:
    """The figures with their panels, warnings and notes."""
    table, names = segments.table, segments.schema.names
    folds = len(np.unique(table.fold))
    groups, group_notes = find_subgroups(table.attributes, subgroups)
    figures = [segments.figure(key) for key in segments.every_key()]
    panels: list[Panel | None] = [*label_tables(segments), *distributions(segments), *agreement_panels(segments)]
    panels += [*subgroup_panels(segments, groups), folds_table(segments) if folds > 1 else None]
    panels += [worst_table(segments), *galleries(segments, gallery)]
    return Evaluation(
        task="segmentation",
        title=title,
        figures=figures,
        headline=headline_keys(segments),
        panels=[p for p in panels if p is not None],
        warnings=[*interval_warnings(segments.resampler, folds, figures), *_warnings(segments)],
        notes=[*_notes(segments, match_iou), *group_notes],
        details={
            "cases": len(table),
            "clusters": segments.resampler.count,
            "resampled": segments.resampler.resampled,
            "folds": folds,
            "labels": list(names),
            "length_unit": segments.units.length,
            "volume_unit": segments.units.volume,
            "tolerance": segments.tolerance,
            "match_iou": match_iou,
        },
        cases=CaseTable(*case_rows(table, names)),
    )


def _warnings(segments: Segments) -> list[str]:
    """What a reviewer must see of empty masks, missing labels and units."""
    m, names = segments.table.measures, segments.schema.names
    out = []
    absent = [n for n, c in zip(names, (m["tp"] + m["fn"]).sum(0), strict=True) if c == 0]
    if absent:
        out.append(f"No case has {', '.join(absent)} in the reference.")
    infinite = np.isinf(m["hd95"]).any(1)
    if infinite.any():
        out.append(
            f"In {int(infinite.sum()):,} of {len(segments.table):,} cases one mask of a label is empty and the other "
            "is not: Dice is 0 there, distances are infinite and rank last."
        )
    other = int((~segments.comparable).sum())
    if other:
        out.append(
            f"{other:,} cases are in another unit than {segments.units.length} in {segments.units.dims} axes: they "
            "are left out of all figures of distances and volumes."
        )
    return out


def _notes(segments: Segments, match_iou: float) -> list[str]:
    """Definitions and rules in force."""
    length = segments.units.length
    out = [
        "Definitions, undefined cases and interval methods: docs/metrics.md.",
        "Dice, IoU and distances are of each case in the grid of its own image, then averaged over cases"
        + (" of a patient, then over patients." if segments.by_patient else "."),
        f"Surface Dice: the share of both surfaces that lies within {segments.tolerance:g} {length} of the other.",
        f"A lesion is found where a predicted component has an intersection over union of at least {match_iou:g} with "
        "it; components are matched one to one.",
        "A label that is in one mask alone has Dice 0 and an infinite distance; in neither it is undefined.",
    ]
    if segments.baseline is not None:
        out.append("The baseline of Dice is one mask for all cases: the mean mask of the training part.")
    r = segments.resampler
    if r.kind == "bootstrap":
        drawn = f"{r.weights.shape[1]:,} times {r.count:,} {r.noun}"
        out.append(f"The bootstrap draws {drawn} with replacement{', ' + r.strata if r.strata else ''}.")
    return out
