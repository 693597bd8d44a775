"""The grid that DICOM segmentations span by themselves, where the images that they were drawn on are not at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medcnn.data.images.dicom_file import open_file
from medcnn.data.images.dicom_format import format_of
from medcnn.data.images.dicom_header import Slice, header_of, slices_of
from medcnn.data.labels.drawn import SEGMENTATION
from medcnn.data.labels.planes import Lattice, frame_affine
from medcnn.errors import ImageError
from medcnn.types import Image


def frames_grid(paths: Sequence[str]) -> Image:
    """An empty image in the grid of one or several segmentations, whose slices reach over the frames of all.

    Args:
        paths: The files; rows, columns, orientation and spacing are those of the first.

    Raises:
        ImageError: If a file is no segmentation, its frames do not say where they lie, or those of several files do
            not lie in one grid.
    """
    slices: list[Slice] = []
    shape = (0, 0)
    for number, path in enumerate(paths):
        source = open_file(path)
        kind = header_of(source).kind
        if kind != SEGMENTATION:
            raise ImageError(
                f"the file is of the kind {kind}, not a segmentation",
                where=path,
                todo="give DICOM segmentations; a structure set needs the images that it was drawn on",
            )
        form = format_of(source)
        found = slices_of(source.dataset, path, form.frames)
        if any(frame_affine(one) is None for one in found):
            raise ImageError(
                "the frames of the mask do not say where they lie",
                where=path,
                todo="export the mask with position, orientation and spacing of its frames",
            )
        slices += found
        shape = shape if number else (form.shape[1], form.shape[0])
    place = Lattice.of(slices, shape, paths[0]).place
    return Image(np.zeros((1, *place.shape), np.uint8), place.affine, place.spacing)
