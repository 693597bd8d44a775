"""How a DICOM file stores its pixels, checked before any is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medcnn.data.images.dicom_classes import class_name
from medcnn.data.images.dicom_file import Source, text, whole
from medcnn.data.images.limits import check_size
from medcnn.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

_REQUIRED = ("Rows", "Columns", "BitsAllocated")


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
        native: Whether the data are not encapsulated, little endian and unpacked, so that they may be read in place.
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
    if allocated not in (1, 8, 16, 24, 32, 64) or not 1 <= samples <= 4:
        raise ImageError(f"the header announces {samples} samples of {allocated} bits a pixel", where=path)
    stored = whole(dataset, "BitsStored") or allocated
    if not 1 <= stored <= allocated:
        raise ImageError(f"the header announces {stored} bits stored in {allocated}", where=path)
    size = source.state[0]
    check_size((rows, columns, samples), max(1, allocated // 8), size, path)
    little = source.dataset.original_encoding[1] is not False
    high = whole(dataset, "HighBit")
    return Format(
        shape=(rows, columns),
        samples=samples,
        allocated=allocated,
        stored=stored,
        high=stored - 1 if high is None or not stored - 1 <= high < allocated else high,
        signed=whole(dataset, "PixelRepresentation") == 1,
        photometric=text(dataset, "PhotometricInterpretation").upper(),
        frames=frame_count(source),
        native=source.pixels_at is not None
        and source.pixel_key == "PixelData"
        and little
        and not dataset.file_meta.TransferSyntaxUID.is_encapsulated
        and allocated in (8, 16, 32),
    )


def frame_count(source: Source) -> int:
    """Number of frames, 1 where the element is absent or empty.

    Where it is no number, the length of native pixel data tells it.

    Raises:
        ImageError: If it is no positive number, or more frames than the file can hold.
    """
    dataset = source.dataset
    raw = text(dataset, "NumberOfFrames")
    count = int(raw) if re.fullmatch(r"[+-]?\d{1,9}", raw) else (0 if raw else 1)
    if count < 1 and raw and not raw.lstrip("+-").isdigit() and source.pixels_at is not None:
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
