"""Connected components of masks, and their one-to-one matching."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

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
    sizes = np.bincount(labels[box][mask[box]], minlength=count + 1)[1:]
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
    rows, columns, overlap = _overlapping(reference, predicted)
    kept = overlap >= least
    rows, columns, overlap = rows[kept], columns[kept], overlap[kept]
    alone, groups = _groups(rows, columns, (reference.count, predicted.count))
    pairs, values = [np.stack([rows[alone], columns[alone]], axis=1)], [overlap[alone]]
    for group in groups:
        own_rows, i = np.unique(rows[group], return_inverse=True)
        own_columns, j = np.unique(columns[group], return_inverse=True)
        table = np.zeros((len(own_rows), len(own_columns)))
        table[i, j] = overlap[group]
        # A pair is worth more than all overlaps together, so that their number decides first.
        worth = np.where(table > 0, table + min(table.shape) + 1, 0.0)
        first, second = linear_sum_assignment(worth, maximize=True)
        found = table[first, second] > 0
        pairs.append(np.stack([own_rows[first[found]], own_columns[second[found]]], axis=1))
        values.append(table[first[found], second[found]])
    joined = np.concatenate(pairs)
    order = np.argsort(joined[:, 0], kind="stable")
    return Matches(joined[order], np.concatenate(values)[order])


def component_overlap(reference: Components, predicted: Components) -> NDArray[np.float64]:
    """``(R, P)`` intersection over union of each pair of components."""
    rows, columns, overlap = _overlapping(reference, predicted)
    table = np.zeros((reference.count, predicted.count))
    table[rows, columns] = overlap
    return table


def _overlapping(
    reference: Components, predicted: Components
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Positions of the pairs that share a voxel, and their intersection over union."""
    both = (reference.labels > 0) & (predicted.labels > 0)
    codes = (reference.labels[both] - 1).astype(np.int64) * predicted.count + predicted.labels[both] - 1
    shared, common = np.unique(codes, return_counts=True)
    rows, columns = np.divmod(shared, max(predicted.count, 1))
    union = reference.sizes[rows] + predicted.sizes[columns] - common
    return rows, columns, np.asarray(common / union, np.float64)


def _groups(
    rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]
) -> tuple[NDArray[np.intp], list[NDArray[np.intp]]]:
    """Pairs whose components meet no other, and the others in groups that share no component with each other."""
    if not len(rows):
        return np.zeros(0, np.intp), []
    size = sum(shape)
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns + shape[0])), shape=(size, size))
    group = connected_components(graph, directed=False)[1][rows]
    several = np.bincount(group)[group] > 1
    rest = np.flatnonzero(several)
    rest = rest[np.argsort(group[rest], kind="stable")]
    divided = np.split(rest, np.flatnonzero(np.diff(group[rest])) + 1) if len(rest) else []
    return np.flatnonzero(~several), divided
