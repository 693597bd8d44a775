"""A folder a class: which folders are which class, and what is no image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from medcnn.data.adapters.image_folder import image_folder
from medcnn.errors import DataError
from medcnn.types import ClassLabel, Dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, count in (("Abdomen", 3), ("Chest", 2), ("Head", 1)):
        (tmp_path / name).mkdir()
        for k in range(count):
            (tmp_path / name / f"p{k // 2}_{k}.png").write_bytes(b"x")
    return tmp_path


def labels(dataset: Dataset) -> list[str]:
    names = dataset.labels["class"].names
    return [names[c.target(ClassLabel).index] for c in dataset]


def test_folders_are_classes_sorted_by_name(root: Path) -> None:
    dataset = image_folder(root)
    assert dataset.labels["class"].names == ("Abdomen", "Chest", "Head")
    assert labels(dataset) == ["Abdomen"] * 3 + ["Chest"] * 2 + ["Head"]
    assert [c.id for c in dataset][:2] == ["Abdomen/p0_0.png", "Abdomen/p0_1.png"]
    assert dataset.cases[0].images[0].paths == (str(root / "Abdomen" / "p0_0.png"),)
    assert not dataset.patients_known
    assert [c.id for c in image_folder(root)] == [c.id for c in dataset]


def test_one_against_the_rest_is_class_one(root: Path) -> None:
    dataset = image_folder(root, positive="Abdomen", rest="other")
    schema = dataset.labels["class"]
    assert (schema.names, schema.positive, schema.binary) == (("other", "Abdomen"), "Abdomen", True)
    assert sorted(labels(dataset)) == ["Abdomen"] * 3 + ["other"] * 3


def test_folders_can_be_merged_and_renamed(root: Path) -> None:
    dataset = image_folder(root, classes={"trunk": ("Abdomen", "Chest"), "head": "Head"})
    assert dataset.labels["class"].names == ("trunk", "head")
    assert labels(dataset) == ["trunk"] * 5 + ["head"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ("Abdomen", "Chst")}, "'Chst'.*did you mean 'Chest'"),
        ({"classes": {"a": "Abdomen", "b": ("Hed",)}}, "'Hed'.*did you mean 'Head'"),
        ({"positive": "Abdomn", "rest": "other"}, "did you mean 'Abdomen'"),
        ({"rest": "other"}, "rest needs positive"),
        ({"patient": "("}, "not a regular expression"),
        ({"patient": "p[0-9]"}, "needs a group"),
    ],
)
def test_wrong_options_are_answered_with_the_nearest(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"(?s){message}"):
        image_folder(root, **options)


def test_the_patient_stands_in_the_name(root: Path) -> None:
    dataset = image_folder(root, patient="^(p[0-9]+)_")
    assert [c.patient for c in dataset] == ["p0", "p0", "p1", "p0", "p0", "p0"]
    assert dataset.patients_known


def test_what_is_no_image_is_listed_and_what_is_hidden_is_not(root: Path) -> None:
    (root / "Chest" / "Thumbs.db").write_bytes(b"x")
    (root / "Chest" / ".DS_Store").write_bytes(b"x")
    (root / "Chest" / "IM0001").write_bytes(b"x")
    (root / ".git").mkdir()
    dataset = image_folder(root)
    assert [e.case for e in dataset.exclusions] == ["Chest/Thumbs.db"]
    assert "Chest/IM0001" in [c.id for c in dataset]


def test_deeper_folders_count_unless_told_otherwise(root: Path) -> None:
    (root / "Head" / "more").mkdir()
    (root / "Head" / "more" / "a.nii.gz").write_bytes(b"x")
    assert len(image_folder(root)) == 7
    assert len(image_folder(root, recursive=False)) == 6


def test_odd_names(root: Path) -> None:
    for name in ("a b.png", "ä,'\".png", "new\nline.png"):
        (root / "Head" / name).write_bytes(b"x")
    assert len(image_folder(root)) == 9


def test_links_to_folders_are_listed_and_not_followed(root: Path) -> None:
    (root / "Abdomen" / "up").symlink_to(root, target_is_directory=True)
    (root / "Abdomen" / "other").symlink_to(root / "Chest", target_is_directory=True)
    dataset = image_folder(root)
    assert labels(dataset) == ["Abdomen"] * 3 + ["Chest"] * 2 + ["Head"]
    reason = "a link to a folder, which is not followed"
    found = [(e.case, e.reason, e.aside) for e in dataset.exclusions]
    assert found == [("Abdomen/other", reason, True), ("Abdomen/up", reason, True)]


def test_folders_that_cannot_be_listed_are_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "Abdomen" / "closed").mkdir()
    scan = os.scandir

    def closed(place: Any) -> Any:
        if str(place).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", closed)
    (found,) = image_folder(root).exclusions
    assert (found.case, found.reason) == ("Abdomen/closed", "the folder cannot be listed: Permission denied")
    assert not found.aside
    (root / "closed").mkdir()
    with pytest.raises(DataError, match="no image of the class 'closed': the folder cannot be listed"):
        image_folder(root)


def test_empty_and_missing_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not there"):
        image_folder(tmp_path / "none")
    with pytest.raises(DataError, match="found 0 class folders"):
        image_folder(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"x")
    with pytest.raises(DataError, match="no image of the class 'b'"):
        image_folder(tmp_path)
