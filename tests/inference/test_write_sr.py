"""DICOM reports of findings: the same boxes in the same places, whoever reads them, and what a source may lack."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from medcnn.data.images import read_image
from medcnn.errors import ImageError
from medcnn.inference.write_sr import SrWriter, box_slices
from medcnn.tasks.base import Found
from medcnn.types import BoxesPrediction, Case, ImageRef, LabelClass, LabelSchema

SCHEMA = LabelSchema((LabelClass(0, "nodule", None, "SCT:27925004:Nodule"), LabelClass(1, "Tümor")))
# Both reach an edge; the first and the last lie under their thresholds.
FLAT = ([[1, 2, 3, 4], [0, 1.25, 11, 8.5], [2.5, 3, 7, 9], [4, 4, 6, 6]], [1, 0, 1, 0], [0.99, 0.8, 0.6, 0.1])
SOLID = ([[0, 1.25, 1, 11, 8.5, 4], [2.5, 3, 0, 7, 9, 6], [4, 4, 2.6, 6, 6, 2.9]], [0, 1, 0], [0.9, 0.75, 0.5])
THRESHOLDS = {"nodule": 0.5, "Tümor": 0.6}


def _seg() -> ModuleType:
    """The tests of segmentations, which make the series."""
    name = "test_write_seg_series"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("test_write_seg.py"))
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


series = _seg()


def boxes_of(given: tuple[Any, Any, Any]) -> BoxesPrediction:
    corners, labels, scores = given
    width = 6 if not corners else len(corners[0])
    return BoxesPrediction(
        np.array(corners, np.float32).reshape(-1, width), np.array(labels, np.int64), np.array(scores, np.float32)
    )


def write(
    folder: Path, ref: ImageRef, given: tuple[Any, Any, Any], thresholds: dict[str, float] | None = None
) -> tuple[Path, tuple[str, ...]]:
    found = Found(Case("one/case", (ref,)), read_image(ref), boxes_of(given), SCHEMA, thresholds or THRESHOLDS)
    beside = SrWriter("device")(folder, found)
    return folder / beside.files[0][1], beside.notes


def film(path: Path, **changes: Any) -> ImageRef:
    """A radiograph, which has no place in the world."""
    nowhere = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "FrameOfReferenceUID": None}
    one = series.slice_of(0, series.AXIAL, series.new_uid(), series.new_uid(), **nowhere, **changes)
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    one.Modality = "DX"
    one.save_as(path, enforce_file_format=True)
    return ImageRef((str(path),), "dicom")


def numbers(group: Any) -> dict[str, float]:
    """The measurements of a group by the meaning of their names, with pydicom alone."""
    found = {}
    for item in group.ContentSequence:
        if item.ValueType == "NUM":
            value = item.MeasuredValueSequence[0]
            unit = value.MeasurementUnitsCodeSequence[0].CodeValue
            found[f"{item.ConceptNameCodeSequence[0].CodeMeaning} {unit}"] = float(value.NumericValue)
    return found


def groups(path: Path) -> list[Any]:
    (measured,) = (
        item
        for item in pydicom.dcmread(path).ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == codes.DCM.ImagingMeasurements.value
    )
    return list(measured.ContentSequence)


def regions(group: Any) -> list[tuple[list[float], Any]]:
    """Hulls of the polylines of a group with the image of each, with pydicom alone."""
    found = []
    for item in group.ContentSequence:
        if item.ValueType == "SCOORD":
            assert item.GraphicType == "POLYLINE"
            points = np.reshape(item.GraphicData, (-1, 2))
            np.testing.assert_array_equal(points[0], points[-1])
            assert len(points) == 5
            image = item.ContentSequence[0].ReferencedSOPSequence[0]
            found.append(([*points.min(0).tolist(), *points.max(0).tolist()], image))
    return found


def test_a_film_has_one_polyline_a_finding(tmp_path: Path) -> None:
    path, notes = write(tmp_path, film(tmp_path / "dx.dcm"), FLAT)
    assert notes == ()
    made, source = pydicom.dcmread(path), pydicom.dcmread(tmp_path / "dx.dcm")
    assert made.SOPClassUID == pydicom.uid.ComprehensiveSRStorage
    # From the highest score on; those at or above their class's threshold.
    found = groups(path)
    assert [regions(g)[0][0] for g in found] == [FLAT[0][0], FLAT[0][1], FLAT[0][2]]
    for group in found:
        ((_, image),) = regions(group)
        assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert "ReferencedFrameNumber" not in image
    # 11 columns of 0.8 mm, 7.25 rows of 1.25 mm.
    wanted = {"Certainty of Finding %": 80, "Long axis mm": 9.0625, "Short axis mm": 8.8}
    assert numbers(found[1]) == pytest.approx(wanted, abs=1e-4)


def test_highdicom_finds_the_same(tmp_path: Path) -> None:
    path, _ = write(tmp_path, film(tmp_path / "dx.dcm"), FLAT)
    report = hd.sr.srread(path).content
    planar = report.get_planar_roi_measurement_groups()
    assert [(g.finding_type.value, g.finding_type.scheme_designator) for g in planar] == [
        ("LABEL-1", "99MEDCNN"), ("27925004", "SCT"), ("LABEL-1", "99MEDCNN"),
    ]  # fmt: skip
    for group, corners in zip(planar, FLAT[0], strict=False):
        points = group.roi.value
        np.testing.assert_array_equal([*points.min(0), *points.max(0)], np.array(corners, np.float32))
    certain = [g.get_measurements(codes.DCM.CertaintyOfFinding)[0].value for g in planar]
    assert [float(v) / 100 for v in certain] == pytest.approx([0.99, 0.8, 0.6], abs=1e-6)


@pytest.mark.parametrize(("orientation", "backwards"), [(series.AXIAL, False), (series.OBLIQUE, True)])
def test_a_volume_has_one_polyline_a_slice(tmp_path: Path, orientation: Any, backwards: bool) -> None:
    ref = series.save_series(tmp_path / "ct", orientation, backwards=backwards)
    path, _ = write(tmp_path, ref, SOLID)
    assert pydicom.dcmread(path).SOPClassUID == pydicom.uid.Comprehensive3DSRStorage
    affine = read_image(ref).affine
    assert affine is not None
    places = {}
    for file in ref.paths:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        ras = np.array(header.ImagePositionPatient, float) * (-1, -1, 1)
        places[header.SOPInstanceUID] = round((np.linalg.inv(affine) @ [*ras, 1])[2])
    found = groups(path)
    assert len(found) == 3
    for group, corners in zip(found, SOLID[0], strict=True):
        lines = regions(group)
        assert {tuple(plane) for plane, _ in lines} == {tuple(np.float32(corners)[[0, 1, 3, 4]].tolist())}
        slices = [places[image.ReferencedSOPInstanceUID] for _, image in lines]
        assert slices == list(box_slices(np.array(corners, np.float32), series.SHAPE[2]))
    assert numbers(found[1]) == pytest.approx(
        {"Certainty of Finding %": 75, "Long axis mm": 7.5, "Short axis mm": 3.6, "Depth mm": 15}, abs=1e-4
    )
    solid = hd.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    assert [len(g.roi) for g in solid] == [3, 6, 1]


@pytest.mark.parametrize(
    ("low", "high", "slices"),
    [(1, 4, [1, 2, 3]), (0.9, 4.1, [1, 2, 3]), (2.6, 2.9, [2]), (2.5, 3.5, [2]), (-0.4, 9, [0, 1, 2, 3, 4, 5])],
)
def test_slices_whose_middle_the_box_holds(low: float, high: float, slices: list[int]) -> None:
    assert list(box_slices(np.array([0, 0, low, 1, 1, high], np.float32), 6)) == slices


def test_frames_of_an_enhanced_object_are_named_by_their_numbers(tmp_path: Path) -> None:
    order = [3, 0, 5, 1, 4, 2]
    path, _ = write(tmp_path, series.enhanced(tmp_path / "mr.dcm", order), SOLID)
    named = [order[int(image.ReferencedFrameNumber) - 1] for _, image in regions(groups(path)[0])]
    assert named == [1, 2, 3]


def test_the_source_the_model_and_its_threshold_are_named(tmp_path: Path) -> None:
    ref = series.save_series(tmp_path / "ct")
    path, _ = write(tmp_path, ref, SOLID)
    made, source = pydicom.dcmread(path), pydicom.dcmread(ref.paths[0])
    for key in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "AccessionNumber"):
        assert made[key].value == source[key].value
    assert (made.SeriesNumber, made.Modality, made.DeviceSerialNumber) == (2004, "SR", "device")
    assert (made.CompletionFlag, made.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    evidence = made.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.SeriesInstanceUID == source.SeriesInstanceUID
    assert {i.ReferencedSOPInstanceUID for i in evidence.ReferencedSOPSequence} >= {
        pydicom.dcmread(ref.paths[k]).SOPInstanceUID for k in (1, 2, 3)
    }
    texts = [i.TextValue for i in groups(path)[1].ContentSequence if i.ValueType == "TEXT"]
    assert {"medcnn", "threshold 0.6"} <= set(texts)


def test_two_reports_differ_in_uids_and_times_alone(tmp_path: Path) -> None:
    ref = series.save_series(tmp_path / "ct")
    one, two = (str(pydicom.dcmread(write(tmp_path / name, ref, SOLID)[0])).splitlines() for name in "ab")
    changed = [a for a, b in zip(one, two, strict=True) if a != b]
    assert changed
    assert all(" UI: " in line or " UID" in line or "Time" in line or "Date" in line for line in changed)


@pytest.mark.parametrize("given", [([], [], []), ([SOLID[0][0]], [0], [0.49])])
def test_a_report_without_findings_says_that_each_class_is_absent(tmp_path: Path, given: Any) -> None:
    ref = series.save_series(tmp_path / "ct")
    path, _ = write(tmp_path, ref, given)
    found = groups(path)
    assert len(found) == 2
    assert not [r for group in found for r in regions(group)]
    said = hd.sr.srread(path).content.get_image_measurement_groups()
    assert [(g.finding_type.meaning, g.get_qualitative_evaluations()[0].value.meaning) for g in said] == [
        ("Nodule", "Absent"), ("Tümor", "Absent"),
    ]  # fmt: skip


def test_without_spacing_sides_are_in_pixels(tmp_path: Path) -> None:
    path, _ = write(tmp_path, film(tmp_path / "dx.dcm", PixelSpacing=None), FLAT)
    assert numbers(groups(path)[1]) == {
        "Certainty of Finding %": 80, "Long axis {pixels}": 11, "Short axis {pixels}": 7.25,
    }  # fmt: skip


def test_elements_that_may_be_empty_are_written_so_and_said(tmp_path: Path) -> None:
    ref = series.save_series(tmp_path / "ct", PatientBirthDate=None, PatientSex="X", StudyID=None)
    path, notes = write(tmp_path, ref, SOLID)
    assert notes == ("the source lacks PatientBirthDate, PatientSex, StudyID: written empty",)
    assert not pydicom.dcmread(path).PatientBirthDate


@pytest.mark.parametrize("key", ["SOPInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"])
def test_an_image_without_uids_is_refused(tmp_path: Path, key: str) -> None:
    ref = series.save_series(tmp_path / "ct", **{key: None})
    with pytest.raises(ImageError, match=key) as error:
        write(tmp_path, ref, SOLID)
    assert error.value.where in ref.paths
    assert "--no-sr" in error.value.todo
    assert not (tmp_path / "dicom_sr").exists()


def test_a_slice_without_place_is_refused(tmp_path: Path) -> None:
    nowhere = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    one = series.slice_of(0, series.AXIAL, series.new_uid(), series.new_uid(), **nowhere)
    one.save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    with pytest.raises(ImageError, match="a DICOM report needs the position"):
        write(tmp_path, ImageRef((str(tmp_path / "ct.dcm"),)), FLAT)


def test_other_files_have_none(tmp_path: Path) -> None:
    drawn: Any = type("Fake", (), {"case": Case("a", (ImageRef(("image.nii.gz",), "nifti"),))})
    assert SrWriter()(tmp_path, drawn).files == ()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("source", ["ct", "lacking", "enhanced", "film", "nothing", "pixels"])
def test_a_validator_finds_no_error(tmp_path: Path, source: str) -> None:
    if source == "enhanced":
        ref = series.enhanced(tmp_path / "mr.dcm", [3, 0, 5, 1, 4, 2])
    elif source in ("film", "pixels"):
        ref = film(tmp_path / "dx.dcm", **({"PixelSpacing": None} if source == "pixels" else {}))
    else:
        lacking = {"PatientBirthDate": None, "PatientSex": None} if source == "lacking" else {}
        ref = series.save_series(tmp_path / "ct", series.OBLIQUE, **lacking)
    given: Any = ([], [], []) if source == "nothing" else FLAT if source in ("film", "pixels") else SOLID
    path, _ = write(tmp_path, ref, given)
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert any("SR" in line for line in said)
    assert [line for line in said if line.startswith("Error")] == []
