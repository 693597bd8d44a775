"""NIfTI-1 and NIfTI-2, single files and pairs, compressed or not."""

from __future__ import annotations

import importlib
import os
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images.colour import to_grey
from medcnn.data.images.limits import check_size, file_state
from medcnn.data.images.options import PLAIN, ReadOptions
from medcnn.data.images.plain_file import open_plain, quiet_logging, read_into, read_up_to
from medcnn.data.images.sniff import is_nifti_head
from medcnn.errors import ImageError
from medcnn.geometry.affines import check_affine, largest_shift, spacing_of
from medcnn.types import Image, ImageRef

# NIFTI_UNITS_UNKNOWN, METER, MM and MICRON.
_UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_DAMAGED = "copy the file anew, or remove it"


def read_nifti(ref: ImageRef, options: ReadOptions = PLAIN) -> Image:
    """Read a NIfTI file in its own grid.

    The sform counts before the qform; where both are set and put the corners of the image to different places, this
    is an error that names both. Values are scaled by ``scl_slope`` and ``scl_inter``, unless the slope is 0 or NaN.
    Only the volume asked for is kept in memory.

    Args:
        ref: One path. Of a file with a fourth axis, ``index`` chooses one volume and the key ``channels`` takes all
            of them as channels; neither is guessed.
        options: ``grey`` turns RGB into grey.

    Returns:
        ``(C, X, Y, Z)``, or ``(C, X, Y)`` where the third axis has one slice; C is 3 for RGB. The affine is ``None``
        where the header has none.

    Raises:
        ImageError: If the file is truncated or broken, its two affines contradict each other, or the volume wanted
            is not said.
    """
    path = ref.paths[0]
    if len(ref.paths) != 1:
        raise ImageError("a NIfTI image is one file", where=path, todo="give the .nii, .nii.gz or .hdr file")
    header, data_path, dtype = _header(path)
    shape = _shape(header, ref, path)
    stored = _read(header, data_path, dtype, shape, ref, path)
    array = _channels_first(_plain(stored, path), path)
    if options.grey and dtype.names:
        array = to_grey(array, 0)[np.newaxis]
    with quiet_logging("nibabel.global"):
        affine, zooms, notes = _geometry(header, array.shape[1:], path)
    shown: dict[str, Any] = {"format": "NIfTI", "bits": int(header["bitpix"])}
    if notes:
        shown["notes"] = notes
    return Image(array, affine, zooms, shown)


def _header(path: str) -> tuple[Any, str, np.dtype[Any]]:
    """The header, the file that holds the values (another one of a pair), and their type."""
    nibabel: Any = importlib.import_module("nibabel")
    state = file_state(path)
    head = f"{path[:-4]}.hdr" if path.lower().endswith(".img") and os.path.exists(f"{path[:-4]}.hdr") else path
    with open_plain(head) as file:
        start = read_up_to(file, 540, path)
    if not is_nifti_head(start[:352]):
        raise ImageError(f"this is no NIfTI image ({state[0]} bytes)", where=path, todo=_DAMAGED)
    second = 540 in (int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))
    kind = nibabel.Nifti2Header if second else nibabel.Nifti1Header
    try:
        with quiet_logging("nibabel.global"):
            header: Any = kind(start[: kind.template_dtype.itemsize])
            dtype = header.get_data_dtype()
    except Exception as error:
        raise ImageError(f"the NIfTI header cannot be read: {_reason(error)}", where=path, todo=_DAMAGED) from error
    # Intents 3000 to 3099 are CIFTI's connectivities.
    if 3000 <= int(header["intent_code"]) < 3100:
        raise ImageError("this is a CIFTI-2 matrix, not an image", where=path)
    magic = bytes(header["magic"].tobytes())
    if not magic.startswith((b"ni1", b"ni2")):
        return header, path, dtype
    other = next(
        (f"{head[:-4]}{end}" for end in (".img", ".img.gz", ".IMG") if os.path.exists(f"{head[:-4]}{end}")), None
    )
    if other is None:
        raise ImageError("the other half of the pair (.hdr and .img) does not exist", where=path)
    return header, other, dtype


