"""What the page of an audit shows of boxes."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from medcnn.data.audit import Audit
from medcnn.data.finding import Finding
from medcnn.types import Boxes, Case, Dataset, ImageRef, LabelClass, LabelSchema
from medcnn.workflow.audit_pictures import boxes_text, colours_of, odd_boxes, picture_of, sheet_cases

SCHEMA = LabelSchema((LabelClass(0, "nodule", "#00ff00"), LabelClass(1, "mass", "#ff0000")))


def boxes(*rows: tuple[float, ...], dims: int = 2, label: int = 0) -> Boxes:
    return Boxes(np.array(rows, np.float32).reshape(-1, 2 * dims), np.full(len(rows), label, np.int64))


def case(name: str, target: Boxes | None, path: Path | None = None) -> Case:
    return Case(name, (ImageRef((str(path),)),) if path else (), () if target is None else (target,))


def test_half_of_the_sheet_has_boxes_where_there_are_so_many() -> None:
    full, empty = boxes((1, 1, 2, 2)), boxes()
    cases = [case(f"{k}", full if k % 20 == 0 else empty if k % 2 else None) for k in range(200)]
    chosen = sheet_cases(cases, 16)
    assert len({c.id for c in chosen}) == 16
    assert sum(c.target(Boxes) is full for c in chosen) >= 8
    assert [c.id for c in chosen] == sorted((c.id for c in chosen), key=int)
    assert sheet_cases(cases, 16) == chosen
    few = sheet_cases(cases[:50], 16)
    assert sum(c.target(Boxes) is full for c in few) == 3
    assert sheet_cases(cases, 500) == cases
    plain = [case(f"{k}", None) for k in range(30)]
    assert len(sheet_cases(plain, 12)) == 12


def test_boxes_in_words() -> None:
    assert boxes_text(SCHEMA, case("a", None)) == ""
    assert boxes_text(SCHEMA, case("a", boxes())) == "no boxes"
    assert boxes_text(SCHEMA, case("a", boxes((1, 1, 2, 2), (3, 3, 4, 4), label=1))) == "2 boxes: 2 mass"


def test_cases_that_findings_name_take_turns() -> None:
    findings = (
        Finding("boxes-outside", "caution", "", 30, tuple(f"o{k}" for k in range(10))),
        Finding("boxes-on-air", "caution", "", 2, ("a", "o0")),
        Finding("identical-images", "info", "", 1, ("other",)),
    )
    cases = {name: case(name, boxes()) for name in ["a", *(f"o{k}" for k in range(9))]}
    odd = odd_boxes(Audit("d", 9, findings, {}), cases)
    assert odd[:3] == [("o0", "outside, on air"), ("a", "on air"), ("o1", "outside")]
    assert len(odd) == 10


@pytest.mark.parametrize("corner", [float("nan"), 12.0])
def test_a_picture_shows_the_boxes_in_their_colours(tmp_path: Path, corner: float) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((30, 40), 60, np.uint8)).save(path)
    drawn = case("a", boxes((5, 5, corner, 15), label=1), path)
    dataset = Dataset("d", (drawn,), {"boxes": SCHEMA})
    picture = picture_of(dataset, drawn)
    red = (picture[..., 0] > 150) & (picture[..., 1] < 100)
    assert red.any() == np.isfinite(corner)
    if red.any():
        # The box is 7 of 40 columns and 10 of 30 rows.
        rows, columns = np.nonzero(red)
        scale = picture.shape[1] / 40
        assert columns.min() / scale == pytest.approx(5, abs=0.5)
        assert columns.max() / scale == pytest.approx(12, abs=0.5)
        assert rows.max() / scale == pytest.approx(15, abs=0.5)
    assert colours_of(dataset) == {"nodule": "#00ff00", "mass": "#ff0000"}


def test_a_volume_is_shown_where_its_box_is_and_without_one_in_the_middle(tmp_path: Path) -> None:
    values = np.full((20, 20, 10), 50, np.int16)
    values[5:10, 5:10, 8] = 900
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1, 1, 1])), tmp_path / "v.nii.gz")
    path = tmp_path / "v.nii.gz"
    drawn = case("v", boxes((5, 5, 8, 10, 10, 9), dims=3), path)
    empty, flat = case("e", boxes(dims=3), path), case("f", boxes((5, 5, 10, 10)), path)
    dataset = Dataset("d", (drawn, empty, flat), {"boxes": SCHEMA})
    picture = picture_of(dataset, drawn)
    assert ((picture[..., 1] > 150) & (picture[..., 0] < 100)).any()
    assert (picture.min(2) > 200).any()
    for other in (empty, flat):
        assert picture_of(dataset, other).max() - picture_of(dataset, other).min() == 0
    assert colours_of(Dataset("d", (empty,), {"boxes": SCHEMA})) is None
