"""Detection the whole way: from images and boxes to a report, and to boxes in the images' own grid."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

import medcnn
from medcnn.errors import DataError, MedcnnError, ModelError
from medcnn.types import Boxes
from medcnn.workflow.folder import Run

pytestmark = pytest.mark.slow
COUNT = 24
KINDS = ("bright", "dark")


def write_pictures(root: Path, count: int = COUNT, first: int = 0, *, boxes: bool = True) -> Path:
    """Pictures of 96 x 80 px with a bright or a dark block, every third with none, and COCO's annotations."""
    (root / "images").mkdir(parents=True)
    images, annotations = [], []
    for k in range(first, first + count):
        rng = np.random.default_rng(k)
        pixels = rng.normal(110, 6, (96, 80))
        images.append({"id": k, "file_name": f"p{k // 2}_{k}.png", "width": 96, "height": 80})
        if k % 3 and boxes:
            width, height = rng.integers(16, 30, 2)
            x, y = int(rng.integers(0, 96 - width)), int(rng.integers(0, 80 - height))
            pixels[x : x + width, y : y + height] += 70 if k % 3 == 1 else -70
            box = [x, y, int(width), int(height)]
            annotations.append({"id": len(annotations), "image_id": k, "category_id": k % 3, "bbox": box})
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8).T).save(root / "images" / f"p{k // 2}_{k}.png")
    categories = [{"id": number, "name": name} for number, name in enumerate(KINDS, 1)]
    found = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations.json").write_text(json.dumps(found), encoding="utf-8")
    return root


