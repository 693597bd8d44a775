"""Distances between the surfaces of two masks, weighted by the area of the surface.

The definitions are those of the ``surface-distance`` package (Nikolov et al., JMIR 2021): a surface is a set of
elements between voxels, each with an area and a distance to the nearest element of the other surface, so that the
figures do not depend on how finely a surface is cut into voxels. In 2D elements are pieces of a contour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from medcnn.geometry.surface_elements import element_sizes

# A tree answers in a microsecond where the surfaces lie near each other, and in a hundred where they do not: many
# questions in a small box are answered by a map of all distances, which takes less than that for 300 voxels.
_VOXELS_A_QUERY = 300
_FEW_QUERIES = 5000
# A share of a distance: more than the map's single precision misses.
_ROUNDING = 1e-5
# A share of an area, summed in double precision.
_SHARE_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceDistances:
    """Elements of two surfaces with the distance of each to the other surface.

    Attributes:
        reference: ``(N,)`` distances in mm from the reference's elements to the prediction, rising; infinite where
            the prediction is empty.
        reference_area: ``(N,)`` their areas in mm² (mm in 2D).
        predicted: ``(M,)`` distances from the prediction's elements to the reference, rising.
        predicted_area: ``(M,)`` their areas.
    """

    reference: NDArray[np.float64]
    reference_area: NDArray[np.float64]
    predicted: NDArray[np.float64]
    predicted_area: NDArray[np.float64]

    @property
    def undefined(self) -> bool:
        """Both masks are empty: there is nothing to measure."""
        return len(self.reference) + len(self.predicted) == 0

    @property
    def infinite(self) -> bool:
        """One mask is empty and the other is not."""
        return (len(self.reference) == 0) != (len(self.predicted) == 0)

    def hausdorff(self, percentile: float = 100.0) -> float | None:
        """The Hausdorff distance in mm, or its percentile by area: the larger of the two directions.

        Args:
            percentile: In (0, 100]; 95 gives HD95.

        Returns:
            ``None`` where both masks are empty, infinity where one is.
        """
        if self.undefined or self.infinite:
            return None if self.undefined else float("inf")
        return max(
            _percentile(self.reference, self.reference_area, percentile),
            _percentile(self.predicted, self.predicted_area, percentile),
        )

    def average(self) -> float | None:
        """Average symmetric surface distance in mm: over the area of both surfaces; empty masks as in hausdorff."""
        if self.undefined or self.infinite:
            return None if self.undefined else float("inf")
        total = self.reference @ self.reference_area + self.predicted @ self.predicted_area
        return float(total / (self.reference_area.sum() + self.predicted_area.sum()))

    def dice(self, tolerance: float) -> float | None:
        """Normalised surface Dice: the share of both surfaces that lies within a tolerance of the other.

        Args:
            tolerance: In mm, 0 or more.

        Returns:
            A share in [0, 1]: 0 where one mask is empty, ``None`` where both are.
        """
        if self.undefined:
            return None
        # Rounding must not decide whether a surface that lies at the tolerance itself lies within it.
        within = tolerance * (1 + _ROUNDING)
        near = self.reference_area[self.reference <= within].sum()
        near += self.predicted_area[self.predicted <= within].sum()
        return float(near / (self.reference_area.sum() + self.predicted_area.sum()))


def surface_distances(
    reference: NDArray[np.bool_], predicted: NDArray[np.bool_], spacing: Sequence[float]
) -> SurfaceDistances:
    """Measure two masks ``(X, Y[, Z])`` against each other.

    Work and memory are bounded by the box around both masks and by the number of their surface elements, not by the
    size of the image.

    Args:
        reference: True inside.
        predicted: True inside, in the same grid.
        spacing: mm of each axis.

    Raises:
        ValueError: If the shapes differ, or do not go with the spacing.
    """
    if reference.shape != predicted.shape or reference.ndim != len(spacing) or reference.ndim not in (2, 3):
        raise ValueError(f"masks of {reference.shape} and {predicted.shape} with a spacing of {len(spacing)} axes")
    box = occupied(reference | predicted)
    if box is None:
        none = np.zeros(0)
        return SurfaceDistances(none, none, none, none)
    sizes = element_sizes(spacing)
    (a, area_a), (b, area_b) = (_elements(mask[box], sizes) for mask in (reference, predicted))
    corners = tuple(s.stop - s.start + 1 for s in box)
    near = _nearest(a, b, area_a, corners, spacing), _nearest(b, a, area_b, corners, spacing)
    return SurfaceDistances(*near[0], *near[1])


def occupied(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """The smallest box around what is true; ``None`` where nothing is."""
    box = []
    for axis in range(mask.ndim):
        found = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if len(found) == 0:
            return None
        box.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(box)


def _elements(mask: NDArray[np.bool_], sizes: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Places ``(N, D)`` of the surface elements, as indices of the corners between voxels, and their areas ``(N,)``."""
    padded = np.pad(mask, 1).astype(np.uint8)
    shape = tuple(n - 1 for n in padded.shape)
    pattern = np.zeros(shape, np.uint8)
    for bit in range(2**mask.ndim):
        offset = [bit >> (mask.ndim - 1 - axis) & 1 for axis in range(mask.ndim)]
        part = padded[tuple(slice(o, o + n) for o, n in zip(offset, shape, strict=True))]
        pattern |= part << bit
    places = np.nonzero((pattern != 0) & (pattern != 2**2**mask.ndim - 1))
    return np.stack(places, axis=1), sizes[pattern[places]]


def _nearest(
    places: NDArray[np.int64],
    others: NDArray[np.int64],
    areas: NDArray[np.float64],
    shape: tuple[int, ...],
    spacing: Sequence[float],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances to the nearest of the others, rising, and the areas in the same order."""
    if len(others) == 0:
        return np.full(len(places), np.inf), areas
    if len(places) == 0:
        return np.zeros(0), areas
    if len(places) > _FEW_QUERIES and len(places) * _VOXELS_A_QUERY > math.prod(shape):
        distances = _distance_map(others, shape, spacing)[tuple(places.T)].astype(np.float64)
    else:
        scale = np.asarray(spacing, np.float64)
        distances = np.asarray(cKDTree(others * scale).query(places * scale)[0], np.float64)
    order = np.argsort(distances, kind="stable")
    return distances[order], areas[order]


def _distance_map(places: NDArray[np.int64], shape: tuple[int, ...], spacing: Sequence[float]) -> NDArray[np.float32]:
    """Distance of every corner of a grid to the nearest of some, in linear time (Maurer et al. 2003)."""
    import SimpleITK as sitk  # noqa: N813 - its own convention

    seen = np.zeros(shape, np.uint8)
    seen[tuple(places.T)] = 1
    image: Any = sitk.GetImageFromArray(seen)
    image.SetSpacing([float(s) for s in reversed(spacing)])
    measure: Any = sitk.SignedMaurerDistanceMap
    found = measure(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    # Inside of a thick crowd of places the sign turns: they lie at the nearest one themselves.
    return np.maximum(np.asarray(sitk.GetArrayViewFromImage(found), np.float32), 0)


def _percentile(distances: NDArray[np.float64], areas: NDArray[np.float64], percentile: float) -> float:
    """The distance up to which a percentage of the area lies."""
    cumulated = np.cumsum(areas) / np.sum(areas)
    # Rounding must not decide whether a percentage that is met exactly is met: the unit of length would change it.
    place = int(np.searchsorted(cumulated, percentile / 100 * (1 - _SHARE_ROUNDING)))
    return float(distances[min(place, len(distances) - 1)])
