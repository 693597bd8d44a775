"""Evaluation of predictions that any other program wrote: tables, and by the same door folders of masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn import registry
from medcnn.errors import MedcnnError
from medcnn.evaluation.classification import evaluate_classification
from medcnn.evaluation.files import write_evaluation
from medcnn.evaluation.foreign import read_classification, read_regression
from medcnn.evaluation.regression import evaluate_regression
from medcnn.evaluation.results import Evaluation
from medcnn.progress import Progress, Silent
from medcnn.report import write_report
from medcnn.workflow.folder import kept_if_used, new_folder

GALLERY = 12


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be judged.

    Attributes:
        predictions: A table, or a folder.
        references: The same of the truth; ``None`` where it stands beside the predictions.
        options: Options of the evaluator.
        title: Heading.
        labels: Names of the values in masks, by value as text.
    """

    predictions: Path
    references: Path | None
    options: Mapping[str, Any]
    title: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """An evaluation with the pictures of its cases, where there are any."""

    evaluation: Evaluation
    pictures: Callable[[str], NDArray[np.uint8] | None] | None = None


def judge_classification(wanted: Wanted, progress: Progress) -> Judged:
    """Evaluate a table of probabilities or decisions; see :func:`~medcnn.evaluation.foreign.read_classification`."""
    _require_tables(wanted)
    found = read_classification(wanted.predictions, wanted.references)
    made = evaluate_classification(
        found.table,
        found.schema,
        (),
        title=wanted.title,
        part="test",
        patients_known=found.patients_known,
        gallery=GALLERY,
        seed=0,
        **wanted.options,
    )
    return Judged(replace(made, notes=[*found.notes, *made.notes]))


def judge_regression(wanted: Wanted, progress: Progress) -> Judged:
    """Evaluate a table of values; see :func:`~medcnn.evaluation.foreign.read_regression`."""
    _require_tables(wanted)
    table, known = read_regression(wanted.predictions, wanted.references)
    made = evaluate_regression(
        table, title=wanted.title, part="test", patients_known=known, gallery=GALLERY, seed=0, unit="", **wanted.options
    )
    return Judged(made)


def _require_tables(wanted: Wanted) -> None:
    for path in (wanted.predictions, wanted.references):
        if path is not None and path.is_dir():
            raise MedcnnError(
                "a table is expected, and this is a folder",
                where=str(path),
                todo="give a CSV file; folders of masks are evaluated with --task segmentation",
            )
    if wanted.labels:
        raise MedcnnError(
            "the names of values are for masks", where="--labels", todo="leave it out: a table names its classes itself"
        )


def evaluate_files(
    predictions: Path,
    references: Path | None,
    out: Path,
    task: str,
    options: Mapping[str, Any],
    title: str,
    *,
    labels: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate, and write ``evaluation/metrics.json``, ``report.html`` and ``report.md`` into ``out``.

    Raises:
        MedcnnError: If the task cannot be judged so, the files do not fit, or ``out`` is taken.
    """
    judge = registry.load("judges", task)
    folder = new_folder(out, predictions.stem)
    with kept_if_used(folder):
        title = title or predictions.stem
        judged: Judged = judge(Wanted(predictions, references, options, title, labels or {}), progress or Silent())
        write_evaluation(folder / "evaluation", judged.evaluation)
        write_report(folder, title=title, pictures=judged.pictures)
    return judged.evaluation
