"""What a user names for prediction, as cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcnn.errors import DataError
from medcnn.inference.inputs import find_inputs

DICOM = b"\0" * 128 + b"DICM"


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def files(paths: list[Path], *, volumes: bool = False) -> dict[str, list[str]]:
    found, _ = find_inputs(paths, volumes=volumes)
    return {case.id: [Path(p).name for p in case.images[0].paths] for case in found}


def test_files_and_folders_are_searched_and_the_rest_is_listed(tmp_path: Path) -> None:
    one = put(tmp_path / "a" / "one.png")
    two = put(tmp_path / "a" / "deep" / "two")
    notes = put(tmp_path / "a" / "notes.txt")
    put(tmp_path / "a" / ".hidden")
    put(tmp_path / "a" / "DICOMDIR")
    cases, skipped = find_inputs([tmp_path / "a", one], volumes=False)
    assert sorted(c.id for c in cases) == sorted([str(one), str(two)])
    assert {e.case: e.reason for e in skipped}[str(notes)] == "not an image by its name"


def test_the_slices_of_a_folder_are_one_volume_for_a_network_of_volumes(tmp_path: Path) -> None:
    for name in ("1", "2", "3"):
        put(tmp_path / "series" / name, DICOM)
    put(tmp_path / "series" / "other.nii")
    folder, other = str(tmp_path / "series"), str(tmp_path / "series" / "other.nii")
    assert files([tmp_path / "series"], volumes=True) == {folder: ["1", "2", "3"], other: ["other.nii"]}
    assert len(files([tmp_path / "series"])) == 4


def test_a_table_names_images_beside_itself(tmp_path: Path) -> None:
    put(tmp_path / "images" / "x.png")
    put(tmp_path / "series" / "2")
    put(tmp_path / "series" / "1")
    table = put(tmp_path / "list.csv", b"case,image\nfirst,images/x.png\n,series\n")
    assert files([table]) == {"first": ["x.png"], "series": ["1", "2"]}
    put(tmp_path / "list.tsv", b"id\tfile\n1\timages/x.png\n")
    assert files([tmp_path / "list.tsv"]) == {"images/x.png": ["x.png"]}


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        find_inputs([tmp_path / "missing.png"], volumes=False)
    with pytest.raises(DataError, match="no column of images: found name, label"):
        find_inputs([put(tmp_path / "t.csv", b"name,label\na,b\n")], volumes=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image"):
        find_inputs([tmp_path / "empty"], volumes=False)
