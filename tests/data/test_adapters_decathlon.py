"""The layout of the Medical Segmentation Decathlon: what is listed, what is not, and what the labels become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medcnn.data.adapters.decathlon import decathlon
from medcnn.data.images import read_case
from medcnn.data.labels import read_mask
from medcnn.errors import DataError
from medcnn.types import Dataset, ImageRef, Mask

LABELS = {"0": "background", "1": "edema", "2": "core", "3": "enhancing"}


def make(root: Path, count: int = 2, modalities: tuple[str, ...] = ("FLAIR", "T1"), **changes: Any) -> Path:
    training = []
    for k in range(count):
        name = f"case_{k:03d}.nii.gz"
        shape = (3, 4, 2, len(modalities)) if len(modalities) > 1 else (3, 4, 2)
        save(root / "imagesTr" / name, np.arange(np.prod(shape), dtype=np.int16).reshape(shape))
        save(root / "labelsTr" / name, np.arange(24, dtype=np.uint8).reshape(3, 4, 2) % 4)
        training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    about = {
        "name": "BRATS",
        "modality": {str(k): m for k, m in enumerate(modalities)},
        "labels": LABELS,
        "numTraining": count,
        "numTest": 0,
        "training": training,
        "test": [],
        **changes,
    }
    (root / "dataset.json").write_text(json.dumps({k: v for k, v in about.items() if v is not None}))
    return root


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 1, 2.5, 1])), path)


def positions(dataset: Dataset) -> np.ndarray:
    case = dataset.cases[0]
    mask = case.target(Mask)
    assert mask is not None
    return read_mask(mask, dataset.labels["mask"], read_case(case))


def stored() -> np.ndarray:
    return np.arange(24).reshape(3, 4, 2) % 4


def test_images_of_several_modalities_and_their_labels(tmp_path: Path) -> None:
    dataset = decathlon(make(tmp_path))
    assert [c.id for c in dataset] == ["case_000", "case_001"]
    assert dataset.name == "BRATS"
    assert [(c.value, c.name) for c in dataset.labels["mask"].classes] == [(1, "edema"), (2, "core"), (3, "enhancing")]
    assert not dataset.patients_known
    assert not dataset.exclusions
    assert read_case(dataset.cases[0]).array.shape == (2, 3, 4, 2)
    np.testing.assert_array_equal(positions(dataset), stored())


def test_one_modality_and_a_choice_of_them(tmp_path: Path) -> None:
    both = read_case(decathlon(make(tmp_path / "two")).cases[0]).array
    for name in ("T1", 1, "1"):
        case = decathlon(tmp_path / "two", channels=(name,)).cases[0]
        np.testing.assert_array_equal(read_case(case).array, both[1:])
    turned = read_case(decathlon(tmp_path / "two", channels=("T1", "FLAIR")).cases[0]).array
    np.testing.assert_array_equal(turned, both[::-1])
    single = decathlon(make(tmp_path / "one", modalities=("MRI",)))
    assert single.cases[0].images == (ImageRef((str(tmp_path / "one/imagesTr/case_000.nii.gz"),)),)
    assert read_case(single.cases[0]).array.shape == (1, 3, 4, 2)
    with pytest.raises(DataError, match="no channel 'T2'"):
        decathlon(tmp_path / "two", channels=("T2",))


@pytest.mark.parametrize(
    ("wanted", "values", "expected"),
    [
        ({"tumour": ("core", "enhancing"), "edema": "edema"}, [1, 2], [0, 2, 1, 1]),
        ({"tumour": (2, 3), "edema": 1}, [1, 2], [0, 2, 1, 1]),
        ({"active": 3}, [3], [0, 0, 0, 1]),
        ({"active": "enhancing", "ignore": "edema"}, [3], [0, 255, 0, 1]),
        ({"enhancing": 3, "core": 2, "edema": 1}, [3, 2, 1], [0, 3, 2, 1]),
    ],
)
def test_labels_are_merged_chosen_and_renamed(tmp_path: Path, wanted: Any, values: Any, expected: Any) -> None:
    dataset = decathlon(make(tmp_path, 1), mask_labels=wanted)
    schema = dataset.labels["mask"]
    assert schema.names == tuple(k for k in wanted if k != "ignore")
    assert [c.value for c in schema.classes] == values
    np.testing.assert_array_equal(positions(dataset), np.array(expected)[stored()])


def test_regions_overlap(tmp_path: Path) -> None:
    regions: Any = {"whole": (1, 2, 3), "core": (2, 3), "active": 3}
    with pytest.raises(DataError, match="the value 2 stands for two labels, 'whole' and 'core'") as error:
        decathlon(make(tmp_path, 1), mask_labels=regions)
    assert "overlapping: true" in error.value.todo
    dataset = decathlon(tmp_path, mask_labels=regions, overlapping=True)
    assert dataset.labels["mask"].multilabel
    found = positions(dataset)
    np.testing.assert_array_equal(found, [stored() >= 1, stored() >= 2, stored() >= 3])


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"x": "cor"}, "'cor', which stands for the label 'x', is not there"),
        ({"x": 7}, "no label of the dataset has the value 7"),
        ({"background": 1}, "1 to 253 labels, not 0"),
    ],
)
def test_labels_that_are_not_there(tmp_path: Path, wanted: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        decathlon(make(tmp_path, 1), mask_labels=wanted)


def test_what_is_missing_or_not_listed_is_said(tmp_path: Path) -> None:
    make(tmp_path, 4)
    (tmp_path / "imagesTr/case_000.nii.gz").unlink()
    (tmp_path / "labelsTr/case_001.nii.gz").unlink()
    about = json.loads((tmp_path / "dataset.json").read_text())
    del about["training"][2]["label"]
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    save(tmp_path / "imagesTr/more.nii.gz", np.zeros((2, 2, 2), np.uint8))
    (tmp_path / "imagesTr/._case_003.nii.gz").write_bytes(b"")
    dataset = decathlon(tmp_path)
    assert [c.id for c in dataset] == ["case_003"]
    assert {(e.case, e.reason) for e in dataset.exclusions} == {
        ("case_000", "the file does not exist"),
        ("case_001", "the mask does not exist"),
        ("case_002", "the image has no mask"),
        ("case_002", "the mask is not listed in dataset.json"),
        ("more", "the image is not listed in dataset.json"),
    }


def test_published_parts_and_counts(tmp_path: Path) -> None:
    make(tmp_path, 3, numTraining=5, test=["./imagesTs/a.nii.gz", "./imagesTs/b.nii.gz"], numTest=2)
    about = json.loads((tmp_path / "dataset.json").read_text())
    assert [c.part for c in decathlon(tmp_path)] == [None] * 3
    assert decathlon(tmp_path).facts["notes"] == ("dataset.json announces 5 training images and lists 3",)
    save(tmp_path / "imagesTs/b.nii.gz", stored().astype(np.uint8))
    assert [(e.case, e.reason, e.aside) for e in decathlon(tmp_path).exclusions] == [
        ("b", "a test image that is published without a mask", True)
    ]
    about["validation"] = [about["training"].pop()]
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    assert [c.part for c in decathlon(tmp_path)] == ["training", "training", "validation"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": None}, "names no labels"),
        ({"labels": {"background": 0, "tumour": 1}}, "'background' is no whole number"),
        ({"labels": {"0": "background", "1": "a", "2": "a"}}, "two labels are called 'a'"),
        ({"training": []}, "training lists no images"),
        ({"training": ["a.nii.gz"]}, "names no image"),
        ({"file_ending": ".nii.gz"}, "dataset of nnU-Net"),
        ({"modality": {"1": "MR"}}, "does not number the channels"),
    ],
)
def test_a_dataset_json_that_cannot_be_used(tmp_path: Path, changes: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        decathlon(make(tmp_path, 1, **changes))


def test_a_missing_or_broken_file(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    make(tmp_path / "below", 1)
    with pytest.raises(DataError) as error:
        decathlon(tmp_path)
    assert error.value.todo == f"did you mean data.root={tmp_path / 'below'}?"
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        decathlon(tmp_path)


def test_an_image_that_is_listed_twice(tmp_path: Path) -> None:
    make(tmp_path, 1)
    about = json.loads((tmp_path / "dataset.json").read_text())
    about["training"] *= 2
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match="case_000 is listed twice"):
        decathlon(tmp_path)


@pytest.mark.realdata
def test_the_hippocampus(realdata: Any) -> None:
    dataset = decathlon(realdata("Task04_Hippocampus"))
    assert len(dataset) == 200
    assert dataset.labels["mask"].names == ("Anterior", "Posterior")
    for case in dataset.cases[:40]:
        image, mask = read_case(case), case.target(Mask)
        assert mask is not None
        assert set(np.unique(read_mask(mask, dataset.labels["mask"], image))) == {0, 1, 2}
