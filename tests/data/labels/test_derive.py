"""Classes and boxes that follow from masks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image as Pillow
from pydantic import ValidationError

from medcnn.data.adapters.mask_labels import mask_schema
from medcnn.data.dataset import load_dataset
from medcnn.data.labels import derive
from medcnn.data.labels.derive import boxes_of, class_schema, classes_of, with_derived
from medcnn.errors import DataError
from medcnn.recipe.schema import DataSection
from medcnn.types import Boxes, Case, ClassLabel, Dataset, ImageRef, Mask

TWO = mask_schema(["liver", "tumour"])


def test_boxes_of_components() -> None:
    labels = np.zeros((8, 6, 4), np.uint8)
    labels[3:6, 1, 2] = 1
    labels[0, 0, 0] = labels[1, 1, 1] = 2  # touching at a corner: one
    labels[7, 5, 3] = 2
    labels[6, 5, 3] = 255
    found = boxes_of(labels, TWO)
    assert found.corners.dtype == np.float32
    assert found.corners.tolist() == [[3, 1, 2, 6, 2, 3], [0, 0, 0, 2, 2, 2], [7, 5, 3, 8, 6, 4]]
    assert found.labels.tolist() == [0, 1, 1]
    none = boxes_of(np.zeros((8, 6), np.uint8), TWO)
    assert none.corners.shape == (0, 4)


def test_boxes_of_overlapping_labels() -> None:
    labels = np.zeros((2, 5, 5), np.uint8)
    labels[0, 1:4, 1:4] = 1
    labels[1, 2, 2] = 1
    found = boxes_of(labels, mask_schema(["whole", "core"], overlapping=True))
    assert found.corners.tolist() == [[1, 1, 4, 4], [2, 2, 3, 3]]
    assert found.labels.tolist() == [0, 1]


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.sampled_from([0, 1, 2, 255]))
)
def test_boxes_hold_exactly_what_is_labelled(labels: Any) -> None:
    found = boxes_of(labels, TWO)
    for k in range(2):
        inside = np.zeros(labels.shape, bool)
        for x1, y1, x2, y2 in found.corners[found.labels == k].astype(int):
            inside[x1:x2, y1:y2] = True
            assert (labels[x1:x2, y1:y2] == k + 1).any(axis=1).all()  # no empty column at an edge or inside
        assert inside[labels == k + 1].all()
    states = classes_of(labels, TWO).states
    assert [s == 1 for s in states] == [bool((found.labels == k).any()) for k in range(2)]


def test_classes_of_one_label_and_of_several() -> None:
    one = mask_schema(["tumour"])
    assert class_schema(one).names == ("no tumour", "tumour")
    assert class_schema(one).positive == "tumour"
    assert classes_of(np.array([[0, 1]], np.uint8), one) == ClassLabel((0, 1))
    assert classes_of(np.array([[0, 0]], np.uint8), one) == ClassLabel((1, 0))
    # A tumour may lie where nobody looked.
    assert classes_of(np.array([[0, 255]], np.uint8), one) == ClassLabel((None, None))
    assert classes_of(np.array([[1, 255]], np.uint8), one) == ClassLabel((0, 1))
    assert class_schema(TWO).multilabel
    assert classes_of(np.array([[0, 2]], np.uint8), TWO) == ClassLabel((0, 1))
    channels = np.array([[[0, 0]], [[255, 255]]], np.uint8)
    assert classes_of(channels, mask_schema(["a", "b"], overlapping=True)) == ClassLabel((0, None))


def dataset(root: Path, **labels: Any) -> Dataset:
    cases = []
    for k, values in enumerate(([[0, 0], [0, 1]], [[0, 0], [0, 0]], [[0, 0], [7, 0]])):
        Pillow.fromarray(np.zeros((2, 2), np.uint8)).save(root / f"{k}.png")
        Pillow.fromarray(np.array(values, np.uint8).T).save(root / f"m{k}.png")
        mask = Mask(ImageRef((str(root / f"m{k}.png"),)))
        cases.append(Case(str(k), (ImageRef((str(root / f"{k}.png"),)),), (mask,)))
    cases.append(Case("3", (ImageRef((str(root / "0.png"),)),)))
    return Dataset("d", tuple(cases), {"mask": mask_schema(["tumour"]), **labels})


def test_a_dataset_gains_targets_and_keeps_its_masks(tmp_path: Path) -> None:
    found = with_derived(dataset(tmp_path), ["class", "boxes"])
    assert [c.id for c in found] == ["0", "1", "3"]
    first, second, third = found.cases
    assert first.target(ClassLabel) == ClassLabel((0, 1))
    boxes = first.target(Boxes)
    assert boxes is not None
    assert boxes.corners.tolist() == [[1, 1, 2, 2]]
    assert second.target(ClassLabel) == ClassLabel((1, 0))
    assert first.target(Mask) is not None
    assert third.targets == ()
    assert found.labels["boxes"].names == ("tumour",)
    assert [(e.case, e.path) for e in found.exclusions] == [("2", str(tmp_path / "m2.png"))]
    assert "the value 7" in found.exclusions[0].reason


def test_files_are_read_once_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    original = derive.read_mask

    def counted(mask: Mask, *args: Any, **options: Any) -> Any:
        reads.append(mask.image.paths[0])
        return original(mask, *args, **options)

    monkeypatch.setattr(derive, "read_mask", counted)
    made = dataset(tmp_path)
    made = Dataset("d", made.cases[:2], made.labels)
    with_derived(made, ["class"])
    with_derived(made, ["class"])
    assert len(reads) == 2
    Pillow.fromarray(np.ones((2, 2), np.uint8)).save(tmp_path / "m1.png", compress_level=0)
    assert with_derived(made, ["class"]).cases[1].target(ClassLabel) == ClassLabel((0, 1))
    assert len(reads) == 3


def test_what_cannot_be_derived_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no masks to derive from"):
        with_derived(Dataset("d", (), {}), ["class"])


def test_derived_classes_take_the_place_of_others(tmp_path: Path) -> None:
    own = dataset(tmp_path, **{"class": class_schema(TWO)})
    cases = tuple(replace(c, targets=(ClassLabel((1, 1)), *c.targets)) for c in own.cases)
    found = with_derived(replace(own, cases=cases), ["class"])
    assert found.labels["class"].names == ("no tumour", "tumour")
    assert [c.target(ClassLabel) for c in found] == [ClassLabel((0, 1)), ClassLabel((1, 0)), None]
    # What is not asked for stays.
    kept = with_derived(replace(own, cases=cases), ["boxes"])
    assert kept.cases[0].target(ClassLabel) == ClassLabel((1, 1))


def test_a_recipe_asks_for_it(tmp_path: Path) -> None:
    dataset(tmp_path)
    (tmp_path / "cases.csv").write_text("image,mask\n0.png,m0.png\n1.png,m1.png\n")
    section = DataSection.model_validate(
        {
            "root": str(tmp_path),
            "adapter": {"name": "table", "mask": "mask", "mask_labels": {"tumour": 1}},
            "derive": {"targets": ["class"]},
        }
    )
    found = load_dataset(section)
    assert [c.target(ClassLabel) for c in found] == [ClassLabel((0, 1)), ClassLabel((1, 0))]
    assert found.labels["class"].names == ("no tumour", "tumour")
    with pytest.raises(ValidationError, match="each once"):
        DataSection.model_validate({"dataset": "x", "derive": {"targets": ["class", "class"]}})


@pytest.mark.realdata
def test_boxes_of_real_masks_are_those_that_were_published(realdata: Any) -> None:
    root = realdata("brain_tumor_mri")
    found = json.loads((root / "annotations.coco.json").read_text(encoding="utf-8"))
    names = {image["id"]: f"images/{image['file_name']}" for image in found["images"]}
    published = {names[a["image_id"]]: a["bbox"] for a in found["annotations"]}
    section = {"dataset": "brain_tumor_mri", "root": str(root), "derive": {"targets": ["boxes"]}, "limit": 200}
    dataset = load_dataset(DataSection.model_validate(section))
    assert len(dataset) > 100
    for case in dataset:
        boxes = case.target(Boxes)
        assert boxes is not None
        x, y, width, height = published[case.id]
        hull = [*boxes.corners[:, :2].min(0), *boxes.corners[:, 2:].max(0)]
        # The published contours were rounded to pixels when the masks were made.
        assert np.abs(np.array(hull) - (x, y, x + width, y + height)).max() <= 1.5
