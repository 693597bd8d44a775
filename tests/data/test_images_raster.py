"""JPEG, PNG and TIFF: the axis order, 16 bit, alpha, and files that are broken."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
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


# --- forms that Pillow alone reads otherwise --------------------------------------------------------------------------

WIDE = (np.arange(6 * 4, dtype=np.uint16) * 2700).reshape(4, 6)
WIDE_RGB = np.stack([WIDE, WIDE[::-1], WIDE[:, ::-1]], axis=-1)


def write_tiff(path: Path, values: np.ndarray, photometric: int, planar: int = 1, bits: int | None = None) -> Path:
    """A plain TIFF of one strip: ``(Y, X)``, ``(Y, X, 3)``, or ``(3, Y, X)`` where ``planar`` is 2."""
    colour = values.ndim == 3
    height, width = values.shape[1:] if planar == 2 else values.shape[:2]
    form = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    count = 3 if colour else 1
    planes = 3 if planar == 2 else 1
    tail = 8 + 2 + 12 * 11 + 4
    depth = bits or values.dtype.itemsize * 8
    extra = struct.pack("<3H", depth, depth, depth) + b"\0\0"
    start = tail + len(extra) + 24
    strips = struct.pack("<3I", *(start + k * len(data) // planes for k in range(3)))
    sizes = struct.pack("<3I", *[len(data) // planes] * 3)
    at = tail + len(extra)

    def entry(tag: int, kind: int, number: int, value: int) -> bytes:
        packed = struct.pack("<I", value) if kind == 4 or number > 2 else struct.pack("<HH", value, 0)
        return struct.pack("<HHI", tag, kind, number) + packed

    entries = [
        entry(256, 4, 1, width),
        entry(257, 4, 1, height),
        entry(258, 3, count, tail if colour else depth),
        entry(259, 3, 1, 1),
        entry(262, 3, 1, photometric),
        entry(273, 4, planes, at if planes == 3 else start),
        entry(277, 3, 1, count),
        entry(278, 4, 1, height),
        entry(279, 4, planes, at + 12 if planes == 3 else len(data)),
        entry(284, 3, 1, planar),
        entry(339, 3, 1, form),
    ]
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + b"".join(entries) + b"\0\0\0\0"
    path.write_bytes(head + extra + strips + sizes + data)
    return path


@pytest.mark.parametrize(
    "values",
    [
        (WIDE.astype(np.int32) - 120).astype(np.int8),
        WIDE.astype(np.uint32) * 65000,
        WIDE.astype(np.int32) - 30000,
        WIDE,
        WIDE / np.float32(7),
    ],
    ids=lambda v: str(v.dtype),
)
def test_numbers_of_a_tiff_keep_their_sign(tmp_path: Path, values: np.ndarray) -> None:
    path = write_tiff(tmp_path / "a.tif", values, 1)
    image = read(path)
    np.testing.assert_array_equal(image.array[0].T, values)
    assert image.array.dtype == values.dtype
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))), values)


@pytest.mark.parametrize("values", [GREY, WIDE], ids=["8 bit", "16 bit"])
def test_a_tiff_whose_zero_is_white_is_turned_round(tmp_path: Path, values: np.ndarray) -> None:
    image = read(write_tiff(tmp_path / "a.tif", values, 0))
    np.testing.assert_array_equal(image.array[0].T, np.iinfo(values.dtype).max - values)
    assert image.header["inverted"] is True


def test_colours_of_sixteen_bit_are_kept(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", WIDE_RGB, 2)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(WIDE_RGB, isVector=True), str(tmp_path / "a.png"))
    for name in ("a.tif", "a.png"):
        image = read(tmp_path / name)
        np.testing.assert_array_equal(image.array, WIDE_RGB.transpose(2, 1, 0))
        assert image.header["bits"] == 16
        assert "notes" not in image.header


def test_planes_of_eight_bit_are_read_and_of_sixteen_refused(tmp_path: Path) -> None:
    planes = np.moveaxis(RGB, -1, 0)
    np.testing.assert_array_equal(
        read(write_tiff(tmp_path / "a.tif", planes, 2, planar=2)).array, RGB.transpose(2, 1, 0)
    )
    with pytest.raises(ImageError, match="16 bit in separate planes"):
        read(write_tiff(tmp_path / "b.tif", np.moveaxis(WIDE_RGB, -1, 0), 2, planar=2))


def test_forms_that_nobody_reads_are_named_as_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="TIFF is damaged, or of a form that is not read"):
        read(write_tiff(tmp_path / "a.tif", WIDE.astype(np.float64), 1))
    twelve = bytearray(noise_jpeg())
    twelve[twelve.index(b"\xff\xc0") + 4] = 12
    (tmp_path / "a.jpg").write_bytes(twelve)
    with pytest.raises(ImageError, match="lossless, or of more than 8 bit"):
        read(tmp_path / "a.jpg")
