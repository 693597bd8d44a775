"""Predicted boxes on disk: what is written comes back, and broken tables are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcnn.errors import DataError
from medcnn.tasks.box_predictions import read_box_table, write_baseline, write_box_table
from medcnn.types import BoxesPrediction, Case, ImageRef, LabelClass, LabelSchema

SCHEMA = LabelSchema((LabelClass(0, "nodule"), LabelClass(1, "mass, large")))
CASES = {name: Case(name, (ImageRef((f"{name}.png",)),)) for name in ("a", "b, c", "d")}


def predicted(count: int, dims: int = 2, **facts: Any) -> BoxesPrediction:
    rng = np.random.default_rng(count)
    low = rng.uniform(0, 300, (count, dims))
    corners = np.concatenate([low, low + rng.uniform(1, 40, (count, dims))], 1).astype(np.float32)
    scores = np.sort(rng.uniform(0, 1, count).astype(np.float32))[::-1]
    return BoxesPrediction(corners, rng.integers(0, 2, count), scores, **facts)


def written(folder: Path, dims: int = 2) -> tuple[Path, list[BoxesPrediction]]:
    made = [
        predicted(3, dims, shape=(512, 300, 40)[:dims], spacing=(0.7, 1 / 3, 2.5)[:dims]),
        predicted(0, dims, shape=(5, 6, 7)[:dims]),
        predicted(2, dims),
    ]
    return write_box_table(folder / "test.csv", list(CASES), made, SCHEMA), made


@pytest.mark.parametrize("dims", [2, 3])
def test_what_is_written_comes_back(dims: int, tmp_path: Path) -> None:
    path, made = written(tmp_path, dims)
    found = read_box_table(path, CASES, SCHEMA)
    assert found.cases == tuple(CASES)
    assert found.baseline is None
    for one, other in zip(found.predictions, made, strict=True):
        assert np.array_equal(one.corners, other.corners)
        assert np.array_equal(one.labels, other.labels)
        assert np.array_equal(one.scores, other.scores)
        assert one.corners.dtype == one.scores.dtype == np.float32
        assert one.shape == other.shape
        assert one.spacing == (None if other.spacing is None else pytest.approx(other.spacing))
    head = path.read_text("utf-8").splitlines()[0]
    assert head == ",".join(
        ["case", "boxes", *(f"size_{a}" for a in "xyz"[:dims]), *(f"spacing_{a}" for a in "xyz"[:dims])]
    )


def test_boxes_come_by_falling_score_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    path, made = written(tmp_path)
    boxes = tmp_path / "test_boxes.csv"
    head, *rows = boxes.read_text("utf-8").splitlines()
    boxes.write_text("\n".join([head, *rows[::-1]]) + "\n", "utf-8")
    assert np.array_equal(read_box_table(path, CASES, SCHEMA).predictions[0].scores, made[0].scores)


def test_the_baseline_stands_beside(tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    other = [predicted(k) for k in (1, 2, 0)]
    assert write_baseline(path, list(CASES), other, SCHEMA).name == "test_baseline_boxes.csv"
    found = read_box_table(path, CASES, SCHEMA).baseline
    assert found is not None
    assert [len(one.scores) for one in found] == [1, 2, 0]
    assert found[0].shape == (512, 300)


def test_an_empty_part_is_no_error(tmp_path: Path) -> None:
    path = write_box_table(tmp_path / "validation.csv", [], [], SCHEMA)
    assert read_box_table(path, CASES, SCHEMA).cases == ()


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("test.csv", "size_x", "other", "cannot be read"),
        ("test.csv", "a,3,512", "e,3,512", "1 cases are not of this run, the first is e"),
        ("test.csv", "d,2", "a,2", "stand twice"),
        ("test.csv", "a,3,512", "a,three,512", "cannot be read"),
        ("test.csv", "a,3,512", "a,4,512", "3 boxes of the case 'a', and test.csv counts 4"),
        ("test.csv", "a,3,512", "a,512", "cannot be read"),
        ("test_boxes.csv", "x1", "left", "the box cannot be read"),
        ("test_boxes.csv", "nodule", "cyst", "the class 'cyst' is not of this run"),
        ("test_boxes.csv", "d,", "e,", "the case 'e' is not of this run"),
    ],
)
def test_broken_tables_are_refused(file: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    text = (tmp_path / file).read_text("utf-8")
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(DataError, match=message):
        read_box_table(path, CASES, SCHEMA)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [(2, "1.5", "outside"), (2, "nan", "outside"), (3, "inf", "not finite"), (3, "?", "cannot be read")],
)
def test_scores_and_corners_are_numbers(column: int, value: str, message: str, tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    boxes = tmp_path / "test_boxes.csv"
    head, first, *rest = boxes.read_text("utf-8").splitlines()
    cells = first.rsplit(",", 5)
    cells[column - 1] = value
    boxes.write_text("\n".join([head, ",".join(cells), *rest]) + "\n", "utf-8")
    with pytest.raises(DataError, match=message) as caught:
        read_box_table(path, CASES, SCHEMA)
    assert caught.value.where.endswith("row 1")


def test_missing_tables_are_named(tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    (tmp_path / "test_boxes.csv").unlink()
    with pytest.raises(DataError, match="missing"):
        read_box_table(path, CASES, SCHEMA)
    with pytest.raises(DataError, match="missing"):
        read_box_table(tmp_path / "validation.csv", CASES, SCHEMA)