def recipe(folder: Path, root: Path, **changes: Any) -> Path:
    path = folder / "recipe.json"
    content = {
        "task": {"name": "detection", "exclusive": True},
        "data": {
            "root": str(root),
            "adapter": {"name": "coco", "patient": "^(p[0-9]+)_"},
            "split": {"validation": 0.25, "test": 0.25},
            "cache": str(folder / "cache"),
        },
        "input": {"size": [64, 64], "augment": {"rotate": 5, "zoom": 0.1, "shift": 0.05}},
        "model": {"name": "retinanet", "filters": [8, 16, 16, 16], "levels": [2, 3], "pyramid_filters": 16},
        "training": {"epochs": 14, "batch_size": 4, "learning_rate": 0.01, "schedule": "one_cycle", "precision": "32"},
        "evaluation": {"resamples": 100},
        "seed": 1,
        **changes,
    }
    # JSON is YAML.
    path.write_text(json.dumps(content), encoding="utf-8")
    return path.rename(path.with_suffix(".yaml"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on pictures."""
    folder = tmp_path_factory.mktemp("detection")
    root = write_pictures(folder / "data")
    found = medcnn.run(recipe(folder, root), out=folder / "run")
    assert isinstance(found, Run)
    return found


def test_it_learns_to_find_and_name_the_blocks(done: Run) -> None:
    evaluation = medcnn.evaluate(done)
    value = evaluation.find("sensitivity_at_1", None, None, "object").value
    assert value is not None
    assert value > 0.7
    baseline = evaluation.find("sensitivity_at_1", None, None, "object").baseline
    assert baseline is not None
    assert baseline < value
    assert evaluation.find("accuracy", unit="image").value is not None


def test_boxes_on_disk_are_in_the_grid_of_their_images(done: Run) -> None:
    rows = list(csv.DictReader((done.folder / "training/predictions/test_boxes.csv").open(encoding="utf-8")))
    cases = list(csv.DictReader((done.folder / "training/predictions/test.csv").open(encoding="utf-8")))
    assert {row["case"] for row in cases} == set(done.split.part(0, "test"))
    assert all((row["size_x"], row["size_y"]) == ("96", "80") for row in cases)
    best: dict[str, dict[str, str]] = {}
    for row in rows:
        assert 0 <= float(row["x1"]) < float(row["x2"]) <= 96
        assert 0 <= float(row["y1"]) < float(row["y2"]) <= 80
        best.setdefault(row["case"], row)
    near = []
    for case, row in best.items():
        reference = done.cases[case].target(Boxes)
        assert reference is not None
        if len(reference.corners):
            middle = (reference.corners[0, :2] + reference.corners[0, 2:]) / 2
            near.append(float(row["x1"]) <= middle[0] <= float(row["x2"]))
    assert np.mean(near) > 0.6


def test_the_report_shows_curves_and_pictures(done: Run) -> None:
    text = done.report.read_text(encoding="utf-8")
    for word in ("FROC", "Average precision", "bright", "dark", "validation", "data:image/png"):
        assert word in text


def test_the_anchors_are_told_and_kept(done: Run) -> None:
    stored = torch.load(done.models[0], weights_only=True)["state_dict"]
    shapes = next(value for key, value in stored.items() if key.endswith("anchor_shapes"))
    assert shapes.shape == (3, 2)
    assert float(shapes.min()) > 2


def test_prediction_writes_boxes(done: Run, tmp_path: Path) -> None:
    new = write_pictures(tmp_path / "new", 4, first=100) / "images"
    (new / "broken.png").write_bytes(b"no image")
    table = medcnn.predict(done, [new], out=tmp_path / "out")
    assert len(table) == 5
    assert (table["error"] != "").sum() == 1
    assert {"bright_findings", "dark_findings", "highest_score"} <= set(table.columns)
    assert (tmp_path / "out" / "predictions.csv").is_file()


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(done: Run, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    path = recipe(
        tmp_path, Path(done.recipe.data.root or ""), training={"epochs": 3, "batch_size": 4, "precision": "32"}
    )
    whole = medcnn.train(path, out=tmp_path / "whole")
    from lightning.pytorch import Callback

    class Stop(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        medcnn.train(path, out=copy, callbacks=[Stop()])
    resumed = medcnn.train(path, out=copy, resume=True)
    first, second = (torch.load(run.models[0], weights_only=True)["state_dict"] for run in (whole, resumed))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_volumes_by_patches_and_windows(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    rows = ["image,mask,patient"]
    for k in range(12):
        shape = (40, 36 + k % 3, 20)
        mask = np.zeros(shape, np.uint8)
        start = np.random.default_rng(k).integers(2, 10, 3)
        mask[tuple(slice(s, s + 9) for s in start)] = 1
        image = np.random.default_rng(k).normal(0, 0.1, shape) + mask
        for kind, array in (("i", image.astype(np.float32)), ("m", mask)):
            nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1, 2, 1])), root / f"{kind}{k}.nii.gz")  # type: ignore[no-untyped-call]
        rows.append(f"i{k}.nii.gz,m{k}.nii.gz,p{k}")
    (root / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    adapter = {"name": "table", "image": "image", "mask": "mask", "mask_labels": {"block": 1}, "patient": "patient"}
    path = recipe(
        tmp_path,
        root,
        data={
            "root": str(root),
            "adapter": adapter,
            "derive": {"targets": ["boxes"]},
            "split": {"validation": 0.25, "test": 0.25},
            "cache": str(tmp_path / "cache"),
        },
        input={"size": [32, 32, 16], "fit": "patches", "patches": {"foreground": 0.7}, "intensity": {"method": "none"}},
        model={
            "name": "retinanet",
            "filters": [8, 8, 8, 8],
            "levels": [1, 2],
            "stem_pool": False,
            "pyramid_filters": 8,
            "stem_stride": [2, 2, 1],
        },
        training={"epochs": 2, "batch_size": 3, "learning_rate": 0.01, "precision": "32"},
    )
    found = medcnn.run(path, out=tmp_path / "run")
    assert isinstance(found, Run)
    rows_of = csv.DictReader((tmp_path / "run/training/predictions/test.csv").open(encoding="utf-8"))
    assert all(row["size_z"] == "20" and float(row["spacing_z"]) == 2 for row in rows_of)


REFUSED: dict[str, tuple[dict[str, Any], type[MedcnnError], str]] = {
    "anchors that fit no box": (
        {"model": {"name": "retinanet", "anchors": [[900.0, 1.0]], "levels": [2, 3]}},
        ModelError,
        "no anchor comes near any training box",
    ),
    "an image smaller than the stride": (
        {"input": {"size": [24, 24]}, "model": {"name": "retinanet"}},
        ModelError,
        "smaller than the step of the coarsest level",
    ),
    "mixup": ({"input": {"size": [64, 64], "augment": {"mixup": 0.2}}}, ModelError, "two mixed images"),
    "elastic": ({"input": {"size": [64, 64], "augment": {"elastic": 0.1}}}, ModelError, "elastic"),
    "a loss for classes": (
        {"training": {"epochs": 1, "batch_size": 4, "loss": "cross_entropy"}},
        ModelError,
        "this loss is not about boxes",
    ),
    "a network for classes": ({"model": "small_resnet"}, ModelError, "no detector"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused(name: str, done: Run, tmp_path: Path) -> None:
    changes, kind, says = REFUSED[name]
    path = recipe(tmp_path, Path(done.recipe.data.root or ""), **changes)
    with pytest.raises(kind, match=says) as caught:
        medcnn.train(path, out=tmp_path / "run")
    assert caught.value.todo


def test_a_training_part_without_boxes_is_refused(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "data", boxes=False)
    with pytest.raises(DataError, match="no image of the training part has a box") as caught:
        medcnn.train(recipe(tmp_path, root), out=tmp_path / "run")
    assert caught.value.todo
    shutil.rmtree(root)
