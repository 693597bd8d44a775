"""Detection through ``medcnn predict``: the tables, COCO's results, DICOM reports and pictures of one model."""

from __future__ import annotations

import csv
import json
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

from medcnn.data.preprocess import Preprocessor
from medcnn.inference.model_file import FORMAT
from medcnn.models.build import build_network
from medcnn.recipe.schema import InputSection
from medcnn.tasks.base import TrainingFacts
from medcnn.tasks.box_decoding import Decoding
from medcnn.tasks.detection import DetectionTask
from medcnn.types import LabelClass, LabelSchema

Command = Callable[..., Any]
SCHEMA = LabelSchema((LabelClass(0, "nodule", "#d98c5f", "SCT:27925004:Nodule"), LabelClass(1, "rest")))


def save_model(path: Path, size: tuple[int, ...]) -> Path:
    """A detector with random weights and a prior at which it calls something a finding."""
    torch.manual_seed(3)
    dims = len(size)
    options = {
        "filters": (4, 4, 8, 8),
        "pyramid_filters": 8,
        "levels": (2,),
        "prior": 0.5,
        "anchors": ((6.0,) * dims,),
    }
    task = DetectionTask(SCHEMA, Decoding(0.02, 0.1, True, 5, 0.25, 4))
    network = build_network("retinanet", options, spatial_dims=dims, in_channels=1, outputs=2, size=size, boxes=True)
    made = task.build(network, torch.nn.Module(), TrainingFacts())
    about = {
        "format": FORMAT,
        "task": {"name": "detection", "state": task.state()},
        "network": {
            "name": "retinanet", "options": options, "spatial_dims": dims, "in_channels": 1, "outputs": 2,
            "size": list(size),
        },
        "preprocess": Preprocessor(InputSection(size=size, fit="resize", intensity={"method": "zscore"})).state(),
        "thresholds": {"nodule": 0.3, "rest": 0.3},
    }  # fmt: skip
    torch.save({"state_dict": {f"model.{k}": v for k, v in made.state_dict().items()}, "medcnn": about}, path)
    return path


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("flat") / "model.pt", (32, 32))


@pytest.fixture(scope="module")
def solid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("solid") / "model.pt", (32, 32, 16))


def picture(path: Path, width: int, height: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(width).integers(0, 255, (height, width), np.uint8)).save(path)
    return path


