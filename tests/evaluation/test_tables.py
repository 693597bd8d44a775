"""Tables of predictions joined to the cases of a dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcnn.errors import DataError
from medcnn.evaluation.tables import classification_table, regression_table
from medcnn.types import Case, ClassLabel, ImageRef, LabelClass, LabelSchema, Value

SCHEMA = LabelSchema(tuple(LabelClass(i, n) for i, n in enumerate(("hand", "head", "hip"))))
GOOD = "case,p_hand,p_head,p_hip\na,0.5,0.25,0.25\nb,0.1,0.2,0.7\n"


def _case(name: str, index: int | None, **changes: object) -> Case:
    targets = (ClassLabel.of(index, 3), Value(2.5 if name == "a" else None))
    return Case(name, (ImageRef((f"{name}.png",)),), targets, **changes)  # type: ignore[arg-type]


CASES = {
    "a": _case("a", 0, patient="p1", attributes={"sex": "F"}),
    "b": _case("b", None, cluster="run 2"),
    "c": _case("c", 2),
}


def _write(folder: Path, text: str, name: str = "test.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_are_joined_by_case(tmp_path: Path) -> None:
    table = classification_table([_write(tmp_path, GOOD)], CASES, SCHEMA, expected=[("a", "b")])
    assert table.cases == ("a", "b")
    np.testing.assert_allclose(table.probabilities[1], [0.1, 0.2, 0.7], rtol=1e-6)
    np.testing.assert_array_equal(table.states, [[1, 0, 0], [np.nan] * 3])
    assert table.clusters.tolist() == ["p1", "run 2"]
    assert table.patients is not None
    assert table.patients.tolist() == ["p1", "b"]
    assert table.attributes == {"sex": ["F", None]}


def test_folds_are_numbered_by_file_and_may_not_share_a_case(tmp_path: Path) -> None:
    second = _write(tmp_path, "case,p_hand,p_head,p_hip\nc,0,0,1\n", "second.csv")
    first = _write(tmp_path, GOOD)
    table = classification_table([first, second], CASES, SCHEMA)
    assert table.fold.tolist() == [0, 0, 1]
    with pytest.raises(DataError, match="two folds"):
        classification_table([first, first], CASES, SCHEMA)


@pytest.mark.parametrize(
    ("text", "message", "row"),
    [
        (GOOD + "z,0.1,0.2,0.7\n", "'z' is not in the dataset", "row 3"),
        (GOOD + "a,0.1,0.2,0.7\n", "stands twice, first in row 1", "row 3"),
        (GOOD + "c,0.1,0.2,1.7\n", "outside \\[0, 1\\]", "row 3"),
        (GOOD + "c,0.1,0.2,0.2\n", "sum to 0.500", "row 3"),
        (GOOD + "c,0.1,0.2,much\n", "'much'", "row 3"),
        (GOOD + "c,0.1,0.2,nan\n", "'nan'", "row 3"),
        (GOOD + "c,0.1,0.2\n", "3 cells under 4 columns", "row 3"),
        (GOOD + ",0.1,0.2,0.7\n", "blank", "row 3"),
        ("case,p_hand,p_head\na,0.5,0.5\n", "probability of hip", ""),
        ("name,p_hand,p_head,p_hip\na,1,0,0\n", "no column names the case", ""),
        ("case,x\na,0.5\n", "no column holds a probability", ""),
        ("case,case\na,a\n", "stands twice", ""),
        ("case,p_hand\n", "no row", ""),
        ("", "empty", ""),
    ],
)
def test_a_broken_table_is_named_with_its_row(tmp_path: Path, text: str, message: str, row: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        classification_table([path], CASES, SCHEMA)
    assert str(path) in caught.value.where
    assert row in caught.value.where


def test_a_missing_case_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 cases have no prediction, the first is 'c'"):
        classification_table([_write(tmp_path, GOOD)], CASES, SCHEMA, expected=[("a", "b", "c")])
    with pytest.raises(DataError, match="missing"):
        classification_table([tmp_path / "none.csv"], CASES, SCHEMA)


def test_values_are_joined_by_case(tmp_path: Path) -> None:
    table = regression_table([_write(tmp_path, "case,value\na,3.5\nb,1\n")], CASES)
    np.testing.assert_array_equal(table.predicted, [3.5, 1])
    np.testing.assert_array_equal(table.values, [2.5, np.nan])
    with pytest.raises(DataError, match="no column holds the predicted value"):
        regression_table([_write(tmp_path, "case,guess\na,3.5\n")], CASES)
