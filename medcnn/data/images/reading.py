"""One image by the reader that its reference names, and all channels of a case."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from medcnn import registry
from medcnn.data.images.limits import state_or_none
from medcnn.data.images.options import PLAIN, ReadOptions
from medcnn.data.images.sniff import sniff
from medcnn.errors import ImageError, MedcnnError
from medcnn.geometry.affines import largest_shift
from medcnn.types import Case, Image, ImageRef


class Reader(Protocol):
    """What a reader is: a function of the reference alone, without state.

    Raises ImageError for anything that is wrong with the file; nothing else leaves a reader.
    """

    def __call__(self, ref: ImageRef, options: ReadOptions = PLAIN, /) -> Image:
        """Pixels ``(C, X, Y[, Z])`` with their geometry."""


def read_image(ref: ImageRef, options: ReadOptions = PLAIN) -> Image:
    """Read one image or one stack.

    Args:
        ref: Where the pixels are; the reader ``auto`` is chosen by the content of the first file.
        options: What is wanted beyond the file's own values; readers ignore what their format does not have.

    Returns:
        The pixels ``(C, X, Y[, Z])`` in the file's own values and grid.

    Raises:
        ImageError: If the file cannot be read, with its path and the reason.
    """
    if not ref.paths:
        raise ImageError("the image has no file", todo="name at least one path")
    before = [state_or_none(path) for path in ref.paths]
    name = sniff(ref.paths[0]) if ref.reader == "auto" else ref.reader
    reader: Reader = registry.load("readers", name)
    try:
        # A reader of a third party may know nothing of options: it is asked for them only where there are any.
        image = reader(ref) if options is PLAIN or options == PLAIN else reader(ref, options)
        for path, state in zip(ref.paths, before, strict=True):
            if state_or_none(path) != state:
                raise ImageError("the file changed while it was read", where=path, todo="wait until it is complete")
        return image
    except MedcnnError:
        raise
    except FileNotFoundError as error:
        raise ImageError("the file does not exist", where=ref.paths[0]) from error
    except MemoryError as error:
        raise ImageError("the image needs more memory than there is", where=ref.paths[0]) from error
    except Exception as error:
        # Decoders meet bytes that nobody foresaw; one bad file must never end a run.
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ImageError(f"the file cannot be read as {name}: {reason}", where=ref.paths[0]) from error


def read_case(case: Case, options: ReadOptions = PLAIN) -> Image:
    """Read all channels of a case and stack them along axis 0, in the order of ``case.images``.

    Returns:
        ``(C, X, Y[, Z])`` with the geometry and header of the first image.

    Raises:
        ImageError: If an image cannot be read, or the channels do not lie on one grid.
    """
    if len(case.images) == 1:
        return read_image(case.images[0], options)
    if not case.images:
        raise ImageError("the case has no image", where=case.id)
    images = [read_image(ref, options) for ref in case.images]
    first = images[0]
    for ref, image in zip(case.images[1:], images[1:], strict=True):
        _check_aligned(first, image, case.images[0].paths[0], ref.paths[0])
    return Image(np.concatenate([i.array for i in images]), first.affine, first.spacing, first.header)


def _check_aligned(first: Image, other: Image, first_path: str, path: str) -> None:
    todo = "channels must lie on one grid: register and resample them first, or use one of them"
    shape, found = first.array.shape[1:], other.array.shape[1:]
    if shape != found:
        raise ImageError(
            f"the channels of one case differ in size: {_size(found)} here, {_size(shape)} in {first_path}",
            where=path,
            todo=todo,
        )
    if first.affine is None or other.affine is None or first.spacing is None:
        return
    shift = largest_shift(first.affine, other.affine, shape)
    # Half a voxel: what rounding in headers cannot reach, and what resampling would show.
    if shift > 0.5 * min(first.spacing):
        raise ImageError(
            f"the channels of one case lie in different places: up to {shift:.1f} mm from {first_path}",
            where=path,
            todo=todo,
        )


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
