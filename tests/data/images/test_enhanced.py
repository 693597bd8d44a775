"""Frames with functional groups: divided, sorted and scaled each by its own; floats as pixels; kinds of objects."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.pixels.processing import apply_voi_lut
from pydicom.sequence import Sequence as Items

from medcnn.data.images import Header, ReadOptions, StackRule, pick, read_image, read_stack, scan_file, stacks_of
from medcnn.data.images.dicom_classes import kind_of
from medcnn.data.images.monai_reader import MedcnnReader
from medcnn.errors import ImageError
from medcnn.types import ImageRef

Write = Callable[..., str]
# Where an element of a frame stands.
GROUPS = {
    "DiffusionBValue": "MRDiffusionSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "WindowCenter": "FrameVOILUTSequence",
    "WindowWidth": "FrameVOILUTSequence",
}


def enhanced(write_one: Write, frames: Sequence[dict[str, Any]], **tags: Any) -> str:
    """An enhanced MR file; frame k holds 10 k everywhere."""
    values = np.repeat(np.arange(len(frames), dtype=np.uint16) * 10, 12).reshape(-1, 4)
    none = dict.fromkeys(("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"))
    path = write_one("a.dcm", values, Rows=3, NumberOfFrames=len(frames), Modality="MR", **none, **tags)
    found = pydicom.dcmread(path)

    def item(**elements: Any) -> Items:
        one = pydicom.Dataset()
        for key, value in elements.items():
            setattr(one, key, value)
        return Items([one])

    shared = pydicom.Dataset()
    shared.PixelMeasuresSequence = item(PixelSpacing=[0.5, 0.7])
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    found.SharedFunctionalGroupsSequence = Items([shared])
    own = []
    for frame in frames:
        groups = pydicom.Dataset()
        for name in dict.fromkeys(GROUPS[key] for key in frame):
            setattr(groups, name, item(**{k: v for k, v in frame.items() if GROUPS[k] == name}))
        own.append(groups)
    found.PerFrameFunctionalGroupsSequence = Items(own)
    found.save_as(path)
    return path


def scanned(path: str) -> Header:
    header = scan_file(path)
    assert isinstance(header, Header)
    return header


@pytest.mark.parametrize(
    ("key", "name", "values"),
    [
        ("DiffusionBValue", "DiffusionBValue", (0.0, 800.0)),
        ("TemporalPositionIndex", "TemporalPositionIdentifier", (1, 2)),
        ("EffectiveEchoTime", "EchoTime", (10.0, 80.0)),
    ],
)
def test_frames_of_one_file_are_divided_into_stacks(
    write_one: Write, key: str, name: str, values: tuple[float, float]
) -> None:
    frames = [{key: value, "ImagePositionPatient": [0, 0, z]} for z in (6, 0, 3) for value in values]
    path = enhanced(write_one, frames)
    with pytest.raises(ImageError, match=f"2 stacks, which differ in {name}"):
        read_image(ImageRef((path,)))
    first, second = stacks_of([scanned(path)])
    assert [s.differing for s in (first, second)] == [((name, str(v)),) for v in values]
    np.testing.assert_array_equal(read_stack(first).array[0, 0, 0], [20, 40, 0])
    np.testing.assert_array_equal(read_image(second.ref()).array[0, 0, 0], [30, 50, 10])
    if key == "DiffusionBValue":
        assert pick([first, second], StackRule(b_value=800)) is second


def test_frames_in_one_place_are_no_volume(write_one: Write) -> None:
    path = enhanced(write_one, [{"ImagePositionPatient": [0, 0, 5]} for _ in range(4)], SOPClassUID="1.2.840.1")
    with pytest.raises(ImageError, match="3 places hold more than one slice") as error:
        read_image(ImageRef((path,)))
    assert error.value.todo == "choose one frame by index, from 0 to 3"
    assert read_image(ImageRef((path,), index=3)).array.max() == 30


def test_the_window_of_each_frame_is_its_own(write_one: Write) -> None:
    frames = [{"ImagePositionPatient": [0, 0, k], "WindowCenter": 10 + 10 * k, "WindowWidth": 40} for k in range(3)]
    path = enhanced(write_one, frames, BitsStored=8, HighBit=7)
    found = read_image(ImageRef((path,)), ReadOptions(voi=0)).array[0, 0, 0]
    for k in range(3):
        plain = pydicom.Dataset()
        plain.WindowCenter, plain.WindowWidth = 10 + 10 * k, 40
        plain.BitsStored, plain.PixelRepresentation, plain.PhotometricInterpretation = 8, 0, "MONOCHROME2"
        expected = apply_voi_lut(np.array([10 * k], np.uint16), plain)
        assert found[k] == pytest.approx(float(expected[0]), abs=1e-3)


@pytest.mark.parametrize(("key", "kind"), [("FloatPixelData", np.float32), ("DoubleFloatPixelData", np.float64)])
def test_floats_as_pixels(write_one: Write, key: str, kind: type) -> None:
    values = np.linspace(-1, 1, 60).reshape(6, 10).astype(kind)
    found = pydicom.dcmread(write_one("a.dcm", np.zeros((6, 10), np.uint16)))
    for gone in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        del found[gone]
    found.BitsAllocated = values.itemsize * 8
    setattr(found, key, values.tobytes())
    found.save_as(str(found.filename))
    image = read_image(ImageRef((str(found.filename),)))
    np.testing.assert_array_equal(image.array[0].T, values)
    assert "notes" not in image.header


@pytest.mark.parametrize(
    ("uid", "kind"),
    [
        ("1.2.840.10008.5.1.4.1.1.11.1", "presentation state"),
        ("1.2.840.10008.5.1.4.1.1.88.59", "key object selection"),
        ("1.2.840.10008.5.1.4.1.1.88.67", "dose report"),
        ("1.2.840.10008.5.1.4.1.1.88.33", "structured report"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "encapsulated PDF"),
        ("1.2.840.10008.5.1.4.1.1.7.2", "secondary capture"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "segmentation"),
        ("1.2.840.10008.5.1.4.1.1.4.2", "spectroscopy"),
        ("1.2.840.10008.5.1.4.1.1.12.1", "image"),
    ],
)
def test_objects_are_listed_by_class_and_no_images_unless_asked(write_one: Write, uid: str, kind: str) -> None:
    assert kind_of(uid, (), "", pixels=True) == kind
    scan = write_one("scan.dcm", np.full((3, 4), 7, np.int16))
    other = write_one("other.dcm", np.full((5, 6), 9, np.int16), SOPClassUID=uid, ImagePositionPatient=None)
    found = stacks_of([scanned(scan), scanned(other)])
    assert sorted(s.kind for s in found) == sorted([kind, "image"])
    if kind != "image":
        assert pick(found).kind == "image"
        assert read_image(ImageRef((scan, other))).header["notes"] == (f"1 object left aside: {kind}",)
        assert read_stack(pick(found, StackRule(kind=kind))).array.max() == 9


@pytest.mark.parametrize(("at", "value", "message"), [(123, 7, "unit of length"), (68, 3001, "CIFTI-2 matrix")])
def test_codes_that_nifti_does_not_know_or_that_are_no_images(
    tmp_path: Path, at: int, value: int, message: str
) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), np.eye(4)), tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[at : at + (1 if at == 123 else 2)] = value.to_bytes(1 if at == 123 else 2, "little")
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(ImageError, match=message):
        read_image(ImageRef((str(tmp_path / "a.nii"),)))


def test_the_reader_for_monai_goes_to_other_processes(write_one: Write) -> None:
    path = write_one("a.dcm", np.full((3, 4), 7, np.int16))
    reader = pickle.loads(pickle.dumps(MedcnnReader(stack=StackRule(plane="axial"), grey=True)))
    array, meta = reader.get_data(reader.read(path))
    assert array.shape == (4, 3)
    assert meta["modality"] == "CT"
