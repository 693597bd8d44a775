"""Boxes of a table's images, from a COCO file beside it: which image is meant, and what is not annotated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcnn.data.adapters.table import table
from medcnn.data.audit import audit
from medcnn.data.dataset import load_dataset
from medcnn.errors import DataError
from medcnn.recipe.schema import DataSection
from medcnn.types import Boxes, Case, ClassLabel, Mask

CATEGORIES = [{"id": 1, "name": "nodule"}, {"id": 2, "name": "mass"}]
BOXES: dict[str, list[tuple[list[Any], int]]] = {"a.png": [([1, 2, 3, 4], 1), ([5, 5, 2, 2], 2)], "b.png": []}


def coco(root: Path, images: dict[str, list[tuple[list[Any], int]]], name: str = "boxes.json") -> None:
    entries = [{"id": k, "file_name": image} for k, image in enumerate(images, 1)]
    boxes = [
        {"id": len(images) * n + k, "image_id": k, "category_id": category, "bbox": bbox}
        for k, found in enumerate(images.values(), 1)
        for n, (bbox, category) in enumerate(found)
    ]
    (root / name).write_text(json.dumps({"images": entries, "annotations": boxes, "categories": CATEGORIES}))


def make(root: Path, images: dict[str, list[tuple[list[Any], int]]], *rows: str) -> Path:
    for row in rows:
        place = root / row
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((30, 40), np.uint8)).save(place)
    (root / "cases.csv").write_text("image,label\n" + "".join(f"{row},x\n" for row in rows))
    coco(root, images)
    return root


def corners(case: Case) -> list[list[float]] | None:
    found = case.target(Boxes)
    return None if found is None else found.corners.tolist()


@pytest.mark.parametrize("prefix", ["", "images/", "./images/"])
@pytest.mark.parametrize("named", ["", "images/", "other/"])
def test_an_image_is_found_by_its_name_or_the_last_part_of_it(tmp_path: Path, prefix: str, named: str) -> None:
    images = {f"{named}{name}": boxes for name, boxes in BOXES.items()}
    dataset = table(make(tmp_path, images, f"{prefix}a.png", f"{prefix}b.png"), label="label", boxes="boxes.json")
    assert [corners(c) for c in dataset] == [[[1, 2, 4, 6], [5, 5, 7, 7]], []]
    assert dataset.labels["boxes"].names == ("nodule", "mass")
    assert all(c.target(ClassLabel) is not None for c in dataset)
    assert dataset.facts["notes"] == ()


def test_the_whole_name_comes_before_the_last_part(tmp_path: Path) -> None:
    images = {"one/a.png": [([1, 1, 1, 1], 1)], "two/a.png": [([2, 2, 2, 2], 1)]}
    dataset = table(make(tmp_path, images, "two/a.png", "one/a.png"), boxes="boxes.json")
    assert [corners(c) for c in dataset] == [[[2, 2, 4, 4]], [[1, 1, 2, 2]]]
    # What is taken by its whole name stands for no other image.
    again = table(make(tmp_path, {"one/a.png": []}, "two/a.png", "one/a.png"), boxes="boxes.json")
    assert [corners(c) for c in again] == [None, []]


@pytest.mark.parametrize(
    ("images", "rows"),
    [(("a.png",), ("one/a.png", "two/a.png")), (("x/a.png", "y/a.png"), ("one/a.png",))],
)
def test_a_last_part_that_may_be_two_images_is_an_error(
    tmp_path: Path, images: tuple[str, ...], rows: tuple[str, ...]
) -> None:
    root = make(tmp_path, {name: [] for name in images}, *rows)
    with pytest.raises(DataError, match="which image is meant is not clear") as caught:
        table(root, boxes="boxes.json")
    assert all(name in caught.value.what for name in (*images, *rows))


def test_what_the_file_does_not_name_is_not_annotated_and_said(tmp_path: Path) -> None:
    root = make(tmp_path, {**BOXES, "unknown.png": []}, "a.png", "b.png", "c.png")
    said: list[str] = []

    class Teller:
        def start(self, name: str, total: int | None, unit: str = "") -> None: ...
        def advance(self, amount: int = 1, note: str = "") -> None: ...
        def finish(self) -> None: ...
        def say(self, text: str) -> None:
            said.append(text)

    dataset = table(root, boxes="boxes.json", progress=Teller())
    assert [corners(c) is None for c in dataset] == [False, False, True]
    assert said == ["1 image is not named in boxes.json, of 3: their boxes are not annotated"]
    assert [f.what for f in audit(dataset, []).findings if f.id == "dataset-note"] == said
    # The table says what the cases are: this is no fault of the data.
    assert [(e.case, e.reason, e.aside) for e in dataset.exclusions] == [
        ("unknown.png", "the table does not name the image", True)
    ]


def test_labels_are_chosen_as_in_the_other_adapters(tmp_path: Path) -> None:
    root = make(tmp_path, BOXES, "a.png", "b.png")
    dataset = table(root, boxes="boxes.json", box_labels={"lesion": "nodule", "ignore": "mass"})
    found = dataset.cases[0].target(Boxes)
    assert dataset.labels["boxes"].names == ("lesion",)
    assert found is not None
    assert found.crowd is not None
    assert found.crowd.tolist() == [False, True]
    with pytest.raises(DataError, match="but no boxes"):
        table(root, box_labels={"lesion": "nodule"})


@pytest.mark.parametrize(
    ("bbox", "reason"), [([5, 5, -2, 3], "no area"), ([5, float("nan"), 3, 3], "not finite"), ([5, 5], "not \\[x, y")]
)
def test_a_box_that_is_none_costs_its_image_alone(tmp_path: Path, bbox: list[float], reason: str) -> None:
    dataset = table(make(tmp_path, {"a.png": [(bbox, 1)], "b.png": []}, "a.png", "b.png"), boxes="boxes.json")
    assert [c.id for c in dataset] == ["b.png"]
    (excluded,) = dataset.exclusions
    assert excluded.reason.startswith("the boxes cannot be used: ")
    assert excluded.path.endswith("boxes.json")


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    root = make(tmp_path, {"other.png": []}, "a.png")
    with pytest.raises(DataError, match="names no image of the table; its first is"):
        table(root, boxes="boxes.json")
    with pytest.raises(DataError, match="not there") as caught:
        table(root, boxes="boxs.json")
    assert "option boxes" in caught.value.todo


def test_one_entry_of_the_catalog_serves_class_mask_and_boxes(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for name in "12":
            Image.fromarray(np.full((9, 9), 255, np.uint8)).save(tmp_path / folder / f"{name}.png")
    rows = "".join(f"images/{k}.png,masks/{k}.png,glioma,glioma-1,glioma-1-00\n" for k in "12")
    (tmp_path / "cases.csv").write_text("image,mask,label,block,run\n" + rows)
    coco(tmp_path, {"1.png": [([1, 1, 3, 3], 2)], "2.png": []}, "annotations.coco.json")
    dataset = load_dataset(DataSection(dataset="brain_tumor_mri", root=str(tmp_path)))
    first, second = dataset.cases
    assert first.target(Mask) is not None
    assert corners(first) == [[1, 1, 4, 4]]
    assert corners(second) == []
    assert [c.target(ClassLabel) for c in dataset] == [ClassLabel.of(1, 3)] * 2
    assert {c.group for c in dataset} == {"glioma-1"}
