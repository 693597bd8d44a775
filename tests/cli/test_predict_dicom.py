"""Folders of DICOM through ``medcnn predict``: series by series, with DICOM segmentations and pictures."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medcnn.data.images import read_image, series_files
from medcnn.data.labels import read_mask
from medcnn.data.preprocess import Preprocessor
from medcnn.inference.model_file import FORMAT
from medcnn.models.build import build_network
from medcnn.recipe.schema import InputSection
from medcnn.tasks.base import TrainingFacts
from medcnn.tasks.segmentation import SegmentationTask
from medcnn.types import ImageRef, LabelClass, LabelSchema, Mask

Command = Callable[..., Any]
SCHEMA = LabelSchema((LabelClass(1, "liver", "#d98c5f", "SCT:10200004:Liver"), LabelClass(5, "rest")))
OPTIONS = {"channels": [4, 8]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of volumes with random weights, as a run would leave it."""
    torch.manual_seed(3)
    task = SegmentationTask(SCHEMA, overlap=0.25)
    network = build_network("unet", OPTIONS, spatial_dims=3, in_channels=1, outputs=3, size=(16, 16, 8), dense=True)
    made = task.build(network, torch.nn.Module(), TrainingFacts())
    about = {
        "format": FORMAT,
        "task": {"name": "segmentation", "state": task.state()},
        "network": {
            "name": "unet", "options": OPTIONS, "spatial_dims": 3, "in_channels": 1, "outputs": 3, "size": [16, 16, 8]
        },
        "preprocess": Preprocessor(
            InputSection(size=(16, 16, 8), fit="patches", intensity={"method": "zscore"})
        ).state(),
        "thresholds": {},
    }  # fmt: skip
    path = tmp_path_factory.mktemp("model") / "model.pt"
    torch.save({"state_dict": {f"model.{k}": v for k, v in made.state_dict().items()}, "medcnn": about}, path)
    return path


def save_series(folder: Path, number: int, *, name: str = "", **changes: Any) -> Path:
    """Slices of 20 x 18 voxels, eight of them; a change to ``None`` removes an element."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(number)
    for k in range(8):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
        meta.MediaStorageSOPInstanceUID = f"1.2.{number}.{k}"
        made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = "1.3", f"1.4.{number}", "1.5"
        made.PatientID, made.PatientName, made.PatientSex = "P", "Doe^Jane", "F"
        made.AccessionNumber, made.StudyID, made.StudyDate, made.StudyTime = "", "1", "20200101", ""
        made.ReferringPhysicianName, made.Modality, made.SeriesNumber = "", "CT", number
        made.ImageType, made.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], k
        made.ImageOrientationPatient, made.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 3 * k]
        made.PixelSpacing, made.SliceThickness = [2, 1.5], 3
        made.Rows, made.Columns, made.SamplesPerPixel, made.PixelRepresentation = 18, 20, 1, 1
        made.PhotometricInterpretation, made.BitsAllocated, made.BitsStored, made.HighBit = "MONOCHROME2", 16, 16, 15
        made.PixelData = generator.normal(0, 100, (18, 20)).astype(np.int16).tobytes()
        for key, value in changes.items():
            if value is None:
                delattr(made, key)
            else:
                setattr(made, key, value)
        made.save_as(folder / f"{name}{7 - k}", enforce_file_format=True)
    return folder


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return {Path(row["case"]).name: row for row in csv.DictReader(file)}


def test_many_series_and_what_is_wrong_with_some(medcnn_command: Command, model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    save_series(data / "one", 1)
    save_series(data / "mixed", 2, name="a", BurnedInAnnotation="NO")
    save_series(data / "mixed", 3, name="b", FrameOfReferenceUID=None)
    save_series(data / "mixed", 4, name="c")
    (data / "mixed" / "c3").unlink()
    out = tmp_path / "out"
    done = medcnn_command("predict", model, data, "--out", out, "--overlays")
    assert done.code == 0, done.err
    assert "4 predictions" not in done.out
    assert "2 predictions; 2 could not be read" in done.out
    assert "2 DICOM segmentations carry the patient and study of the source" in done.err
    assert "2 of 2: the source lacks PatientBirthDate: written empty" in done.err
    assert "no code is known for rest" in done.err
    rows = rows_of(out)
    assert set(rows) == {"one", "series-2", "series-3", "series-4"}
    assert "without FrameOfReferenceUID" in rows["series-3"]["error"]
    assert "1 slice is missing" in rows["series-4"]["error"]
    assert sorted(p.name for p in out.iterdir()) == [
        "dicom_seg", "one.nii.gz", "overlays", "predictions.csv", "series-2.nii.gz"
    ]  # fmt: skip
    row = rows["one"]
    assert row["notes"] == "the source lacks PatientBirthDate: written empty"
    image = read_image(ImageRef(series_files(str(data / "one")), "dicom"))
    masks = [read_mask(Mask(ImageRef((str(out / row[key]),))), SCHEMA, image) for key in ("mask", "dicom_seg")]
    np.testing.assert_array_equal(*masks)
    assert set(np.unique(masks[0])) > {0}
    assert float(row["rest_mm3"]) == pytest.approx(9.0 * (masks[0] == 2).sum())
    stored = nibabel.load(out / row["mask"])  # type: ignore[attr-defined]
    np.testing.assert_allclose(stored.affine, image.affine)
    picture = np.asarray(Image.open(out / row["overlay"]))
    # Three planes beside each other, with contours in the label's own colour.
    assert picture.shape[1] > 2 * picture.shape[0]
    assert (np.abs(picture.astype(int) - (0xD9, 0x8C, 0x5F)).sum(-1) < 40).any()


def test_the_kind_of_the_segmentation(medcnn_command: Command, model: Path, tmp_path: Path) -> None:
    data = save_series(tmp_path / "data", 1)
    for kind in ("fractional", "labelmap"):
        assert medcnn_command("predict", model, data, "--out", tmp_path / kind, "--seg", kind).code == 0
        made = pydicom.dcmread(tmp_path / kind / "dicom_seg" / "data.dcm")
        assert made.SegmentationType == kind.upper()
    save_series(data, 1, StudyInstanceUID=None)
    done = medcnn_command("predict", model, data, "--out", tmp_path / "none", "--seg", "none")
    assert done.code == 0
    assert not (tmp_path / "none" / "dicom_seg").exists()
    assert rows_of(tmp_path / "none")["data"]["error"] == ""


def test_what_only_masks_have_is_refused_of_other_models(
    medcnn_command: Command, finished: Path, tmp_path: Path
) -> None:
    done = medcnn_command("predict", finished / "run", finished / "data", "--out", tmp_path / "o.csv", "--overlays")
    assert done.code == 2
    assert "error: --overlays: classification has no masks or boxes to draw" in done.err
