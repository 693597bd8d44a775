"""JPEG, PNG and TIFF: the axis order, 16 bit, alpha, and files that are broken."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medcnn.data.images import read_image
from medcnn.errors import ImageError
from medcnn.types import ImageRef

GREY = np.arange(6 * 4, dtype=np.uint8).reshape(4, 6)
RGB = np.stack([GREY, GREY + 50, GREY + 100], axis=-1)


def read(path: Path, reader: str = "auto", index: int | None = None):
    return read_image(ImageRef((str(path),), reader, index=index))


def noise_jpeg(**options: object) -> bytes:
    data = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 255, (24, 32), dtype=np.uint8)
    Pillow.fromarray(values).save(data, "JPEG", **options)
    return data.getvalue()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "no-suffix"])
def test_axis_one_is_the_column(tmp_path: Path, name: str) -> None:
    Pillow.fromarray(GREY).save(tmp_path / name, "TIFF" if name == "a.tif" else "PNG")
    image = read(tmp_path / name)
    assert image.array.shape == (1, 6, 4)
    assert image.array.dtype == np.uint8
    assert image.array[0, 5, 0] == GREY[0, 5]
    assert image.spacing is None
    assert image.affine is None


def test_colour_is_channel_first(tmp_path: Path) -> None:
    Pillow.fromarray(RGB).save(tmp_path / "a.png")
    image = read(tmp_path / "a.png")
    np.testing.assert_array_equal(image.array, RGB.transpose(2, 1, 0))
    assert image.header["photometric"] == "RGB"


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_kept(tmp_path: Path, suffix: str) -> None:
    values = GREY.astype(np.uint16) * 2000
    Pillow.fromarray(values).save(tmp_path / f"a.{suffix}")
    image = read(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(image.array[0], values.T)
    assert image.array.dtype == np.uint16
    assert image.header["bits"] == 16


def test_big_endian_tiff_becomes_native(tmp_path: Path) -> None:
    values = GREY.astype(np.uint16) * 2000
    picture = Pillow.frombytes("I;16B", (6, 4), values.astype(">u2").tobytes())
    picture.save(tmp_path / "a.tif")
    image = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.array[0], values.T)
    assert image.array.dtype.isnative


def test_alpha_is_dropped_and_said(tmp_path: Path) -> None:
    alpha = np.full((4, 6, 1), 128, np.uint8)
    Pillow.fromarray(np.concatenate([RGB, alpha], axis=-1)).save(tmp_path / "a.png")
    Pillow.fromarray(np.concatenate([GREY[..., None], alpha], axis=-1)).save(tmp_path / "b.png")
    colour, grey = read(tmp_path / "a.png"), read(tmp_path / "b.png")
    np.testing.assert_array_equal(colour.array, RGB.transpose(2, 1, 0))
    np.testing.assert_array_equal(grey.array[0], GREY.T)
    assert "alpha" in colour.header["notes"][0]


def test_a_grey_palette_is_grey_and_a_coloured_one_is_rgb(tmp_path: Path) -> None:
    Pillow.fromarray(GREY).convert("P").save(tmp_path / "grey.png")
    Pillow.fromarray(RGB).quantize(8).save(tmp_path / "colour.png")
    np.testing.assert_array_equal(read(tmp_path / "grey.png").array[0], GREY.T)
    assert read(tmp_path / "colour.png").array.shape == (3, 6, 4)


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    Pillow.fromarray(GREY > 10).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png").array[0], (GREY > 10).T * 255)


def test_exif_orientation_is_said_and_not_applied(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(GREY).save(tmp_path / "a.jpg", exif=exif)
    image = read(tmp_path / "a.jpg")
    assert image.array.shape == (1, 6, 4)
    assert any("EXIF orientation 6" in n for n in image.header["notes"])


def test_print_resolution_is_no_spacing(tmp_path: Path) -> None:
    Pillow.fromarray(GREY).save(tmp_path / "a.png", dpi=(300, 300))
    assert read(tmp_path / "a.png").spacing is None


def test_a_page_of_a_tiff_is_chosen_never_guessed(tmp_path: Path) -> None:
    pages = [Pillow.fromarray(GREY + k) for k in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageError, match="3 pages"):
        read(tmp_path / "a.tif")
    np.testing.assert_array_equal(read(tmp_path / "a.tif", index=2).array[0], (GREY + 2).T)
    with pytest.raises(ImageError, match="no page 3"):
        read(tmp_path / "a.tif", index=3)


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_jpeg_cut_anywhere_is_an_error(tmp_path: Path, options: dict[str, bool]) -> None:
    data = noise_jpeg(**options)
    path = tmp_path / "a.jpg"
    for length in range(1, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(ImageError):
            read(path)
    for missing in (1, 2):
        path.write_bytes(data[:-missing])
        with pytest.raises(ImageError, match="truncated"):
            read(path)
    path.write_bytes(data)
    assert read(path).array.shape == (1, 32, 24)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_other_formats_cut_in_half_are_errors(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError) as error:
        read(path)
    assert error.value.where == str(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"%PDF-1.7 and more", "PDF"),
        (b"<html><body>", "HTML"),
        (b"GIF89a..........", "GIF"),
        (b"name,label\na,b\n" * 30, "not an image"),
        (b"\0" * 1000, "not an image"),
    ],
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=message):
        read(tmp_path / "a.jpg")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for reader in ("auto", "raster", "dicom", "nifti", "npz"):
        with pytest.raises(ImageError, match="does not exist"):
            read(tmp_path / "none.png", reader)
    with pytest.raises(ImageError, match="folder"):
        read(tmp_path)
    with pytest.raises(ImageError, match="no file"):
        read_image(ImageRef(()))


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Pillow.fromarray(GREY).save(tmp_path / "a.png")
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(ImageError, match="too large"):
        read(tmp_path / "a.png")
