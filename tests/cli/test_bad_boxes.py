"""Boxes that do not fit: one message that says where, or a case that is listed while the rest is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Command = Callable[..., Any]
COUNT = 24
CATALOG = """
mine:
  title: Mine
  tasks: [detection]
  adapter: {adapter}
  patient: Unknown.
  folder: mine
"""
COCO = "{name: coco}"
YOLO = "{name: yolo}"
TABLE = "{name: box_table, options: {corners: diameter, space: world_lps, coordinates: [x, y, z, d]}}"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images of 40 x 30 px: something bright on a dark ground."""
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path / "cache"))
    # Pictures take most of an audit's time.
    monkeypatch.setattr("medcnn.workflow.audit.SHOWN_CASES", 2)
    folder = tmp_path / "data" / "images"
    folder.mkdir(parents=True)
    for k in range(1, COUNT + 1):
        pixels = np.random.default_rng(k).integers(0, 8, (30, 40), np.uint8)
        pixels[5:25, 8:32] += np.random.default_rng(k + 100).integers(90, 200, (20, 24), np.uint8)
        Image.fromarray(pixels).save(folder / f"{k:02d}.png")
    return tmp_path / "data"


def coco(root: Path, change: Callable[[dict[str, list[dict[str, Any]]]], None]) -> None:
    found: dict[str, list[dict[str, Any]]] = {
        "images": [{"id": k, "file_name": f"{k:02d}.png"} for k in range(1, COUNT + 1)],
        "annotations": [
            {"id": k, "image_id": k, "category_id": 1, "bbox": [10, 8, 12, 9]} for k in range(1, COUNT + 1)
        ],
        "categories": [{"id": 1, "name": "nodule"}],
    }
    change(found)
    (root / "annotations.json").write_text(json.dumps(found))


def audited(command: Command, root: Path, adapter: str = COCO) -> Any:
    catalog = root.parent / "own.yaml"
    catalog.write_text(CATALOG.format(adapter=adapter))
    done = command("data", "audit", "mine", "--catalog", catalog, "--root", root, "--out", root.parent / "out")
    assert "Traceback" not in done.err
    return done


def stored(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root.parent / "out" / "audit.json").read_text())
    return found


def set_box(bbox: list[float]) -> Callable[[dict[str, list[dict[str, Any]]]], None]:
    return lambda found: found["annotations"][2].update(bbox=bbox)


def copied(times: int) -> Callable[[dict[str, list[dict[str, Any]]]], None]:
    def change(found: dict[str, list[dict[str, Any]]]) -> None:
        found["annotations"] += [
            {"id": 100 + k, "image_id": 3, "category_id": 1, "bbox": [10, 8, 12, 9 + (k + 1) / 1000 * (times > 1)]}
            for k in range(times)
        ]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f["annotations"][2].update(category_id=9), "the category 9 is not listed in the file"),
        (lambda f: f["annotations"][2].update(image_id=99), "the image 99 is not listed in the file"),
        (lambda f: f["images"][2].update(id=2), "the id 2 stands twice among images"),
        (lambda f: f["images"][2].update(file_name="02.png"), "two images are called '02.png'"),
    ],
)
def test_a_file_that_contradicts_itself_is_one_message(
    medcnn_command: Command, root: Path, change: Any, words: str
) -> None:
    coco(root, change)
    done = audited(medcnn_command, root)
    assert done.code == 2
    assert done.err.count("error:") == 1
    message = done.err[done.err.index("error:") :]
    assert words in message
    assert "annotations.json" in message
    assert len(message.strip().splitlines()) > 1
    assert not (root.parent / "out" / "audit.json").exists()


