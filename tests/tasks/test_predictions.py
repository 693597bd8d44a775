"""What several folds left on disk, as one table."""

from __future__ import annotations

import numpy as np

from medcnn.evaluation.inputs import RegressionTable
from medcnn.tasks.predictions import describe_cases, stack
from medcnn.types import Case, ImageRef


def made(fold: int, *cases: Case) -> RegressionTable:
    count = len(cases)
    ids = tuple(c.id for c in cases)
    return RegressionTable(
        ids, np.arange(count) + 10.0 * fold, np.zeros(count), fold=np.full(count, fold), **describe_cases(cases)
    )


def test_folds_are_joined_and_attributes_that_one_lacks_are_unknown() -> None:
    ref = (ImageRef(("x.png",)),)
    first = made(0, Case("a", ref, patient="p1", attributes={"sex": "F"}), Case("b", ref, patient="p2"))
    second = made(1, Case("c", ref, patient="p3", cluster="run", attributes={"age": 61}))
    both = stack([first, second])
    assert both.cases == ("a", "b", "c")
    assert both.predicted.tolist() == [0, 1, 10]
    assert both.fold.tolist() == [0, 0, 1]
    assert list(both.clusters) == ["p1", "p2", "run"]
    assert both.attributes == {"age": [None, None, 61], "sex": ["F", None, None]}
    assert stack([first]) is first


def test_patients_are_unknown_where_one_is() -> None:
    ref = (ImageRef(("x.png",)),)
    found = describe_cases([Case("a", ref, patient="p"), Case("b", ref)])
    assert found["patients"] is None
    assert found["clusters"].tolist() == ["p", "b"]
