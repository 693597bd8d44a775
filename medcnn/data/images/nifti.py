"""NIfTI-1 and NIfTI-2, single files and pairs, compressed or not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import ImageError
from medcnn.geometry.affines import check_affine, largest_shift, spacing_of
from medcnn.types import Image, ImageRef

_UNITS = {"mm": 1.0, "meter": 1000.0, "micron": 0.001, "unknown": 1.0}
_DAMAGED = "copy the file anew, or remove it"


def read_nifti(ref: ImageRef) -> Image:
    """Read a NIfTI file in its own grid.

    The sform counts before the qform; where both are set and put the corners of the image to different places, this
    is an error that names both. Values are scaled by ``scl_slope`` and ``scl_inter``, unless the slope is 0 or NaN.

    Args:
        ref: One path. Of a file with a fourth axis, ``index`` chooses one volume and the key ``channels`` takes all
            of them as channels; neither is guessed.

    Returns:
        ``(C, X, Y, Z)``, or ``(C, X, Y)`` where the third axis has one slice; C is 3 for RGB. The affine is ``None``
        where the header has none.

    Raises:
        ImageError: If the file is truncated or broken, its two affines contradict each other, or the volume wanted
            is not said.
    """
    import nibabel

    path = ref.paths[0]
    if len(ref.paths) != 1:
        raise ImageError("a NIfTI image is one file", where=path, todo="give the .nii, .nii.gz or .hdr file")
    try:
        image: Any = nibabel.load(path, mmap=False)
    except FileNotFoundError as error:
        raise ImageError("the file does not exist", where=path) from error
    except Exception as error:
        raise ImageError(f"the NIfTI header cannot be read: {_reason(error)}", where=path, todo=_DAMAGED) from error
    if type(image) not in (nibabel.Nifti1Image, nibabel.Nifti1Pair, nibabel.Nifti2Image, nibabel.Nifti2Pair):
        raise ImageError(f"this is {type(image).__name__}, not a NIfTI image", where=path)
    try:
        stored = np.asanyarray(image.dataobj)
    except FileNotFoundError as error:
        raise ImageError("the other half of the pair (.hdr and .img) does not exist", where=path) from error
    except Exception as error:
        raise ImageError(
            f"the image data are truncated or broken: {_reason(error)}", where=path, todo=_DAMAGED
        ) from error
    array = _channels_first(_plain(stored, path), ref, path)
    affine, zooms, notes = _geometry(image.header, array.shape[1:], path)
    header: dict[str, Any] = {"format": "NIfTI", "bits": int(image.header["bitpix"])}
    if notes:
        header["notes"] = notes
    return Image(array, affine, zooms, header)


def _plain(stored: NDArray[Any], path: str) -> NDArray[Any]:
    """Values in a native type; RGB records become a fifth axis."""
    if stored.size == 0:
        raise ImageError("the image has no voxels", where=path)
    if stored.dtype.names:
        colours = [stored[name] for name in ("R", "G", "B")]
        shape = (*stored.shape, 1, 1)[: max(4, stored.ndim)]
        return np.stack([c.reshape(shape) for c in colours], axis=-1)
    if np.issubdtype(stored.dtype, np.complexfloating):
        raise ImageError("complex values cannot be used", where=path, todo="store the magnitude")
    if stored.dtype.itemsize > 4 and np.issubdtype(stored.dtype, np.floating):
        stored = stored.astype(np.float32)
    return stored if stored.dtype.isnative else stored.astype(stored.dtype.newbyteorder("="))


def _channels_first(array: NDArray[Any], ref: ImageRef, path: str) -> NDArray[Any]:
    if ref.key not in (None, "channels"):
        raise ImageError(f"the key {ref.key!r} means nothing for NIfTI", where=path, todo="the one key is: channels")
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    array = array.reshape((*array.shape, 1, 1)[: max(3, array.ndim)])
    if array.ndim == 5 and array.shape[3] == 1:
        # x, y, z, one time point, then the elements of a vector or colour: these are channels by definition.
        moved = np.moveaxis(array[..., 0, :], -1, 0)
    elif array.ndim == 3:
        if ref.index not in (None, 0):
            raise ImageError(f"there is no volume {ref.index}: the file holds one", where=path)
        moved = array[np.newaxis]
    elif array.ndim == 4:
        moved = _choose_volume(array, ref, path)
    else:
        raise ImageError(f"an image with axes {array.shape} cannot be used", where=path)
    return moved[..., 0] if moved.shape[-1] == 1 else moved


def _choose_volume(array: NDArray[Any], ref: ImageRef, path: str) -> NDArray[Any]:
    count = array.shape[3]
    if ref.key == "channels":
        moved: NDArray[Any] = np.moveaxis(array, -1, 0)
        return moved
    if ref.index is None:
        raise ImageError(
            f"the file holds {count} volumes, and what they are is not said",
            where=path,
            todo=f"choose one by index (0 to {count - 1}), or take all as channels with key: channels",
        )
    if not 0 <= ref.index < count:
        raise ImageError(f"there is no volume {ref.index}: the file holds {count}", where=path)
    return array[np.newaxis, ..., ref.index]


def _geometry(
    header: Any, shape: tuple[int, ...], path: str
) -> tuple[NDArray[np.float64] | None, tuple[float, ...] | None, tuple[str, ...]]:
    """Affine in mm, spacing, and what is to be said about them."""
    scale = _UNITS.get(header.get_xyzt_units()[0], 1.0)
    zooms = [float(z) * scale for z in header.get_zooms()[: len(shape)]]
    zooms += [1.0] * (len(shape) - len(zooms))
    usable = all(np.isfinite(z) and z > 0 for z in zooms)
    try:
        sform, s_code = header.get_sform(coded=True)
        qform, q_code = header.get_qform(coded=True)
        found = [_scaled(a, scale) for a, code in ((sform, s_code), (qform, q_code)) if a is not None and code > 0]
    except Exception as error:
        raise ImageError(f"the affine in the header cannot be used: {_reason(error)}", where=path) from error
    if not found:
        note = "neither sform nor qform is set: the image has no world frame"
        return None, tuple(zooms) if usable else None, (note,)
    affine = found[0]
    spacing = spacing_of(affine, len(shape))
    if len(found) == 2:
        shift = largest_shift(found[0], found[1], shape)
        if shift > 0.1 * min(spacing):
            raise ImageError(
                f"sform (code {int(s_code)}) and qform (code {int(q_code)}) contradict each other by up to "
                f"{shift:.2f} mm",
                where=path,
                todo="set the code of the wrong one to 0, for example with nibabel or fslorient",
            )
    return affine, spacing, ()


def _scaled(affine: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    matrix = np.array(affine, dtype=np.float64)
    matrix[:3] *= scale
    return check_affine(matrix)


def _reason(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
