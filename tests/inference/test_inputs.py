"""What a user names for prediction, as cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medcnn.data.images import StackRule, read_case
from medcnn.errors import DataError
from medcnn.inference.inputs import find_inputs


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def files(paths: list[Path], *, volumes: bool = False) -> dict[str, list[str]]:
    found = find_inputs(paths, volumes=volumes)
    return {case.id: [Path(p).name for p in case.images[0].paths] for case in found.cases}


def test_files_and_folders_are_searched_and_the_rest_is_listed(tmp_path: Path) -> None:
    one = put(tmp_path / "a" / "one.png")
    two = put(tmp_path / "a" / "deep" / "two")
    notes = put(tmp_path / "a" / "notes.txt")
    put(tmp_path / "a" / ".hidden")
    put(tmp_path / "a" / "DICOMDIR")
    found = find_inputs([tmp_path / "a", one], volumes=False)
    assert sorted(c.id for c in found.cases) == sorted([str(one), str(two)])
    assert {e.case: e.reason for e in found.passed_over}[str(notes)] == "not an image by its name"


def save_series(folder: Path, name: str, count: int = 3, number: int = 4, uid: str = "1.2.3", **changes: Any) -> None:
    """Slices ``name1``, ``name2``, ... of one series."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, f"{uid}.{k}"
        made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        made.SeriesInstanceUID, made.StudyInstanceUID, made.PatientID = uid, f"{uid}.99", "P"
        made.Modality, made.SeriesNumber, made.ImageType = "CT", number, ["ORIGINAL", "PRIMARY", "AXIAL"]
        made.ImageOrientationPatient, made.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 2 * k]
        made.PixelSpacing, made.SliceThickness = [1, 1], 2
        made.Rows, made.Columns, made.SamplesPerPixel, made.PixelRepresentation = 4, 4, 1, 0
        made.PhotometricInterpretation, made.BitsAllocated, made.BitsStored, made.HighBit = "MONOCHROME2", 8, 8, 7
        made.PixelData = bytes(16)
        for key, value in changes.items():
            setattr(made, key, value)
        made.save_as(folder / f"{name}{k + 1}", enforce_file_format=True)


def test_a_header_and_the_file_of_its_data_are_one_image(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(tmp_path / "scan.mhd"))
    (tmp_path / "other.raw").write_bytes(b"0" * 48)
    table = tmp_path / "list.csv"
    table.write_text("image\nscan.mhd\n")
    pair = (str(tmp_path / "scan.mhd"), str(tmp_path / "scan.raw"))
    for named in (tmp_path, tmp_path / "scan.mhd", table):
        cases = {c.id: c.images[0].paths for c in find_inputs([named], volumes=True).cases}
        assert pair in cases.values()
        assert (pair[1],) not in cases.values()
    assert read_case(next(c for c in find_inputs([table], volumes=True).cases)).array.shape == (1, 4, 3, 2)
    # Bytes that no header names are said to be no image, not passed over.
    assert (str(tmp_path / "other.raw"),) in [c.images[0].paths for c in find_inputs([tmp_path], volumes=True).cases]


def test_each_series_is_one_volume_for_a_network_of_volumes(tmp_path: Path) -> None:
    save_series(tmp_path / "alone", "s", uid="1.2.1")
    put(tmp_path / "alone" / "other.nii")
    save_series(tmp_path / "mixed", "a", uid="1.2.2", number=4)
    save_series(tmp_path / "mixed", "b", uid="1.2.3", number=5, count=2)
    save_series(tmp_path / "mixed", "c", uid="1.2.4", number=4)
    save_series(tmp_path / "halves" / "1", "a", uid="1.2.5", number=6)
    save_series(tmp_path / "halves" / "2", "b", uid="1.2.5", number=6)
    for path in (tmp_path / "halves" / "2").iterdir():
        made = pydicom.dcmread(path)
        made.SOPInstanceUID += "9"
        made.ImagePositionPatient[2] += 6
        made.save_as(path)
    expected = {
        "alone": ["s1", "s2", "s3"],
        "alone/other.nii": ["other.nii"],
        "mixed/series-4": ["a1", "a2", "a3"],
        "mixed/series-5": ["b1", "b2"],
        "mixed/series-4-2": ["c1", "c2", "c3"],
        "halves/series-6": ["a1", "a2", "a3", "b1", "b2", "b3"],
    }
    assert files([tmp_path], volumes=True) == {str(tmp_path / k): v for k, v in expected.items()}
    assert files([*(tmp_path / "alone").glob("s*")], volumes=True) == {str(tmp_path / "alone"): ["s1", "s2", "s3"]}
    assert len(files([tmp_path / "alone"])) == 4


def test_series_that_form_no_volume_are_listed_and_the_rest_is_found(tmp_path: Path) -> None:
    save_series(tmp_path, "good", uid="1.2.1")
    save_series(tmp_path, "gap", uid="1.2.2", number=7, count=5)
    (tmp_path / "gap3").unlink()
    save_series(tmp_path, "scout", uid="1.2.3", count=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    save_series(tmp_path, "cut", uid="1.2.4", count=1)
    put(tmp_path / "cut1", (tmp_path / "cut1").read_bytes()[:-28])
    found = find_inputs([tmp_path], volumes=True)
    assert [c.id for c in found.cases] == [str(tmp_path / "series-4")]
    reasons = {e.case: e.reason for e in found.unusable}
    assert "1 slice is missing" in reasons[str(tmp_path / "series-7")]
    assert "holds no pixels" in reasons[str(tmp_path / "cut1")]
    assert [(e.path, e.reason) for e in found.passed_over] == [
        (str(tmp_path / "scout1"), "localizer: no image to predict")
    ]


def test_a_rule_says_which_stacks_are_meant(tmp_path: Path) -> None:
    save_series(tmp_path, "ct", uid="1.2.1")
    save_series(tmp_path, "mr", uid="1.2.2", number=7, Modality="MR")
    found = find_inputs([tmp_path], volumes=True, rule=StackRule(modality="MR"))
    assert [c.images[0].paths[0] for c in found.cases] == [str(tmp_path / "mr1")]
    assert [e.reason for e in found.passed_over] == ["not a stack that the rule asks for"]
    with pytest.raises(DataError, match=r"no image was found: .*ct1 is not a stack"):
        find_inputs([tmp_path], volumes=True, rule=StackRule(modality="PT"))


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
