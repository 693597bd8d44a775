"""Masks as PNG or TIFF: the stored numbers, also behind a palette of colours."""

from __future__ import annotations

import numpy as np

from medcnn.data.images import read_image
from medcnn.errors import ImageError
from medcnn.types import Image, ImageRef


def read_picture(ref: ImageRef) -> Image:
    """Read a raster mask; of an image with a palette the numbers of its colours, as programs that paint masks do.

    A bilevel image gives 0 and 255, as everywhere.

    Raises:
        ImageError: If it cannot be read, or is a JPEG, which does not keep numbers.
    """
    read = read_image(ref)
    if read.header.get("format") == "JPEG":
        raise ImageError(
            "a JPEG cannot hold a mask: its compression changes values",
            where=ref.paths[0],
            todo="export the mask anew, as PNG or NIfTI",
        )
    from PIL import Image as Pillow

    # What follows was read above without an error, so that the file is sound.
    with Pillow.open(ref.paths[0]) as picture:
        if ref.index:
            picture.seek(ref.index)
        if picture.mode not in ("P", "PA"):
            return read
        numbers = np.asarray(picture if picture.mode == "P" else picture.getchannel("P"))
    return Image(numbers.T[np.newaxis], None, None, read.header)
