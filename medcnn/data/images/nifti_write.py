"""Images to NIfTI-1 (NIfTI-2 where an axis is too long), in their own grid and their own type."""

from __future__ import annotations

import gzip
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import ImageError
from medcnn.files import open_atomic
from medcnn.geometry.affines import largest_shift, spacing_of
from medcnn.types import Image

# Integers and floats that NIfTI knows; what it lacks (half precision, booleans) goes into the next that holds it.
_KNOWN = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
_RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
_LONGEST = 32767
_SCANNER = 1
# A qform has no shear. Where it would put a corner farther than this share of a voxel from its place, there is none.
_AGREE = 0.02
_LEVEL = 3


def write_nifti(path: Path | str, image: Image, *, description: str = "") -> None:
    """Write an image as ``.nii.gz``; what is written depends on the arguments alone.

    Values keep their type, without a scale. The sform is the affine; the qform says the same where it can, that is
    unless the grid is sheared (gantry tilt), and is left unset there. Without a world frame both are unset, and the
    spacing alone is kept. Nothing else is written: no extension, no name, no date.

    Args:
        path: The file; whole or not there at all.
        image: ``(C, X, Y[, Z])``; C is 1, or 3 for colour of 8 bit.
        description: At most 79 ASCII characters.

    Raises:
        ImageError: If NIfTI cannot hold such values.
        RunError: If the operating system refuses.
    """
    values = _values(image, str(path))
    header = nifti_header(values.dtype, values.shape, image, description)
    with (
        open_atomic(path, "wb") as file,
        # A packed file holds its own name and the time, unless told otherwise.
        gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=_LEVEL, mtime=0) as packed,
    ):
        # Four bytes of zeros: no extensions.
        packed.write(header.binaryblock + b"\0\0\0\0")
        for plane in _planes(values):
            packed.write(plane)


def nifti_header(dtype: np.dtype[Any], shape: tuple[int, ...], image: Image, description: str = "") -> Any:
    """nibabel's header for values of a type and shape ``(X, Y, Z)`` with the geometry of an image."""
    nibabel: Any = importlib.import_module("nibabel")
    kind = nibabel.Nifti1Header if max(shape) <= _LONGEST else nibabel.Nifti2Header
    header = kind()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header["descrip"] = description.encode("ascii", "replace")[:79]
    # A scale of 1: left as it is made it would be NaN, which some programs take for a number.
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"] = header.single_vox_offset
    header["magic"] = header.single_magic
    spacing = image.spacing if image.affine is None else spacing_of(image.affine)
    header.set_xyzt_units("unknown" if spacing is None else "mm")
    header.set_zooms([*(spacing or ()), 1.0, 1.0, 1.0][:3])
    if image.affine is None:
        header.set_sform(None, 0)
        header.set_qform(None, 0)
        return header
    affine = np.asarray(image.affine, np.float64)
    header.set_qform(affine, _SCANNER, strip_shears=True)
    header.set_sform(affine, _SCANNER)
    if largest_shift(header.get_qform(), affine, shape) > _AGREE * min(spacing_of(affine)):
        header.set_qform(None, 0)
        header.set_zooms(spacing_of(affine))
    return header


def _values(image: Image, path: str) -> NDArray[Any]:
    """``(X, Y, Z)`` in a type that NIfTI has, records of three bytes for colour."""
    array = image.array if image.array.ndim == 4 else image.array[..., np.newaxis]
    if array.shape[0] == 3 and array.dtype == np.uint8:
        colours: NDArray[Any] = np.ascontiguousarray(array.transpose(3, 2, 1, 0)).view(_RGB)[..., 0]
        return colours.T
    if array.shape[0] != 1:
        raise ImageError(
            f"NIfTI holds grey values and colour of 8 bit, not {array.shape[0]} channels of {array.dtype}",
            where=path,
            todo="leave it out",
        )
    values = array[0]
    kind = values.dtype.newbyteorder("=")
    if kind.str[1:] not in _KNOWN:
        kind = np.dtype(np.uint8) if kind.kind == "b" else np.result_type(kind, np.float32)
    if kind.str[1:] not in _KNOWN:
        raise ImageError(f"NIfTI has no type for {values.dtype}", where=path, todo="leave it out")
    return np.asarray(values.astype(kind, copy=False))


def _planes(values: NDArray[Any]) -> Iterator[bytes]:
    """The slices in NIfTI's order, x fastest, in the byte order of the header."""
    for k in range(values.shape[2]):
        yield np.ascontiguousarray(values[..., k].T).tobytes()
