"""DICOM files: opened without their pixels, their elements as plain values."""

from __future__ import annotations

import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

from medcnn.data.images.limits import MAX_BYTES, file_state
from medcnn.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

PIXEL_KEYS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_PIXEL_TAGS = {(0x7FE0, 0x0010): "PixelData", (0x7FE0, 0x0008): "FloatPixelData", (0x7FE0, 0x0009): "DoubleFloat"}
_LONG = (b"OB", b"OW", b"OF", b"OD", b"UN", b"OL", b"OV")
DEFLATED = "1.2.840.10008.1.2.1.99"
_COPY = "copy the file anew"
_UNDEFINED = 0xFFFFFFFF


@contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's warnings: what matters of them is found again and said by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(slots=True)
class Source:
    """An opened DICOM file.

    Attributes:
        path: Where it is.
        dataset: Its elements without pixels, decoded when they are asked for.
        state: Size, time of change and number when it was opened.
        pixel_key: Which kind of pixel data it has; empty where it has none.
        pixels_at: Where the values of native (not encapsulated) pixel data start in the file; ``None`` otherwise.
        pixels_length: Their number of bytes as the element says it.
        syntax: Transfer syntax UID; the one by which the elements were read where the file does not say.
        encapsulated: Whether the pixel data are in fragments, as compressed ones are.
        form: The checked image pixel module, kept by :func:`~medcnn.data.images.dicom_format.format_of`.
    """

    path: str
    dataset: Dataset
    state: tuple[int, int, int]
    pixel_key: str = ""
    pixels_at: int | None = None
    pixels_length: int = 0
    syntax: str = ""
    encapsulated: bool = False
    form: Any = None
    _full: Dataset | None = field(default=None, repr=False)

    def full(self) -> Dataset:
        """The data set with its pixel data, still encoded; read once.

        Raises:
            ImageError: If it cannot be read.
        """
        if self._full is None:
            import pydicom

            with _broken_as_errors(self.path):
                self._full = pydicom.dcmread(self.path, force=True)
                # Elements are decoded when they are first touched: a broken one shows here.
                _ = any(key in self._full for key in PIXEL_KEYS)
            _complete_syntax(self._full)
        return self._full

    def forget(self) -> None:
        """Let go of the encoded pixels: a series would hold all of them."""
        self._full = None


def open_file(path: str) -> Source:
    """Read the header of a DICOM file and find its pixel data.

    Raises:
        ImageError: If the file is missing, cut short inside its header, or no DICOM.
    """
    import pydicom

    state = file_state(path)
    with _broken_as_errors(path), open(path, "rb", buffering=16384) as file:
        _check_deflated(file, state[0], path)
        dataset = pydicom.dcmread(file, force=True, stop_before_pixels=True)
        source = Source(path, dataset, state, syntax=_complete_syntax(dataset))
        if source.syntax != DEFLATED:
            _find_pixels(source, file)
        elif any(key in source.full() for key in PIXEL_KEYS):
            source.pixel_key = next(key for key in PIXEL_KEYS if key in source.full())
    return source


@contextmanager
def _broken_as_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise ImageError("the file does not exist", where=path) from error
    except EOFError as error:
        raise ImageError("the file is truncated", where=path, todo=_COPY) from error
    except PermissionError as error:
        raise ImageError(f"the file cannot be opened: {error.strerror}", where=path) from error
    except Exception as error:
        raise ImageError(f"the DICOM header is broken: {reason(error)}", where=path, todo=_COPY) from error


def _check_deflated(file: BinaryIO, size: int, path: str) -> None:
    """Refuse a deflated data set that would unpack to more than an image may have."""
    start = file.read(2048)
    file.seek(0)
    if DEFLATED.encode() not in start or size * 1100 <= 2**28:
        return
    from pydicom.filereader import read_file_meta_info

    file.seek(132)
    meta = read_file_meta_info(path)
    at = 132 + 12 + int(meta.get("FileMetaInformationGroupLength") or 0)
    file.seek(at)
    unpack, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while block := file.read(2**16):
        total += len(unpack.decompress(block, 2**24))
        while unpack.unconsumed_tail and total <= MAX_BYTES:
            total += len(unpack.decompress(unpack.unconsumed_tail, 2**24))
        if total > MAX_BYTES:
            raise ImageError("the deflated data set is a decompression bomb", where=path, todo="remove the file")
    file.seek(0)


