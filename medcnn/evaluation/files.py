"""The files of an evaluation: ``metrics.json`` and the table of its cases."""

from __future__ import annotations

import csv
from pathlib import Path

from medcnn.evaluation.results import Evaluation
from medcnn.files import open_atomic, write_json


def write_evaluation(folder: Path, evaluation: Evaluation, *, cases: str = "cases.csv") -> None:
    """Write ``metrics.json`` and, where the evaluation has one, the table of cases.

    Args:
        folder: Receives the files; made where it is missing.
        evaluation: What is written.
        cases: Name of the table.

    Raises:
        RunError: If writing fails.
    """
    if evaluation.cases is not None:
        with open_atomic(folder / cases) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(evaluation.cases.columns)
            writer.writerows(evaluation.cases.rows)
    write_json(folder / "metrics.json", evaluation.to_json())
