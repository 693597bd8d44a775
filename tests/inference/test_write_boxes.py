"""Boxes as COCO's results and as a table: what pycocotools and values by hand say of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from medcnn.errors import DataError
from medcnn.inference.write_boxes import CocoIds, write_box_csv, write_coco_results
from medcnn.types import BoxesPrediction, LabelClass, LabelSchema

SCHEMA = LabelSchema((LabelClass(0, "nodule"), LabelClass(1, "mass")))
CASES = ["films/a.png", "films/b.png", "films/c.png"]


def boxes(corners: Any, labels: Any, scores: Any, **more: Any) -> BoxesPrediction:
    width = len(corners[0]) if len(corners) else 4
    made = np.array(corners, np.float32).reshape(-1, width)
    return BoxesPrediction(made, np.array(labels, np.int64), np.array(scores, np.float32), **more)


FOUND = [
    boxes([[10, 20, 30.5, 45], [1, 2, 3, 4]], [1, 0], [0.9, 0.25], shape=(100, 80)),
    boxes([], [], [], shape=(50, 60)),
    boxes([[0, 0, 50, 60]], [0], [0.123456789], shape=(50, 60)),
]


def annotations(path: Path, **changes: Any) -> Path:
    about = {
        "images": [
            {"id": 70, "file_name": "c.png", "width": 50, "height": 60},
            {"id": 7, "file_name": "a.png", "width": 100, "height": 80},
            {"id": 8, "file_name": "other/b.png", "width": 50, "height": 60},
        ],
        "categories": [{"id": 5, "name": "mass"}, {"id": 3, "name": "nodule"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 5, "bbox": [10, 20, 20.5, 25], "area": 512.5, "iscrowd": 0},
            {"id": 2, "image_id": 70, "category_id": 3, "bbox": [0, 0, 50, 60], "area": 3000, "iscrowd": 0},
        ],
    }
    path.write_text(json.dumps({**about, **changes}))
    return path


def test_ids_of_our_own_and_what_they_mean(tmp_path: Path) -> None:
    path = tmp_path / "coco_results.json"
    assert write_coco_results(path, CASES, FOUND, SCHEMA) == ()
    assert json.loads(path.read_text()) == [
        {"image_id": 1, "category_id": 2, "bbox": [10.0, 20.0, 20.5, 25.0], "score": pytest.approx(0.9)},
        {"image_id": 1, "category_id": 1, "bbox": [1.0, 2.0, 2.0, 2.0], "score": 0.25},
        {"image_id": 3, "category_id": 1, "bbox": [0.0, 0.0, 50.0, 60.0], "score": pytest.approx(0.123456789)},
    ]
    loaded = COCO(str(tmp_path / "coco_images.json"))
    assert {i["file_name"]: (i["id"], i["width"], i["height"]) for i in loaded.dataset["images"]} == {
        "films/a.png": (1, 100, 80), "films/b.png": (2, 50, 60), "films/c.png": (3, 50, 60),
    }  # fmt: skip
    assert {c["name"]: c["id"] for c in loaded.dataset["categories"]} == {"nodule": 1, "mass": 2}
    assert len(loaded.loadRes(str(path)).getAnnIds(imgIds=[1])) == 2


def test_pycocotools_takes_the_results_against_annotations(tmp_path: Path) -> None:
    file = annotations(tmp_path / "truth.json")
    path = tmp_path / "results.json"
    # b.png lies in another folder there: it is another image.
    assert write_coco_results(path, CASES, FOUND, SCHEMA, CocoIds.read(file, SCHEMA)) == ("films/b.png",)
    assert not (tmp_path / "coco_images.json").exists()
    truth = COCO(str(file))
    evaluated = COCOeval(truth, truth.loadRes(str(path)), "bbox")
    evaluated.evaluate()
    evaluated.accumulate()
    evaluated.summarize()
    # Both objects are found by boxes that equal them; that of the nodule comes after a false one: 1 and 1/2.
    assert evaluated.stats[0] == pytest.approx(0.75)


def test_images_are_found_by_the_end_of_their_paths(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "p1/x.png"}, {"id": 2, "file_name": "x.png"}, {"id": 3, "file_name": "y.png"}]
    ids = CocoIds.read(annotations(tmp_path / "t.json", images=images, annotations=[]), SCHEMA)
    names = ("p1/x.png", "x.png", "data/y.png", "datay.png", "data/p1/x.png")
    assert [ids.image(name) for name in names] == [1, 2, 3, None, None]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"categories": [{"id": 1, "name": "nodul"}, {"id": 2, "name": "mass"}]},
            "'nodule' of the model is no category",
        ),
        ({"images": [{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "a"}]}, "stands twice"),
        ({"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]}, "stands twice"),
        ({"images": [{"id": 1}]}, "no COCO annotation file"),
    ],
)
def test_annotations_that_do_not_serve(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        CocoIds.read(annotations(tmp_path / "t.json", **changes), SCHEMA)


def test_annotations_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        CocoIds.read(tmp_path / "t.json", SCHEMA)
    (tmp_path / "t.json").write_text("[1, 2]")
    with pytest.raises(DataError, match="no COCO annotation file"):
        CocoIds.read(tmp_path / "t.json", SCHEMA)


def table(path: Path, predictions: list[BoxesPrediction], affines: list[Any]) -> list[dict[str, str]]:
    names = CASES[: len(predictions)]
    thresholds = {"nodule": 0.25, "mass": 0.95}
    write_box_csv(path, names, predictions, SCHEMA, thresholds=thresholds, affines=affines)
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_corners_and_findings(tmp_path: Path) -> None:
    rows = table(tmp_path / "boxes.csv", FOUND, [None] * 3)
    assert [(r["case"], r["label"], r["finding"]) for r in rows] == [
        ("films/a.png", "mass", "0"), ("films/a.png", "nodule", "1"), ("films/b.png", "", ""),
        ("films/c.png", "nodule", "0"),
    ]  # fmt: skip
    assert [rows[0][k] for k in ("x1", "y1", "x2", "y2")] == ["10", "20", "30.5", "45"]
    assert np.float32(rows[3]["score"]) == np.float32(0.123456789)
    # Neither spacing nor an affine: nothing is in mm.
    assert {rows[0][k] for k in rows[0] if k.endswith("_mm") or k == "frame"} == {""}


def test_millimetres_along_the_axes_of_an_image_with_its_spacing_alone(tmp_path: Path) -> None:
    found = boxes([[10, 20, 30, 45]], [0], [0.9], shape=(100, 80), spacing=(0.5, 0.2))
    (row,) = table(tmp_path / "boxes.csv", [found], [None])
    # Middles of the pixels 10 to 29 and 20 to 44: 19.5 and 32 pixels after that of the first.
    assert [row[f"centre_{a}_mm"] for a in "xyz"] == ["9.75", "6.4", ""]
    assert [row[f"side_{a}_mm"] for a in "xy"] == ["10", "5"]
    assert row["frame"] == "image"


def test_millimetres_in_the_world_of_a_slice_and_of_a_turned_volume(tmp_path: Path) -> None:
    lps = np.array([[0.8, 0, 0, -30], [0, 1.25, 0, 12], [0, 0, 2.5, 100], [0, 0, 0, 1]])
    affine = np.diag([-1, -1, 1, 1]) @ lps
    (row,) = table(tmp_path / "a.csv", [boxes([[2, 4, 5, 6]], [0], [0.9], spacing=(0.8, 1.25))], [affine])
    # Middle of the pixels 2 to 4 and 4 to 5.
    assert [float(row[f"centre_{a}_mm"]) for a in "xyz"] == pytest.approx([30 - 0.8 * 3, -12 - 1.25 * 4.5, 100])
    assert [float(row[f"side_{a}_mm"]) for a in "xy"] == pytest.approx([2.4, 2.5])
    assert row["frame"] == "world"
    # Axes x, y, z of the image run along y, z and x of the world.
    turned = np.array([[0, 0, 3, 1], [2.0, 0, 0, 2], [0, 0.5, 0, 3], [0, 0, 0, 1]])
    (row,) = table(tmp_path / "b.csv", [boxes([[0, 2, 1, 3, 6, 2]], [1], [0.9])], [turned])
    assert [float(row[f"centre_{a}_mm"]) for a in "xyz"] == pytest.approx([1 + 3 * 1, 2 + 2 * 1, 3 + 0.5 * 3.5])
    assert [float(row[f"side_{a}_mm"]) for a in "xyz"] == pytest.approx([6, 2, 3])
    assert [float(row[k]) for k in ("x1", "y1", "z1", "x2", "y2", "z2")] == [0, 2, 1, 3, 6, 2]


def test_coco_knows_no_volumes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two dimensions"):
        write_coco_results(tmp_path / "r.json", ["a"], [boxes([[0, 0, 0, 1, 1, 1]], [0], [0.5])], SCHEMA)


def test_medcnn_evaluates_its_own_files(tmp_path: Path) -> None:
    from medcnn.workflow.box_files import read_predictions

    table(tmp_path / "boxes.csv", FOUND, [None] * 3)
    read = read_predictions(tmp_path / "boxes.csv", 2)
    assert [(b.case, b.label, b.corners) for b in read.boxes] == [
        ("films/a.png", "mass", (10, 20, 30.5, 45)), ("films/a.png", "nodule", (1, 2, 3, 4)),
        ("films/c.png", "nodule", (0, 0, 50, 60)),
    ]  # fmt: skip
    assert set(read.images) == set(CASES)
