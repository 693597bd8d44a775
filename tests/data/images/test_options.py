"""What may be asked of the readers: windows against pydicom's, padding, grey, EXIF, right angles."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image as Pillow
from pydicom.data import get_testdata_file
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from medcnn.data.images import ReadOptions, read_image
from medcnn.errors import ImageError
from medcnn.geometry.affines import shear_degrees
from medcnn.types import Image, ImageRef

RAMP = np.arange(0, 4096, 37, dtype=np.uint16).reshape(3, -1)
Write = Callable[..., Any]


def read(*paths: str, index: int | None = None, **options: Any) -> Image:
    return read_image(ImageRef(paths, index=index), ReadOptions(**options))


def pydicoms(path: str, which: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.dcmread(path)
        return np.asarray(apply_voi_lut(apply_modality_lut(found.pixel_array, found), found, which))


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("which", [0, 1])
def test_windows_are_pydicoms(write_one: Write, function: str | None, which: int) -> None:
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1024, "BitsStored": 12, "HighBit": 11}
    windows = {"WindowCenter": [40, -600], "WindowWidth": [400, 1500], "VOILUTFunction": function}
    path = write_one("a", RAMP, **tags, **windows)
    found = read(path, voi=which)
    np.testing.assert_allclose(found.array[0].T, pydicoms(path, which), rtol=1e-6, atol=1e-3)
    assert "window" not in found.header
    with pytest.raises(ImageError, match="no window or VOI LUT 2: the file has 2"):
        read(path, voi=2)


def test_a_voi_lut_is_pydicoms_and_none_is_named(write_one: Write) -> None:
    item = pydicom.Dataset()
    item.add_new(0x00283002, "US", [256, 100, 12])
    item.add_new(0x00283006, "US", list(range(0, 4096, 16)))
    path = write_one("a", RAMP, VOILUTSequence=[item], WindowCenter=5, WindowWidth=3)
    np.testing.assert_allclose(read(path, voi=0).array[0].T, pydicoms(path, 0))
    with pytest.raises(ImageError, match="the file has none"):
        read(write_one("b", RAMP), voi=0)


def test_the_window_of_a_film_is_applied_before_it_is_inverted(write_one: Write) -> None:
    tags = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 1000, "WindowWidth": 500}
    plain = read(write_one("a", RAMP, **tags), voi=0).array
    film = read(write_one("b", RAMP, PhotometricInterpretation="MONOCHROME1", **tags), voi=0).array
    np.testing.assert_allclose(film, 4095 - plain, atol=1e-3)


def test_a_modality_lut_is_pydicoms(write_one: Write) -> None:
    item = pydicom.Dataset()
    item.add_new(0x00283002, "US", [256, 100, 16])
    item.add_new(0x00283004, "LO", "HU")
    item.add_new(0x00283006, "US", list(range(60000, 60000 - 256 * 9, -9)))
    path = write_one("a", RAMP, ModalityLUTSequence=[item])
    found = pydicom.dcmread(path)
    np.testing.assert_array_equal(read(path).array[0].T, apply_modality_lut(found.pixel_array, found))


@pytest.mark.parametrize(("key", "what"), [("ModalityLUTSequence", "Modality LUT"), ("VOILUTSequence", "VOI LUT")])
def test_a_table_without_its_descriptor_is_named(write_one: Write, key: str, what: str) -> None:
    path = write_one("a", RAMP, **{key: [pydicom.Dataset()]})
    with pytest.raises(ImageError, match=rf"{what}.* cannot be applied: the element LUTDescriptor is missing"):
        read(path, voi=0)


@pytest.mark.parametrize("signed", [False, True])
def test_bits_at_the_top_are_brought_down(write_one: Write, signed: bool) -> None:
    values = np.array([[-2048, -1, 0, 2047]], np.int16) if signed else np.array([[0, 1, 4094, 4095]], np.uint16)
    shifted = (values.astype(np.int32) << 4).astype(values.dtype)
    path = write_one("a", shifted, BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(read(path).array[0].T, values)


def test_signs_come_from_the_highest_stored_bit(write_one: Write) -> None:
    stored = np.array([[0x0800, 0x0FFF, 0x07FF, 0xF001]], np.uint16).view(np.int16)
    path = write_one("a", stored, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read(path).array[0].T, [[-2048, -1, 2047, 1]])


def test_padding_is_kept_filled_or_told_apart(write_one: Write) -> None:
    values = np.array([[-2000, -2000, 5], [7, -2000, 9]], np.int16)
    path = write_one("a", values)
    found = pydicom.dcmread(path)
    found.add_new(0x00280120, "SS", -2000)
    found.save_as(path)
    assert read(path, padding="keep").array.min() == -2000
    assert read(path).array.min() == 5
    masked = read(path, padding="mask")
    np.testing.assert_array_equal(masked.header["padding"], (values == -2000).T)
    assert masked.array.min() == 5


def test_colour_becomes_grey_by_luma(tmp_path: Path) -> None:
    path = str(get_testdata_file("SC_rgb_rle.dcm"))
    colour = read(path).array.astype(np.float64)
    expected = np.tensordot([0.299, 0.587, 0.114], colour, 1)
    grey = read(path, grey=True).array
    assert grey.dtype == np.uint8
    np.testing.assert_allclose(grey[0], expected, atol=0.5001)
    values = np.random.default_rng(0).integers(0, 255, (5, 4, 3), np.uint8)
    Pillow.fromarray(values).save(tmp_path / "a.png")
    found = read(str(tmp_path / "a.png"), grey=True).array
    assert np.abs(found[0].T.astype(int) - np.asarray(Pillow.fromarray(values).convert("L"), int)).max() <= 1


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation_is_applied_on_request(tmp_path: Path, turn: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = turn
    values = np.arange(24, dtype=np.uint8).reshape(4, 6)
    Pillow.fromarray(values).save(tmp_path / "a.png", exif=exif)
    turned = {
        1: values, 2: values[:, ::-1], 3: values[::-1, ::-1], 4: values[::-1], 5: values.T,
        6: values.T[:, ::-1], 7: values.T[::-1, ::-1], 8: values.T[::-1],
    }  # fmt: skip
    np.testing.assert_array_equal(read(str(tmp_path / "a.png"), exif=True).array[0].T, turned[turn])
    np.testing.assert_array_equal(read(str(tmp_path / "a.png")).array[0].T, values)


def test_tilted_slices_are_straightened_as_another_resampler_does(write_one: Write) -> None:
    slope = np.tan(np.deg2rad(20))
    z, y, x = np.mgrid[:8, :12, :10]
    body = (100 + 10 * y + 3 * x + 7 * z).astype(np.int16)
    paths = [
        write_one(f"{k}.dcm", body[k], ImagePositionPatient=[0, slope * 2 * k, 2.0 * k], PixelSpacing=[1.0, 1.0])
        for k in range(8)
    ]
    tilted, straight = read(*paths), read(*paths, straighten=True)
    assert tilted.header["tilt_degrees"] == pytest.approx(20, abs=0.01)
    assert straight.affine is not None
    assert shear_degrees(straight.affine) < 1e-6
    source = SimpleITK.GetImageFromArray(tilted.array[0].T.astype(np.float32))
    # SimpleITK takes no sheared direction: the map between the two grids is given instead.
    assert tilted.affine is not None
    change = np.linalg.inv(tilted.affine) @ straight.affine
    transform = SimpleITK.AffineTransform(change[:3, :3].ravel().tolist(), change[:3, 3].tolist())
    size = straight.array.shape[1:]
    grid = SimpleITK.Image(*size, SimpleITK.sitkFloat32)
    expected = SimpleITK.GetArrayFromImage(SimpleITK.Resample(source, grid, transform, SimpleITK.sitkLinear, -1.0)).T
    places = np.einsum("ij,jxyz->ixyz", change, np.stack([*np.indices(size), np.ones(size)]))[:3]
    limits = np.array(tilted.array.shape[1:]).reshape(3, 1, 1, 1) - 1
    inside = ((places >= -1e-6) & (places <= limits + 1e-6)).all(0)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(straight.array[0][inside], expected[inside], atol=0.51)


def test_rescale_of_each_slice_is_its_own(write_one: Write) -> None:
    paths = []
    for k, slope in enumerate((0.5, 1.5, 2.0)):
        tags = {"RescaleSlope": slope, "RescaleIntercept": k, "Modality": "PT", "ImagePositionPatient": [0, 0, 3 * k]}
        paths.append(write_one(f"{k}.dcm", np.full((2, 3), 100, np.uint16), **tags))
    np.testing.assert_allclose(read(*paths).array[0, 0, 0], [50, 151, 202])
