"""Images inside numpy's ``.npz`` archives, as MedMNIST publishes them: the first axis counts the images."""

from __future__ import annotations

import os
import zipfile
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images.colour import to_grey
from medcnn.data.images.limits import check_size
from medcnn.data.images.options import PLAIN, ReadOptions
from medcnn.errors import ImageError
from medcnn.types import Image, ImageRef

# Arrays up to this size are decompressed whole and kept, so that any order of access is fast.
_KEEP_BYTES = 256 * 2**20


def read_npz(ref: ImageRef, options: ReadOptions = PLAIN) -> Image:
    """Read one image of an array in an ``.npz`` archive.

    An item ``(Y, X)`` is grey and ``(Y, X, 1)``, ``(Y, X, 3)`` and ``(Y, X, 4)`` have channels last (alpha is
    dropped); any other item of three axes is a volume ``(Z, Y, X)``.

    Args:
        ref: One path; ``key`` names the array (it may be absent where there is one only), ``index`` the image.
        options: ``grey`` turns colour into grey.

    Returns:
        ``(C, X, Y[, Z])`` in the type of the array; no geometry.

    Raises:
        ImageError: If the archive is broken, or there is no such array or image in it.
    """
    path = ref.paths[0]
    if len(ref.paths) != 1:
        raise ImageError("one archive holds the images of one case", where=path)
    try:
        stat = os.stat(path)
        array = _array(path, ref.key, stat.st_mtime_ns, stat.st_size)
        item = array.item(ref.index)
    except FileNotFoundError as error:
        raise ImageError("the file does not exist", where=path) from error
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise ImageError(f"the archive is broken: {error}", where=path, todo="download it anew") from error
    moved = _oriented(item, path)
    colour = item.ndim == 3 and len(moved) == 3
    if options.grey and colour:
        moved, colour = to_grey(moved, 0)[np.newaxis], False
    header = {
        "format": "npz",
        "bits": item.dtype.itemsize * 8,
        "photometric": "RGB" if colour else "MONOCHROME2",
    }
    return Image(moved, None, None, header)


def array_shape(path: str, key: str) -> tuple[int, ...]:
    """Shape of an array in an archive, from its header alone.

    Raises:
        ImageError: If the archive is broken or has no such array.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_member(archive, key, path)) as file:
            return _array_header(file)[0]
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ImageError(f"the archive is broken: {error}", where=path, todo="download it anew") from error


def _oriented(item: NDArray[Any], path: str) -> NDArray[Any]:
    if item.ndim == 2:
        return item.T[np.newaxis]
    if item.ndim == 3 and item.shape[-1] in (1, 3, 4):
        colour = item[..., :3] if item.shape[-1] == 4 else item
        return colour.transpose(2, 1, 0)
    if item.ndim == 3:
        return item.transpose(2, 1, 0)[np.newaxis]
    raise ImageError(f"an image of {item.ndim} axes cannot be used", where=path, todo="give 2D or 3D images")


class _Array:
    """One array of an archive: whole in memory where it is small, read as a stream where it is large."""

    def __init__(self, path: str, key: str | None) -> None:
        self._archive = zipfile.ZipFile(path)
        member = _member(self._archive, key, path)
        self._path = path
        self._file = self._archive.open(member)
        self._shape, fortran, self._dtype = _array_header(self._file)
        self._start = self._file.tell()
        if self._dtype.hasobject:
            raise ImageError("the array holds Python objects, which are not read", where=path)
        if fortran and len(self._shape) > 1:
            raise ImageError("arrays in Fortran order are not read", where=path, todo="save it in C order")
        check_size(self._shape or (1,), self._dtype.itemsize, os.path.getsize(path), path)
        self._whole: NDArray[Any] | None = None
        if int(np.prod(self._shape)) * self._dtype.itemsize <= _KEEP_BYTES:
            self._whole = self._read(self._shape)
            self._archive.close()

    def _read(self, shape: tuple[int, ...]) -> NDArray[Any]:
        wanted = int(np.prod(shape)) * self._dtype.itemsize
        data = self._file.read(wanted)
        if len(data) != wanted:
            raise EOFError("the array ends before its last image")
        array = np.frombuffer(data, self._dtype).reshape(shape)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))

    def item(self, index: int | None) -> NDArray[Any]:
        """The image at a position, or the whole array where that is ``None``."""
        if index is None:
            if self._whole is None or len(self._shape) > 3:
                raise ImageError(
                    f"the array holds {self._shape[0]} images, and which one is not said",
                    where=self._path,
                    todo="choose one by index",
                )
            return self._whole
        if not self._shape or not 0 <= index < self._shape[0]:
            count = self._shape[0] if self._shape else 0
            raise ImageError(f"there is no image {index}: the array holds {count}", where=self._path)
        if self._whole is not None:
            return np.asarray(self._whole[index])
        # Forward in the stream costs what is skipped; only a step back starts it anew.
        shape = self._shape[1:]
        self._file.seek(self._start + index * int(np.prod(shape)) * self._dtype.itemsize)
        return self._read(shape)


@lru_cache(maxsize=2)
def _array(path: str, key: str | None, _modified: int, _size: int) -> _Array:
    return _Array(path, key)


def _member(archive: zipfile.ZipFile, key: str | None, path: str) -> str:
    keys = [name[:-4] for name in archive.namelist() if name.endswith(".npy")]
    if key is None and len(keys) == 1:
        key = keys[0]
    if key not in keys:
        what = f"there is no array {key!r} in the archive" if key else f"the archive holds {len(keys)} arrays"
        raise ImageError(what, where=path, todo=f"choose by key: {', '.join(sorted(keys)) or 'it is empty'}")
    return f"{key}.npy"


def _array_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return tuple(shape), fortran, dtype
