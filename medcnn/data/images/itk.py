"""Volumes of other formats, by SimpleITK: MINC 2, NRRD and MetaImage.

The data are inside the file; those of a MetaImage header (``.mhd``) may lie beside it, in a file that the reference
names too.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images.colour import to_grey
from medcnn.data.images.limits import check_size, file_state
from medcnn.data.images.options import PLAIN, ReadOptions
from medcnn.errors import ImageError
from medcnn.geometry.affines import lps_to_ras, spacing_of
from medcnn.types import Image, ImageRef

# A key of MetaImage's header; the name of the data file is the last of them.
_DATA_FILE = re.compile(rb"^\s*ElementDataFile\s*=\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_FORMATS = ((b"\x89HDF", "MINC", "MINCImageIO"), (b"NRRD", "NRRD", "NrrdImageIO"), (b"", "MetaImage", "MetaImageIO"))


def read_itk(ref: ImageRef, options: ReadOptions = PLAIN) -> Image:
    """Read a MINC 2, NRRD or MetaImage file.

    Args:
        ref: One path, or a MetaImage header and the file beside it that holds its data (:func:`files_of` finds both).
            Of a file with a fourth axis, ``index`` chooses one volume and the key ``channels`` takes all.
        options: ``grey`` turns three components into grey.

    Returns:
        ``(C, X, Y[, Z])``; components are channels.

    Raises:
        ImageError: If the file is broken, keeps its data in another file, or the volume wanted is not said.
    """
    simpleitk: Any = importlib.import_module("SimpleITK")
    path = ref.paths[0]
    reader, name = _opened(ref)
    try:
        found = reader.Execute()
    except RuntimeError as error:
        raise _broken(error, name, path) from error
    components = found.GetNumberOfComponentsPerPixel()
    values = simpleitk.GetArrayFromImage(found)
    array = _channels(values, found.GetDimension(), components, name, ref, path)
    if options.grey and components == 3:
        array = to_grey(array, 0)[np.newaxis]
    affine = _affine(found.GetDimension(), found.GetDirection(), found.GetSpacing(), found.GetOrigin())
    flat = array.ndim == 4 and array.shape[-1] == 1
    shown: dict[str, Any] = {"format": name, "bits": array.dtype.itemsize * 8}
    moved = array[..., 0] if flat else array
    return Image(moved, affine, None if affine is None else spacing_of(affine, moved.ndim - 1), shown)


def files_of(path: str) -> tuple[str, ...]:
    """The file, and after a MetaImage header (``.mhd``) the file in the same folder that it names as its data."""
    if not path.lower().endswith(".mhd"):
        return (path,)
    named = _data_file(_head(path))
    other = os.path.join(os.path.dirname(path), named)
    return (path, other) if named and os.path.basename(named) == named and os.path.isfile(other) else (path,)


def read_itk_grid(ref: ImageRef) -> tuple[tuple[int, ...], NDArray[np.float64] | None]:
    """Size ``(X, Y[, Z])`` and affine of a volume, from its header alone.

    Raises:
        ImageError: If the file is broken, or keeps its data in a file that the reference does not name.
    """
    reader, _ = _opened(ref)
    dims = min(3, reader.GetDimension())
    affine = _affine(reader.GetDimension(), reader.GetDirection(), reader.GetSpacing(), reader.GetOrigin())
    size = tuple(int(n) for n in reader.GetSize()[:dims])
    return size[:2] if size[2:] == (1,) else size, affine


def _opened(ref: ImageRef) -> tuple[Any, str]:
    """A reader that has read the header, and the name of the format."""
    simpleitk: Any = importlib.import_module("SimpleITK")
    path = ref.paths[0]
    size = sum(file_state(p)[0] for p in ref.paths)
    head = _head(path)
    name, reader_name = next((n, r) for start, n, r in _FORMATS if head.startswith(start))
    _require_named(head, name, ref)
    reader = simpleitk.ImageFileReader()
    reader.SetImageIO(reader_name)
    reader.SetFileName(path)
    try:
        reader.ReadImageInformation()
        check_size((*map(int, reader.GetSize()), reader.GetNumberOfComponents()), 8, max(size, 2**20), path)
    except RuntimeError as error:
        raise _broken(error, name, path) from error
    return reader, name


def _head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(4096)


def _broken(error: RuntimeError, name: str, path: str) -> ImageError:
    # ITK puts the address of an object before what it has to say.
    words = str(error).strip().splitlines()[-1].split("): ")[-1].replace(f'"{path}"', "it").strip()
    return ImageError(f"the {name} file is broken: {words}", where=path, todo="copy the file anew")


def _data_file(head: bytes) -> str:
    found = _DATA_FILE.findall(head)
    return found[-1].decode("utf-8", "replace") if found else ""


def _require_named(head: bytes, name: str, ref: ImageRef) -> None:
    """A second file is the one beside a MetaImage header that this names; no other is followed."""
    path = ref.paths[0]
    if len(ref.paths) == 1:
        _require_attached(head, name, path)
        return
    named = os.path.join(os.path.dirname(path), _data_file(head))
    if len(ref.paths) > 2 or name != "MetaImage" or os.path.normpath(named) != os.path.normpath(ref.paths[1]):
        raise ImageError(
            "a volume is one file, or a MetaImage header and the file that holds its data",
            where=path,
            todo=f"{os.path.basename(ref.paths[1])} is not the file that it names",
        )


def _require_attached(head: bytes, name: str, path: str) -> None:
    """Headers may name other files: what a header points at is not followed."""
    lower = head.split(b"\n\n")[0].lower()
    apart = b"data file:" in lower or b"datafile:" in lower
    if name == "MetaImage":
        apart = b"elementdatafile = local" not in head.lower().replace(b"=local", b"= local")
    if name != "MINC" and apart:
        raise ImageError(
            f"the {name} header keeps its data in another file, which is not followed",
            where=path,
            todo="store header and data in one file",
        )


def _channels(values: NDArray[Any], dims: int, components: int, name: str, ref: ImageRef, path: str) -> NDArray[Any]:
    """``(C, X, Y[, Z])`` of an array whose axes run the other way round."""
    moved = values.transpose(*range(dims - 1, -1, -1), *range(dims, values.ndim))
    if dims not in (2, 3, 4) or (dims == 4 and components > 1):
        raise ImageError(f"an image of {dims} axes and {components} components cannot be used", where=path)
    if components > 1 and name == "MINC":
        # Time and vectors alike arrive as components, and nothing says which it is.
        return _volume(moved, ref, path)
    if components > 1:
        return np.asarray(np.moveaxis(moved, -1, 0))
    if dims < 4:
        if ref.index not in (None, 0):
            raise ImageError(f"there is no volume {ref.index}: the file holds one", where=path)
        return moved[np.newaxis]
    return _volume(moved, ref, path)


def _volume(moved: NDArray[Any], ref: ImageRef, path: str) -> NDArray[Any]:
    """One of the volumes along the fourth axis, or all of them as channels."""
    count = moved.shape[3]
    if ref.key == "channels":
        return np.asarray(np.moveaxis(moved, -1, 0))
    if ref.index is None:
        raise ImageError(
            f"the file holds {count} volumes, and what they are is not said",
            where=path,
            todo=f"choose one by index (0 to {count - 1}), or take all as channels with key: channels",
        )
    if not 0 <= ref.index < count:
        raise ImageError(f"there is no volume {ref.index}: the file holds {count}", where=path)
    return moved[np.newaxis, ..., ref.index]


def _affine(
    axes: int, direction: Sequence[float], spacing: Sequence[float], origin: Sequence[float]
) -> NDArray[np.float64] | None:
    if axes < 3:
        return None
    full = np.array(direction).reshape(axes, axes)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = full * np.array(spacing[:3])
    affine[:3, 3] = origin[:3]
    try:
        return lps_to_ras(affine)
    except ValueError:
        return None
