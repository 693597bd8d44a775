"""Readers: orientation and geometry against other implementations, and one kind of error for whatever is broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medcnn.data.images import read_case, read_image, series_files, sniff
from medcnn.errors import ImageError
from medcnn.geometry.affines import lps_to_ras
from medcnn.types import Case, Image, ImageRef

PIXELS = np.arange(4 * 6, dtype=np.uint8).reshape(4, 6) * 9
STUDY, SERIES = generate_uid(), generate_uid()


def read(*paths: Path, **options: object) -> Image:
    return read_image(ImageRef(tuple(map(str, paths)), **options))  # type: ignore[arg-type]


def dicom(path: Path, array: np.ndarray, **elements: object) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    one = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    one.StudyInstanceUID, one.SeriesInstanceUID, one.Modality = STUDY, SERIES, "CT"
    one.Rows, one.Columns = array.shape
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = array.dtype.itemsize * 8
    one.HighBit, one.PixelRepresentation = one.BitsStored - 1, int(array.dtype.kind == "i")
    one.PixelSpacing, one.ImageOrientationPatient = [0.5, 0.75], [0, 1, 0, 0, 0, -1]
    one.ImagePositionPatient = [10, 20, 30]
    one.PixelData = array.tobytes()
    for key, value in elements.items():
        if value is None:
            delattr(one, key)
        else:
            setattr(one, key, value)
    one.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, places: list[float], change: Callable[[int], dict[str, object]] = lambda _: {}) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = []
    for i, x in enumerate(places):
        array = (np.arange(20, dtype=np.int16).reshape(4, 5) + 100 * i).astype(np.int16)
        elements = {"ImagePositionPatient": [x, 20, 30], "InstanceNumber": i + 1, **change(i)}
        array = elements.pop("array", array)  # type: ignore[assignment]
        paths.append(dicom(folder / f"{(i * 7) % 10}{i}.dcm", array, **elements))
    return paths


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "without_suffix"])
def test_the_first_axis_of_a_raster_is_the_column(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    kind = {"a.jpg": "JPEG", "a.tif": "TIFF"}.get(name, "PNG")
    Pillow.fromarray(PIXELS).save(path, kind, **({"quality": 100} if kind == "JPEG" else {}))
    found = read(path)
    assert found.array.shape == (1, 6, 4)
    assert found.array.dtype == np.uint8
    np.testing.assert_allclose(found.array[0].T.astype(int), PIXELS, atol=2 if kind == "JPEG" else 0)
    assert found.affine is None
    assert found.spacing is None


def test_sixteen_bits_colour_alpha_and_palettes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    deep = PIXELS.astype(np.uint16) * 250
    Pillow.fromarray(deep).save(path)
    np.testing.assert_array_equal(read(path).array[0].T, deep)
    colour = np.random.default_rng(0).integers(0, 255, (4, 6, 4), np.uint8)
    Pillow.fromarray(colour).save(path)
    np.testing.assert_array_equal(read(path).array, colour[..., :3].transpose(2, 1, 0))
    Pillow.fromarray(PIXELS).convert("P").save(path)
    np.testing.assert_array_equal(read(path).array[0].T, PIXELS)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_a_truncated_raster_is_an_image_error(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a.{suffix}"
    Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: max(1, int(len(data) * share))])
    with pytest.raises(ImageError) as caught:
        read(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("content", [b"", b"text", b"%PDF-1.4", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\0" * 200])
def test_other_files_are_image_errors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for reader in ("auto", "raster", "nifti", "dicom", "npz"):
        with pytest.raises(ImageError):
            read(path, reader=reader)
    for other in (tmp_path / "absent", tmp_path):
        with pytest.raises(ImageError):
            read(other)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "hdr"])
def test_nifti_is_nibabels(tmp_path: Path, suffix: str) -> None:
    affine = np.array([[0, -2, 0.1, 3], [1.5, 0, 0, 4], [0, 0.2, 3, 5], [0, 0, 0, 1.0]])
    path, array = tmp_path / f"a.{suffix}", np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    kind = nibabel.Nifti1Pair if suffix == "hdr" else nibabel.Nifti1Image
    image = kind(array, affine)
    image.set_qform(None, 0)
    nibabel.save(image, path)
    found = read(path)
    np.testing.assert_array_equal(found.array[0], array)
    np.testing.assert_allclose(found.affine, nibabel.load(path).affine)
    np.testing.assert_allclose(found.spacing, np.linalg.norm(affine[:3, :3], axis=0), rtol=1e-6)


def test_nifti_of_several_volumes_must_say_which(tmp_path: Path) -> None:
    path, array = tmp_path / "a.nii", np.arange(120, dtype=np.int16).reshape(3, 4, 5, 2)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    with pytest.raises(ImageError, match="2 volumes"):
        read(path)
    np.testing.assert_array_equal(read(path, index=1).array[0], array[..., 1])
    np.testing.assert_array_equal(read(path, key="channels").array, np.moveaxis(array, -1, 0))
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(ImageError, match="truncated"):
        read(path, index=1)


def test_a_single_dicom_image(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint16).reshape(4, 6)
    found = read(dicom(tmp_path / "a", array, RescaleSlope=2, RescaleIntercept=-1000))
    np.testing.assert_array_equal(found.array[0].T, array.astype(int) * 2 - 1000)
    np.testing.assert_allclose(found.spacing, (0.75, 0.5))
    assert found.affine is not None
    # Column 3 is 3 * 0.75 mm along LPS +y, row 2 is 2 * 0.5 mm along LPS -z.
    np.testing.assert_allclose(found.affine @ [3, 2, 0, 1], [-10, -22.25, 29, 1])
    assert found.header["modality"] == "CT"


@pytest.mark.parametrize("seed", [0, 1])
def test_a_shuffled_series_is_that_of_another_reader(tmp_path: Path, seed: int) -> None:
    import SimpleITK

    even = [i * 2.5 for i in (3, 0, 5, 1, 4, 2)]
    paths = series(tmp_path / "s", even)
    np.random.default_rng(seed).shuffle(paths)  # type: ignore[arg-type]
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "s")))
    other = reader.Execute()
    found = read(*paths)
    np.testing.assert_array_equal(found.array[0], SimpleITK.GetArrayFromImage(other).transpose(2, 1, 0))
    lps = np.eye(4)
    lps[:3, :3] = np.array(other.GetDirection()).reshape(3, 3) * other.GetSpacing()
    lps[:3, 3] = other.GetOrigin()
    np.testing.assert_allclose(found.affine, lps_to_ras(lps), atol=1e-6)
    assert series_files(str(tmp_path / "s")) == tuple(sorted(map(str, paths)))


def test_monochrome1_is_turned_round(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint16).reshape(4, 6)
    options = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    found = read(dicom(tmp_path / "a", array, **options))
    np.testing.assert_array_equal(found.array[0].T, 4095 - array)
    assert found.header["inverted"] is True


def test_series_that_are_no_stack_say_why(tmp_path: Path) -> None:
    even = [0.0, 2.0, 4.0, 6.0, 8.0]
    with pytest.raises(ImageError, match=r"1 slice is missing"):
        read(*series(tmp_path / "a", [*even, 12.0, 14.0]))
    turned = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    with pytest.raises(ImageError, match="2 stacks, which differ in orientation"):
        read(*series(tmp_path / "b", even, lambda i: turned if i == 2 else {}))
    larger = {"array": np.zeros((6, 5), np.int16)}
    with pytest.raises(ImageError, match=r"2 stacks, which differ in matrix.*5x4, 4 slices.*5x6, 1 slice"):
        read(*series(tmp_path / "c", even, lambda i: larger if i == 2 else {}))
    with pytest.raises(ImageError, match="no usable ImagePositionPatient"):
        read(*series(tmp_path / "d", even, lambda i: {"ImagePositionPatient": None} if i == 2 else {}))
    with pytest.raises(ImageError, match="more than one slice"):
        read(*series(tmp_path / "e", [*even, 4.0]))
    with pytest.raises(ImageError, match="no pixels"):
        read(dicom(tmp_path / "f", np.zeros((2, 2), np.uint8), PixelData=None))
    path = dicom(tmp_path / "g", np.zeros((8, 8), np.uint16))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ImageError) as caught:
        read(path)
    assert str(path) in caught.value.where


def test_one_image_of_an_archive(tmp_path: Path) -> None:
    path, grey = tmp_path / "a.npz", np.arange(3 * 4 * 6, dtype=np.uint8).reshape(3, 4, 6)
    np.savez_compressed(path, grey=grey, colour=np.stack([grey] * 3, -1))
    assert sniff(str(path)) == "npz"
    np.testing.assert_array_equal(read(path, key="grey", index=2).array[0].T, grey[2])
    assert read(path, key="colour", index=0).array.shape == (3, 6, 4)
    for wrong in ({"key": "grey", "index": 3}, {"key": "none", "index": 0}, {"index": 0}):
        with pytest.raises(ImageError):
            read(path, **wrong)


def test_channels_of_a_case_are_stacked_and_must_fit(tmp_path: Path) -> None:
    refs = []
    for name, shift in (("a", 0.0), ("b", 0.0), ("c", 9.0)):
        affine = np.eye(4)
        affine[0, 3] = shift
        nibabel.save(nibabel.Nifti1Image(np.full((3, 4, 5), ord(name), np.uint8), affine), tmp_path / f"{name}.nii")
        refs.append(ImageRef((str(tmp_path / f"{name}.nii"),)))
    found = read_case(Case("x", (refs[1], refs[0])))
    assert [c.min() for c in found.array] == [ord("b"), ord("a")]
    with pytest.raises(ImageError, match="different places"):
        read_case(Case("x", (refs[0], refs[2])))
