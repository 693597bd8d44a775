"""The files of MedMNIST: parts, labels and images of one archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcnn.data.adapters.medmnist import medmnist
from medcnn.data.images import read_case
from medcnn.errors import DataError
from medcnn.types import ClassLabel

SIZES = {"train": 4, "val": 2, "test": 3}


def write(folder: Path, width: int = 1, high: int = 3, **changes: Any) -> Path:
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part, count in SIZES.items():
        arrays[f"{part}_images"] = generator.integers(0, 255, (count, 5, 6), dtype=np.uint8)
        arrays[f"{part}_labels"] = generator.integers(0, high, (count, width), dtype=np.uint8)
    np.savez(folder / "x.npz", **{**arrays, **changes})
    return folder


def test_parts_labels_and_pixels_come_from_the_file(tmp_path: Path) -> None:
    dataset = medmnist(write(tmp_path), file="x.npz", classes=("a", "b", "c"))
    assert [c.part for c in dataset] == ["training"] * 4 + ["validation"] * 2 + ["test"] * 3
    assert dataset.cases[4].id == "val-000000"
    assert len({c.id for c in dataset}) == 9
    with np.load(tmp_path / "x.npz") as arrays:
        for case, label, pixels in zip(dataset.cases[6:], arrays["test_labels"], arrays["test_images"], strict=True):
            assert case.target(ClassLabel).index == label[0]
            np.testing.assert_array_equal(read_case(case).array[0], pixels.T)
    assert not dataset.patients_known


def test_several_labels_a_case(tmp_path: Path) -> None:
    dataset = medmnist(write(tmp_path, width=2, high=2), file="x.npz", classes=("a", "b"), multilabel=True)
    with np.load(tmp_path / "x.npz") as arrays:
        assert dataset.cases[1].target(ClassLabel).states == tuple(arrays["train_labels"][1])
    assert dataset.labels["class"].multilabel


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_labels": np.array([[0], [7], [1]])}, "label 7 is not in the schema"),
        ({"test_labels": np.zeros((2, 1))}, "2 labels for 3 images"),
        ({"test_labels": np.zeros((3, 2))}, "2 entries, expected 1"),
    ],
)
def test_labels_that_do_not_fit_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        medmnist(write(tmp_path, **changes), file="x.npz", classes=("a", "b", "c"))


def test_absent_broken_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not there"):
        medmnist(tmp_path, file="x.npz", classes=("a", "b"))
    (tmp_path / "x.npz").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match="not a file of MedMNIST"):
        medmnist(tmp_path, file="x.npz", classes=("a", "b"))
    np.savez(tmp_path / "y.npz", other=np.zeros(3))
    with pytest.raises(DataError, match="not a file of MedMNIST"):
        medmnist(tmp_path, file="y.npz", classes=("a", "b"))
