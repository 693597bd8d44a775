"""The boxes that a run found, drawn on its images."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medcnn.files import read_json
from medcnn.tasks.box_predictions import write_box_table
from medcnn.types import Boxes, BoxesPrediction, Case, Dataset, ImageRef, LabelClass, LabelSchema
from medcnn.workflow.box_pictures import FoundBoxes
from medcnn.workflow.pictures import pictures_of

SCHEMA = LabelSchema((LabelClass(0, "a", "#00ff00"), LabelClass(1, "b", "#ff0000")))


class Run(SimpleNamespace):
    """What the pictures know of a run."""

    @property
    def metrics(self) -> Any:
        return read_json(self.folder / "evaluation" / "metrics.json")


def made_run(folder: Path) -> Any:
    """Two images with a reference of class a and boxes of class b at 0.6; a third case is not predicted."""
    Pillow.fromarray(np.full((60, 60), 40, np.uint8)).save(folder / "i.png")
    image = ImageRef((str(folder / "i.png"),))
    truth = Boxes(np.array([[5, 5, 25, 25]], np.float32), np.array([0]))
    cases = {name: Case(name, (image,), (truth,)) for name in ("one", "two", "three")}
    box = np.array([[30, 30, 50, 50]], np.float32)
    boxes = BoxesPrediction(box, np.array([1]), np.array([0.6], np.float32), (60, 60))
    for fold, case in enumerate(("one", "two")):
        write_box_table(folder / f"fold-{fold}" / "predictions" / "test.csv", [case], [boxes], SCHEMA)
    return Run(
        folder=folder, folds=(folder / "fold-0", folder / "fold-1"), dataset=Dataset("d", (), {"boxes": SCHEMA}),
        cases=cases, window=(None, None),
    )  # fmt: skip


def classes(picture: np.ndarray | None) -> set[str]:
    """Which of the classes' colours a picture shows."""
    assert picture is not None
    channels = np.atleast_3d(picture).astype(int)
    if channels.shape[2] == 1:
        return set()
    green = (channels[..., 1] - channels[..., 0] > 120).any()
    red = (channels[..., 0] - channels[..., 1] > 120).any()
    return {name for name, seen in (("a", green), ("b", red)) if seen}


def test_boxes_called_at_their_folds_threshold_are_drawn(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    (tmp_path / "evaluation").mkdir()
    details = {"thresholds": [{"b": 0.5}, {"b": 0.7}], "threshold": 0.5}
    (tmp_path / "evaluation" / "metrics.json").write_text(json.dumps({"details": details}), "utf-8")
    picture = pictures_of(run)
    assert classes(picture("one")) == {"a", "b"}
    assert classes(picture("two")) == {"a"}
    # Without predictions the image alone.
    assert classes(picture("three")) == set()


@pytest.mark.parametrize("text", ["", "{}", '{"details": {"thresholds": 3}}'])
def test_without_an_evaluation_half_is_the_threshold(text: str, tmp_path: Path) -> None:
    run = made_run(tmp_path)
    if text:
        (tmp_path / "evaluation").mkdir()
        (tmp_path / "evaluation" / "metrics.json").write_text(text, "utf-8")
    assert classes(pictures_of(run)("two")) == {"a", "b"}


def test_runs_without_boxes_and_broken_tables_show_the_images(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    (tmp_path / "fold-0" / "predictions" / "test_boxes.csv").write_text("case,label\none,a\n", "utf-8")
    assert classes(pictures_of(run)("one")) == set()
    for fold in run.folds:
        (fold / "predictions" / "test_boxes.csv").unlink()
    assert FoundBoxes.of(run) is None
