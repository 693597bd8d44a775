"""Real evaluations of made-up predictions, of every kind that a report must be able to show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.evaluation.classification import evaluate_classification
from medcnn.evaluation.files import write_evaluation
from medcnn.evaluation.inputs import ClassificationTable, RegressionTable
from medcnn.evaluation.regression import evaluate_regression
from medcnn.evaluation.results import Evaluation
from medcnn.types import LabelClass, LabelSchema

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia",
    "Infiltration", "Mass", "Nodule", "Pleural_Thickening_with_a_long_name", "Pneumonia", "Pneumothorax",
)  # fmt: skip
LONG = ("papillary thyroid carcinoma, follicular variant", "medullary_carcinoma_of_the_thyroid_gland", "benign", "c4")


def _table(
    names: tuple[str, ...], n: int, *, multilabel: bool = False, patients: int | None = None, folds: int = 1
) -> tuple[ClassificationTable, LabelSchema]:
    rng = np.random.default_rng(1)
    owner = None if patients is None else np.arange(n) % patients
    label = np.arange(n) % len(names)
    states = (rng.random((n, len(names))) < 0.2).astype(float) if multilabel else np.eye(len(names))[label]
    logits = rng.normal(size=states.shape) + 2.2 * states - multilabel
    odds = np.exp(logits)
    p = odds / (1 + odds) if multilabel else odds / odds.sum(1, keepdims=True)
    if multilabel:
        states[rng.random(states.shape) < 0.05] = np.nan
    schema = LabelSchema(
        tuple(LabelClass(i, name) for i, name in enumerate(names)), multilabel, names[1] if len(names) == 2 else None
    )
    clusters = np.zeros(0) if owner is None else owner
    facts: dict[str, Any] = {
        "sex": ["FM"[i % 2] for i in range(n)], "age": [20 + i % 75 for i in range(n)],
        "site": [f"hospital number {i % 5}" for i in range(n)],
    }  # fmt: skip
    fold = (np.arange(n) if owner is None else owner) % folds
    return ClassificationTable(
        tuple(f"case {i:04d}" for i in range(n)), p.astype(np.float32), states, clusters, owner, facts, fold
    ), schema


def _classified(names: tuple[str, ...], n: int, validation: bool = False, **more: Any) -> Evaluation:
    table, schema = _table(names, n, **more)
    folds = int(table.fold.max()) + 1
    parts = [_table(names, 120, multilabel=schema.multilabel)[0] for _ in range(folds)] if validation else []
    return evaluate_classification(
        table, schema, parts, title=f"{len(names)} classes, {n} cases", part="test", gallery=6, seed=0,
        patients_known=table.patients is not None, resamples=200,
        threshold="sensitivity" if validation and len(names) == 2 else "auto",
    )  # fmt: skip


def _regressed() -> Evaluation:
    rng = np.random.default_rng(2)
    values = rng.normal(120, 40, 90)
    owner = np.arange(90) % 12
    table = RegressionTable(tuple(map(str, range(90))), values + rng.normal(4, 12, 90), values, owner, owner)
    return evaluate_regression(
        table, title="Bone age", part="test", patients_known=True, gallery=6, seed=0, unit="months", resamples=200
    )


KINDS: dict[str, Callable[[], Evaluation]] = {
    "two-classes": lambda: _classified(("other", "abdomen"), 240, validation=True, patients=60),
    "two-classes-folds": lambda: _classified(("other", "abdomen"), 240, validation=True, folds=4),
    "few-patients": lambda: _classified(("other", "abdomen"), 120, patients=8),
    "long-names": lambda: _classified(LONG, 200),
    "fourteen-labels": lambda: _classified(FINDINGS, 260, validation=True, multilabel=True),
    "one-image-a-class": lambda: _classified(("a", "b", "c", "d", "e", "f"), 6),
    "regression": _regressed,
}


def write_kind(kind: str, folder: Path) -> Path:
    """A folder with the evaluation alone, as that of another program's table."""
    write_evaluation(folder / "evaluation", KINDS[kind]())
    return folder
