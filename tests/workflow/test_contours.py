"""The masks that a run predicted, drawn on its images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medcnn.data.mask_files import write_mask
from medcnn.errors import ImageError
from medcnn.types import Case, Dataset, Image, ImageRef, LabelClass, LabelSchema, Mask
from medcnn.workflow.contours import Contours
from medcnn.workflow.pictures import pictures_of

SCHEMA = LabelSchema((LabelClass(1, "a", "#00ff00"), LabelClass(2, "b", "#ff0000")))
SHAPE = (40, 30)


def png(path: Path, values: np.ndarray) -> ImageRef:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(values.T).save(path)
    return ImageRef((str(path),))


def labels() -> np.ndarray:
    values = np.zeros(SHAPE, np.uint8)
    values[8:20, 8:20], values[22:30, 10:18] = 1, 2
    return values


def made_run(folder: Path, schema: LabelSchema = SCHEMA, task: str = "") -> Any:
    """What a run leaves of one case with a predicted mask, of one without, and of one without a reference."""
    image = Image(np.full((1, *SHAPE), 40, np.uint8))
    grey = png(folder / "data" / "i.png", image.array[0])
    truth = Mask(png(folder / "data" / "m.png", labels()))
    cases = (Case("one", (grey,), (truth,)), Case("two", (grey,), (truth,)), Case("three", (grey,)))
    predictions = folder / "training" / "predictions"
    moved = np.roll(labels(), 2, 0)
    layers = np.stack([moved == 1, moved == 2]).astype(np.uint8) if schema.multilabel else moved
    paths = write_mask(predictions / "test", "one", layers, schema, image)
    names = "|".join(f"test/{p.name}" for p in paths)
    (predictions / "test.csv").write_text(f"case,mask,unit\none,{names},px\nthree,{names},px\n", "utf-8")
    (folder / "recipe.yaml").write_text(f"task: {{name: any{task}}}\ninput: {{intensity: {{}}}}\n", "utf-8")
    dataset = Dataset("d", cases, {"mask": schema})
    return SimpleNamespace(
        folder=folder, folds=(folder / "training",), dataset=dataset, window=(None, None),
        cases={c.id: c for c in cases},
    )  # fmt: skip


def colours(picture: np.ndarray | None) -> set[str]:
    """Which of the labels' colours a picture shows."""
    assert picture is not None
    assert picture.ndim == 3
    channels = picture.astype(int)
    green = (channels[..., 1] - channels[..., 0] > 120).any()
    red = (channels[..., 0] - channels[..., 1] > 120).any()
    return {name for name, seen in (("a", green), ("b", red)) if seen}


@pytest.mark.parametrize("overlapping", [False, True])
def test_a_case_with_both_masks_shows_their_contours(overlapping: bool, tmp_path: Path) -> None:
    schema = LabelSchema(SCHEMA.classes, multilabel=overlapping)
    picture = pictures_of(made_run(tmp_path, schema))
    assert colours(picture("one")) == {"a", "b"}


def test_cases_without_one_of_the_masks_show_the_image(tmp_path: Path) -> None:
    picture = pictures_of(made_run(tmp_path))
    for case in ("two", "three"):
        found = picture(case)
        assert found is not None
        assert np.unique(found).tolist() == [40]
    assert picture("four") is None


def test_what_validation_chose_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made_run(tmp_path, task=", postprocess: auto, resample: true, other: 1")
    (tmp_path / "training" / "model.pt").touch()
    stored = {"medcnn": {"thresholds": {"largest component:b": 1.0}}}
    monkeypatch.setattr("medcnn.inference.model_file.read_description", lambda _: stored)
    contours = Contours.of(run)
    assert contours is not None
    assert contours.reading == {"resample": True}
    change = contours.changes[tmp_path / "training"]
    speckled = np.roll(labels(), 2, 0)
    speckled[0, 0] = 2
    assert change(speckled)[0, 0] == 0
    image, case = Image(np.zeros((1, *SHAPE), np.uint8)), run.cases["one"]
    emptied = replace(contours, changes={tmp_path / "training": np.zeros_like})
    plain, changed = (c.draw(case, image, (None, None)) for c in (replace(contours, changes={}), emptied))
    assert (plain != changed).any()


def test_a_mask_that_is_gone_leaves_the_place_empty(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    next((tmp_path / "training" / "predictions" / "test").iterdir()).unlink()
    assert pictures_of(run)("one") is None
    contours = Contours.of(run)
    assert contours is not None
    with pytest.raises(ImageError):
        contours.draw(run.cases["one"], Image(np.zeros((1, *SHAPE))), (None, None))


def test_runs_without_predicted_masks_have_none(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    (tmp_path / "training" / "predictions" / "test.csv").write_text("case,p_a\none,0.5\n", "utf-8")
    assert Contours.of(run) is None
    (tmp_path / "training" / "predictions" / "test.csv").unlink()
    assert Contours.of(run) is None
