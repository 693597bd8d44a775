"""Frames and contours of DICOM in the voxels of the image they lie on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images.dicom_header import Slice
from medcnn.data.labels.grid import TOLERANCE, Place
from medcnn.errors import ImageError
from medcnn.geometry.affines import dicom_affine, slice_normal, spacing_of

_SAME_PLACE_MM = 1e-3
_EVEN = 0.1


def frame_affine(one: Slice) -> NDArray[np.float64] | None:
    """4x4 to RAS mm of a frame with axes (column, row, normal); ``None`` where it does not say where it lies."""
    if one.orientation is None or one.position is None or one.spacing is None:
        return None
    try:
        step = slice_normal(one.orientation) * (one.thickness or 1.0)
        return dicom_affine(one.orientation, one.position, one.spacing, step)
    except ValueError:
        return None


def slice_in(affine: NDArray[np.float64], shape: tuple[int, int], image: Place) -> int | None:
    """The slice of an image whose pixels are those of a frame; ``None`` where they are not.

    Args:
        affine: Of the frame.
        shape: Columns and rows of the frame.
        image: The image's grid, with an affine.

    Returns:
        Position along the image's third axis (0 for an image of two axes), which may lie outside of it.
    """
    assert image.affine is not None
    if shape != image.shape[:2]:
        return None
    to_image = np.linalg.inv(image.affine)
    corners = np.array([[c, r, 0, 1] for c in (0, shape[0] - 1) for r in (0, shape[1] - 1)], np.float64)
    found = corners @ (to_image @ affine).T
    at = round(float(found[:, 2].mean()))
    wanted = np.stack([corners[:, 0], corners[:, 1], np.full(4, at)], 1)
    return at if float(np.abs(found[:, :3] - wanted).max()) <= TOLERANCE else None


@dataclass(frozen=True, slots=True)
class Lattice:
    """The grid that frames span by themselves.

    Attributes:
        place: Its size and where it lies.
        at: Position of each frame along the third axis.
    """

    place: Place
    at: tuple[int, ...]

    @classmethod
    def of(cls, slices: Sequence[Slice], shape: tuple[int, int], where: str) -> Lattice:
        """From frames of one orientation and spacing; places between them may be empty.

        Args:
            slices: Each with a place.
            shape: Columns and rows.
            where: For messages.

        Raises:
            ImageError: If they differ in orientation or spacing, or lie unevenly.
        """
        affines = [frame_affine(one) for one in slices]
        first = affines[0]
        assert first is not None
        if any(a is None or np.abs(a[:3, :2] - first[:3, :2]).max() > 1e-3 for a in affines):
            raise ImageError(
                "the frames of the mask differ in orientation or spacing", where=where, todo="export one mask a series"
            )
        origins = np.array([a[:3, 3] for a in affines if a is not None])
        normal = first[:3, 2] / np.linalg.norm(first[:3, 2])
        along = (origins - origins[0]) @ normal
        places = np.unique(np.round(along / _SAME_PLACE_MM)) * _SAME_PLACE_MM
        gaps = np.diff(places)
        step = slices[0].thickness or 1.0
        if gaps.size and np.abs(gaps / step - np.rint(gaps / step)).max() > _EVEN:
            step = float(gaps.min())
            if np.abs(gaps / step - np.rint(gaps / step)).max() > _EVEN:
                raise ImageError(
                    f"the frames of the mask are not evenly spaced: gaps from {gaps.min():.2f} to {gaps.max():.2f} mm",
                    where=where,
                    todo="export the mask in the grid of its image",
                )
        low = float(along.min())
        at = tuple(round(float(a - low) / step) for a in along)
        affine = first.copy()
        affine[:3, 2] = normal * step
        affine[:3, 3] = origins[int(np.argmin(along))]
        return cls(Place((*shape, max(at) + 1), affine, spacing_of(affine)), at)
