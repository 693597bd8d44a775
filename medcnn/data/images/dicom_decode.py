"""Stored values of DICOM frames: read in place where they are plain, decompressed by pydicom's plug-ins elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images.dicom_classes import class_name
from medcnn.data.images.dicom_file import Source, reason
from medcnn.data.images.dicom_format import RLE, Format
from medcnn.data.images.gdcm_helper import decode_by_gdcm
from medcnn.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

_COPY = "copy the file anew"
_CONVERT = "convert the file, for example with gdcmconv --raw, or leave it out"
_CODECS = "see which codecs there are: medcnn doctor; or convert the file, for example with gdcmconv --raw"
_JPEG_8 = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_LITTLE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
_JP2 = b"\0\0\0\x0cjP  "
_ALL_FAILED = "Unable to decode as exceptions were raised by all available plugins: "


def decode_frames(
    source: Source, form: Format, frames: Sequence[int], *, masked: bool = True
) -> Iterator[NDArray[Any]]:
    """Stored values of the frames asked for, in their order.

    Args:
        source: The opened file.
        form: Its image pixel module.
        frames: Positions of frames.
        masked: ``False`` leaves the bits that do not belong to the value where :func:`has_spare_bits` says that
            there are some.

    Yields:
        ``(Y, X)``, or ``(Y, X, 3)`` RGB; palettes and YBR are resolved.

    Raises:
        ImageError: If a frame is not there, the data are truncated, or their compression cannot be undone.
    """
    for frame in frames:
        if not 0 <= frame < form.frames:
            raise ImageError(f"there is no frame {frame}: the file has {form.frames}", where=source.path)
    plain_grey = form.samples == 1 and form.photometric != "PALETTE COLOR"
    if form.native and plain_grey:
        arrays = _read_in_place(source, form, frames)
    elif form.allocated == 1 and plain_grey and source.pixels_at is not None and source.syntax in _LITTLE:
        arrays = _read_bits(source, form, frames)
    else:
        arrays = _by_pydicom(source, form, frames)
    for raw in arrays:
        if raw.shape[:2] != form.shape or raw.size == 0:
            words = "x".join(map(str, raw.shape))
            raise ImageError(f"the pixels decode to {words}, the header says {form.shape}", where=source.path)
        plain = raw if raw.dtype.isnative else raw.astype(raw.dtype.newbyteorder("="))
        yield mask_bits(plain, form) if masked and has_spare_bits(source, form) else plain


def _read_in_place(source: Source, form: Format, frames: Sequence[int]) -> Iterator[NDArray[Any]]:
    whole = None if source.pixels_at is not None else bytes(source.full().PixelData)
    start = source.pixels_at or 0
    have = len(whole) if whole is not None else min(source.pixels_length, source.state[0] - start)
    if have < form.frames * form.frame_bytes:
        raise ImageError(
            f"the pixel data are truncated: {have} of {form.frames * form.frame_bytes} bytes",
            where=source.path,
            todo=_COPY,
        )
    with open(source.path, "rb", buffering=0) as file:
        for frame in frames:
            at = frame * form.frame_bytes
            if whole is not None:
                raw = np.frombuffer(whole, np.uint8, form.frame_bytes, at)
            else:
                file.seek(start + at)
                raw = np.fromfile(file, np.uint8, form.frame_bytes)
            if raw.size != form.frame_bytes:
                raise ImageError("the pixel data are truncated", where=source.path, todo=_COPY)
            yield _stored_values(raw, form).reshape(form.shape)


def _read_bits(source: Source, form: Format, frames: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """Frames of one bit a pixel, which need not begin at a byte (PS3.5 section 8.1.1).

    pydicom 3.0 stops where a frame reaches into one byte more than its length alone would.
    """
    pixels = form.shape[0] * form.shape[1]
    assert source.pixels_at is not None
    if min(source.pixels_length, source.state[0] - source.pixels_at) < -(-form.frames * pixels // 8):
        raise ImageError("the pixel data are truncated", where=source.path, todo=_COPY)
    with open(source.path, "rb", buffering=0) as file:
        for frame in frames:
            first, before = divmod(frame * pixels, 8)
            file.seek(source.pixels_at + first)
            raw = np.fromfile(file, np.uint8, -(-(before + pixels) // 8))
            yield np.unpackbits(raw, bitorder="little")[before : before + pixels].reshape(form.shape)


def _stored_values(raw: NDArray[np.uint8], form: Format) -> NDArray[Any]:
    """Native bytes as numbers."""
    if form.allocated == 12:
        # Two values in three bytes, as ACR-NEMA packed them: the low bits come first.
        first, middle, last = raw.reshape(-1, 3).astype(np.uint16).T
        packed = np.stack([first | (middle & 15) << 8, middle >> 4 | last << 4], axis=1)
        return packed.view(np.int16 if form.signed else np.uint16)
    return raw.view(f"{'>' if form.swapped else '<'}{'i' if form.signed else 'u'}{form.allocated // 8}")


def has_spare_bits(source: Source, form: Format) -> bool:
    """Whether a frame's values come with the bits around them: overlays once lay there."""
    bits = 16 if form.allocated == 12 else form.allocated
    plain = form.samples == 1 and form.photometric != "PALETTE COLOR" and (form.native or source.syntax == RLE)
    return plain and form.stored < bits