def _find_pixels(source: Source, file: BinaryIO) -> None:
    """Read the head of the element at which the header ended."""
    at = file.tell()
    implicit, little = source.dataset.original_encoding
    head = file.read(12)
    if len(head) < 8:
        return
    order = ">" if little is False else "<"
    key = _PIXEL_TAGS.get(struct.unpack(order + "HH", head[:4]))
    if key is None:
        return
    source.pixel_key = key if key != "DoubleFloat" else "DoubleFloatPixelData"
    if implicit or not head[4:6].isalpha():
        # Of private syntaxes it is not known, and an implicit element has its length there.
        length, start = struct.unpack(order + "I", head[4:8])[0], at + 8
    elif head[4:6] in _LONG and len(head) == 12:
        length, start = struct.unpack(order + "I", head[8:12])[0], at + 12
    else:
        return
    source.encapsulated = length == _UNDEFINED
    if not source.encapsulated:
        source.pixels_at, source.pixels_length = start, length


def _complete_syntax(dataset: Dataset) -> str:
    """Transfer syntax; a data set without one is given that by which its elements were just read."""
    import pydicom
    from pydicom.dataset import FileMetaDataset

    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        big = pydicom.uid.ExplicitVRBigEndian if little is False else pydicom.uid.ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian if implicit else big
    found = dataset.file_meta.TransferSyntaxUID
    # A damaged one may come as several.
    return str(found if isinstance(found, str) else next(iter(found), "")).strip("\0 ")


@cache
def _tag(key: str) -> Any:
    from pydicom.tag import Tag

    return Tag(key)


def value_of(dataset: Dataset, key: str) -> Any:
    """The value of an element, ``None`` where it is absent: much faster than by keyword, and most are absent."""
    tag = _tag(key)
    return dataset[tag].value if tag in dataset.keys() else None  # noqa: SIM118 - the other way parses the tag


def text(dataset: Dataset, key: str) -> str:
    """An element as text on one line; empty where it is absent, empty or cannot be decoded.

    Several values are divided by backslashes, as they are in the file.
    """
    try:
        value = value_of(dataset, key)
        several = (
            not isinstance(value, (str, bytes)) and hasattr(value, "__iter__") and not hasattr(value, "components")
        )
        words = "\\".join(map(str, value)) if several else str(value)
    except Exception:
        return ""
    return "" if value is None else " ".join(words.split())


def numbers(dataset: Dataset, key: str, count: int) -> tuple[float, ...] | None:
    """An element as exactly ``count`` finite numbers, else ``None``."""
    try:
        value = value_of(dataset, key)
        items = [value] if isinstance(value, (str, int, float)) or not hasattr(value, "__iter__") else list(value)
        found = tuple(float(v) for v in items)
    except Exception:
        return None
    return found if len(found) == count and all(math.isfinite(v) for v in found) else None


def first_number(dataset: Dataset, key: str) -> float | None:
    """The first number of an element that may hold several, else ``None``."""
    try:
        value = value_of(dataset, key)
        item = value if isinstance(value, (str, int, float)) else next(iter(value))
        found = float(item)
    except Exception:
        return None
    return found if math.isfinite(found) else None


def whole(dataset: Dataset, key: str) -> int | None:
    """The first whole number of an element, else ``None``."""
    found = first_number(dataset, key)
    return None if found is None else int(found)


def items(dataset: Dataset, key: str) -> Sequence[Dataset]:
    """The items of a sequence; none where it is absent or broken."""
    try:
        found = value_of(dataset, key)
        return () if found is None or isinstance(found, (str, bytes)) or not hasattr(found, "__len__") else found
    except Exception:
        return ()


def group(dataset: Dataset, frame: int, name: str) -> Dataset:
    """The functional group of a frame: its own, the shared one, or the data set itself where there is none."""
    for key, position in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        groups = items(dataset, key)
        if position < len(groups) and (found := items(groups[position], name)):
            return found[0]
    return dataset


def reason(error: BaseException) -> str:
    """First line of an exception's text."""
    words = str(error).strip() or type(error).__name__
    if lacking := re.search(r"object has no attribute '(\w+)'", words):
        # An element is an attribute of pydicom's data sets.
        return f"the element {lacking.group(1)} is missing"
    return words.splitlines()[0][:300]
