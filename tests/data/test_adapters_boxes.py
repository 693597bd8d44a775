"""Boxes in YOLO's and Pascal VOC's files: the same box in every format, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medcnn.data.adapters.voc import voc
from medcnn.data.adapters.yolo import yolo
from medcnn.data.labels.boxes_voc import read_voc
from medcnn.data.labels.boxes_yolo import read_yolo
from medcnn.errors import DataError, ImageError
from medcnn.types import Boxes, Case, Dataset

YAML = "names: [nodule, mass]\ntrain: images/train\nval: images/val\n"


def picture(path: Path, shape: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros(shape[::-1], np.uint8)).save(path)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def boxes_of(case: Case) -> Boxes:
    found = case.target(Boxes)
    assert found is not None
    return found


def reasons(dataset: Dataset) -> dict[str, str]:
    return {e.case: e.reason for e in dataset.exclusions}


def make_yolo(root: Path, **labels: str) -> Path:
    """Images ``train/a``, ``train/b`` and ``val/c`` of 40 x 30 px; labels by the letter."""
    text(root / "data.yaml", YAML)
    for name in ("train/a", "train/b", "val/c"):
        picture(root / "images" / f"{name}.png")
        if name[-1] in labels:
            text(root / "labels" / f"{name}.txt", labels[name[-1]])
    return root


def test_yolo_is_shares_of_width_and_height(tmp_path: Path) -> None:
    root = make_yolo(tmp_path, a="1 0.5 0.5 0.25 0.2\n0 0.1 0.1 0.2 0.2\n", c="")
    dataset = yolo(root)
    assert [(c.id, c.part) for c in dataset] == [
        ("images/train/a.png", "training"),
        ("images/train/b.png", "training"),
        ("images/val/c.png", "validation"),
    ]
    found = boxes_of(dataset.cases[0])
    assert np.allclose(found.corners, [[15, 12, 25, 18], [0, 0, 8, 6]], atol=1e-4)
    assert found.labels.tolist() == [1, 0]
    # An empty and a missing file: nothing is there.
    assert [len(boxes_of(c).corners) for c in dataset.cases[1:]] == [0, 0]


def test_a_missing_label_file_may_mean_not_annotated(tmp_path: Path) -> None:
    dataset = yolo(make_yolo(tmp_path, a="0 0.5 0.5 0.2 0.2", c=""), unlabelled=False)
    assert reasons(dataset) == {"images/train/b.png": "the image has no label file"}


def test_polygons_of_yolo_give_their_hull(tmp_path: Path) -> None:
    dataset = yolo(make_yolo(tmp_path, a="0 0.1 0.2 0.5 0.2 0.3 0.6"))
    assert np.allclose(boxes_of(dataset.cases[0]).corners, [[4, 6, 20, 18]], atol=1e-4)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 1.5 0.5 0.2 0.2", "outside 0 to 1"),
        ("0 120 80 20 20", "outside 0 to 1"),
        ("0 0.5 0.5 0 0.2", "no area"),
        ("0 nan 0.5 0.1 0.2", "not finite"),
        ("2 0.5 0.5 0.1 0.2", "class 2 is not named"),
        ("0 0.5 0.5 0.1", "4 numbers"),
        ("nodule 0.5 0.5 0.1 0.1", "no box"),
    ],
)
def test_a_line_that_is_no_box_costs_its_image_alone(tmp_path: Path, line: str, reason: str) -> None:
    dataset = yolo(make_yolo(tmp_path, a=f"0 0.5 0.5 0.1 0.1\n{line}\n", b="0 0.5 0.5 0.1 0.1"))
    assert len(dataset) == 2
    (excluded,) = dataset.exclusions
    assert reason in excluded.reason
    assert excluded.path.endswith("a.txt:2")


def test_a_list_of_files_names_by_number_and_one_folder_for_all(tmp_path: Path) -> None:
    root = make_yolo(tmp_path, a="0 0.5 0.5 0.1 0.1")
    text(root / "data.yaml", "names: {0: mass, 1: nodule}\ntrain: list.txt\n")
    text(root / "list.txt", "images/train/a.png\nimages/train/gone.png\n")
    dataset = yolo(root)
    assert [(c.id, c.part) for c in dataset] == [("images/train/a.png", None)]
    assert reasons(dataset) == {"images/train/gone.png": "the file does not exist"}
    assert dataset.labels["boxes"].names == ("mass", "nodule")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("train: images/train\n", "names lists no classes"),
        ("names: [a, a]\ntrain: images/train\n", "one name"),
        ("names: [a]\n", "no images are named"),
        ("names: [a]\ntrain: images/other\n", "folder of images is not there"),
        ("names: [a]\ntrain: images/train\nval: images/train\n", "stands in train and in val"),
        ("names: [a", "cannot be read"),
        ("- a\n", "holds no keys"),
    ],
)
def test_a_wrong_data_yaml(tmp_path: Path, content: str, message: str) -> None:
    root = make_yolo(tmp_path)
    text(root / "data.yaml", content)
    with pytest.raises(DataError, match=message) as caught:
        yolo(root)
    assert caught.value.todo


def objects(*boxes: tuple[str, Any, Any, Any, Any], more: str = "", file: str = "") -> str:
    entries = "".join(
        f"<object><name>{name}</name>{more}<bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
        "</bndbox></object>"
        for name, a, b, c, d in boxes
    )
    size = "<size><width>40</width><height>30</height></size>"
    return f"<annotation><filename>{file}</filename>{size}{entries}</annotation>"


def make_voc(root: Path, **files: str) -> Path:
    for name, content in files.items():
        picture(root / "JPEGImages" / f"{name}.png")
        text(root / "Annotations" / f"{name}.xml", content)
    return root


def test_voc_counts_from_one_and_includes_the_last_pixel(tmp_path: Path) -> None:
    root = make_voc(tmp_path, a=objects(("nodule", 13, 31, 45, 71)), b=objects())
    dataset = voc(root)
    assert boxes_of(dataset.cases[0]).corners.tolist() == [[12, 30, 45, 71]]
    assert boxes_of(dataset.cases[1]).corners.shape == (0, 4)
    assert boxes_of(voc(root, one_based=False).cases[0]).corners.tolist() == [[13, 31, 45, 71]]


def test_difficult_objects_count_neither_way(tmp_path: Path) -> None:
    dataset = voc(make_voc(tmp_path, a=objects(("nodule", 1, 1, 5, 5), more="<difficult>1</difficult>")))
    crowd = boxes_of(dataset.cases[0]).crowd
    assert crowd is not None
    assert crowd.tolist() == [True]


def test_images_and_annotations_that_miss_each_other(tmp_path: Path) -> None:
    root = make_voc(tmp_path, a=objects(("nodule", 1, 1, 5, 5)), b=objects(file="other.png"), c=objects())
    (root / "JPEGImages" / "b.png").rename(root / "JPEGImages" / "other.png")
    (root / "JPEGImages" / "c.png").unlink()
    picture(root / "JPEGImages" / "d.png")
    dataset = voc(root)
    assert [Path(c.images[0].paths[0]).name for c in dataset] == ["a.png", "other.png"]
    assert reasons(dataset) == {
        "c": "the annotations are of an image that is not there",
        "d": "the image has no annotations",
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (objects(("nodule", 9, 1, 5, 5)), "no area"),
        (objects(("nodule", "nan", 1, 5, 5)), "not finite"),
        (objects(("nodule", "", 1, 5, 5)), "no bndbox"),
        (objects(("", 1, 1, 5, 5)), "no name"),
        ("<annotation>", "cannot be read"),
        ("<other/>", "not <annotation>"),
        ('<!DOCTYPE a [<!ENTITY b "b">]><annotation/>', "document type"),
    ],
)
def test_a_wrong_file_costs_its_image_alone(tmp_path: Path, content: str, reason: str) -> None:
    dataset = voc(make_voc(tmp_path, a=content, b=objects(("nodule", 1, 1, 5, 5))))
    assert [c.id for c in dataset] == ["b"]
    assert reason in reasons(dataset)["a"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    root = make_voc(tmp_path, a=objects(("nodule", 1, 1, 5, 5)))
    with pytest.raises(DataError, match="not there"):
        voc(root, annotations="xml")
    with pytest.raises(DataError, match="no annotation holds a box"):
        voc(make_voc(tmp_path / "other", a=objects()))


@given(st.integers(0, 37), st.integers(0, 27), st.integers(1, 40), st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_one_box_is_the_same_in_both_formats(tmp_path_factory: Any, x: int, y: int, width: int, height: int) -> None:
    folder = tmp_path_factory.mktemp("box")
    right, low = min(x + width, 40), min(y + height, 30)
    shares = f"0 {(x + right) / 80:.6f} {(y + low) / 60:.6f} {(right - x) / 40:.6f} {(low - y) / 30:.6f}"
    (first,) = read_yolo(text(folder / "a.txt", shares), ("nodule",), (40, 30))
    (second,) = read_voc(text(folder / "a.xml", objects(("nodule", x + 1, y + 1, right, low)))).boxes
    assert second.corners == (x, y, right, low)
    assert np.allclose(first.corners, second.corners, atol=1e-4)


def test_labels_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ImageError, match="cannot be read"):
        read_yolo(path, ("nodule",), (40, 30))
