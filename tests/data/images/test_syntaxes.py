"""Every transfer syntax that has a decoder, the forms in which values may lie there, and headers with gaps."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image as Pillow
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames

from medcnn.data.images import ReadOptions, read_image, scan_file
from medcnn.data.images.dicom_header import Header
from medcnn.errors import ImageError
from medcnn.types import Image, ImageRef

Write = Callable[..., str]
Y, X = np.mgrid[:64, :80]
# Bits stored, signed, colour, frames.
KINDS = {
    "u8": (8, False, False, 1),
    "i8": (8, True, False, 1),
    "rgb": (8, False, True, 1),
    "u12": (12, False, False, 1),
    "i12": (12, True, False, 1),
    "u12 in 3 frames": (12, False, False, 3),
    "u16": (16, False, False, 1),
    "i16": (16, True, False, 1),
}
PLAIN = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian)
PYDICOM = (uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless)
GDCM = {uid.JPEGLosslessSV1: "JPEGLosslessProcess14_1", uid.JPEGLossless: "JPEGLosslessProcess14"}
# 24 rows and 32 columns by OpenJPH, lossless: 100 y + 50 x as uint16, 900 y - 700 x - 3000 as int16.
HIGH_THROUGHPUT = {
    False: "/0//UQApQAAAAAAgAAAAGAAAAAAAAAAAAAAAIAAAABgAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJ"
    "CQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAALkAAf+TwAAm8/UFB3QAwAASwAATACICh3QAYv0DB3QAwAATQAATAJAhAgJ0"
    "APH4ACI0AMAAFTAABVjGxsagYjGCdgCOO+6448BCAb62AMAAFZAABaRgMBgMBueKenECdwDAgYGBgYGBgfoMYHv2MYHsugDAAC1IAAXQgKIoiqIoiqIo"
    "ivn+Cnp6enpwgnsAxkaj0Wg0Go1Go9FoNBr/cYCEB79iEB79iEB79iEB7LMB/9k=",
    True: "/0//UQApQAAAAAAgAAAAGAAAAAAAAAAAAAAAIAAAABgAAAAAAAAAAAABjwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQ"
    "kJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAANQAAf+TwAAlKQMHdADAABNAABMA/eMEh3QAhPgEh3QAwAAVEAAE4PtxP/4E"
    "AnQAAQzgAKI0AMAAFXAABWjzOI/z+KDiM4J2ABKgBCgBSoDAhAG+tgDAABaEAAFqgE1sYhOb2MQm/ueKenMCdwDQD33oQx/60Ic+9PoYwHv2YwHsugDA"
    "AC2oAAXTgHfdddddd91111133XXXXfn+Cnp6enpygnsABjfYYIMNNthggw022GCDDTbYYIP/cYFKB79lKB79lKB79lKB7LMB/9k=",
}


def read(path: str | Path, index: int | None = None, **options: Any) -> Image:
    return read_image(ImageRef((str(path),), index=index), ReadOptions(**options))


def values_of(image: Image) -> np.ndarray:
    return image.array[0].T if image.array.shape[0] == 1 else image.array.T


def made(kind: str) -> np.ndarray:
    bits, signed, colour, frames = KINDS[kind]
    low = -(2 ** (bits - 1)) if signed else 0
    shape = (frames, 64, 80, 3) if colour else (frames, 64, 80)
    noise = np.random.default_rng(bits).integers(0, 9, shape)
    ramp = np.linspace(low, low + 2**bits - 10, int(np.prod(shape))).reshape(shape).astype(np.int64)
    return (ramp + noise).astype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")


def plain(write_one: Write, values: np.ndarray, bits: int) -> pydicom.Dataset:
    """A data set of ``(frames, Y, X[, 3])`` values."""
    size = values.dtype.itemsize * 8
    tags: dict[str, Any] = {"BitsAllocated": size, "BitsStored": bits, "HighBit": bits - 1, "Modality": "OT"}
    if values.ndim == 4:
        tags |= {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    if len(values) > 1:
        tags["NumberOfFrames"] = len(values)
    flat = np.zeros((64, 80), values.dtype)
    found = pydicom.dcmread(write_one("plain.dcm", flat, **tags, PixelData=values.tobytes()))
    found["PixelData"].VR = "OB" if size == 8 else "OW"
    return found


def store(found: pydicom.Dataset, frames: list[bytes], syntax: str, path: Path) -> Path:
    """With compressed frames."""
    found.PixelData = encapsulate(frames)
    found["PixelData"].VR, found["PixelData"].is_undefined_length = "OB", True
    found.file_meta.TransferSyntaxUID = uid.UID(syntax)
    found.save_as(path)
    return path


def by_gdcm(source: Path, target: Path, syntax: str) -> None:
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(source))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def stored_as(syntax: uid.UID, found: pydicom.Dataset, folder: Path) -> Path:
    path = folder / "a.dcm"
    if syntax in GDCM:
        found.save_as(folder / "plain.dcm")
        by_gdcm(folder / "plain.dcm", path, GDCM[syntax])
    elif syntax in PYDICOM:
        found.compress(syntax, generate_instance_uid=False)
        found.save_as(path)
    else:
        big = syntax == uid.ExplicitVRBigEndian
        if big and found.BitsAllocated == 16:
            found.PixelData = np.frombuffer(found.PixelData, "<u2").astype(">u2").tobytes()
        # A data set that does not know how it was once stored.
        fresh = pydicom.Dataset(found)
        fresh.file_meta = found.file_meta
        fresh.file_meta.TransferSyntaxUID = syntax
        implicit = syntax == uid.ImplicitVRLittleEndian
        fresh.save_as(path, implicit_vr=implicit, little_endian=not big, enforce_file_format=True)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "syntax", [*PLAIN, uid.DeflatedExplicitVRLittleEndian, *PYDICOM, *GDCM], ids=lambda s: s.keyword
)
def test_values_come_back_from_every_lossless_syntax(
    write_one: Write, tmp_path: Path, syntax: uid.UID, kind: str
) -> None:
    values = made(kind)
    path = stored_as(syntax, plain(write_one, values, KINDS[kind][0]), tmp_path)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    for frame, expected in enumerate(values):
        found = values_of(read(path, index=frame))
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


@pytest.mark.parametrize("syntax", [uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K], ids=lambda s: s.keyword)
@pytest.mark.parametrize("signed", [False, True])
def test_high_throughput_jpeg_2000(write_one: Write, tmp_path: Path, syntax: uid.UID, signed: bool) -> None:
    y, x = np.mgrid[:24, :32]
    expected = (900 * y - 700 * x - 3000).astype(np.int16) if signed else (100 * y + 50 * x).astype(np.uint16)
    found = pydicom.dcmread(write_one("plain.dcm", expected))
    path = store(found, [base64.b64decode(HIGH_THROUGHPUT[signed])], syntax, tmp_path / "a.dcm")
    np.testing.assert_array_equal(values_of(read(path)), expected)


@pytest.mark.parametrize("syntax", [*PYDICOM, *GDCM], ids=lambda s: s.keyword)
@pytest.mark.parametrize("share", [0.3, 0.99])
def test_a_code_stream_that_is_cut_is_never_an_image(
    write_one: Write, tmp_path: Path, syntax: uid.UID, share: float
) -> None:
    path = stored_as(syntax, plain(write_one, made("u12"), 12), tmp_path)
    found = pydicom.dcmread(path)
    (frame,) = generate_frames(found.PixelData, number_of_frames=1)
    store(found, [frame[: int(len(frame) * share)]], syntax, path)
    with pytest.raises(ImageError, match=r"truncated|cannot be decompressed") as error:
        read(path)
    assert "NoneType" not in error.value.what
    assert error.value.todo
    # CharLS looks for more bits for seconds: it is not asked.
    assert ("JPEG-LS without its end" in error.value.what) == (syntax == uid.JPEGLSLossless)


def test_a_syntax_without_a_decoder_is_named(write_one: Write, tmp_path: Path) -> None:
    found = pydicom.dcmread(write_one("plain.dcm", np.zeros((4, 4), np.uint16)))
    for syntax, name in (("1.2.840.10008.1.2.4.100", "MPEG2 Main Profile"), ("1.2.3.4", "transfer syntax '1.2.3.4'")):
        path = store(found, [b"\0\0\1\xb3"], syntax, tmp_path / "a.dcm")
        with pytest.raises(ImageError, match=f"no decoder for .*{name}") as error:
            read(path)
        assert "convert" in error.value.todo


@pytest.mark.parametrize("syntax", [*PLAIN, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless], ids=str)
@pytest.mark.parametrize("signed", [False, True])
def test_values_at_the_top_of_their_bits_with_others_below(
    write_one: Write, tmp_path: Path, syntax: uid.UID, signed: bool
) -> None:
    values = made("i12" if signed else "u12")
    stored = (values.astype(np.int64) << 4 | 9).astype(values.dtype)
    found = plain(write_one, stored, 16)
    path = stored_as(syntax, found, tmp_path)
    found = pydicom.dcmread(path)
    found.BitsStored, found.HighBit = 12, 15
    found.save_as(path)
    np.testing.assert_array_equal(values_of(read(path)), values[0])


def test_padding_that_the_stored_bits_cannot_hold(write_one: Write) -> None:
    stored = np.array([[0xF830, 0x0830], [7, 4095]], np.uint16)
    path = write_one("a.dcm", stored, BitsStored=12, HighBit=11)
    found = pydicom.dcmread(path)
    found.add_new(0x00280120, "SS", -2000)
    found.save_as(path)
    image = read(path, padding="mask")
    np.testing.assert_array_equal(values_of(image), [[7, 0x0830], [7, 4095]])
    np.testing.assert_array_equal(image.header["padding"].T, [[True, False], [False, False]])


# --- what SimpleITK reads and pydicom does not ------------------------------------------------------------------------


def simpleitks(path: str | Path) -> np.ndarray:
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    return np.asarray(found[0] if len(found) == 1 else found)


def with_syntax(path: Path, syntax: str) -> Path:
    """The file says another transfer syntax than it has; its elements are implicit."""
    found = pydicom.dcmread(path)
    found.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    found.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=True)
    old, new = b"1.2.840.10008.1.2\0", syntax.encode() + b"\0" * (len(syntax) % 2)
    data = path.read_bytes()
    at = data.index(old)
    data = data[: at - 2] + struct.pack("<H", len(new)) + new + data[at + len(old) :]
    (length,) = struct.unpack("<I", data[140:144])
    path.write_bytes(data[:140] + struct.pack("<I", length + len(new) - len(old)) + data[144:])
    return path


def test_pixels_in_twelve_bits_each(write_one: Write) -> None:
    values = made("u12")[0]
    low, high = values.reshape(-1, 2).T
    packed = np.stack([low & 255, low >> 8 | (high & 15) << 4, high >> 4], axis=1).astype(np.uint8)
    path = write_one("a.dcm", values, BitsAllocated=12, BitsStored=12, HighBit=11, PixelData=packed.tobytes())
    np.testing.assert_array_equal(values_of(read(path)), values)
    np.testing.assert_array_equal(simpleitks(path), values)


def test_the_private_syntax_of_swapped_pixels(write_one: Write) -> None:
    values = made("u12")[0]
    path = with_syntax(Path(write_one("a.dcm", values.byteswap())), "1.2.840.113619.5.2")
    np.testing.assert_array_equal(values_of(read(path)), values)
    np.testing.assert_array_equal(simpleitks(path), values)


def test_plain_pixels_under_the_name_of_compressed_ones(write_one: Write) -> None:
    values = made("u12")[0]
    path = with_syntax(Path(write_one("a.dcm", values)), uid.JPEG2000Lossless)
    image = read(path)
    np.testing.assert_array_equal(values_of(image), values)
    assert image.header["notes"] == (
        "the pixels are not compressed, though the header says JPEG 2000 Image Compression (Lossless Only)",
    )


@pytest.mark.parametrize("first", [0x0008, 0x0010])
def test_files_of_before_dicom(tmp_path: Path, first: int) -> None:
    values = made("u12")[0]

    def element(group: int, number: int, value: bytes | int) -> bytes:
        data = struct.pack("<H", value) if isinstance(value, int) else value
        return struct.pack("<HHI", group, number, len(data)) + data

    parts = [element(8, first, b"ACR-NEMA 2.0"), element(8, 0x60, b"CT")]
    numbers = {0x05: 2, 0x10: 64, 0x11: 80, 0x100: 16, 0x101: 12, 0x102: 11, 0x103: 0}
    parts += [element(0x28, number, value) for number, value in numbers.items()]
    path = tmp_path / "old"
    path.write_bytes(b"".join([*parts, element(0x7FE0, 0x10, values.tobytes())]))
    image = read(path)
    np.testing.assert_array_equal(values_of(image), values)
    np.testing.assert_array_equal(simpleitks(path), values)
    assert image.header["notes"] == (
        "the header lacks SamplesPerPixel (1 was taken), PhotometricInterpretation (MONOCHROME2 was taken)",
    )


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit], ids=lambda s: s.keyword)
def test_jpeg_of_eight_bits_where_sixteen_are_allocated(write_one: Write, tmp_path: Path, syntax: uid.UID) -> None:
    values = (X + Y).astype(np.uint8)
    data = io.BytesIO()
    Pillow.fromarray(values).save(data, "JPEG", quality=100)
    found = pydicom.dcmread(write_one("plain.dcm", values.astype(np.uint16), BitsStored=8, HighBit=7))
    path = store(found, [data.getvalue()], syntax, tmp_path / "a.dcm")
    expected = np.asarray(Pillow.open(data))
    np.testing.assert_array_equal(values_of(read(path)), expected)


@pytest.mark.parametrize(
    ("key", "colour"),
    [
        *(
            (key, colour)
            for key in ("PhotometricInterpretation", "PixelRepresentation", "BitsStored")
            for colour in (0, 1)
        ),
        ("SamplesPerPixel", 0),
        ("PlanarConfiguration", 1),
    ],
)
def test_what_the_header_lacks_is_taken_as_usual_and_said(write_one: Write, key: str, colour: int) -> None:
    values = made("rgb" if colour else "u16")
    found = plain(write_one, values, values.dtype.itemsize * 8)
    path = str(found.filename)
    del found[key]
    found.save_as(path)
    image = read(path)
    np.testing.assert_array_equal(values_of(image), values[0])
    assert f"the header lacks {key} (" in image.header["notes"][0]
    np.testing.assert_array_equal(simpleitks(path), values[0])


def test_no_frames_mean_as_many_as_there_are(write_one: Write, tmp_path: Path) -> None:
    found = plain(write_one, made("u12"), 12)
    found.NumberOfFrames = 0
    found.save_as(tmp_path / "a.dcm")
    assert read(tmp_path / "a.dcm").array.shape == (1, 80, 64)
    found.compress(uid.RLELossless)
    found.NumberOfFrames = 0
    found.save_as(tmp_path / "b.dcm")
    assert read(tmp_path / "b.dcm").array.shape == (1, 80, 64)
    header = scan_file(str(tmp_path / "b.dcm"))
    assert isinstance(header, Header)
    assert header.frames == 1