@pytest.mark.parametrize(
    ("bbox", "words"),
    [
        ([10, 8, -12, 9], "a box has no area: width -12, height 9"),
        ([10, 8, 12, 0], "a box has no area: width 12, height 0"),
        ([10, float("nan"), 12, 9], "a box holds a number that is not finite"),
    ],
)
def test_a_box_that_is_none_costs_its_image_and_is_listed(
    medcnn_command: Command, root: Path, bbox: list[float], words: str
) -> None:
    coco(root, set_box(bbox))
    done = audited(medcnn_command, root)
    assert done.code == 0
    assert "caution: 1 case or file not usable: 1 a box " in done.out + done.err
    (row,) = stored(root)["exclusions"]
    assert (row["count"], row["examples"][0]["case"]) == (1, "03.png")
    assert row["reason"] == f"{words} (annotation 3)"
    assert stored(root)["cases"] == COUNT - 1


def test_an_image_that_is_not_there_and_one_that_nobody_names(medcnn_command: Command, root: Path) -> None:
    coco(root, lambda _: None)
    (root / "images" / "03.png").rename(root / "images" / "x.png")
    done = audited(medcnn_command, root)
    reasons = {row["reason"]: row["examples"][0]["case"] for row in stored(root)["exclusions"]}
    assert reasons == {"the file does not exist": "03.png", "the annotations do not name the image": "x.png"}
    # 2 of 25 are more than 5 %: everything is written, and a run would stop.
    assert done.code == 2
    assert "2 of 25 cases (8.0%) cannot be used" in done.err


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (set_box([30, 8, 25, 9]), "boxes-outside", "1 case has a box that reaches outside of the image"),
        (set_box([33, 1, 5, 4]), "boxes-on-air", "1 case has a box on air"),
        (copied(1), "boxes-repeated", "1 case has a box that stands twice"),
        (copied(2000), "boxes-many", "1 case has more than 1,000 boxes (up to 2,001)"),
    ],
)
def test_boxes_that_cannot_be_right_are_used_counted_and_shown(
    medcnn_command: Command, root: Path, change: Any, name: str, words: str
) -> None:
    coco(root, change)
    done = audited(medcnn_command, root)
    assert done.code == 0
    assert f"caution: {words}" in done.out + done.err
    found = {f["id"]: f for f in stored(root)["findings"]}
    assert found[name]["cases"] == ["03.png"]
    assert [f for f in found if f.startswith("boxes-")] == [name]
    page = (root.parent / "out" / "audit.html").read_text()
    assert "Boxes to look at" in page
    assert "03.png" not in page


def test_shares_above_one(medcnn_command: Command, root: Path) -> None:
    (root / "data.yaml").write_text("names: [nodule]\ntrain: images\n")
    (root / "labels").mkdir()
    for k in range(1, COUNT + 1):
        row = "0 120 80 20 20" if k == 3 else "0 0.4 0.4 0.3 0.3"
        (root / "labels" / f"{k:02d}.txt").write_text(row)
    done = audited(medcnn_command, root, YOLO)
    assert done.code == 0
    (row,) = stored(root)["exclusions"]
    assert row["reason"].startswith("a box has values outside 0 to 1: YOLO's are shares")
    assert row["examples"][0]["path"].endswith("labels/03.txt:1")


def test_boxes_in_mm_on_an_image_without_geometry(medcnn_command: Command, root: Path) -> None:
    rows = "".join(f"{k:02d},,,,\n" for k in range(1, COUNT + 1) if k != 3)
    (root / "boxes.csv").write_text(f"image,x,y,z,d\n03,1,2,3,4\n{rows}")
    done = audited(medcnn_command, root, TABLE)
    # Of the others none has a box, and nothing is left of the one that has.
    assert done.code == 0
    assert "the image has no geometry, so that a box in mm cannot be placed in it" in done.out + done.err
    assert stored(root)["exclusions"][0]["examples"][0]["path"].endswith("images/03.png")


def test_a_set_whose_terms_must_be_accepted_says_so(medcnn_command: Command, tmp_path: Path) -> None:
    done = medcnn_command("data", "show", "vindr_cxr")
    assert "become a credentialed user of PhysioNet" in done.out
    done = medcnn_command("data", "get", "vindr_cxr", "--root", tmp_path / "vindr")
    assert done.code == 2
    assert "become a credentialed user of PhysioNet" in done.err
