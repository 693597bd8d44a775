"""Annotations in COCO's format: boxes as they are, images without any, and files that are wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcnn.data.adapters.coco import coco
from medcnn.errors import DataError
from medcnn.types import Boxes, Case

CATEGORIES = [{"id": 7, "name": "mass"}, {"id": 3, "name": "nodule"}]


def box(image: int, bbox: Any, category: int = 3, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": bbox, **more}


def make(root: Path, annotations: list[dict[str, Any]], count: int = 3, name: str = "annotations.json") -> Path:
    (root / "images").mkdir(parents=True, exist_ok=True)
    images = []
    for k in range(1, count + 1):
        Image.fromarray(np.full((30, 40), k, np.uint8)).save(root / "images" / f"p{k}_a.png")
        images.append({"id": k, "file_name": f"p{k}_a.png", "width": 40, "height": 30})
    numbered = [{"id": n, **a} for n, a in enumerate(annotations)]
    found = {"images": images, "annotations": numbered, "categories": CATEGORIES}
    (root / name).write_text(json.dumps(found))
    return root


def change(root: Path, **changes: Any) -> None:
    path = root / "annotations.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def boxes_of(case: Case) -> Boxes:
    found = case.target(Boxes)
    assert found is not None
    return found


def test_boxes_are_corners_and_labels_follow_the_ids(tmp_path: Path) -> None:
    root = make(tmp_path, [box(1, [10, 5, 12.5, 8]), box(1, [0, 0, 4, 4], 7), box(3, [1, 2, 3, 4])])
    dataset = coco(root)
    assert dataset.labels["boxes"].names == ("nodule", "mass")
    first = boxes_of(dataset.cases[0])
    assert first.corners.tolist() == [[10, 5, 22.5, 13], [0, 0, 4, 4]]
    assert first.corners.dtype == np.float32
    assert first.labels.tolist() == [0, 1]
    assert first.crowd is None


def test_an_image_without_boxes_is_a_case_with_none(tmp_path: Path) -> None:
    dataset = coco(make(tmp_path, [box(1, [1, 1, 2, 2])]))
    assert len(dataset) == 3
    assert boxes_of(dataset.cases[1]).corners.shape == (0, 4)


def test_crowds_are_told_and_polygons_give_their_hull(tmp_path: Path) -> None:
    polygon = {"segmentation": [[3, 4, 9, 4, 9, 11], [2, 6, 3, 6, 3, 7]]}
    root = make(tmp_path, [box(1, [1, 1, 5, 5], iscrowd=1), {**box(1, None), **polygon}])
    found = boxes_of(coco(root).cases[0])
    assert found.crowd is not None
    assert found.crowd.tolist() == [True, False]
    assert found.corners[1].tolist() == [2, 4, 9, 11]


def test_labels_are_merged_ignored_and_left_out(tmp_path: Path) -> None:
    root = make(tmp_path, [box(1, [1, 1, 2, 2]), box(1, [4, 4, 2, 2], 7)])
    both = boxes_of(coco(root, box_labels={"lesion": ("nodule", "mass")}).cases[0])
    assert both.labels.tolist() == [0, 0]
    one = boxes_of(coco(root, box_labels={"mass": "mass"}).cases[0])
    assert one.corners.tolist() == [[4, 4, 6, 6]]
    aside = boxes_of(coco(root, box_labels={"mass": "mass", "ignore": "nodule"}).cases[0])
    assert aside.crowd is not None
    assert aside.crowd.tolist() == [True, False]
    with pytest.raises(DataError, match="no label of the files"):
        coco(root, box_labels={"mass": "masses"})
    with pytest.raises(DataError, match="stands for two labels"):
        coco(root, box_labels={"a": "mass", "b": "mass"})


def test_parts_and_patients(tmp_path: Path) -> None:
    root = make(tmp_path, [box(1, [1, 1, 2, 2])])
    found = json.loads((root / "annotations.json").read_text())
    (root / "test.json").write_text(json.dumps({**found, "images": found["images"][2:], "annotations": []}))
    change(root, images=found["images"][:2])
    dataset = coco(root, annotations={"train": "annotations.json", "test": "test.json"}, patient="(p[0-9]+)_")
    assert [(c.patient, c.part) for c in dataset] == [("p1", "training"), ("p2", "training"), ("p3", "test")]
    assert dataset.patients_known
    with pytest.raises(DataError, match="two annotation files"):
        coco(root, annotations={"train": "annotations.json", "test": "annotations.json"})


@pytest.mark.parametrize(
    ("bbox", "reason"),
    [
        ([5, 5, 0, 3], "no area"),
        ([5, 5, -2, 3], "no area"),
        ([5, 5, float("nan"), 3], "not finite"),
        ([5, 5, 3], "not \\[x, y"),
        (None, "missing"),
    ],
)
def test_a_box_that_is_none_costs_its_image_alone(tmp_path: Path, bbox: Any, reason: str) -> None:
    dataset = coco(make(tmp_path, [box(1, bbox), box(2, [1, 1, 2, 2])]))
    assert [c.id for c in dataset] == ["p2_a.png", "p3_a.png"]
    (excluded,) = dataset.exclusions
    assert excluded.case == "p1_a.png"
    assert re.search(reason, excluded.reason)


def test_images_that_are_not_there_and_images_that_are_not_named(tmp_path: Path) -> None:
    root = make(tmp_path, [box(1, [1, 1, 2, 2])])
    (root / "images" / "p1_a.png").rename(root / "images" / "other.png")
    reasons = {e.case: e.reason for e in coco(root).exclusions}
    assert reasons == {
        "p1_a.png": "the file does not exist",
        "other.png": "the annotations do not name the image",
    }


def test_files_that_contradict_themselves(tmp_path: Path) -> None:
    root = make(tmp_path, [box(1, [1, 1, 2, 2])])
    image = {"id": 1, "file_name": "p1_a.png"}
    for changes, message in (
        ({"images": [image, {**image, "file_name": "p2_a.png"}]}, "the id 1 stands twice among images"),
        ({"images": [image, {**image, "id": 2}]}, "two images are called"),
        ({"annotations": [box(1, [1, 1, 2, 2], 9)]}, "the category 9 is not listed"),
        ({"annotations": [box(8, [1, 1, 2, 2])]}, "the image 8 is not listed"),
        ({"categories": None}, "lists no categories"),
        ({"images": []}, "lists no images"),
    ):
        make(tmp_path, [box(1, [1, 1, 2, 2])])
        change(root, **changes)
        with pytest.raises(DataError, match=message) as caught:
            coco(root)
        assert "annotations.json" in str(caught.value.where)
        assert caught.value.todo


def test_a_missing_and_a_broken_file(tmp_path: Path) -> None:
    root = make(tmp_path, [])
    with pytest.raises(DataError, match="not there"):
        coco(root, annotations="other.json")
    with pytest.raises(DataError, match="folder of images"):
        coco(root, images="pictures")
    (root / "annotations.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        coco(root)
    (root / "annotations.json").write_text("[]")
    with pytest.raises(DataError, match="lists no images"):
        coco(root)
