"""What a file is, by its first bytes: names lie, and many DICOM files have no suffix."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from medcnn.errors import ImageError

HEAD = 352

RASTER_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff"})
IMAGE_SUFFIXES = RASTER_SUFFIXES | {".dcm", ".dicom", ".ima", ".nii", ".npz"}

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# What users' folders also hold: named, so that the message helps.
_OTHERS = (
    (b"%PDF", "a PDF document"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"PK\3\4", "a ZIP archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89HDF", "an HDF5 file"),
    (b"RIFF", "a RIFF file (WebP, AVI or WAV)"),
    (b"NRRD", "an NRRD image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"<!DO", "an HTML page"),
    (b"<htm", "an HTML page"),
    (b"{", "a JSON file"),
)


def read_head(path: str) -> bytes:
    """The first bytes of a file.

    Raises:
        ImageError: If the file is missing, empty, a folder or may not be read.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(HEAD)
    except FileNotFoundError as error:
        raise ImageError("the file does not exist", where=path) from error
    except IsADirectoryError as error:
        raise ImageError(
            "this is a folder, not an image", where=path, todo="name the files, or use a table row for the series"
        ) from error
    except (OSError, ValueError) as error:
        raise ImageError(f"the file cannot be opened: {_reason(error)}", where=path) from error
    if not head:
        raise ImageError("the file is empty", where=path)
    return head


def sniff(path: str) -> str:
    """Name of the reader for a file, by its content.

    Returns:
        ``raster``, ``nifti``, ``dicom`` or ``npz``.

    Raises:
        ImageError: If the file cannot be opened or is none of these.
    """
    head = read_head(path)
    reader = sniff_head(head) or _sniff_rest(path, head)
    if reader is None:
        kind = next((text for start, text in _OTHERS if head.startswith(start)), "of a kind medcnn does not know")
        raise ImageError(
            f"not an image: the file is {kind}", where=path, todo="readable: JPEG, PNG, TIFF, NIfTI, DICOM, npz"
        )
    return reader


def sniff_head(head: bytes) -> str | None:
    """The reader where the first bytes alone decide, else ``None``."""
    # A file may be DICOM and TIFF at once (PS3.10, 7.1): the DICOM part knows more.
    if head[128:132] == b"DICM":
        return "dicom"
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", *_TIFF)):
        return "raster"
    return "nifti" if is_nifti_head(head) else None


def is_nifti_head(head: bytes) -> bool:
    """Whether 348 bytes or more are the header of NIfTI-1 or NIfTI-2, in either byte order."""
    if len(head) < 348:
        return False
    sizes = {struct.unpack("<i", head[:4])[0], struct.unpack(">i", head[:4])[0]}
    first = 348 in sizes and head[344:348] in (b"n+1\0", b"ni1\0")
    return first or (540 in sizes and head[4:7] in (b"n+2", b"ni2"))


def _sniff_rest(path: str, head: bytes) -> str | None:
    if head.startswith(b"\x1f\x8b"):
        return "nifti" if _gzip_holds_nifti(path) else None
    if head.startswith(b"PK"):
        return "npz" if path.lower().endswith(".npz") else None
    if path.lower().endswith(".img") and os.path.exists(f"{path[:-4]}.hdr"):
        return "nifti" if is_nifti_head(read_head(f"{path[:-4]}.hdr")) else None
    return "dicom" if _bare_dicom(path, head) else None


def _gzip_holds_nifti(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            start = zlib.decompressobj(31).decompress(file.read(4096), HEAD)
    except (OSError, zlib.error):
        return False
    return is_nifti_head(start)


def _bare_dicom(path: str, head: bytes) -> bool:
    """Whether this is a data set without preamble: old scanners and some archives write these."""
    if len(head) < 16 or head[:4] not in (
        *(struct.pack(order + "HH", group, element) for order in "<>" for group in (2, 8) for element in (0, 1, 5, 8)),
        *(struct.pack(order + "HH", 8, element) for order in "<>" for element in (0x12, 0x16, 0x18, 0x20, 0x60)),
    ):
        return False
    import pydicom

    from medcnn.data.images.dicom_file import quiet

    try:
        with quiet():
            found = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            return "SOPClassUID" in found or "Rows" in found
    except Exception:
        return False


def series_files(folder: str) -> tuple[str, ...]:
    """The DICOM files directly inside a folder, sorted by name; hidden files and DICOMDIR are no part of a series.

    Raises:
        ImageError: If the folder cannot be listed or holds no DICOM file.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise ImageError(f"the folder cannot be listed: {_reason(error)}", where=folder) from error
    found = []
    for name in names:
        path = os.path.join(folder, name)
        if name.startswith(".") or name.upper() == "DICOMDIR" or not os.path.isfile(path):
            continue
        try:
            if sniff(path) == "dicom":
                found.append(path)
        except ImageError:
            continue
    if not found:
        raise ImageError(
            "no DICOM file lies directly in this folder", where=folder, todo="name the folder that holds the slices"
        )
    return tuple(found)


def has_image_suffix(name: str) -> bool:
    """Whether a file's name says that it is an image (``.nii.gz`` included)."""
    lower = name.lower()
    return Path(lower).suffix in IMAGE_SUFFIXES or lower.endswith((".nii.gz", ".img.gz"))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