def save_slice(path: Path, k: int = 0, **changes: Any) -> None:
    """A CT slice of 24 x 20 pixels; a change to ``None`` removes an element."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.1.{k}"
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = "1.3", "1.4.1", "1.5"
    made.PatientID, made.PatientName, made.PatientSex = "P", "Doe^Jane", "F"
    made.AccessionNumber, made.StudyID, made.StudyDate, made.StudyTime = "", "1", "20200101", ""
    made.ReferringPhysicianName, made.Modality, made.SeriesNumber = "", "CT", 1
    made.ImageType, made.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], k
    made.ImageOrientationPatient, made.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 3 * k]
    made.PixelSpacing, made.SliceThickness = [2, 1.5], 3
    made.Rows, made.Columns, made.SamplesPerPixel, made.PixelRepresentation = 20, 24, 1, 1
    made.PhotometricInterpretation, made.BitsAllocated, made.BitsStored, made.HighBit = "MONOCHROME2", 16, 16, 15
    made.PixelData = np.random.default_rng(k).normal(0, 100, (20, 24)).astype(np.int16).tobytes()
    for key, value in changes.items():
        if value is None:
            delattr(made, key)
        else:
            setattr(made, key, value)
    made.save_as(path, enforce_file_format=True)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_pictures_get_tables_and_coco_results(medcnn_command: Command, flat: Path, tmp_path: Path) -> None:
    for name, width, height in (("a", 40, 30), ("b", 32, 50)):
        picture(tmp_path / "data" / f"{name}.png", width, height)
    (tmp_path / "data" / "c.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    done = medcnn_command("predict", flat, tmp_path / "data", "--out", out, "--overlays")
    assert done.code == 0, done.err
    assert "2 predictions; 1 could not be read" in done.out
    assert sorted(p.name for p in out.iterdir()) == [
        "boxes.csv", "coco_images.json", "coco_results.json", "overlays", "predictions.csv",
    ]  # fmt: skip
    rows = {Path(r["case"]).name: r for r in read(out / "predictions.csv")}
    boxes = [r for r in read(out / "boxes.csv") if r["score"]]
    for name in ("a.png", "b.png"):
        own = [r for r in boxes if Path(r["case"]).name == name]
        assert 0 < len(own) <= 5
        for label in SCHEMA.names:
            called = sum(r["label"] == label and r["finding"] == "1" for r in own)
            assert int(rows[name][f"{label}_findings"]) == called
        drawn = np.asarray(Image.open(out / rows[name]["overlay"]))
        assert drawn.ndim == 3
    assert rows["c.png"]["error"]
    results, images = (json.loads((out / f"coco_{n}.json").read_text()) for n in ("results", "images"))
    files = {i["id"]: i["file_name"] for i in images["images"]}
    assert sorted((files[r["image_id"]], round(r["score"], 6)) for r in results) == sorted(
        (r["case"], round(float(r["score"]), 6)) for r in boxes
    )
    # Nothing here is in mm.
    assert {r["frame"] for r in boxes} == {""}


def test_ids_of_an_annotation_file(medcnn_command: Command, flat: Path, tmp_path: Path) -> None:
    picture(tmp_path / "data" / "a.png", 40, 30)
    picture(tmp_path / "data" / "b.png", 40, 30)
    truth = tmp_path / "truth.json"
    categories = [{"id": 12, "name": "rest"}, {"id": 11, "name": "nodule"}]
    truth.write_text(json.dumps({"images": [{"id": 99, "file_name": "a.png"}], "categories": categories}))
    out = tmp_path / "out"
    done = medcnn_command("predict", flat, tmp_path / "data", "--out", out, "--annotations", truth)
    assert done.code == 0, done.err
    assert "1 of 2 images are not in the COCO file" in done.err
    results = json.loads((out / "coco_results.json").read_text())
    assert {r["image_id"] for r in results} == {99}
    assert {r["category_id"] for r in results} <= {11, 12}
    truth.write_text(json.dumps({"images": [], "categories": categories[:1]}))
    done = medcnn_command("predict", flat, tmp_path / "data", "--out", tmp_path / "no", "--annotations", truth)
    assert done.code == 2
    assert "the class 'nodule' of the model is no category of the file" in done.err


def test_a_series_gets_a_report_unless_it_is_not_wanted(medcnn_command: Command, solid: Path, tmp_path: Path) -> None:
    for k in range(12):
        save_slice(tmp_path / "ct" / f"{k:02d}", k)
    done = medcnn_command("predict", solid, tmp_path / "ct", "--out", tmp_path / "out", "--overlays")
    assert done.code == 0, done.err
    assert "1 DICOM report carries the patient and study of the source" in done.err
    assert "1 of 1: the source lacks PatientBirthDate: written empty" in done.err
    assert "no code is known for rest" in done.err
    (row,) = read(tmp_path / "out" / "predictions.csv")
    made = pydicom.dcmread(tmp_path / "out" / row["dicom_sr"])
    assert (made.Modality, made.PatientName) == ("SR", "Doe^Jane")
    boxes = [r for r in read(tmp_path / "out" / "boxes.csv") if r["finding"] == "1"]
    (measured,) = (i for i in made.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "126010")
    for group, box in zip(measured.ContentSequence, boxes, strict=True):
        lines = [np.reshape(i.GraphicData, (-1, 2)) for i in group.ContentSequence if i.ValueType == "SCOORD"]
        for line in lines:
            wanted = [float(box[k]) for k in ("x1", "y1", "x2", "y2")]
            np.testing.assert_allclose([*line.min(0), *line.max(0)], wanted, rtol=1e-6)
        assert box["frame"] == "world"
    assert not (tmp_path / "out" / "coco_results.json").exists()
    assert (tmp_path / "out" / row["overlay"]).exists()
    done = medcnn_command("predict", solid, tmp_path / "ct", "--out", tmp_path / "none", "--no-sr")
    assert done.code == 0
    assert not (tmp_path / "none" / "dicom_sr").exists()


def test_a_case_that_no_report_can_refer_to_has_an_error(medcnn_command: Command, flat: Path, tmp_path: Path) -> None:
    save_slice(tmp_path / "data" / "good", 0)
    save_slice(tmp_path / "data" / "bad", 1, StudyInstanceUID=None)
    done = medcnn_command("predict", flat, tmp_path / "data", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    rows = {Path(r["case"]).name: r for r in read(tmp_path / "out" / "predictions.csv")}
    assert "without StudyInstanceUID" in rows["bad"]["error"]
    assert rows["good"]["dicom_sr"]
    assert {Path(r["case"]).name for r in read(tmp_path / "out" / "boxes.csv")} == {"good"}


def test_volumes_of_nifti_have_millimetres_and_no_report(medcnn_command: Command, solid: Path, tmp_path: Path) -> None:
    affine = np.diag([-1.5, -2.0, 3.0, 1.0])
    values = np.random.default_rng(0).normal(0, 100, (24, 20, 12)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "ct.nii.gz")  # type: ignore[attr-defined, no-untyped-call]
    done = medcnn_command("predict", solid, tmp_path / "ct.nii.gz", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["boxes.csv", "predictions.csv"]
    for row in (r for r in read(tmp_path / "out" / "boxes.csv") if r["score"]):
        middle = [(float(row[f"{a}1"]) + float(row[f"{a}2"])) / 2 - 0.5 for a in "xyz"]
        assert [float(row[f"centre_{a}_mm"]) for a in "xyz"] == pytest.approx(np.diag(affine)[:3] * middle, abs=1e-4)


def test_what_only_boxes_have_is_refused_of_other_models(
    medcnn_command: Command, finished: Path, tmp_path: Path
) -> None:
    truth = tmp_path / "truth.json"
    truth.write_text("{}")
    done = medcnn_command(
        "predict", finished / "run", finished / "data", "--out", tmp_path / "o.csv", "--annotations", truth
    )
    assert done.code == 2
    assert "error: --annotations: classification gives no boxes" in done.err
