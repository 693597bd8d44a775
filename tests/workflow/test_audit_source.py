"""What is audited: a name, a recipe, or a folder by its layout."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset as Header
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medcnn.errors import DataError
from medcnn.progress import Silent
from medcnn.workflow.audit_source import Source, find_source


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(len(str(path))).integers(0, 255, (9, 9)).astype(np.uint8)).save(path)


def series(folder: Path, patient: str) -> None:
    folder.mkdir(parents=True)
    uid, study, frame = generate_uid(), generate_uid(), generate_uid()
    for z in range(3):
        made = Header()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, generate_uid()
        made.file_meta.MediaStorageSOPClassUID = CTImageStorage
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        made.PatientID, made.Modality, made.ImageType = patient, "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        made.SeriesInstanceUID, made.StudyInstanceUID, made.FrameOfReferenceUID = uid, study, frame
        made.Rows = made.Columns = 4
        made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
        made.PixelSpacing, made.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
        made.ImagePositionPatient, made.SliceThickness = [0, 0, 2.0 * z], 2
        made.PixelData = bytes(32)
        made.save_as(folder / f"{z}.dcm", enforce_file_format=True)


def found(path: Path, progress: Silent | None = None) -> Source:
    return find_source(path, None, None, progress or Silent())


def test_a_tree_of_dicom_gives_series_with_their_patients(tmp_path: Path) -> None:
    for patient in ("P1", "P2"):
        series(tmp_path / "disk" / patient / "ct", patient)
    (tmp_path / "disk" / "notes.txt").write_text("x")
    heard = Heard()
    source = found(tmp_path / "disk", heard)
    assert [c.patient for c in source.dataset.cases] == ["P1", "P2"]
    assert [len(c.images[0].paths) for c in source.dataset.cases] == [3, 3]
    assert "the folder is read as dicom_tree" in heard.lines
    assert source.section.adapter is not None


def test_what_is_no_image_among_dicom_is_left_aside(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    series(root / "ct", "P1")
    for name in ("autorun", "viewer", "help"):
        (root / name).write_text("hello")
    source = found(root)
    assert [c.patient for c in source.dataset.cases] == ["P1"]
    aside = {e.case: e.aside for e in source.dataset.exclusions}
    assert aside == {"autorun": True, "viewer": True, "help": True}
    # A viewer's pictures are no part of the scans.
    picture(root / "a.png")
    source = found(root)
    assert [c.patient for c in source.dataset.cases] == ["P1"]
    logo = next(e for e in source.dataset.exclusions if e.case == "a.png")
    assert (logo.reason, logo.aside) == ("not DICOM: a JPEG, PNG or TIFF picture", True)
    # Where pictures are the most it is no tree of DICOM; what is no image is no fault there either.
    for name in "bcdef":
        picture(root / f"{name}.png")
    source = found(root)
    assert [c.id for c in source.dataset.cases] == [*(f"{n}.png" for n in "abcdef"), *(f"ct/{z}.dcm" for z in range(3))]
    assert {e.case: e.aside for e in source.dataset.exclusions} == aside
    assert {e.reason for e in source.dataset.exclusions} == {"not an image: the file is a text file"}
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes").write_text("hello")
    with pytest.raises(DataError, match=r"no image was found in the folder; .*notes: not an image"):
        found(tmp_path / "texts")


def test_a_series_with_a_fault_is_not_taken_for_single_images(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    series(root / "ct", "P1")
    middle = dcmread(root / "ct" / "1.dcm")
    middle.ImagePositionPatient = [0, 0, 0.5]
    middle.save_as(root / "ct" / "1.dcm")
    with pytest.raises(DataError, match=r"no usable case; 1 was left out, the first: .*slice"):
        found(root)


def test_a_decathlon_task_gives_its_masks(tmp_path: Path) -> None:
    for place in ("imagesTr", "labelsTr"):
        (tmp_path / place).mkdir()
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), tmp_path / place / "a.nii.gz")
    about = {
        "name": "T",
        "labels": {"0": "background", "1": "organ"},
        "modality": {"0": "MRI"},
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
        "test": [],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    dataset = found(tmp_path).dataset
    assert len(dataset.cases) == 1
    assert "mask" in dataset.labels


def test_images_and_masks_of_the_same_names_are_pairs_not_classes(tmp_path: Path) -> None:
    for name in ("images/a.png", "masks/a.png", "images/b.png", "masks/b.png"):
        picture(tmp_path / name)
    dataset = found(tmp_path).dataset
    assert [c.id for c in dataset.cases] == ["a", "b"]
    assert set(dataset.labels) == {"mask"}


def test_a_folder_a_class_gives_labels_and_any_other_folder_its_images(tmp_path: Path) -> None:
    for name in ("cat/a.png", "cat/b.png", "dog/c.png"):
        picture(tmp_path / "classes" / name)
    assert found(tmp_path / "classes").dataset.labels["class"].names == ("cat", "dog")
    picture(tmp_path / "loose" / "one" / "a.png")
    picture(tmp_path / "loose" / "b.png")
    (tmp_path / "loose" / "list.csv").write_text("a,b\n")
    dataset = found(tmp_path / "loose").dataset
    assert [c.id for c in dataset.cases] == ["b.png", "one/a.png"]
    assert dataset.labels == {}
    assert [(e.case, e.aside) for e in dataset.exclusions] == [("list.csv", True)]


def test_a_layout_that_does_not_fit_after_all_leaves_the_images(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "dataset.json").write_text("{broken")
    heard = Heard()
    assert [c.id for c in found(tmp_path, heard).dataset.cases] == ["a.png"]
    assert any(line.startswith("the folder is not read as decathlon: the file cannot be read") for line in heard.lines)


def test_what_is_none_of_these_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image was found in the folder"):
        found(tmp_path / "empty")
    with pytest.raises(DataError, match="there is no such file or folder"):
        found(tmp_path / "absent")
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match="this is a JPEG, PNG or TIFF picture, and no dataset"):
        found(tmp_path / "a.png")
    with pytest.raises(DataError) as error:
        find_source("mednits", None, None, Silent())
    assert "mednist" in error.value.todo
    with pytest.raises(DataError, match="--root goes with a name of the catalog"):
        find_source(tmp_path, None, tmp_path, Silent())
    with pytest.raises(DataError, match="a suite has several datasets"):
        find_source("quickstart", None, None, Silent())
