"""The Python API, in the words of the command line: run, train, evaluate, predict, report, audit, convert.

Every function takes names, paths or recipes and leaves files; nothing is printed unless a
:class:`~medcnn.progress.Progress` is given.
"""

from __future__ import annotations

from medcnn.api.datasets import audit, convert, get_dataset, load_dataset, make_phantom
from medcnn.api.runs import describe, evaluate, evaluate_table, predict, report, run, train
from medcnn.recipe.load import load_recipe
from medcnn.workflow.folder import Run

__all__ = [
    "Run",
    "audit",
    "convert",
    "describe",
    "evaluate",
    "evaluate_table",
    "get_dataset",
    "load_dataset",
    "load_recipe",
    "make_phantom",
    "predict",
    "report",
    "run",
    "train",
]