def _shape(header: Any, ref: ImageRef, path: str) -> tuple[int, ...]:
    """Axes as stored, at least three, without trailing ones; checks what was asked for."""
    shape = tuple(int(n) for n in header.get_data_shape())
    if not shape or min(shape) < 1:
        raise ImageError("the image has no voxels", where=path)
    if ref.key not in (None, "channels"):
        raise ImageError(f"the key {ref.key!r} means nothing for NIfTI", where=path, todo="the one key is: channels")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    shape = (*shape, 1, 1)[: max(3, len(shape))]
    # x, y, z, one time point, then the elements of a vector or colour: these are channels by definition.
    if len(shape) > 5 or (len(shape) == 5 and shape[3] != 1):
        raise ImageError(f"an image with axes {shape} cannot be used", where=path)
    count = shape[3] if len(shape) == 4 else 1
    if ref.index is not None and not 0 <= ref.index < count:
        holds = "one" if count == 1 else count
        raise ImageError(f"there is no volume {ref.index}: the file holds {holds}", where=path)
    if len(shape) == 4 and ref.index is None and ref.key is None:
        raise ImageError(
            f"the file holds {count} volumes, and what they are is not said",
            where=path,
            todo=f"choose one by index (0 to {count - 1}), or take all as channels with key: channels",
        )
    return shape


def _read(
    header: Any, data_path: str, dtype: np.dtype[Any], shape: tuple[int, ...], ref: ImageRef, path: str
) -> NDArray[Any]:
    """Scaled values of the volume or volumes that are wanted, in the order of the axes."""
    offset, size = int(header.get_data_offset()), file_state(data_path)[0]
    skip = 0
    if len(shape) == 4 and ref.index is not None:
        shape = shape[:3]
        skip = ref.index * int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    wanted = check_size(shape, dtype.itemsize, size, path)
    try:
        with open_plain(data_path) as file:
            if file.raw_size is not None and offset + skip + wanted > file.raw_size:
                have = max(0, file.raw_size - offset)
                raise ImageError(
                    f"the image data are truncated: {have} bytes instead of {skip + wanted}", where=path, todo=_DAMAGED
                )
            file.seek(offset + skip)
            flat = np.empty(wanted, np.uint8)
            read_into(file, flat)
    except (OSError, EOFError, zlib.error) as error:
        raise ImageError(
            f"the image data are truncated or broken: {_reason(error)}", where=path, todo=_DAMAGED
        ) from error
    raw = flat.view(dtype).reshape(shape, order="F")
    return raw if dtype.names else _scaled_values(header, raw, path)


def _scaled_values(header: Any, raw: NDArray[Any], path: str) -> NDArray[Any]:
    try:
        slope, inter = header.get_slope_inter()
    except Exception as error:
        raise ImageError(f"the scale of the values cannot be used: {_reason(error)}", where=path) from error
    if slope is None or (slope == 1 and not inter):
        return raw
    if raw.dtype.kind not in "iuf":
        return raw
    scaled = np.empty(raw.shape, np.float32, order="F")
    # Plane by plane: in double precision without a second volume of it.
    for k in range(raw.shape[-1]):
        scaled[..., k] = raw[..., k].astype(np.float64) * slope + (inter or 0.0)
    return scaled


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


def _channels_first(array: NDArray[Any], path: str) -> NDArray[Any]:
    if array.ndim == 5:
        moved = np.moveaxis(array[..., 0, :], -1, 0)
    elif array.ndim == 4:
        moved = np.moveaxis(array, -1, 0)
    elif array.ndim == 3:
        moved = array[np.newaxis]
    else:
        raise ImageError(f"an image with axes {array.shape} cannot be used", where=path)
    return moved[..., 0] if moved.shape[-1] == 1 else moved


def _geometry(
    header: Any, shape: tuple[int, ...], path: str
) -> tuple[NDArray[np.float64] | None, tuple[float, ...] | None, tuple[str, ...]]:
    """Affine in mm, spacing, and what is to be said about them."""
    scale = _scale(header, path)
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


def _scale(header: Any, path: str) -> float:
    """Millimetres of the header's unit of length."""
    # The three lowest bits; nibabel has no answer to codes that the standard does not know.
    code = int(header["xyzt_units"]) & 7
    if code not in _UNITS:
        raise ImageError(f"the header's unit of length has the unknown code {code}", where=path, todo=_DAMAGED)
    return _UNITS[code]


def _scaled(affine: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    matrix = np.array(affine, dtype=np.float64)
    matrix[:3] *= scale
    return check_affine(matrix)


def _reason(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
