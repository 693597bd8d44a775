"""A folder of images and a folder of masks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom.data import get_testdata_file

from medcnn.data.adapters.pairs import pairs
from medcnn.data.images import read_case
from medcnn.data.labels import read_mask
from medcnn.errors import DataError
from medcnn.types import ImageRef, Mask


def picture(path: Path, value: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full((2, 3), value, np.uint8)).save(path)


def volume(path: Path, value: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.full((2, 3, 4), value, np.uint8), np.eye(4)), path)


def test_names_without_endings_fit_together(tmp_path: Path) -> None:
    picture(tmp_path / "images/p1-a.jpg")
    volume(tmp_path / "images/p1-b.nii.gz")
    volume(tmp_path / "images/below/p2-c.nii")
    picture(tmp_path / "masks/p1-a.png")
    volume(tmp_path / "masks/p1-b.nii")
    volume(tmp_path / "masks/below/p2-c.nii.gz")
    dataset = pairs(tmp_path, patient="(p[0-9]+)-")
    assert [(c.id, c.patient) for c in dataset] == [("below/p2-c", "p2"), ("p1-a", "p1"), ("p1-b", "p1")]
    assert dataset.patients_known
    assert not dataset.exclusions
    for case in dataset:
        mask = case.target(Mask)
        assert mask is not None
        assert read_mask(mask, dataset.labels["mask"], read_case(case)).all()


def test_a_suffix_and_several_readers(tmp_path: Path) -> None:
    for k in range(2):
        picture(tmp_path / f"ct/{k}.png")
        picture(tmp_path / f"first/{k}_seg.png", 255)
    picture(tmp_path / "second/1_seg.png", 255)
    options: Any = {"images": "ct", "suffix": "_seg", "mask_labels": {"lesion": 255}}
    dataset = pairs(tmp_path, masks=("first", "second"), **options)
    masks = [c.target(Mask) for c in dataset]
    assert [m.image.paths[0].split("/")[-2:] for m in masks if m] == [["first", "0_seg.png"], ["first", "1_seg.png"]]
    assert [len(m.readers) for m in masks if m] == [0, 1]
    with pytest.raises(
        DataError, match="no image and mask have one name; the first: 0, the image has no mask"
    ) as error:
        pairs(tmp_path, images="ct", masks="first")
    assert "see the option suffix" in error.value.todo


def test_a_folder_is_a_dicom_series(tmp_path: Path) -> None:
    source = Path(str(get_testdata_file("DICOMDIR"))).parent / "98892003" / "MR1"
    shutil.copytree(source, tmp_path / "images/case1")
    volume(tmp_path / "masks/case1.nii.gz")
    dataset = pairs(tmp_path)
    assert dataset.cases[0].id == "case1"
    assert dataset.cases[0].images[0].reader == "dicom"
    assert len(dataset.cases[0].images[0].paths) == len(list(source.iterdir()))


def test_what_has_no_partner_is_listed(tmp_path: Path) -> None:
    for name in ("images/a.png", "masks/a.png", "images/b.png", "masks/c.png", "images/d.png", "images/d.jpg"):
        picture(tmp_path / name)
    picture(tmp_path / "masks/d.png")
    (tmp_path / "images/.hidden.png").write_bytes(b"")
    (tmp_path / "images/notes.txt").write_text("x")
    dataset = pairs(tmp_path)
    assert [c.id for c in dataset] == ["a"]
    assert dataset.cases[0].images == (ImageRef((str(tmp_path / "images/a.png"),)),)
    assert {(e.case, e.reason) for e in dataset.exclusions} == {
        ("b", "the image has no mask"),
        ("c", "the mask has no image"),
        ("d", "two files are called d"),
    }


def test_a_missing_folder(tmp_path: Path) -> None:
    picture(tmp_path / "data/images/a.png")
    with pytest.raises(DataError, match="folder is not there") as error:
        pairs(tmp_path)
    assert error.value.todo == f"did you mean data.root={tmp_path / 'data'}?"
