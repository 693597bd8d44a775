"""DICOM: values against pydicom, geometry against SimpleITK, and series that are none."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

from medcnn.data.images import read_image, series_files, sniff
from medcnn.errors import ImageError
from medcnn.types import Image, ImageRef

AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
SERIES = generate_uid(entropy_srcs=["series"])


def make(values: np.ndarray, **tags: Any) -> pydicom.Dataset:
    """A small valid CT image; ``None`` takes an element out."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    elements: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": generate_uid(),
        "SeriesInstanceUID": SERIES,
        "StudyInstanceUID": SERIES,
        "PatientName": "Secret^Name",
        "PatientID": "4711",
        "Modality": "CT",
        "Rows": values.shape[0],
        "Columns": values.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(values.dtype.kind == "i"),
        "PixelSpacing": [0.5, 0.7],
        "ImageOrientationPatient": AXIAL,
        "ImagePositionPatient": [10.0, 20.0, 30.0],
        "PixelData": values.tobytes(),
    }
    for name, value in {**elements, **tags}.items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def save(path: Path, dataset: pydicom.Dataset) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(path, enforce_file_format=True)
    return str(path)


def read(*paths: str | Path, index: int | None = None) -> Image:
    return read_image(ImageRef(tuple(map(str, paths)), index=index))


def make_series(
    folder: Path, positions: Sequence[Sequence[float]], orientation: Sequence[float] = AXIAL, **tags: Any
) -> list[str]:
    """Slices whose value is their place in ``positions``; the names follow another order."""
    paths = []
    for k, position in enumerate(positions):
        values = np.full((3, 4), k, np.int16)
        values[0, 1] = 100 + k
        dataset = make(
            values, ImagePositionPatient=list(position), ImageOrientationPatient=list(orientation), InstanceNumber=k
        )
        for name, value in tags.items():
            setattr(dataset, name, value)
        paths.append(save(folder / f"{(k * 7) % 23:02d}.dcm", dataset))
    return paths


def along_z(count: int, step: float = 2.5) -> list[list[float]]:
    return [[-10.0, 5.0, step * k] for k in range(count)]


