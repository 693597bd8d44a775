"""Made-up predictions of a chosen skill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medcnn.evaluation.inputs import ClassificationTable
from medcnn.types import LabelClass, LabelSchema

Cohort = tuple[ClassificationTable, LabelSchema]


def make_cohort(
    n: int = 300,
    classes: int = 3,
    *,
    skill: float = 2.0,
    multilabel: bool = False,
    patients: int | None = None,
    folds: int = 1,
    seed: int = 0,
    pure: bool = False,
) -> Cohort:
    """Cases with probabilities that know the label by ``skill``; ``pure`` gives all images of a patient one class."""
    rng = np.random.default_rng(seed)
    owner = None if patients is None else np.arange(n) % patients
    if multilabel:
        states = (rng.random((n, classes)) < 0.3).astype(float)
        logits = rng.normal(size=(n, classes)) + skill * states - skill / 2
        p = 1 / (1 + np.exp(-logits))
        states[rng.random((n, classes)) < 0.1] = np.nan
    else:
        label = rng.integers(0, classes, n)
        if pure and patients is not None:
            label = rng.integers(0, classes, patients)[owner]
        states = np.eye(classes)[label]
        logits = rng.normal(size=(n, classes)) + skill * states
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    binary = classes == 2 and not multilabel
    schema = LabelSchema(tuple(LabelClass(i, f"c{i}") for i in range(classes)), multilabel, "c1" if binary else None)
    names = None if owner is None else np.array([f"p{i:04d}" for i in owner])
    table = ClassificationTable(
        tuple(f"case{i:05d}" for i in range(n)),
        p.astype(np.float32),
        states,
        np.zeros(0) if names is None else names,
        names,
        {"sex": ["F" if i % 3 else "M" for i in range(n)], "age": [20 + i % 75 for i in range(n)]},
        (np.arange(n) if owner is None else owner) % folds,
    )
    return table, schema


@pytest.fixture
def cohort() -> Callable[..., Cohort]:
    """The maker of tables."""
    return make_cohort


@pytest.fixture
def common() -> dict[str, Any]:
    """Arguments that every evaluation needs."""
    return {"title": "made up", "part": "test", "gallery": 4, "seed": 0}
