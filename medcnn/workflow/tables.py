"""Evaluation of tables that any other program wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medcnn.errors import MedcnnError
from medcnn.evaluation.classification import evaluate_classification
from medcnn.evaluation.files import write_evaluation
from medcnn.evaluation.foreign import read_classification, read_regression
from medcnn.evaluation.regression import evaluate_regression
from medcnn.evaluation.results import Evaluation
from medcnn.registry import suggest
from medcnn.report import write_report
from medcnn.workflow.folder import new_folder

GALLERY = 12


def _classification(predictions: Path, references: Path | None, options: Mapping[str, Any], title: str) -> Evaluation:
    found = read_classification(predictions, references)
    made = evaluate_classification(
        found.table,
        found.schema,
        (),
        title=title,
        part="test",
        patients_known=found.patients_known,
        gallery=GALLERY,
        seed=0,
        **options,
    )
    return replace(made, notes=[*found.notes, *made.notes])


def _regression(predictions: Path, references: Path | None, options: Mapping[str, Any], title: str) -> Evaluation:
    table, known = read_regression(predictions, references)
    return evaluate_regression(
        table, title=title, part="test", patients_known=known, gallery=GALLERY, seed=0, unit="", **options
    )


JUDGES: Mapping[str, Callable[[Path, Path | None, Mapping[str, Any], str], Evaluation]] = {
    "classification": _classification,
    "regression": _regression,
}


def evaluate_files(
    predictions: Path, references: Path | None, out: Path, task: str, options: Mapping[str, Any], title: str
) -> Evaluation:
    """Evaluate, and write ``evaluation/metrics.json``, ``report.html`` and ``report.md`` into ``out``.

    Raises:
        MedcnnError: If the task cannot be judged from a table, the tables do not fit, or ``out`` is taken.
    """
    if task not in JUDGES:
        raise MedcnnError(f"no table of {task!r} can be evaluated", todo=suggest(task, JUDGES))
    evaluation = JUDGES[task](predictions, references, options, title or predictions.stem)
    folder = new_folder(out, predictions.stem)
    write_evaluation(folder / "evaluation", evaluation)
    write_report(folder, title=title or predictions.stem)
    return evaluation
