"""Masks of a part measured against their references, each case in its own grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images import read_case
from medcnn.data.labels import read_mask
from medcnn.errors import DataError
from medcnn.evaluation.segmentation import evaluate_segmentation, measure_options
from medcnn.evaluation.segmentation_case import LabelMeasures, measure_case
from medcnn.evaluation.segmentation_table import SegmentationTable, write_measures
from medcnn.tasks.base import EvaluationOptions
from medcnn.tasks.mask_postprocess import Change, Pair, choose, postprocessing
from medcnn.tasks.mask_predictions import MaskTable, read_mask_table
from medcnn.tasks.mask_readers import readers_agreement
from medcnn.tasks.predictions import describe_cases
from medcnn.types import Case, Image, Mask

if TYPE_CHECKING:
    from medcnn.evaluation.results import Evaluation
    from medcnn.tasks.segmentation import SegmentationTask


def read_reference(case: Case, task: SegmentationTask) -> tuple[NDArray[np.uint8], Image]:
    """The label map that a case is held against, and its image.

    Raises:
        DataError: If the case has none.
    """
    mask = case.target(Mask)
    if mask is None:
        raise DataError("the case has no mask to be held against", where=case.id, todo="evaluate annotated cases")
    image = read_case(case)
    reference = read_mask(
        mask, task.schema, image, resample=task.resample, consensus=task.consensus, drawn_on=case.images[0]
    )
    return reference, image


def measure_part(
    table: MaskTable,
    cases: Mapping[str, Case],
    task: SegmentationTask,
    options: Mapping[str, Any],
    *,
    change: Change | None = None,
    baseline: bool = False,
) -> list[list[LabelMeasures]]:
    """The measures of each case and label.

    Args:
        table: The predicted masks.
        cases: The cases, by id.
        task: The labels, and how references are read.
        options: The evaluation's options.
        change: Post-processing of the predictions.
        baseline: Measure the trivial baseline's masks instead.

    Raises:
        DataError: If a reference or a predicted mask can no longer be read.
    """
    schema, found = task.schema, []
    for number, name in enumerate(table.cases):
        reference, image = read_reference(cases[name], task)
        predicted = table.read(number, schema, image, baseline=baseline)
        if change is not None:
            predicted = change(predicted, image.spacing)
        found.append(
            measure_case(
                reference,
                predicted,
                len(schema.classes),
                image.spacing,
                overlapping=schema.multilabel,
                **measure_options(options),
            )
        )
    return found


def evaluate_masks(
    folders: Sequence[Path], cases: Mapping[str, Case], options: EvaluationOptions, task: SegmentationTask
) -> Evaluation:
    """The evaluation of predicted masks on disk, one folder a fold; measures are written beside the predictions."""
    tables, baselines = [], []
    for fold, folder in enumerate(folders):
        masks = read_mask_table(folder / f"{options.part}.csv", cases)
        change = postprocessing(_chosen(folder, cases, task, options, fold), task.schema)
        measured = measure_part(masks, cases, task, options.options, change=change)
        write_measures(folder / f"{options.part}_measures.csv", masks.cases, measured, task.schema.names)
        facts = describe_cases([cases[name] for name in masks.cases])
        facts["fold"] = np.full(len(measured), fold)
        tables.append(SegmentationTable.of(masks.cases, measured, **facts))
        if masks.has_baseline:
            trivial = measure_part(masks, cases, task, options.options, baseline=True)
            baselines.append(SegmentationTable.of(masks.cases, trivial, **facts))
    evaluation = evaluate_segmentation(
        SegmentationTable.joined(tables),
        task.schema,
        title=options.title,
        part=options.part,
        patients_known=options.patients_known,
        gallery=options.gallery,
        seed=options.seed,
        baseline=SegmentationTable.joined(baselines) if len(baselines) == len(tables) else None,
        **options.options,
    )
    readers = readers_agreement([cases[name] for table in tables for name in table.cases], options, task)
    return evaluation if readers is None else replace(evaluation, panels=[*evaluation.panels, readers])


def _chosen(
    folder: Path, cases: Mapping[str, Case], task: SegmentationTask, options: EvaluationOptions, fold: int
) -> Mapping[str, float]:
    """The post-processing of one fold: as stored, else as its validation part says."""
    if options.thresholds:
        return options.thresholds[min(fold, len(options.thresholds) - 1)]
    return task.thresholds(folder, cases, options.options)


def choose_postprocessing(folder: Path, cases: Mapping[str, Case], task: SegmentationTask) -> dict[str, float]:
    """The post-processing by which each label's mean Dice on the validation part gains; empty where none helps."""
    table, pairs = read_mask_table(folder / "validation.csv", cases), []
    for number, name in enumerate(table.cases):
        reference, image = read_reference(cases[name], task)
        pairs.append(Pair(reference, table.read(number, task.schema, image), image.spacing))
    return choose(pairs, task.schema)