def simpleitk_affine(image: SimpleITK.Image) -> np.ndarray:
    affine = np.eye(4)
    dims = image.GetDimension()
    affine[:dims, :dims] = np.array(image.GetDirection()).reshape(dims, dims) * image.GetSpacing()
    affine[:dims, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ affine


# --- single images -----------------------------------------------------------------------------------------------


def test_a_single_image(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.int16).reshape(3, 4)
    image = read(save(tmp_path / "a", make(values, BodyPartExamined="HEAD", WindowCenter=40, WindowWidth=[400, 80])))
    np.testing.assert_array_equal(image.array, values.T[None])
    assert image.spacing == (0.7, 0.5)
    np.testing.assert_allclose(image.affine @ [3, 2, 0, 1], [-(10 + 3 * 0.7), -(20 + 2 * 0.5), 30, 1])
    assert image.header["modality"] == "CT"
    assert image.header["body_part"] == "HEAD"
    assert image.header["window"] == (40, 400)
    assert "Secret" not in str(image.header)
    assert "4711" not in str(image.header)


def test_rescale_gives_hounsfield_units_in_whole_numbers(tmp_path: Path) -> None:
    values = np.array([[0, 1024], [3000, 65535]], np.uint16)
    image = read(save(tmp_path / "a", make(values, RescaleSlope=1, RescaleIntercept=-1024)))
    np.testing.assert_array_equal(image.array[0].T, values.astype(int) - 1024)
    assert image.array.dtype == np.int32
    half = read(save(tmp_path / "b", make(values, RescaleSlope="0.5", RescaleIntercept="-10")))
    np.testing.assert_allclose(half.array[0].T, values * 0.5 - 10)
    assert half.array.dtype == np.float32


def test_bits_beyond_the_stored_ones_are_masked(tmp_path: Path) -> None:
    values = np.array([[0x1FFF, 0x0ABC]], np.uint16)
    image = read(save(tmp_path / "a", make(values, BitsStored=12, HighBit=11)))
    np.testing.assert_array_equal(image.array[0].T, [[0x0FFF, 0x0ABC]])


@pytest.mark.parametrize("tags", [{"PhotometricInterpretation": "MONOCHROME1"}, {"PresentationLUTShape": "INVERSE"}])
def test_inverted_images_are_turned_over_the_stored_range(tmp_path: Path, tags: dict[str, str]) -> None:
    values = np.array([[0, 100, 1023]], np.uint16)
    dataset = make(
        values, Modality="CR", BitsStored=10, HighBit=9, RescaleIntercept=5, RescaleSlope=2, WindowCenter=505,
        WindowWidth=100, **tags,
    )  # fmt: skip
    image = read(save(tmp_path / "a", dataset))
    np.testing.assert_array_equal(image.array[0].T, 2 * (1023 - values.astype(int)) + 5)
    assert image.header["inverted"] is True
    # The window shows the same pixels as before: its centre is turned with them.
    assert image.header["window"] == (5 + 2 * 1023 + 5 - 505, 100)


def test_signed_inversion_stays_in_its_range(tmp_path: Path) -> None:
    values = np.array([[-32768, 0, 32767]], np.int16)
    image = read(save(tmp_path / "a", make(values, PhotometricInterpretation="MONOCHROME1")))
    np.testing.assert_array_equal(image.array[0].T, [[32767, -1, -32768]])


@pytest.mark.parametrize(("value", "limit"), [(-2000, None), (63536, None), (-2000, -1900)])
def test_padding_becomes_the_smallest_other_value(tmp_path: Path, value: int, limit: int | None) -> None:
    values = np.array([[-2000, -2000, -1950 if limit else -5, 7]], np.int16)
    tags: dict[str, Any] = {"RescaleSlope": 1, "RescaleIntercept": -24}
    dataset = make(values, **tags)
    dataset.add_new(0x00280120, "SS" if value < 0 else "US", value)
    if limit is not None:
        dataset.add_new(0x00280121, "SS", limit)
    image = read(save(tmp_path / "a", dataset))
    expected = [[-17, -17, -17, -17]] if limit else [[-29, -29, -29, -17]]
    np.testing.assert_array_equal(image.array[0].T, expected)


def test_a_modality_lut_is_applied(tmp_path: Path) -> None:
    item = pydicom.Dataset()
    item.add_new(0x00283002, "US", [4, 10, 16])
    item.add_new(0x00283006, "US", [5, 50, 500, 5000])
    item.ModalityLUTType = "HU"
    image = read(save(tmp_path / "a", make(np.array([[0, 10, 12, 99]], np.uint16), ModalityLUTSequence=[item])))
    np.testing.assert_array_equal(image.array[0].T, [[5, 5, 500, 5000]])


def test_the_spacing_of_a_radiograph_says_where_it_holds(tmp_path: Path) -> None:
    tags = {"PixelSpacing": None, "ImagePositionPatient": None, "ImageOrientationPatient": None, "Modality": "DX"}
    image = read(save(tmp_path / "a", make(np.zeros((2, 3), np.uint16), ImagerPixelSpacing=[0.2, 0.1], **tags)))
    assert image.spacing == (0.1, 0.2)
    assert image.affine is None
    assert image.header["spacing_source"] == "ImagerPixelSpacing"
    assert any("detector" in n for n in image.header["notes"])
    none = read(save(tmp_path / "b", make(np.zeros((2, 3), np.uint16), **{**tags, "PixelSpacing": [0, 0]})))
    assert none.spacing is None


def test_a_broken_orientation_leaves_no_world_frame(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a", make(np.zeros((2, 3), np.uint16), ImageOrientationPatient=[1, 0, 0, 1, 0, 0])))
    assert image.affine is None
    assert image.spacing == (0.7, 0.5)


# --- series ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_a_series_is_simpleitks(tmp_path: Path, seed: int | None) -> None:
    turn = np.eye(3)
    if seed is not None:
        turn = Rotation.random(random_state=seed).as_matrix()
    orientation = [*turn[:, 0], *turn[:, 1]]
    start = np.array([-30.0, 12.5, 7.25])
    make_series(tmp_path, [start + 2.5 * k * turn[:, 2] for k in range(5)], orientation)
    files = series_files(str(tmp_path))
    image = read(*files[::-1])
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    expected = reader.Execute()
    np.testing.assert_array_equal(image.array[0], SimpleITK.GetArrayFromImage(expected).transpose(2, 1, 0))
    np.testing.assert_allclose(image.affine, simpleitk_affine(expected), atol=1e-4)
    np.testing.assert_allclose(image.spacing, expected.GetSpacing(), atol=1e-5)
    assert image.array.shape == (1, 4, 3, 5)
    assert image.header["slices"] == 5


def test_slices_are_sorted_along_their_normal_whatever_they_are_called(tmp_path: Path) -> None:
    image = read(*make_series(tmp_path, along_z(6)[::-1]))
    np.testing.assert_array_equal(image.array[0, 0, 0], [5, 4, 3, 2, 1, 0])
    assert image.affine is not None
    assert image.affine[2, 3] == 0


def test_positions_rounded_to_a_tenth_are_even(tmp_path: Path) -> None:
    image = read(*make_series(tmp_path, [[0, 0, round(0.625 * k, 1)] for k in range(16)]))
    assert image.spacing == pytest.approx((0.7, 0.5, 0.625), abs=0.005)


def test_gantry_tilt_is_kept_and_named(tmp_path: Path) -> None:
    slope = np.tan(np.deg2rad(15))
    image = read(*make_series(tmp_path, [[0, slope * 3 * k, 3.0 * k] for k in range(4)]))
    assert image.header["tilt_degrees"] == pytest.approx(15, abs=0.01)
    np.testing.assert_allclose(image.affine @ [0, 0, 2, 1], [0, -slope * 6, 6, 1])


def test_copies_of_an_instance_are_left_out_and_counted(tmp_path: Path) -> None:
    paths = make_series(tmp_path, along_z(4))
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(Path(paths[1]).read_bytes())
    image = read(*paths, copy)
    assert image.array.shape[-1] == 4
    assert "1 repeated" in image.header["notes"][0]


def test_padding_is_filled_over_the_whole_stack(tmp_path: Path) -> None:
    paths = []
    for k, values in enumerate([[[-2000, 0]], [[-2000, -1000]]]):
        dataset = make(np.array(values, np.int16), ImagePositionPatient=[0, 0, k])
        dataset.add_new(0x00280120, "SS", -2000)
        paths.append(save(tmp_path / str(k), dataset))
    np.testing.assert_array_equal(read(*paths).array[0, :, 0], [[-1000, -1000], [0, -1000]])


def test_a_missing_slice_is_named(tmp_path: Path) -> None:
    paths = make_series(tmp_path, [p for k, p in enumerate(along_z(10)) if k != 6])
    with pytest.raises(ImageError, match=r"1 slice is missing.*5\.00 mm, the others 2\.50"):
        read(*paths)
    with pytest.raises(ImageError, match="3 slices are missing"):
        read(*make_series(tmp_path / "b", [p for k, p in enumerate(along_z(12)) if k not in (3, 4, 8)]))


def test_irregular_spacing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not evenly spaced"):
        read(*make_series(tmp_path, [[0, 0, z] for z in (0, 1, 2.3, 3, 4.4, 5)]))
    with pytest.raises(ImageError, match="not evenly spaced"):
        read(*make_series(tmp_path / "b", [[3 * (k % 2), 0, k] for k in range(6)]))


def test_two_sizes_two_orientations_and_two_series_are_named(tmp_path: Path) -> None:
    paths = make_series(tmp_path, along_z(4))
    other = save(tmp_path / "size", make(np.zeros((5, 4), np.int16), ImagePositionPatient=[-10, 5, 10]))
    with pytest.raises(
        ImageError, match=r"differ in matrix: \[1\] CT axial 4x3, 4 slices.*\[2\] CT axial 4x5, 1 slice"
    ):
        read(*paths, other)
    localizer = save(
        tmp_path / "localizer",
        make(
            np.zeros((3, 4), np.int16), ImagePositionPatient=[-10, 5, 10], ImageOrientationPatient=[1, 0, 0, 0, 0, -1]
        ),
    )
    with pytest.raises(ImageError, match=r"differ in orientation.*coronal 4x3, 1 slice"):
        read(*paths, localizer)
    foreign = save(
        tmp_path / "series",
        make(np.zeros((3, 4), np.int16), ImagePositionPatient=[-10, 5, 10], SeriesInstanceUID=generate_uid()),
    )
    with pytest.raises(ImageError, match="there are 2 stacks") as error:
        read(*paths, foreign)
    assert SERIES not in str(error.value)


def test_two_echoes_in_one_place_are_told_apart(tmp_path: Path) -> None:
    first = make_series(tmp_path / "a", along_z(4), EchoTime=5)
    second = make_series(tmp_path / "b", along_z(4), EchoTime=80)
    with pytest.raises(ImageError, match=r"2 stacks, which differ in EchoTime.*EchoTime 5\.0.*EchoTime 80\.0"):
        read(*first, *second)


def test_slices_that_do_not_say_where_they_lie(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{k}", make(np.zeros((3, 4), np.int16), ImagePositionPatient=None)) for k in range(3)]
    with pytest.raises(ImageError, match="ImagePositionPatient"):
        read(*paths)


def test_a_multi_frame_file_is_no_slice(tmp_path: Path) -> None:
    one = make_series(tmp_path, along_z(1))
    frames = save(tmp_path / "frames", make_enhanced([0, 1]))
    with pytest.raises(ImageError, match=r"2 stacks.*1 slice.*2 slices"):
        read(*one, frames)


# --- several frames ----------------------------------------------------------------------------------------------


def make_enhanced(heights: Sequence[float], slopes: Sequence[float] | None = None) -> pydicom.Dataset:
    values = np.stack([np.full((3, 4), k, np.uint16) for k in range(len(heights))])
    dataset = make(values.reshape(-1, 4), Rows=3, NumberOfFrames=len(heights), PixelSpacing=None)
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient
    shared, measures, plane = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, plane.ImageOrientationPatient = [0.5, 0.7], AXIAL
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Items([measures]), Items([plane])
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    frames = []
    for k, height in enumerate(heights):
        frame, position = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = [0, 0, height]
        frame.PlanePositionSequence = Items([position])
        if slopes is not None:
            change = pydicom.Dataset()
            change.RescaleSlope, change.RescaleIntercept = slopes[k], 1
            frame.PixelValueTransformationSequence = Items([change])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = Items(frames)
    return dataset


def test_frames_with_positions_are_a_volume_sorted_by_them(tmp_path: Path) -> None:
    path = save(tmp_path / "a", make_enhanced([6, 0, 3, 9], [1, 2, 3, 4]))
    image = read(path)
    np.testing.assert_array_equal(image.array[0, 0, 0], [1 * 2 + 1, 2 * 3 + 1, 1, 3 * 4 + 1])
    assert image.spacing == pytest.approx((0.7, 0.5, 3))
    frame = read(path, index=3)
    assert frame.array.shape == (1, 4, 3)
    assert frame.array.max() == 13
    assert frame.affine is not None
    assert frame.affine[2, 3] == 9
    with pytest.raises(ImageError, match="no frame 4"):
        read(path, index=4)


def test_frames_without_positions_are_no_volume() -> None:
    path = get_testdata_file("examples_ybr_color.dcm")
    assert path is not None
    with pytest.raises(ImageError, match="30 frames of US") as error:
        read(path)
    assert "index" in error.value.todo
    assert read(path, index=29).array.shape[0] == 3


# --- files that are broken, and others' files ---------------------------------------------------------------------


def test_truncated_files_are_errors(tmp_path: Path) -> None:
    data = Path(save(tmp_path / "a", make(np.arange(4096, dtype=np.int16).reshape(64, 64)))).read_bytes()
    path = tmp_path / "cut"
    for length in [*range(140, len(data) - 8192, 37), len(data) - 4000, len(data) - 2]:
        path.write_bytes(data[:length])
        with pytest.raises(ImageError) as error:
            read(path)
        assert error.value.where == str(path)


def test_objects_without_pixels_say_what_they_are() -> None:
    for name, kind in (("rtstruct.dcm", "RT Structure Set"), ("test-SR.dcm", "SR"), ("waveform_ecg.dcm", "ECG")):
        with pytest.raises(ImageError, match=f"no pixels.*{kind}"):
            read(str(get_testdata_file(name)))


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_jpeg_of_twelve_bits_is_simpleitks(name: str) -> None:
    path = str(get_testdata_file(name))
    expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))[0]
    assert expected.max() > 255
    np.testing.assert_array_equal(read(path).array[0].T, expected)


def test_a_data_set_without_preamble_is_found_and_read(tmp_path: Path) -> None:
    dataset = make(np.arange(12, dtype=np.int16).reshape(3, 4))
    path = tmp_path / "bare"
    del dataset.file_meta
    dataset.save_as(path, implicit_vr=True, little_endian=True)
    assert sniff(str(path)) == "dicom"
    np.testing.assert_array_equal(read(path).array[0].T, np.arange(12).reshape(3, 4))


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "693_J2KI.dcm", "examples_overlay.dcm"])
def test_geometry_of_bundled_files_is_simpleitks(name: str) -> None:
    path = str(get_testdata_file(name))
    image, expected = read(path), SimpleITK.ReadImage(path)
    affine = simpleitk_affine(expected)
    np.testing.assert_allclose(image.affine[:3, [0, 1, 3]], affine[:3, [0, 1, 3]], atol=1e-4)


