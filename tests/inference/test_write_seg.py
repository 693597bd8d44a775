"""DICOM segmentations: the same voxels in the same places, whoever reads them, and what a source may lack."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from medcnn.data.images import read_image, series_files
from medcnn.data.labels import read_label_map
from medcnn.errors import ImageError, RunError
from medcnn.inference.seg_segments import category_of, type_of
from medcnn.inference.write_seg import SegKind, SegWriter, check_seg_kind
from medcnn.tasks.base import Drawn
from medcnn.types import Case, ImageRef, LabelClass, LabelSchema, Mask

# Columns, rows and slices: all different.
SHAPE = (11, 9, 6)
AXIAL = (1.0, 0, 0, 0, 1, 0)
# Turned by 20 degrees about x, then by 10 about z.
OBLIQUE = (0.984807753, 0.173648178, 0.0, -0.163175911, 0.925416578, 0.342020143)
SCHEMA = LabelSchema(
    (LabelClass(3, "liver", "#d98c5f", "SCT:10200004:Liver"), LabelClass(7, "Tümor", None, "SCT:108369006"))
)
KINDS: tuple[SegKind, ...] = ("binary", "fractional", "labelmap")


_number = itertools.count(1)


def new_uid() -> UID:
    """Short, so that others can be made of it."""
    return UID(f"1.2.826.0.1.3680043.8.498.{next(_number)}")


def slice_of(k: int, orientation: Sequence[float], series: UID, study: UID, **changes: Any) -> FileDataset:
    """A CT slice; a change to ``None`` removes an element."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"{series}.{k + 1}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SpecificCharacterSet = "ISO_IR 100"
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = study, series, UID(f"{study}.9")
    made.PatientID, made.PatientName, made.PatientBirthDate, made.PatientSex = "P1", "Müller^Zoë", "19500101", "F"
    made.StudyID, made.StudyDate, made.StudyTime, made.AccessionNumber = "1", "20200101", "120000", "A"
    made.ReferringPhysicianName, made.Modality, made.SeriesNumber, made.InstanceNumber = "", "CT", 4, k + 1
    made.Manufacturer, made.ImageType = "m", ["ORIGINAL", "PRIMARY", "AXIAL"]
    normal = np.cross(orientation[:3], orientation[3:])
    made.ImageOrientationPatient = [float(v) for v in orientation]
    made.ImagePositionPatient = [float(f"{v:.6f}") for v in (-30.0, 12.0, 100.0) + 2.5 * k * normal]
    made.PixelSpacing, made.SliceThickness = [1.25, 0.8], 2.5
    made.Rows, made.Columns, made.SamplesPerPixel = SHAPE[1], SHAPE[0], 1
    made.PhotometricInterpretation, made.PixelRepresentation = "MONOCHROME2", 1
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 16, 15
    made.RescaleSlope, made.RescaleIntercept = 1, -1024
    made.PixelData = np.full((SHAPE[1], SHAPE[0]), 1000 + k, np.int16).tobytes()
    for key, value in changes.items():
        if value is None:
            delattr(made, key)
        else:
            setattr(made, key, value)
    return made


def save_series(folder: Path, orientation: Sequence[float] = AXIAL, *, backwards: bool = False, **changes: Any) -> Any:
    """A series whose files are named against (or along) its slices; the reference."""
    folder.mkdir(parents=True)
    series, study = new_uid(), new_uid()
    for k in range(SHAPE[2]):
        name = SHAPE[2] - k if backwards else k + 1
        slice_of(k, orientation, series, study, **changes).save_as(folder / f"{name:02d}.dcm", enforce_file_format=True)
    return ImageRef(tuple(sorted(str(p) for p in folder.iterdir())), "dicom")


def labels_of(shape: Sequence[int] = SHAPE) -> NDArray[np.uint8]:
    found = np.zeros(shape, np.uint8)
    found[2:8, 3:7, 1:4] = 1
    found[4:6, 4:6, 2] = 2
    found[10, 0, 5] = 2
    return found


