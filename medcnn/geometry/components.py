"""Connected components of masks, and their one-to-one matching."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from medcnn.geometry.surface import occupied


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """The connected components of one mask.

    Attributes:
        labels: ``(X, Y[, Z])`` int32, 0 outside, 1 to ``count`` inside.
        sizes: ``(count,)`` voxels of each.
        corners: ``(count, 2*D)`` float32 boxes, ``x1, y1[, z1], x2, y2[, z2]``; voxel i covers [i, i+1).
    """

    labels: NDArray[np.int32]
    sizes: NDArray[np.int64]
    corners: NDArray[np.float32]

    @property
    def count(self) -> int:
        """Number of components."""
        return len(self.sizes)


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Which predicted component stands for which reference component.

    Attributes:
        pairs: ``(K, 2)`` positions (reference, prediction) from 0, each used once at most.
        overlap: ``(K,)`` intersection over union of each pair.
    """

    pairs: NDArray[np.int64]
    overlap: NDArray[np.float64]


def components(mask: NDArray[np.bool_], *, diagonal: bool = True) -> Components:
    """Find the connected components of ``(X, Y[, Z])``.

    Args:
        mask: True inside.
        diagonal: Voxels that share a corner are connected (8 neighbours in 2D, 26 in 3D); otherwise they have to
            share a face (4 and 6).
    """
    labels = np.zeros(mask.shape, np.int32)
    box = occupied(mask)
    if box is None:
        return Components(labels, np.zeros(0, np.int64), np.zeros((0, 2 * mask.ndim), np.float32))
    structure = ndimage.generate_binary_structure(mask.ndim, mask.ndim if diagonal else 1)
    count = ndimage.label(mask[box], structure, output=labels[box])
    sizes = np.bincount(labels[box].ravel(), minlength=count + 1)[1:]
    shift = np.array([s.start for s in box] * 2, np.float32)
    found = ndimage.find_objects(labels[box])
    corners = np.array([[s.start for s in one] + [s.stop for s in one] for one in found], np.float32)
    return Components(labels, sizes.astype(np.int64), corners.reshape(-1, 2 * mask.ndim) + shift)


def largest(mask: NDArray[np.bool_], *, diagonal: bool = True) -> NDArray[np.bool_]:
    """The mask with its largest component alone (the first found among equals)."""
    found = components(mask, diagonal=diagonal)
    if found.count < 2:
        return mask.copy()
    return np.asarray(found.labels == 1 + int(np.argmax(found.sizes)))


def without_small(mask: NDArray[np.bool_], least: int, *, diagonal: bool = True) -> NDArray[np.bool_]:
    """The mask without components of fewer than ``least`` voxels."""
    found = components(mask, diagonal=diagonal)
    keep = np.concatenate([[False], found.sizes >= least])
    return np.asarray(keep[found.labels])


def without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask with all that it encloses (in 3D: from all sides)."""
    return np.asarray(ndimage.binary_fill_holes(mask))


def match_components(reference: Components, predicted: Components, *, least: float = 0.1) -> Matches:
    """Match components one to one where their intersection over union is at least ``least``.

    As many pairs as possible are made; among these, those with the greatest sum of overlaps.

    Args:
        reference: Components of the reference mask.
        predicted: Components of the predicted mask, in the same grid.
        least: In (0, 1].
    """
    overlap = component_overlap(reference, predicted)
    allowed = overlap >= least
    # A pair is worth more than all overlaps together, so that their number decides first.
    worth = np.where(allowed, overlap + min(overlap.shape) + 1, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    kept = allowed[rows, columns]
    pairs = np.stack([rows[kept], columns[kept]], axis=1).astype(np.int64)
    return Matches(pairs, overlap[pairs[:, 0], pairs[:, 1]])


def component_overlap(reference: Components, predicted: Components) -> NDArray[np.float64]:
    """``(R, P)`` intersection over union of each pair of components."""
    shape = (reference.count, predicted.count)
    both = (reference.labels > 0) & (predicted.labels > 0)
    pairs = (reference.labels[both] - 1).astype(np.int64) * shape[1] + predicted.labels[both] - 1
    common = np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)
    union = reference.sizes[:, None] + predicted.sizes[None, :] - common
    return np.asarray(common / union, np.float64)
