"""How a DICOM file stores its pixels, checked before any is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medcnn.data.images.dicom_classes import class_name
from medcnn.data.images.dicom_file import DEFLATED, Source, text, whole
from medcnn.data.images.limits import check_size
from medcnn.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

_REQUIRED = ("Rows", "Columns", "BitsAllocated")
# GE's private syntax: the elements in implicit little endian, the pixels in big endian.
GE_SWAPPED = "1.2.840.113619.5.2"
RLE = "1.2.840.10008.1.2.5"
_COMPRESSED = ("1.2.840.10008.1.2.4.", RLE)
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", DEFLATED, "1.2.840.10008.1.2.2", GE_SWAPPED)


@dataclass(frozen=True, slots=True)
class Format:
    """The image pixel module.

    Attributes:
        shape: Rows and columns.
        samples: 1, or 3 and more for colour.
        allocated: Bits that a sample takes.
        stored: Bits of it that carry the value.
        high: Position of the highest of these.
        signed: Whether values are two's complement.
        photometric: PhotometricInterpretation.
        frames: Number of frames.
        native: Whether values lie there as they are, uncompressed, so that they may be read without a decoder.
        swapped: Whether native values have their high byte first.
        assumed: Elements that the header should have and lacks, with what was taken for each.
        notes: What is to be said of how the pixels were understood.
    """

    shape: tuple[int, int]
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    frames: int
    native: bool
    swapped: bool = False
    assumed: tuple[tuple[str, str | int], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame as stored natively."""
        return self.shape[0] * self.shape[1] * self.samples * self.allocated // 8

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest value that the stored bits can hold."""
        if self.signed:
            return -(2 ** (self.stored - 1)), 2 ** (self.stored - 1) - 1
        return 0, 2**self.stored - 1


def format_of(source: Source) -> Format:
    """The image pixel module, read and checked once.

    Raises:
        ImageError: If the object has no pixels, an element is missing or impossible, or the size is absurd.
    """
    if source.form is None:
        source.form = _checked(source)
    form: Format = source.form
    return form


def _checked(source: Source) -> Format:
    dataset, path = source.dataset, source.path
    if not source.pixel_key:
        raise ImageError(no_pixels(dataset), where=path)
    missing = [key for key in _REQUIRED if whole(dataset, key) is None]
    if missing:
        raise ImageError(f"the header lacks what it takes to read the pixels: {', '.join(missing)}", where=path)
    rows, columns, allocated = (whole(dataset, key) or 0 for key in _REQUIRED)
    samples = whole(dataset, "SamplesPerPixel") or 1
    if allocated not in (1, 8, 12, 16, 24, 32, 64) or not 1 <= samples <= 4:
        raise ImageError(f"the header announces {samples} samples of {allocated} bits a pixel", where=path)
    stored = whole(dataset, "BitsStored") or allocated
    if not 1 <= stored <= allocated:
        raise ImageError(f"the header announces {stored} bits stored in {allocated}", where=path)
    if allocated == 12 and rows * columns * samples % 2:
        raise ImageError("the header announces an odd number of values of 12 bits each", where=path)
    check_size((rows, columns, samples), max(1, allocated // 8), source.state[0], path)
    high = whole(dataset, "HighBit")
    assumed, frames = _assumed(source, samples, allocated), frame_count(source)
    mislabelled = _is_mislabelled(source, -(-rows * columns * samples * allocated // 8) * frames)
    return Format(
        shape=(rows, columns),
        samples=samples,
        allocated=allocated,
        stored=stored,
        high=stored - 1 if high is None or not stored - 1 <= high < allocated else high,
        signed=whole(dataset, "PixelRepresentation") == 1,
        photometric=text(dataset, "PhotometricInterpretation").upper()
        or str(dict(assumed).get("PhotometricInterpretation", "")),
        frames=frames,
        native=_is_native(source, allocated, known=source.syntax in _NATIVE or mislabelled),
        swapped=dataset.original_encoding[1] is False or source.syntax == GE_SWAPPED,
        assumed=assumed,
        notes=_notes(source, assumed, mislabelled=mislabelled),
    )


def _is_mislabelled(source: Source, size: int) -> bool:
    """Whether pixel data that should be compressed have the very length of uncompressed ones, and no fragments."""
    compressed = source.syntax.startswith(_COMPRESSED)
    return compressed and source.pixels_at is not None and source.pixels_length == size + size % 2


def _is_native(source: Source, allocated: int, *, known: bool) -> bool:
    if source.pixel_key != "PixelData" or not (source.pixels_at is not None or source.syntax == DEFLATED):
        return False
    # Bytes in words of big endian are for pydicom to sort out.
    little = source.dataset.original_encoding[1] is not False
    return known and (allocated in (16, 32) or (little and allocated in (8, 12)))


def _notes(source: Source, assumed: Sequence[tuple[str, str | int]], *, mislabelled: bool) -> tuple[str, ...]:
    notes = []
    if assumed:
        notes.append(f"the header lacks {', '.join(f'{key} ({value} was taken)' for key, value in assumed)}")
    if mislabelled:
        notes.append(f"the pixels are not compressed, though the header says {class_name(source.syntax)}")
    return tuple(notes)


def _assumed(source: Source, samples: int, allocated: int) -> tuple[tuple[str, str | int], ...]:
    """What old or careless writers leave out, as they mean it."""
    usual: dict[str, str | int] = {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}
    if source.pixel_key == "PixelData":
        usual |= {"BitsStored": allocated, "PixelRepresentation": 0}
    if samples > 1:
        usual |= {"PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
        if source.encapsulated and source.syntax != RLE:
            # Compressed colours may be of several spaces.
            del usual["PhotometricInterpretation"]
    return tuple((key, value) for key, value in usual.items() if not text(source.dataset, key))


def frame_count(source: Source) -> int:
    """Number of frames, 1 where the element is absent or empty.

    Where it is 0 or no number, the length of native pixel data tells it; compressed data then hold one.

    Raises:
        ImageError: If it is no positive number, or more frames than the file can hold.
    """
    dataset = source.dataset
    raw = text(dataset, "NumberOfFrames")
    count = int(raw) if re.fullmatch(r"[+-]?\d{1,9}", raw) else (0 if raw else 1)
    if count == 0 and source.encapsulated and raw.strip("+-0") == "":
        count = 1
    elif count == 0 and source.pixels_at is not None:
        rows, columns, bits = (whole(dataset, key) or 0 for key in _REQUIRED)
        frame = rows * columns * bits // 8 * (whole(dataset, "SamplesPerPixel") or 1)
        count = source.pixels_length // frame if frame else 0
    if count < 1:
        raise ImageError(f"NumberOfFrames is {raw!r}, not a positive number", where=source.path)
    # A frame takes at least a byte, however it is compressed.
    if count > max(1, source.state[0]):
        raise ImageError(f"the header announces {count} frames, more than the file has bytes", where=source.path)
    return count


def no_pixels(dataset: Dataset) -> str:
    """Why a file without pixel data is no image."""
    uid = text(dataset, "SOPClassUID").strip("\0 ")
    if text(dataset, "Rows"):
        rows = text(dataset, "Rows")
        return f"the object says that it is an image of {rows} rows, but it holds no pixels (a truncated file?)"
    name = class_name(uid or text(dataset.file_meta, "MediaStorageSOPClassUID").strip("\0 "))
    if name:
        lost = " (a truncated file?)" if "Image Storage" in name else ""
        return f"the object holds no pixels: it is {name}{lost}"
    return "the file holds no pixels: it is no DICOM image"