def fractions_of(labels: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
    """Probabilities in steps of 1/255, above a half where the label is."""
    chosen = np.stack([labels == 1, labels == 2]) if labels.ndim == 3 else labels == 1
    steps = np.where(chosen, np.float32(200), np.float32(30))
    return lambda: (steps / np.float32(255)).astype(np.float32)


def write(
    folder: Path, ref: ImageRef, labels: NDArray[np.uint8], kind: SegKind = "binary", schema: LabelSchema = SCHEMA
) -> tuple[Path, tuple[str, ...]]:
    drawn = Drawn(Case("one/case", (ref,)), read_image(ref), labels, schema, fractions_of(labels))
    beside = SegWriter(kind, "device")(folder, drawn)
    return folder / beside.files[0][1], beside.notes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("orientation", "backwards"), [(AXIAL, False), (OBLIQUE, True)])
def test_three_readers_find_the_same_voxels(
    tmp_path: Path, kind: SegKind, orientation: Sequence[float], backwards: bool
) -> None:
    ref, labels = save_series(tmp_path / "ct", orientation, backwards=backwards), labels_of()
    path, _ = write(tmp_path, ref, labels, kind)
    image = read_image(ref)
    np.testing.assert_array_equal(read_label_map(Mask(ImageRef((str(path),))), SCHEMA, image).labels, labels)
    # highdicom, in the coordinates of the patient.
    made = hd.seg.segread(path)
    volume = made.get_volume(rescale_fractional=True)
    array = np.asarray(volume.array)
    if kind == "labelmap":
        array = np.stack([array == 1, array == 2], -1) if array.ndim == 3 else array
    to_voxel = np.linalg.inv(np.asarray(image.affine)) @ np.diag([-1, -1, 1, 1]) @ volume.affine
    index = np.argwhere(array[..., :2] > 0.5)
    back = np.rint(np.c_[index[:, :3], np.ones(len(index))] @ to_voxel.T)[:, :3].astype(int)
    found = np.zeros(SHAPE, np.uint8)
    found[tuple(back.T)] = index[:, 3] + 1
    np.testing.assert_array_equal(found, labels)
    # pydicom: each frame, on the slice that it names.
    plain = pydicom.dcmread(path)
    assert plain.PatientName == "Müller^Zoë"
    instances = {pydicom.dcmread(p).SOPInstanceUID for p in ref.paths}
    pixels = plain.pixel_array.reshape(-1, SHAPE[1], SHAPE[0])
    total = 0
    for frame, group in zip(pixels, plain.PerFrameFunctionalGroupsSequence, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert source in instances
        z = int(source.rsplit(".", 1)[1]) - 1
        if kind == "labelmap":
            np.testing.assert_array_equal(frame.T, labels[:, :, z])
        else:
            number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            np.testing.assert_array_equal(frame.T > 127 if kind == "fractional" else frame.T, labels[:, :, z] == number)
        total += 1
    assert total >= 4


def test_probabilities_are_kept_in_steps_of_a_byte(tmp_path: Path) -> None:
    ref, labels = save_series(tmp_path / "ct"), labels_of()
    path, _ = write(tmp_path, ref, labels, "fractional")
    plain = pydicom.dcmread(path)
    assert (plain.MaximumFractionalValue, plain.SegmentationFractionalType) == (255, "PROBABILITY")
    assert set(np.unique(plain.pixel_array)) == {30, 200}


@pytest.mark.parametrize("kind", ["binary", "fractional"])
def test_labels_that_overlap(tmp_path: Path, kind: SegKind) -> None:
    schema = LabelSchema(SCHEMA.classes, multilabel=True)
    labels = np.stack([labels_of() > 0, labels_of() == 2]).astype(np.uint8)
    ref = save_series(tmp_path / "ct")
    path, _ = write(tmp_path, ref, labels, kind, schema)
    found = read_label_map(Mask(ImageRef((str(path),))), schema, read_image(ref))
    np.testing.assert_array_equal(found.labels, labels)
    with pytest.raises(RunError, match="may overlap"):
        check_seg_kind("labelmap", schema)


def test_an_empty_mask_is_one_with_empty_segments(tmp_path: Path) -> None:
    ref = save_series(tmp_path / "ct")
    path, _ = write(tmp_path, ref, np.zeros(SHAPE, np.uint8))
    assert not read_label_map(Mask(ImageRef((str(path),))), SCHEMA, read_image(ref)).labels.any()


def test_codes_and_the_source(tmp_path: Path) -> None:
    ref = save_series(tmp_path / "ct")
    schema = LabelSchema((*SCHEMA.classes, LabelClass(9, "something", "no colour")))
    path, notes = write(tmp_path, ref, labels_of(), schema=schema)
    assert notes == ()
    made, source = pydicom.dcmread(path), pydicom.dcmread(ref.paths[0])
    for key in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientBirthDate", "AccessionNumber"):
        assert made[key].value == source[key].value
    assert made.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert (made.SeriesNumber, made.Modality, made.DeviceSerialNumber) == (1004, "SEG", "device")
    kinds = [s.SegmentedPropertyTypeCodeSequence[0] for s in made.SegmentSequence]
    assert [(k.CodingSchemeDesignator, k.CodeValue, k.CodeMeaning) for k in kinds] == [
        ("SCT", "10200004", "Liver"), ("SCT", "108369006", "Tümor"), ("99MEDCNN", "LABEL-9", "something"),
    ]  # fmt: skip
    groups = [s.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning for s in made.SegmentSequence]
    assert groups == ["Anatomical Structure", "Morphologically Abnormal Structure", "Spatial and Relational Concept"]
    assert {s.SegmentAlgorithmType for s in made.SegmentSequence} == {"AUTOMATIC"}
    assert category_of(type_of(LabelClass(1, "fat", code="SCT:55603005"))).meaning == "Tissue"


def test_elements_that_may_be_empty_are_written_so_and_said(tmp_path: Path) -> None:
    ref = save_series(
        tmp_path / "ct", PatientBirthDate=None, PatientSex="X", StudyID=None, StudyTime=None, SliceThickness=None
    )
    path, notes = write(tmp_path, ref, labels_of())
    assert notes == (
        "the source lacks PatientBirthDate, PatientSex, StudyID, StudyTime: written empty",
        "SliceThickness is missing: the distance between slices stands for it",
    )
    made = pydicom.dcmread(path)
    assert not made.PatientBirthDate
    assert not made.PatientSex
    assert made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 2.5


@pytest.mark.parametrize("key", ["SOPInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"])
def test_an_image_without_uids_is_refused(tmp_path: Path, key: str) -> None:
    ref = save_series(tmp_path / "ct", **{key: None})
    with pytest.raises(ImageError, match=key) as error:
        write(tmp_path, ref, labels_of())
    assert error.value.where in ref.paths
    assert not (tmp_path / "dicom_seg").exists()


def test_a_slice_without_place_is_refused_and_a_radiograph_is_not(tmp_path: Path) -> None:
    labels = labels_of()[:, :, 2]
    nowhere: dict[str, Any] = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    one = slice_of(0, AXIAL, new_uid(), new_uid(), **nowhere)
    one.save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    with pytest.raises(ImageError, match="needs the position, orientation and spacing"):
        write(tmp_path, ImageRef((str(tmp_path / "ct.dcm"),)), labels)
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    one.Modality = "DX"
    del one.FrameOfReferenceUID
    one.save_as(tmp_path / "dx.dcm", enforce_file_format=True)
    ref = ImageRef((str(tmp_path / "dx.dcm"),))
    path, _ = write(tmp_path, ref, labels)
    np.testing.assert_array_equal(read_label_map(Mask(ImageRef((str(path),))), SCHEMA, read_image(ref)).labels, labels)


def enhanced(path: Path, order: Sequence[int], echoes: int = 1) -> ImageRef:
    """An enhanced MR file of frames in some order, with orientation and spacing beside each frame."""
    made = slice_of(0, AXIAL, new_uid(), new_uid())
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedMRImageStorage
    made.Modality, made.NumberOfFrames = "MR", len(order) * echoes
    frames = []
    for echo in range(echoes):
        for k in order:
            frame, place, turn, measures, mr = (Dataset() for _ in range(5))
            place.ImagePositionPatient = [-30.0, 12.0, 100 + 2.5 * k]
            turn.ImageOrientationPatient, measures.PixelSpacing = list(AXIAL), [1.25, 0.8]
            measures.SliceThickness, mr.EffectiveEchoTime = 2.5, 10.0 * (echo + 1)
            frame.PlanePositionSequence, frame.PlaneOrientationSequence = [place], [turn]
            frame.PixelMeasuresSequence, frame.MREchoSequence = [measures], [mr]
            frames.append(frame)
    made.PerFrameFunctionalGroupsSequence, made.SharedFunctionalGroupsSequence = frames, [Dataset()]
    for key in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(made, key)
    made.PixelData = b"".join(
        np.full((SHAPE[1], SHAPE[0]), k, np.int16).tobytes() for _ in range(echoes) for k in order
    )
    made.save_as(path, enforce_file_format=True)
    return ImageRef((str(path),), "dicom")


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_an_enhanced_object_are_named_by_their_numbers(tmp_path: Path, kind: SegKind) -> None:
    order = [3, 0, 5, 1, 4, 2]
    ref, labels = enhanced(tmp_path / "mr.dcm", order), labels_of()
    path, _ = write(tmp_path, ref, labels, kind)
    np.testing.assert_array_equal(read_label_map(Mask(ImageRef((str(path),))), SCHEMA, read_image(ref)).labels, labels)
    made = pydicom.dcmread(path)
    for group in made.PerFrameFunctionalGroupsSequence:
        z = round((float(group.PlanePositionSequence[0].ImagePositionPatient[2]) - 100) / 2.5)
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        assert order[int(source.ReferencedFrameNumber) - 1] == z


def test_one_stack_of_several_in_a_file(tmp_path: Path) -> None:
    from medcnn.data.images import scan_file, stacks_of

    enhanced(tmp_path / "mr.dcm", range(SHAPE[2]), echoes=2)
    header: Any = scan_file(str(tmp_path / "mr.dcm"))
    stacks = stacks_of([header])
    assert len(stacks) == 2
    path, _ = write(tmp_path, stacks[1].ref(), labels_of())
    frames = pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    numbers = {int(f.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber) for f in frames}
    assert numbers == {8, 9, 10, 12}


def test_other_files_have_none(tmp_path: Path) -> None:
    ref = ImageRef(("image.nii.gz",), "nifti")
    drawn: Any = type("Fake", (), {"case": Case("a", (ref,))})
    assert SegWriter()(tmp_path, drawn).files == ()
    with pytest.raises(RunError, match="choose from binary, fractional, labelmap and none"):
        check_seg_kind("contour", None)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("kind", ["binary", "fractional"])
@pytest.mark.parametrize("source", ["ct", "lacking", "enhanced", "empty"])
def test_a_validator_finds_no_error(tmp_path: Path, kind: SegKind, source: str) -> None:
    lacking = {"PatientBirthDate": None, "PatientSex": None} if source == "lacking" else {}
    if source == "enhanced":
        ref = enhanced(tmp_path / "mr.dcm", [3, 0, 5, 1, 4, 2])
    else:
        ref = save_series(tmp_path / "ct", OBLIQUE, **lacking)
    path, _ = write(tmp_path, ref, labels_of() * np.uint8(source != "empty"), kind)
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert any("Segmentation" in line for line in said)
    assert [line for line in said if line.startswith("Error")] == []


@pytest.mark.realdata
def test_the_real_series_get_segmentations_that_lie_on_them(tmp_path: Path, realdata: Any) -> None:
    lacking = 0
    folders = sorted(p for p in realdata("mr_dicom_series").glob("*/*") if p.is_dir())
    for folder in folders:
        ref = ImageRef(series_files(str(folder)), "dicom")
        image = read_image(ref)
        labels = np.zeros(image.array.shape[1:], np.uint8)
        labels[3:20, 5:9, 2:7], labels[20:24, 5:9, 8] = 1, 2
        path, notes = write(tmp_path / folder.name, ref, labels)
        lacking += "the source lacks PatientBirthDate, PatientSex: written empty" in notes
        np.testing.assert_array_equal(read_label_map(Mask(ImageRef((str(path),))), SCHEMA, image).labels, labels)
    assert (len(folders), lacking) == (5, 3)
