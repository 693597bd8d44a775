"""Size and affine of an image without its values, where its header is enough."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from medcnn.data.images.limits import state_or_none
from medcnn.data.images.reading import read_image
from medcnn.data.images.sniff import sniff
from medcnn.errors import ImageError
from medcnn.types import FloatArray, ImageRef


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid of an image.

    Attributes:
        shape: ``(X, Y[, Z])``.
        affine: 4x4, voxel centres to RAS+ mm; ``None`` where the file has no world frame.
    """

    shape: tuple[int, ...]
    affine: FloatArray | None = None


def read_grid(ref: ImageRef) -> Grid:
    """The grid of one image or stack; read once as long as no file changes.

    Raises:
        ImageError: If the file cannot be read.
    """
    return _read(ref, tuple(state_or_none(path) for path in ref.paths))


@lru_cache(maxsize=2**16)
def _read(ref: ImageRef, _files: object) -> Grid:
    if not ref.paths:
        raise ImageError("the image has no file", todo="name at least one path")
    kind = sniff(ref.paths[0]) if ref.reader == "auto" else ref.reader
    if kind == "itk":
        from medcnn.data.images.itk import read_itk_grid

        return Grid(*read_itk_grid(ref))
    if kind == "raster" and ref.index is None:
        from PIL import Image as Pillow

        try:
            with Pillow.open(ref.paths[0]) as picture:
                return Grid(picture.size)
        except (OSError, ValueError, Pillow.DecompressionBombError):
            # The reader says what is wrong, or takes what Pillow does not.
            pass
    image = read_image(ref)
    return Grid(image.array.shape[1:], image.affine)
