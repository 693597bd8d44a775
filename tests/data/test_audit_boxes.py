"""What the audit says of boxes: how many and how large, and each way in which they may not fit."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medcnn.data.audit import Audit, audit
from medcnn.data.audit_boxes import BoxFacts, boxes_on_air, read_boxes
from medcnn.data.audit_images import target_key
from medcnn.data.facts import ImageFacts
from medcnn.types import Boxes, Case, Dataset, ImageRef, LabelClass, LabelSchema

SCHEMA = LabelSchema((LabelClass(0, "nodule"), LabelClass(1, "mass")))
Row = tuple[tuple[float, ...], int]


def boxes(*rows: Row, dims: int = 2) -> Boxes:
    corners = np.array([r for r, _ in rows], np.float32).reshape(len(rows), 2 * dims)
    return Boxes(corners, np.array([k for _, k in rows], np.int64))


def boxed(name: str, *rows: Row) -> Case:
    return Case(name, (), (boxes(*rows),))


def fact(name: str, **more: Any) -> ImageFacts:
    return ImageFacts(name, name, (1, 64, 32), "uint8", None, 0, 255, **more)


def found_in(*cases: Case, pixels: tuple[BoxFacts, ...] = ()) -> Audit:
    dataset = Dataset("test", cases, {"boxes": SCHEMA}, patients_known=True)
    found = audit(dataset, [fact(c.id) for c in cases], boxes=pixels)
    text = files("medcnn.data").joinpath("audit.schema.json").read_text("utf-8")
    jsonschema.validate(json.loads(json.dumps(found.to_json(), allow_nan=False)), json.loads(text))
    return found


def said(found: Audit) -> dict[str, tuple[str, str]]:
    return {f.id: (f.severity, f.what) for f in found.findings if f.id.startswith("boxes")}


def test_boxes_are_counted_by_label_and_size() -> None:
    crowd = Case("crowd", (), (Boxes(np.ones((1, 4), np.float32) * [1, 1, 3, 9], np.zeros(1, int), np.ones(1, bool)),))
    found = found_in(boxed("a", ((0, 0, 64, 32), 0), ((4, 4, 9, 6), 0)), boxed("none"), crowd)
    assert found.tables["boxes"] == {
        "cases": 3,
        "boxes": 3,
        "cases_without": 1,
        "most_in_one_image": 2,
        "ignored": 1,
        "images_with_a_frame_of_air": None,
        "labels": [
            {"label": "nodule", "boxes": 3, "cases": 2, "low": 5.0, "median": 8.0, "high": 64.0},
            {"label": "mass", "boxes": 0, "cases": 0, "low": None, "median": None, "high": None},
        ],
    }
    assert said(found) == {"boxes-label-absent": ("caution", "1 label has no box: 'mass'")}


GOOD = ((5, 5, 9, 9), 1), ((1, 1, 4, 4), 0)


@pytest.mark.parametrize(
    ("rows", "name", "severity", "words"),
    [
        ([((5, 5, 66, 20), 1)], "outside", "caution", "a box that reaches outside of the image"),
        ([((-3, 5, 20, 20), 1), ((70, 5, 90, 9), 1)], "outside", "caution", "outside of the image (2 boxes in all)"),
        ([((5, 5, 20, 5), 0)], "empty", "caution", "a box without extent"),
        ([((5, 9, 20, 5), 0)], "inverted", "caution", "a box that is inverted"),
        ([((5, 5, float("nan"), 9), 0)], "not-finite", "error", "a box with a corner that is not finite"),
        ([((5, 5, 9, 9), 0), ((5, 5, 9, 9), 0)], "repeated", "caution", "a box that stands twice"),
        ([((1, 1, 2 + k / 100, 2), 0) for k in range(1001)], "many", "caution", "than 1,000 boxes (up to 1,001)"),
    ],
)
def test_each_way_in_which_a_box_may_not_fit(rows: list[Row], name: str, severity: str, words: str) -> None:
    found = found_in(boxed("bad", *rows), boxed("good", *GOOD))
    (key, (how, text)), *more = said(found).items()
    assert (key, how, more) == (f"boxes-{name}", severity, [])
    assert text.startswith("1 case has ")
    assert words in text
    assert next(f.cases for f in found.findings if f.id == key) == ("bad",)


def test_edges_within_half_a_pixel_and_two_labels_of_one_box_are_no_finding() -> None:
    found = found_in(boxed("a", ((-0.4, 5, 64.4, 32), 1), ((-0.4, 5, 64.4, 32), 0)))
    assert said(found) == {}


def test_boxes_of_other_axes_than_the_image_are_an_error() -> None:
    case = Case("flat", (), (boxes(((1, 1, 1, 2, 2, 2), 0), dims=3),))
    assert said(found_in(case, boxed("good", *GOOD)))["boxes-axes"][0] == "error"


def test_no_box_at_all_and_no_boxes_annotated() -> None:
    assert said(found_in(boxed("a"), boxed("b"))) == {"boxes-none": ("caution", "no image has a box")}
    assert "boxes" not in audit(Dataset("test", (Case("a", ()),), {}), []).tables


def test_a_box_on_air_is_told_with_how_many_could_be_looked_at() -> None:
    pixels = (BoxFacts("a", 2, framed=True), BoxFacts("b"))
    found = found_in(boxed("a", *GOOD), boxed("b", *GOOD), pixels=pixels)
    assert said(found)["boxes-on-air"][1].startswith("1 case has a box on air: ")
    assert said(found)["boxes-on-air"][1].endswith("(2 boxes in all)")
    assert found.tables["boxes"]["images_with_a_frame_of_air"] == 1


def body(shape: tuple[int, ...], air: float, tissue: float, noise: float, seed: int = 0) -> NDArray[np.float32]:
    """Something with structure in the middle of air."""
    rng = np.random.default_rng(seed)
    values = air + noise * rng.standard_normal(shape)
    inner = tuple(slice(n // 5, n - n // 5) for n in shape[:2])
    values[inner] = tissue + 0.3 * (tissue - air) * rng.standard_normal(values[inner].shape)
    return values[np.newaxis].astype(np.float32)


INSIDE, OUTSIDE, BETWEEN = ((20, 20, 30, 30), 0), ((1, 1, 8, 8), 0), ((4, 20, 24, 30), 0)


@pytest.mark.parametrize(
    ("air", "tissue", "noise"),
    [(0, 120, 2), (-1000, 40, 15), (4095, 1000, 20), (0, 1, 0.01)],
    ids=["MR", "CT", "a film that is white where nothing is", "unit range"],
)
def test_a_box_lies_on_air_where_its_mean_is_that_of_the_frame(air: float, tissue: float, noise: float) -> None:
    array = body((64, 60), air, tissue, noise)
    outside = ((-9, -9, -2, -2), 0)
    found = boxes_on_air(array, boxes(INSIDE, OUTSIDE, BETWEEN, outside, ((1, float("nan"), 4, 4), 0)))
    assert found is not None
    assert found.tolist() == [False, True, False, False, False]
    # In all channels, and in all slices of a volume.
    volume = np.repeat(array[..., np.newaxis], 5, axis=3)
    deep = [((*r[:2], 1, *r[2:], 4), k) for r, k in (INSIDE, OUTSIDE)]
    assert boxes_on_air(np.concatenate([volume, volume]), boxes(*deep, dims=3)).tolist() == [False, True]  # type: ignore[union-attr]


def test_where_there_is_no_frame_of_air_nothing_is_said() -> None:
    noise = np.random.default_rng(0).normal(100, 10, (1, 64, 60))
    assert boxes_on_air(noise, boxes(OUTSIDE)) is None
    assert boxes_on_air(np.full((1, 64, 60), 7, np.uint8), boxes(OUTSIDE)) is None
    assert boxes_on_air(body((64, 60), 0, 100, 1), boxes(((1, 1, 1, 2, 2, 2), 0), dims=3)) is None


@pytest.mark.parametrize("threads", [1, 3])
def test_images_with_boxes_are_looked_at_once(tmp_path: Path, threads: int) -> None:
    cases = []
    for k, rows in enumerate([(INSIDE,), (OUTSIDE, INSIDE), (), (INSIDE,)]):
        path = tmp_path / f"{k}.png"
        Image.fromarray(np.clip(body((64, 60), 5, 120, 1, k)[0].T, 0, 255).astype(np.uint8)).save(path)
        cases.append(Case(str(k), (ImageRef((str(path),)),), (boxes(*rows),)))
    (tmp_path / "3.png").unlink()
    dataset = Dataset("test", tuple(cases), {"boxes": SCHEMA})
    assert read_boxes(dataset, cases, threads=threads) == [
        BoxFacts("0", 0, framed=True),
        BoxFacts("1", 1, framed=True),
        BoxFacts("3"),
    ]
    assert read_boxes(Dataset("test", tuple(cases), {}), cases) == []


def test_ignored_boxes_make_another_target() -> None:
    corners, labels = np.ones((1, 4), np.float32), np.zeros(1, np.int64)
    plain, ignored = Boxes(corners, labels), Boxes(corners, labels, np.ones(1, bool))
    assert target_key(Case("a", (), (plain,))) == target_key(Case("b", (), (plain,)))
    assert target_key(Case("a", (), (plain,))) != target_key(Case("a", (), (ignored,)))
