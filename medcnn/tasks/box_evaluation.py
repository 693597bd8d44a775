"""Boxes of a part held against their references, each image in its own grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from medcnn.errors import DataError
from medcnn.evaluation.detection import choose_detection_thresholds, evaluate_detection
from medcnn.evaluation.detection_table import DetectionTable
from medcnn.evaluation.results import Evaluation
from medcnn.tasks.base import EvaluationOptions
from medcnn.tasks.box_predictions import read_box_table
from medcnn.tasks.predictions import describe_cases
from medcnn.types import Boxes, BoxesPrediction, Case, LabelSchema


class HasSchema(Protocol):
    """A task whose classes are known."""

    @property
    def schema(self) -> LabelSchema:
        """The classes of boxes."""


def evaluate_boxes(
    folders: Sequence[Path], cases: Mapping[str, Case], options: EvaluationOptions, task: HasSchema
) -> Evaluation:
    """The evaluation of predicted boxes on disk, one folder a fold.

    Args:
        folders: Each with ``<part>.csv`` and ``<part>_boxes.csv``, those of the baseline where there is one, and those
            of the validation part where thresholds are not given.
        cases: The cases, by id.
        options: What is evaluated, and how.
        task: Knows the classes.

    Raises:
        DataError: If a table is missing or broken, or a case has no boxes to be held against.
    """
    schema = task.schema
    tables: list[DetectionTable] = []
    baselines: list[DetectionTable] = []
    thresholds: list[Mapping[str, float]] = []
    for fold, folder in enumerate(folders):
        found = read_box_table(folder / f"{options.part}.csv", cases, schema)
        tables.append(_table(found.cases, found.predictions, cases, fold))
        if found.baseline is not None:
            baselines.append(_table(found.cases, found.baseline, cases, fold))
        if options.thresholds:
            thresholds.append(options.thresholds[min(fold, len(options.thresholds) - 1)])
        else:
            thresholds.append(choose_box_thresholds(folder, cases, schema, options.options))
    return evaluate_detection(
        DetectionTable.joined(tables),
        schema,
        title=options.title,
        part=options.part,
        patients_known=options.patients_known,
        gallery=options.gallery,
        seed=options.seed,
        baseline=DetectionTable.joined(baselines) if len(baselines) == len(tables) else None,
        thresholds=thresholds,
        **options.options,
    )


def choose_box_thresholds(
    folder: Path, cases: Mapping[str, Case], schema: LabelSchema, options: Mapping[str, Any]
) -> dict[str, float]:
    """The lowest score of each class at which a box is called a finding, chosen on the validation part.

    Args:
        folder: Holds ``validation.csv`` and ``validation_boxes.csv``.
        cases: The cases, by id.
        schema: The classes.
        options: The recipe's ``evaluation`` section.

    Returns:
        By class; without those of which nothing is found there, and empty where the part is empty. The option
        ``threshold`` holds for what is absent.

    Raises:
        DataError: If the tables are missing or broken, or a case has no boxes to be held against.
    """
    found = read_box_table(folder / "validation.csv", cases, schema)
    return choose_detection_thresholds(_table(found.cases, found.predictions, cases, 0), schema, options)


def _table(
    names: Sequence[str], predictions: Sequence[BoxesPrediction], cases: Mapping[str, Case], fold: int
) -> DetectionTable:
    chosen = [cases[name] for name in names]
    studies = [case.study for case in chosen]
    known = any(studies)
    return DetectionTable.of(
        names,
        predictions,
        [_reference(case) for case in chosen],
        **describe_cases(chosen),
        # An image whose study is not known stands for itself.
        studies=np.array([s or c.id for s, c in zip(studies, chosen, strict=True)]) if known else None,
        fold=np.full(len(chosen), fold),
    )


def _reference(case: Case) -> Boxes:
    boxes = case.target(Boxes)
    if boxes is None:
        raise DataError("the case has no boxes to be held against", where=case.id, todo="evaluate annotated cases")
    return boxes