def mask_bits(raw: NDArray[Any], form: Format) -> NDArray[Any]:
    """Only the bits stored, at the bottom, with their sign (PS3.5 section 8.1)."""
    below = form.high - (form.stored - 1)
    above = raw.dtype.itemsize * 8 - 1 - form.high
    if form.signed:
        # Shifting a signed number right repeats its sign: the bits above are gone and the sign is right.
        return np.asarray(np.right_shift(np.left_shift(raw, above), above + below))
    shifted = np.right_shift(raw, below) if below else raw
    return np.asarray(np.bitwise_and(shifted, raw.dtype.type(2**form.stored - 1)))


def _by_pydicom(source: Source, form: Format, frames: Sequence[int]) -> Iterator[NDArray[Any]]:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    full, syntax = source.full(), UID(source.syntax)
    if source.pixel_key not in full:
        raise ImageError("the pixel data cannot be found: the header is damaged", where=source.path, todo=_COPY)
    for key, value in form.assumed:
        setattr(full, key, value)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        name = syntax.name if syntax.name != syntax else f"the transfer syntax {source.syntax!r}"
        raise ImageError(f"there is no decoder for {name}", where=source.path, todo=_CONVERT) from error
    if "JPEG 2000" in syntax.name:
        _check_boxes(full, source.path)
    if syntax.name.startswith("JPEG-LS"):
        _check_ends(full, form, source.path)
    safe = [name for name in decoder.available_plugins if name != "gdcm"]
    if syntax.name.startswith("JPEG Extended") and form.stored > 8:
        safe = [name for name in safe if name == "pylibjpeg"]
    # Pillow knows fewer forms of JPEG 2000 than OpenJPEG.
    safe.sort(key=lambda name: name == "pillow")
    if syntax.is_encapsulated and not safe:
        yield from _by_gdcm(source, form, frames, None)
        return
    done = 0
    try:
        for raw, meta in _iterate(decoder, full, frames, safe, _settings(source, form)):
            yield _colours(np.asarray(raw), full, str(meta.get("photometric_interpretation", "")), source.path)
            done += 1
    except (ImageError, MemoryError, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # A panic of a decoder in Rust is no Exception.
        failed = _decoding_error(source, error)
        if "gdcm" not in decoder.available_plugins or isinstance(error, AttributeError):
            raise failed from error
        yield from _by_gdcm(source, form, frames[done:], failed)


def _settings(source: Source, form: Format) -> dict[str, Any]:
    """What pydicom is told beyond the header."""
    if has_spare_bits(source, form):
        # It would take the value for the lowest bits, whatever HighBit says.
        return {"correct_unused_bits": False}
    if source.syntax in _JPEG_8 and form.allocated == 16 and (form.stored <= 8 or source.syntax == _JPEG_8[0]):
        # Each sample is of 8 bit, however many are allocated for it.
        return {"bits_allocated": 8, "bits_stored": min(form.stored, 8)}
    return {}


def _check_boxes(full: Dataset, path: str) -> None:
    """Refuse JP2 boxes of no length before the code stream: pydicom would walk on the spot for ever."""
    data = full.get("PixelData") or b""
    at = data.find(_JP2)
    while at >= 0:
        at += 12
        while at < len(data) and data[at + 4 : at + 8] != b"jp2c":
            length = int.from_bytes(data[at : at + 4], "big")
            if length == 0:
                raise ImageError("the pixel data are damaged: a JPEG 2000 box has no length", where=path, todo=_COPY)
            at += length
        at = data.find(_JP2, at)


def _check_ends(full: Dataset, form: Format, path: str) -> None:
    """Refuse JPEG-LS without its end marker: CharLS would look for more bits for seconds."""
    from pydicom.encaps import generate_frames

    try:
        whole = all(f.rstrip(b"\0").endswith(b"\xff\xd9") for f in generate_frames(
            full.PixelData, number_of_frames=form.frames
        ))  # fmt: skip
    except Exception as error:
        raise ImageError(f"the pixel data are damaged: {reason(error)}", where=path, todo=_COPY) from error
    if not whole:
        raise ImageError("the pixel data are truncated: JPEG-LS without its end", where=path, todo=_COPY)


def _iterate(
    decoder: Any, full: Dataset, frames: Sequence[int], plugins: list[str], settings: dict[str, Any]
) -> Iterator[Any]:
    """Frames by the first plug-in that can decode the first of them; where none can, the first one's reason counts."""
    reasons: list[Exception] = []
    for name in plugins:
        arrays = decoder.iter_array(full, indices=list(frames), decoding_plugin=name, **settings)
        try:
            first = next(arrays)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            reasons.append(error)
            continue
        yield first
        yield from arrays
        return
    if reasons:
        raise reasons[0]
    # Native data need no plug-in.
    yield from decoder.iter_array(full, indices=list(frames), **settings)


def _by_gdcm(source: Source, form: Format, frames: Sequence[int], before: ImageError | None) -> Iterator[NDArray[Any]]:
    """Frames by GDCM in its own process; where it fails too, the first decoder's reason counts."""
    name = class_name(source.syntax)
    twelve = name.startswith("JPEG Extended") and form.stored > 8
    for frame in frames:
        try:
            raw, photometric = decode_by_gdcm(source, form, frame, twelve=twelve)
        except ImageError as error:
            if before is not None:
                raise before from error
            todo = "copy the file anew; or try another decoder: pip install pylibjpeg-libjpeg (its licence is the GPL)"
            raise ImageError(
                f"the pixels cannot be decompressed ({name}): {error.what}", where=source.path, todo=todo
            ) from error
        yield _colours(raw, source.full(), photometric, source.path)


def _colours(raw: NDArray[Any], full: Dataset, photometric: str, path: str) -> NDArray[Any]:
    """Palettes become RGB (grey where all entries are grey stays RGB: the object says that it is coloured)."""
    if photometric.upper() != "PALETTE COLOR":
        return raw
    from pydicom.pixels.processing import apply_color_lut

    try:
        colours = np.asarray(apply_color_lut(raw, full))
    except Exception as error:
        raise ImageError(f"the colour palette cannot be applied: {reason(error)}", where=path) from error
    # Palettes of 16 bit carry their colour in the upper byte (PS3.3 C.7.6.3.1.6).
    return (colours >> 8).astype(np.uint8) if int(full.RedPaletteColorLookupTableDescriptor[2]) == 16 else colours


def _decoding_error(source: Source, error: BaseException) -> ImageError:
    # Plug-ins report one a line; the first line alone says nothing.
    words = " ".join(str(error).split()).removeprefix(_ALL_FAILED)[:300] or type(error).__name__
    path = source.path
    if "missing required element" in words.lower() or isinstance(error, AttributeError):
        return ImageError(f"the header lacks what it takes to read the pixels: {words}", where=path)
    if any(part in words for part in ("length of the pixel data", "less than expected", "expected length")):
        return ImageError("the pixel data are truncated", where=path, todo=_COPY)
    if source.encapsulated:
        known = isinstance(error, (RuntimeError, NotImplementedError))
        return ImageError(
            f"the pixels cannot be decompressed ({class_name(source.syntax)}): {words}",
            where=path,
            todo=_CODECS if known else _COPY,
        )
    return ImageError(f"the pixels cannot be read: {reason(error)}", where=path, todo=_COPY)
