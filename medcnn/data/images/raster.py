"""JPEG, PNG and TIFF, 8 and 16 bit (TIFF 32 too), grey or RGB.

The array is ``(C, X, Y)``: axis 1 is the column. The orientation in EXIF is applied on request only (labels made
in the stored grid stay right); the header says where there is one. Resolution tags of these formats tell how large to
print, not how large the patient is: a raster has no spacing.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from medcnn.data.images.colour import to_grey
from medcnn.data.images.limits import check_size
from medcnn.data.images.options import PLAIN, ReadOptions
from medcnn.data.images.raster_forms import (
    colours_of_16_bit,
    is_reduced,
    is_white_zero,
    require_readable,
    signed_as_stored,
    turned_white,
    unidentified,
)
from medcnn.errors import ImageError
from medcnn.types import Image, ImageRef

_FORMATS = ("JPEG", "PNG", "TIFF")
_ORIENTATION = 0x0112
# Below this many pixels an image cannot fill the memory, whatever its header says.
_LARGE = 2**25
_PLAIN = frozenset({"L", "RGB", "I;16", "F"})


def read_raster(ref: ImageRef, options: ReadOptions = PLAIN) -> Image:
    """Read a JPEG, PNG or TIFF.

    Args:
        ref: One path; ``index`` chooses the page of a TIFF with several.
        options: ``grey`` turns colour into grey, ``exif`` turns the image as its EXIF orientation says.

    Returns:
        ``(1, X, Y)`` grey or ``(3, X, Y)`` RGB; uint8 or uint16 (int8, int32, uint32 and float32 for such TIFF).
        Alpha is dropped, palettes are resolved (to grey where all their colours are grey), and grey whose 0 is white
        is turned round.

    Raises:
        ImageError: If the file is truncated, broken, too large, or none of the formats.
    """
    path = ref.paths[0]
    if len(ref.paths) != 1:
        raise ImageError(
            f"{len(ref.paths)} raster files are no stack", where=path, todo="give one file, or one case a file"
        )
    try:
        with Pillow.open(path, formats=_FORMATS) as picture:
            pages = getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
            _choose_page(picture, ref.index, pages, path)
            _check_size(picture, path)
            require_readable(picture, path)
            header, reduced = _header(picture, pages, turned=options.exif), is_reduced(picture)
            array = _pixels(ImageOps.exif_transpose(picture) if options.exif else picture, reduced=reduced)
            if reduced:
                array = _deep(array, header, path, plain=pages == 1 and not options.exif)
    except FileNotFoundError as error:
        raise ImageError("the file does not exist", where=path) from error
    except Pillow.DecompressionBombError as error:
        raise ImageError(f"the image is too large: {error}", where=path) from error
    except UnidentifiedImageError as error:
        raise ImageError(unidentified(path), where=path, todo="copy it anew, or convert it to PNG") from error
    except IsADirectoryError as error:
        raise ImageError("this is a folder, not an image", where=path) from error
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, OverflowError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise ImageError(f"the file cannot be opened: {error.strerror}", where=path) from error
        raise ImageError(f"the image is broken: {_reason(error)}", where=path, todo="copy the file anew") from error
    if array.size == 0:
        raise ImageError("the image has no pixels", where=path)
    if options.grey and array.ndim == 3:
        array = to_grey(array, -1)
    # Row-major (Y, X[, C]) as decoders give it, to (C, X, Y).
    moved = array.T[np.newaxis] if array.ndim == 2 else array.transpose(2, 1, 0)
    return Image(moved, None, None, header)


def _choose_page(picture: Pillow.Image, index: int | None, pages: int, path: str) -> None:
    if index is None:
        if pages > 1:
            raise ImageError(
                f"the TIFF has {pages} pages, and which one is not said",
                where=path,
                todo=f"choose one by index, from 0 to {pages - 1}",
            )
        return
    if not 0 <= index < pages:
        raise ImageError(f"there is no page {index}: the file has {pages}", where=path)
    if pages > 1:
        picture.seek(index)


def _check_size(picture: Pillow.Image, path: str) -> None:
    width, height = picture.size
    if width * height > _LARGE:
        check_size((width, height, len(picture.getbands())), 1, os.path.getsize(path), path)


def _header(picture: Pillow.Image, pages: int, *, turned: bool) -> dict[str, Any]:
    mode = picture.mode
    grey = mode in ("1", "L", "LA", "F") or mode.startswith("I")
    header: dict[str, Any] = {
        "format": "JPEG" if picture.format == "MPO" else picture.format,
        "bits": {"1": 1, "F": 32, "I": 32}.get(mode, 16 if mode.startswith("I;16") else 8),
        "photometric": "MONOCHROME2" if grey else "RGB",
    }
    notes = []
    if "A" in mode or "transparency" in picture.info:
        notes.append("the alpha channel was dropped")
    if mode in ("CMYK", "YCbCr", "LAB", "HSV", "P", "PA"):
        notes.append(f"colours were converted from {mode}")
    if is_white_zero(picture):
        header["inverted"] = True
        notes.append("the grey scale was inverted, so that white is high")
    if "exif" in picture.info and (turn := picture.getexif().get(_ORIENTATION, 1)) not in (0, 1):
        notes.append(f"EXIF orientation {turn} was {'applied' if turned else 'not applied'}")
    if pages > 1:
        header["slices"] = pages
    if notes:
        header["notes"] = tuple(notes)
    return header


def _deep(array: NDArray[Any], header: dict[str, Any], path: str, *, plain: bool) -> NDArray[Any]:
    """Colours of 16 bit, which Pillow cuts to 8."""
    deep = colours_of_16_bit(path) if plain else None
    if deep is None or deep.shape[:2] != array.shape[:2]:
        notes = header.get("notes", ())
        header["notes"] = (*notes, "colours or alpha of 16 bit were reduced to 8 bit by the decoder")
        return array
    header["bits"] = 16
    return deep if array.ndim == 3 else deep[..., 0]


def _pixels(picture: Pillow.Image, *, reduced: bool) -> NDArray[Any]:
    mode = picture.mode
    if mode in _PLAIN:
        array = signed_as_stored(picture, np.asarray(picture))
    elif mode.startswith("I;16"):
        array = np.asarray(picture).astype(np.uint16)
    elif mode == "I":
        array = signed_as_stored(picture, np.asarray(picture))
    elif mode == "1":
        array = np.asarray(picture.convert("L"))
    elif mode == "LA":
        array = np.asarray(picture)[..., 0]
    elif mode == "RGBA":
        array = np.asarray(picture)[..., :3]
        if reduced and (array == array[..., :1]).all():
            # Grey with alpha of 16 bit comes as colour.
            array = array[..., 0]
    else:
        array = np.asarray(picture.convert("RGB"))
        if mode in ("P", "PA") and (array == array[..., :1]).all():
            array = array[..., 0]
    array = array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    return turned_white(picture, array)


def _reason(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
