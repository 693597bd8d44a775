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
from medcnn.evaluation.segmentation import SegmentationTable, evaluate_segmentation
from medcnn.evaluation.segmentation_case import measure_case
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


def _segmented() -> Evaluation:
    """Labels that are missed and invented in some cases, of patients with several images, in three folds."""
    rng = np.random.default_rng(3)
    cases, measured = [], []
    for i in range(48):
        reference, prediction = np.zeros((2, 14, 14, 6), np.uint8)
        for value, at in ((1, 1), (2, 8)):
            start, off = at + int(rng.integers(0, 2)), int(rng.integers(0, 2))
            if (i + value) % 13:
                reference[start : start + 4, 3:9, 1:4] = value
            if (i + value) % 11:
                prediction[start + off : start + off + 4, 3:9, 1:5] = value
        cases.append(f"volume {i:03d}")
        measured.append(measure_case(reference, prediction, 2, (0.8, 0.8, 3.0)))
    owner = np.array([f"patient {i % 24}" for i in range(48)])
    table = SegmentationTable.of(
        cases, measured, clusters=owner, patients=owner, attributes={"site": [f"site {i % 2}" for i in range(48)]},
        fold=np.arange(48) % 24 % 3,
    )  # fmt: skip
    schema = LabelSchema((LabelClass(1, "left_ventricle_of_the_heart"), LabelClass(2, "scar", "#aa3355")))
    return evaluate_segmentation(
        table, schema, title="Two labels", part="test", patients_known=True, gallery=6, seed=0, baseline=table,
        resamples=200,
    )  # fmt: skip


KINDS: dict[str, Callable[[], Evaluation]] = {
    "two-classes": lambda: _classified(("other", "abdomen"), 240, validation=True, patients=60),
    "two-classes-folds": lambda: _classified(("other", "abdomen"), 240, validation=True, folds=4),
    "few-patients": lambda: _classified(("other", "abdomen"), 120, patients=8),
    "long-names": lambda: _classified(LONG, 200),
    "fourteen-labels": lambda: _classified(FINDINGS, 260, validation=True, multilabel=True),
    "one-image-a-class": lambda: _classified(("a", "b", "c", "d", "e", "f"), 6),
    "regression": _regressed,
    "segmentation": _segmented,
}


def write_kind(kind: str, folder: Path) -> Path:
    """A folder with the evaluation alone, as that of another program's table."""
    write_evaluation(folder / "evaluation", KINDS[kind]())
    return folder
