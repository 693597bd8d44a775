"""What a file is, by its first bytes: names lie, and many DICOM files have no suffix."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from medcnn.data.images.limits import file_state
from medcnn.errors import ImageError

HEAD = 352
# A pipe would otherwise be waited for; Windows knows the one flag and not the other.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

RASTER_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff"})
IMAGE_SUFFIXES = RASTER_SUFFIXES | {".dcm", ".dicom", ".ima", ".nii", ".npz", ".mnc", ".nrrd", ".mha"}

# What the readers other than DICOM's take, in words.
KINDS = {
    "raster": "a JPEG, PNG or TIFF picture",
    "nifti": "a NIfTI file",
    "npz": "a file of numpy arrays",
    "itk": "a MINC, NRRD or MetaImage file",
}

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
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"<!DO", "an HTML page"),
    (b"<htm", "an HTML page"),
    (b"{", "a JSON file"),
    (b"<?xml", "an XML file (GIfTI holds surfaces, not images)"),
    (b"CDF", "a netCDF file (MINC 1)"),
    (b"TRACK", "TrackVis streamlines"),
    (b"mrtrix", "MRtrix streamlines"),
    (b"BZh", "a bzip2 archive"),
    (b"SQLite", "a database"),
    (b"\x7fELF", "a program"),
)

# Volumes that nibabel converts, told by their names: they bear no mark, or look like text.
_VOLUMES = (
    ((".mgh", ".mgz"), "a FreeSurfer volume"),
    ((".par", ".rec"), "a Philips PAR or REC file"),
    ((".head", ".brik", ".brik.gz"), "an AFNI volume"),
    ((".v",), "an ECAT volume"),
)

_HDF5 = b"\x89HDF\r\n\x1a\n"


def read_head(path: str) -> bytes:
    """The first bytes of a file.

    Raises:
        ImageError: If the file is missing, empty, a folder or may not be read.
    """
    try:
        handle = os.open(path, _READ)
        try:
            head = os.read(handle, HEAD)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:
        # Says by name what is missing, a folder or no regular file.
        file_state(path)
        raise ImageError(f"the file cannot be opened: {_reason(error)}", where=path) from error
    if not head:
        file_state(path)
        raise ImageError("the file is empty", where=path)
    return head


def sniff(path: str) -> str:
    """Name of the reader for a file, by its content.

    Returns:
        ``raster``, ``nifti``, ``dicom``, ``npz`` or ``itk`` (MINC 2, NRRD, MetaImage).

    Raises:
        ImageError: If the file cannot be opened or is none of these.
    """
    head = read_head(path)
    reader = sniff_head(head) or _sniff_rest(path, head)
    if reader is None:
        raise ImageError(
            f"not an image: the file is {_other_kind(path, head)}",
            where=path,
            todo="readable: DICOM, NIfTI, JPEG, PNG, TIFF, npz, MINC 2, NRRD, MetaImage",
        )
    return reader


def _other_kind(path: str, head: bytes) -> str:
    """In words, what a file is that no reader takes."""
    if volume := next((text for ends, text in _VOLUMES if path.lower().endswith(ends)), None):
        return f"{volume}: convert it to NIfTI, for example with nibabel"
    if head.startswith(b"\x1f\x8b"):
        start = _unpacked_start(path)
        if start[128:132] == b"DICM":
            return "a gzip archive that holds a DICOM file: unpack it"
        return "a gzip archive"
    if len(head) >= 348 and 348 in (struct.unpack("<i", head[:4])[0], struct.unpack(">i", head[:4])[0]):
        return "an Analyze 7.5 header, which does not say where left and right are: convert it to NIfTI"
    known = next((text for start, text in _OTHERS if head.startswith(start)), None)
    if known is None and all(b in b"\t\r\n\f" or b >= 32 for b in head) and head.isascii():
        return "a text file"
    return known or "of a kind medcnn does not know"


def sniff_head(head: bytes) -> str | None:
    """The reader where the first bytes alone decide, else ``None``."""
    # A file may be DICOM and TIFF at once (PS3.10, 7.1): the DICOM part knows more.
    if head[128:132] == b"DICM":
        return "dicom"
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", *_TIFF)):
        return "raster"
    if head.startswith((b"NRRD", b"ObjectType", b"NDims")):
        return "itk"
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
        return "nifti" if is_nifti_head(_unpacked_start(path)) else None
    if head.startswith(_HDF5):
        return "itk" if path.lower().endswith(".mnc") else None
    if head.startswith(b"PK"):
        return "npz" if path.lower().endswith(".npz") else None
    if path.lower().endswith(".img") and os.path.exists(f"{path[:-4]}.hdr"):
        return "nifti" if is_nifti_head(read_head(f"{path[:-4]}.hdr")) else None
    return "dicom" if _bare_dicom(path, head) else None


def _unpacked_start(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return zlib.decompressobj(31).decompress(file.read(4096), HEAD)
    except (OSError, zlib.error):
        return b""


def _bare_dicom(path: str, head: bytes) -> bool:
    """Whether this is a data set without preamble: old scanners and some archives write these."""
    if len(head) < 16 or not (_is_early_element(head[:8], "<") or _is_early_element(head[:8], ">")):
        return False
    import pydicom

    from medcnn.data.images.dicom_file import quiet

    try:
        with quiet():
            found = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            return "SOPClassUID" in found or ("Rows" in found and "Columns" in found)
    except Exception:
        return False


def _is_early_element(head: bytes, order: str) -> bool:
    """Whether bytes are the start of one of the first elements: groups below 9, a type, or a length that is small."""
    group, element, length = struct.unpack(order + "HHI", head)
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return 1 <= group <= 8 and element < 0x1000 and (explicit or length < 2**16)


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
