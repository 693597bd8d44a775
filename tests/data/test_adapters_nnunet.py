"""Raw folders of nnU-Net v2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from medcnn.data.adapters.nnunet import nnunet
from medcnn.data.images import read_case
from medcnn.data.labels import read_mask
from medcnn.errors import DataError
from medcnn.types import Dataset, Mask

LABELS: dict[str, Any] = {"background": 0, "edema": 1, "core": 2, "enhancing": 3}
STORED = np.arange(30, dtype=np.uint8).reshape(3, 5, 2) % 5


def make(root: Path, names: tuple[str, ...] = ("BRATS_001", "BRATS_002"), part: str = "Tr", **changes: Any) -> Path:
    for k, name in enumerate(names):
        for channel in range(2):
            save(
                root / f"images{part}" / f"{name}_{channel:04d}.nii.gz", np.full((3, 5, 2), 10 * k + channel, np.int16)
            )
        save(root / f"labels{part}" / f"{name}.nii.gz", STORED if "ignore" in changes.get("labels", {}) else STORED % 4)
    about = {"channel_names": {"0": "T1", "1": "FLAIR"}, "labels": LABELS, "numTraining": 2, "file_ending": ".nii.gz"}
    about.update(changes)
    (root / "dataset.json").write_text(json.dumps({k: v for k, v in about.items() if v is not None}))
    return root


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)


def positions(dataset: Dataset) -> np.ndarray:
    case = dataset.cases[0]
    mask = case.target(Mask)
    assert mask is not None
    return read_mask(mask, dataset.labels["mask"], read_case(case))


def test_channels_are_files_and_masks_lie_beside(tmp_path: Path) -> None:
    dataset = nnunet(make(tmp_path))
    assert [c.id for c in dataset] == ["BRATS_001", "BRATS_002"]
    assert dataset.labels["mask"].names == ("edema", "core", "enhancing")
    assert not dataset.labels["mask"].multilabel
    assert [c.part for c in dataset] == [None, None]
    assert read_case(dataset.cases[1]).array[:, 0, 0, 0].tolist() == [10, 11]
    np.testing.assert_array_equal(positions(dataset), STORED % 4)
    one = nnunet(tmp_path, channels=("FLAIR",))
    assert read_case(one.cases[1]).array[:, 0, 0, 0].tolist() == [11]


def test_the_ignore_label_is_not_annotated(tmp_path: Path) -> None:
    make(tmp_path, labels={**LABELS, "ignore": 4})
    expected = np.array([0, 1, 2, 3, 255])[STORED]
    np.testing.assert_array_equal(positions(nnunet(tmp_path)), expected)
    merged = nnunet(tmp_path, mask_labels={"tumour": ("core", "enhancing")})
    np.testing.assert_array_equal(positions(merged), np.array([0, 0, 1, 1, 255])[STORED])


def test_regions_overlap(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
    dataset = nnunet(make(tmp_path, labels=labels, regions_class_order=[1, 2, 3]))
    schema = dataset.labels["mask"]
    assert schema.multilabel
    assert schema.names == ("whole", "core", "enhancing")
    found = positions(dataset)
    for channel, first in zip(found, (1, 2, 3), strict=True):
        np.testing.assert_array_equal(channel, np.where(STORED == 4, 255, first <= STORED))
    chosen = nnunet(tmp_path, mask_labels={"tumour": "core"})
    assert not chosen.labels["mask"].multilabel
    np.testing.assert_array_equal(positions(chosen), np.array([0, 0, 1, 1, 255])[STORED])


def test_a_test_part_with_masks_is_the_test_part(tmp_path: Path) -> None:
    make(tmp_path)
    make(tmp_path, ("BRATS_101",), part="Ts")
    assert {c.id: c.part for c in nnunet(tmp_path)} == {
        "BRATS_001": "training",
        "BRATS_002": "training",
        "BRATS_101": "test",
    }
    (tmp_path / "labelsTs/BRATS_101.nii.gz").unlink()
    (tmp_path / "labelsTs").rmdir()
    dataset = nnunet(tmp_path)
    assert len(dataset) == 2
    assert [(e.case, e.reason, e.aside) for e in dataset.exclusions] == [
        ("BRATS_101", "a test image that is published without a mask", True)
    ]


def test_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    make(tmp_path, ("a", "b", "c", "d"))
    (tmp_path / "imagesTr/a_0001.nii.gz").unlink()
    (tmp_path / "labelsTr/b.nii.gz").unlink()
    save(tmp_path / "imagesTr/c_0002.nii.gz", STORED)
    save(tmp_path / "imagesTr/odd.nii.gz", STORED)
    save(tmp_path / "labelsTr/alone.nii.gz", STORED)
    dataset = nnunet(tmp_path)
    assert [c.id for c in dataset] == ["d"]
    assert {(e.case, e.reason) for e in dataset.exclusions} == {
        ("a", "the image lacks the channel FLAIR (_0001)"),
        ("b", "the image has no mask"),
        ("c", "the image has the channel _0002 too"),
        ("odd.nii.gz", "not named CASE_0000.nii.gz"),
        ("alone", "the mask has no image"),
    }


def test_colour_pictures(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    Pillow.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "imagesTr/road_0000.png")
    Pillow.fromarray(np.ones((4, 6), np.uint8)).save(tmp_path / "labelsTr/road.png")
    about = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "road": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps({**about, "file_ending": ".png"}))
    dataset = nnunet(tmp_path)
    assert read_case(dataset.cases[0]).array.shape == (3, 6, 4)
    assert positions(dataset).all()


def test_files_that_the_json_lists(tmp_path: Path) -> None:
    make(tmp_path / "other")
    make(tmp_path, ())
    files = [f"other/imagesTr/BRATS_001_{k:04d}.nii.gz" for k in range(2)]
    about = json.loads((tmp_path / "dataset.json").read_text())
    about["dataset"] = {
        "x": {"images": files, "label": "other/labelsTr/BRATS_001.nii.gz"},
        "y": {"images": [files[0], "none.nii.gz"], "label": "other/labelsTr/BRATS_001.nii.gz"},
    }
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    dataset = nnunet(tmp_path)
    assert [c.id for c in dataset] == ["x"]
    assert [(e.case, e.reason) for e in dataset.exclusions] == [("y", "the file does not exist")]
    np.testing.assert_array_equal(positions(dataset), STORED % 4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": {"0": "background", "1": "x"}}, "the label '0' has the value 'background'"),
        ({"labels": {"background": 0, "x": [1, "2"]}}, "the label 'x' has the value"),
        ({"file_ending": None}, "no channel_names or no file_ending"),
        ({"channel_names": {"1": "T1"}}, "does not number the channels from 0"),
        ({"labels": {"background": 0}}, "1 to 253 labels, not 0"),
    ],
)
def test_a_dataset_json_that_cannot_be_used(tmp_path: Path, changes: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        nnunet(make(tmp_path, ("a",), **changes))


def test_missing_folders(tmp_path: Path) -> None:
    make(tmp_path, ())
    with pytest.raises(DataError, match="folder is not there") as error:
        nnunet(tmp_path)
    assert error.value.where == str(tmp_path / "imagesTr")