def test_a_folder_of_a_series_lists_its_dicom_files_alone(tmp_path: Path) -> None:
    paths = make_series(tmp_path, along_z(3))
    (tmp_path / ".hidden").write_bytes(Path(paths[0]).read_bytes())
    (tmp_path / "DICOMDIR").write_bytes(Path(paths[0]).read_bytes())
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "below").mkdir()
    assert series_files(str(tmp_path)) == tuple(sorted(paths))
    with pytest.raises(ImageError, match="no DICOM file"):
        series_files(str(tmp_path / "below"))
    with pytest.raises(ImageError, match="cannot be listed"):
        series_files(str(tmp_path / "none"))


@pytest.mark.realdata
def test_real_mr_series_are_simpleitks(realdata: Any) -> None:
    folders = sorted(p for p in realdata("mr_dicom_series").glob("*/*") if p.is_dir())
    assert len(folders) == 5
    for folder in folders:
        image = read(*series_files(str(folder)))
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        expected = reader.Execute()
        np.testing.assert_array_equal(image.array[0], SimpleITK.GetArrayFromImage(expected).transpose(2, 1, 0))
        np.testing.assert_allclose(image.spacing, expected.GetSpacing(), rtol=1e-5)
        np.testing.assert_allclose(image.affine, simpleitk_affine(expected), atol=1e-4)
