"""Forms of JPEG, PNG and TIFF that Pillow reads otherwise than they are meant, or not at all."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from medcnn.errors import ImageError

_BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 262, 284, 339
_WHITE_IS_ZERO, _SEPARATE = 0, 2
_UNSIGNED, _SIGNED = 1, 2


def _tag(picture: Pillow.Image, number: int, default: int) -> int:
    """The first value of a TIFF's tag; the default for other formats too."""
    found = getattr(picture, "tag_v2", {}).get(number, default)
    found = found[0] if isinstance(found, tuple) and found else found
    return found if isinstance(found, int) else default


def require_readable(picture: Pillow.Image, path: str) -> None:
    """Refuse what Pillow would turn into noise.

    Raises:
        ImageError: If the colours of a TIFF of 16 bit lie in planes of their own.
    """
    if picture.mode.startswith("RGB") and _tag(picture, _BITS, 8) > 8 and _tag(picture, _PLANAR, 1) == _SEPARATE:
        raise ImageError(
            "the TIFF has its colours of 16 bit in separate planes, which is not read",
            where=path,
            todo="save it with the colours of each pixel together",
        )


def signed_as_stored(picture: Pillow.Image, array: NDArray[Any]) -> NDArray[Any]:
    """The same bytes with the sign that the TIFF says: Pillow knows no int8 and no uint32."""
    if picture.format != "TIFF":
        return array
    form, bits = _tag(picture, _SAMPLE_FORMAT, _UNSIGNED), _tag(picture, _BITS, 8)
    if array.dtype == np.uint8 and form == _SIGNED and bits == 8:
        return array.view(np.int8)
    if array.dtype == np.int32 and form == _UNSIGNED and bits == 32:
        return array.view(np.uint32)
    return array


def is_white_zero(picture: Pillow.Image) -> bool:
    """Whether 0 means white in a grey TIFF."""
    grey = picture.mode in ("1", "L") or picture.mode.startswith("I")
    return picture.format == "TIFF" and grey and _tag(picture, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO


def turned_white(picture: Pillow.Image, array: NDArray[Any]) -> NDArray[Any]:
    """Turned round where 0 means white and Pillow, which does so up to 8 bit, left it."""
    if not is_white_zero(picture) or not picture.mode.startswith("I"):
        return array
    return np.asarray((2 ** _tag(picture, _BITS, 16) - 1) - array.astype(np.int64)).astype(array.dtype)


def is_reduced(picture: Pillow.Image) -> bool:
    """Whether Pillow will unpack 16-bit samples into 8-bit ones, which it does for all but plain grey.

    To be asked before the pixels are loaded.
    """
    tile = getattr(picture, "tile", None)
    raw = tile[0][3] if tile else None
    raw = raw[0] if isinstance(raw, tuple) else raw
    return picture.mode in ("LA", "RGB", "RGBA") and isinstance(raw, str) and ";16" in raw


def colours_of_16_bit(path: str) -> NDArray[np.uint16] | None:
    """``(Y, X, 3)`` by SimpleITK; ``None`` where it does not read them as they are either."""
    simpleitk: Any = importlib.import_module("SimpleITK")
    try:
        found = simpleitk.GetArrayFromImage(simpleitk.ReadImage(path))
    except RuntimeError:
        return None
    fits = found.dtype == np.uint16 and found.ndim == 3 and found.shape[2] in (3, 4)
    return np.asarray(found[..., :3]) if fits else None


def unidentified(path: str) -> str:
    """What to say of a file that Pillow does not open."""
    with open(path, "rb") as file:
        head = file.read(8)
    if head.startswith(b"\xff\xd8"):
        return "the JPEG is damaged, or of a form that is not read: lossless, or of more than 8 bit"
    if head.startswith(b"\x89PNG"):
        return "the PNG is damaged"
    if head[:2] in (b"II", b"MM"):
        return "the TIFF is damaged, or of a form that is not read, such as floats of 16 or 64 bit"
    return "this is not a JPEG, PNG or TIFF image"
