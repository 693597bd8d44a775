"""Predicted boxes on disk, held against the references of their cases."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medcnn.errors import DataError
from medcnn.evaluation.results import TablePanel
from medcnn.tasks.base import EvaluationOptions
from medcnn.tasks.box_evaluation import choose_box_thresholds, evaluate_boxes
from medcnn.tasks.box_predictions import write_baseline, write_box_table
from medcnn.types import Boxes, BoxesPrediction, Case, ImageRef, LabelClass, LabelSchema

SCHEMA = LabelSchema((LabelClass(0, "nodule"), LabelClass(1, "mass")))
TASK = SimpleNamespace(schema=SCHEMA)
OPTIONS = {"resamples": 100}


def found(*scores: float) -> BoxesPrediction:
    """The first box hits a nodule of the references, the others hit nothing."""
    corners = np.array([[10 + 40 * k, 10, 30 + 40 * k, 30] for k in range(len(scores))], np.float32).reshape(-1, 4)
    return BoxesPrediction(corners, np.zeros(len(scores), np.int64), np.array(scores, np.float32), (300, 200))


@pytest.fixture
def cases() -> dict[str, Case]:
    """Eight images, the even ones with a nodule; two of a patient and a study."""
    made = {}
    for i in range(8):
        corners = np.array([[10, 10, 30, 30]] if i % 2 == 0 else [], np.float32).reshape(-1, 4)
        boxes = Boxes(corners, np.zeros(len(corners), np.int64))
        image = ImageRef((f"{i}.png",))
        made[f"c{i}"] = Case(
            f"c{i}", (image,), (boxes,), patient=f"p{i // 2}", study=f"s{i // 2}" if i < 6 else None,
            attributes={"site": "a"},
        )  # fmt: skip
    return made


def fold(folder: Path, part: str, names: list[str], hit: float, false: float) -> Path:
    """Predictions of a part: the boxes that hit have one score, the others another."""
    made = [found(hit, false) if int(name[1:]) % 2 == 0 else found() for name in names]
    return write_box_table(folder / f"{part}.csv", names, made, SCHEMA)


def panel(made: object, name: str) -> TablePanel:
    return next(p for p in made.panels if p.id == name)  # type: ignore[attr-defined]


def test_folds_are_pooled_at_the_thresholds_of_their_own_validation(cases: dict[str, Case], tmp_path: Path) -> None:
    folders = [tmp_path / "fold-0", tmp_path / "fold-1"]
    for folder, own, scores in zip(folders, (range(4), range(4, 8)), ((0.9, 0.3), (0.4, 0.1)), strict=True):
        names = [f"c{i}" for i in own]
        fold(folder, "validation", names, *scores)
        path = fold(folder, "test", names, *scores)
        write_baseline(path, names, [found(0.2)] * 4, SCHEMA)
    options = EvaluationOptions("boxes", patients_known=True, options=OPTIONS, gallery=0)
    made = evaluate_boxes(folders, cases, options, TASK)
    assert made.details["thresholds"] == [
        {"nodule": pytest.approx(0.6)}, {"nodule": pytest.approx(0.25)}
    ]  # fmt: skip
    assert made.find("f1", None, None, "object").value == 1
    assert made.find("sensitivity", None, None, "patient").n == 4
    assert made.find("average_precision_50", None, None, "object").baseline is not None
    assert made.details["folds"] == 2
    # Stored thresholds stand before those of validation.
    stored = EvaluationOptions("boxes", options=OPTIONS, gallery=0, thresholds=[{"nodule": 0.95}])
    assert evaluate_boxes(folders, cases, stored, TASK).find("sensitivity", None, None, "object").value == 0


def test_false_positives_per_study(cases: dict[str, Case], tmp_path: Path) -> None:
    """Eight images of three studies and two images without one: five studies."""
    names = list(cases)
    for part in ("validation", "test"):
        fold(tmp_path, part, names, 0.9, 0.5)
    options = EvaluationOptions("boxes", options={**OPTIONS, "per": "study"}, gallery=0)
    made = evaluate_boxes([tmp_path], cases, options, TASK)
    assert made.details["per"] == "study"
    assert made.details["curve_end"] == pytest.approx(4 / 5)


def test_an_empty_validation_part_chooses_nothing(cases: dict[str, Case], tmp_path: Path) -> None:
    write_box_table(tmp_path / "validation.csv", [], [], SCHEMA)
    assert choose_box_thresholds(tmp_path, cases, SCHEMA, {}) == {}
    fold(tmp_path, "test", list(cases), 0.7, 0.3)
    made = evaluate_boxes([tmp_path], cases, EvaluationOptions("boxes", options=OPTIONS, gallery=0), TASK)
    assert any("No threshold was chosen on validation for nodule, mass" in w for w in made.warnings)
    assert made.find("f1", None, None, "object").value == 1


def test_what_is_missing_is_said(cases: dict[str, Case], tmp_path: Path) -> None:
    options = EvaluationOptions("boxes", options=OPTIONS)
    with pytest.raises(DataError, match="missing"):
        evaluate_boxes([tmp_path], cases, options, TASK)
    fold(tmp_path, "validation", ["c0"], 0.9, 0.1)
    cases["c0"] = Case("c0", cases["c0"].images)
    with pytest.raises(DataError, match="no boxes to be held against"):
        choose_box_thresholds(tmp_path, cases, SCHEMA, {})
