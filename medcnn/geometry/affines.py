"""Affines: 4x4 matrices that map voxel centres ``(i, j, k)`` to world millimetres.

Inside medcnn the world is RAS+ (x to the patient's right, y anterior, z superior; the signs grow in these
directions). DICOM and ITK use LPS; it is turned into RAS where a file is read, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_FLIP_XY = np.diag([-1.0, -1.0, 1.0, 1.0])
_POSITIVE = "RAS"
_NEGATIVE = "LPI"


def lps_to_ras(affine: ArrayLike) -> NDArray[np.float64]:
    """The same mapping with its world turned from LPS to RAS, or from RAS to LPS: the turn is its own inverse.

    Args:
        affine: 4x4, voxel centres to mm.

    Returns:
        4x4 float64.
    """
    return _FLIP_XY @ check_affine(affine)


def check_affine(affine: ArrayLike) -> NDArray[np.float64]:
    """The affine as 4x4 float64.

    Raises:
        ValueError: If it is not 4x4, not finite, not affine, or maps the grid onto a plane.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f"an affine is 4x4, not {'x'.join(map(str, matrix.shape))}")
    if not np.isfinite(matrix).all():
        raise ValueError("the affine holds values that are not finite")
    if not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise ValueError("the last row of an affine is 0 0 0 1")
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if (lengths == 0).any() or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-6:
        raise ValueError("the affine maps the voxel grid onto a plane")
    return matrix


def spacing_of(affine: ArrayLike, dims: int = 3) -> tuple[float, ...]:
    """Distance between neighbouring voxel centres along the first ``dims`` axes, in mm."""
    matrix = np.asarray(affine, dtype=np.float64)
    return tuple(float(v) for v in np.linalg.norm(matrix[:3, :dims], axis=0))


def apply_affine(affine: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """World coordinates ``(..., 3)`` in mm of voxel coordinates ``(..., 3)``."""
    matrix = np.asarray(affine, dtype=np.float64)
    mapped: NDArray[np.float64] = np.asarray(points, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    return mapped


def dicom_affine(
    orientation: Sequence[float], position: Sequence[float], pixel_spacing: Sequence[float], step: ArrayLike
) -> NDArray[np.float64]:
    """Affine in RAS of a DICOM image whose array axes are (column, row, slice).

    DICOM PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1, with the columns of the matrix in the order of our axes.

    Args:
        orientation: ImageOrientationPatient: direction of increasing column index, then of increasing row index (LPS).
        position: ImagePositionPatient of the first slice: centre of its first pixel (LPS, mm).
        pixel_spacing: PixelSpacing in mm: between rows first, then between columns.
        step: From one slice to the next (LPS, mm).

    Returns:
        4x4 float64.

    Raises:
        ValueError: If the result is no usable affine.
    """
    row, column = np.asarray(orientation[:3], dtype=np.float64), np.asarray(orientation[3:], dtype=np.float64)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if 0 in lengths:
        raise ValueError("a direction of the orientation is zero")
    # Directions are rounded in headers: scaled to unit length, the spacing of the affine is the header's.
    matrix = np.eye(4)
    matrix[:3, 0] = row / lengths[0] * pixel_spacing[1]
    matrix[:3, 1] = column / lengths[1] * pixel_spacing[0]
    matrix[:3, 2] = step
    matrix[:3, 3] = position
    return lps_to_ras(matrix)


def slice_normal(orientation: Sequence[float]) -> NDArray[np.float64]:
    """Unit normal of a slice, row direction x column direction, in the frame of ``orientation``.

    Raises:
        ValueError: If the two directions are not finite unit vectors at right angles (to 1e-3).
    """
    row, column = np.asarray(orientation[:3], dtype=np.float64), np.asarray(orientation[3:], dtype=np.float64)
    if row.shape != (3,) or column.shape != (3,):
        raise ValueError("an orientation has six numbers")
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    if not np.isfinite(lengths).all() or np.abs(lengths - 1).max() > 1e-3 or abs(row @ column) > 1e-3:
        raise ValueError("the two directions of the orientation are not unit vectors at right angles")
    normal = np.cross(row, column)
    return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)


def axis_order(affine: ArrayLike) -> tuple[tuple[int, int], ...]:
    """World axis (0, 1, 2) and sign that each voxel axis follows most closely, each world axis once.

    The three pairs are chosen together, so that an oblique grid at 45 degrees still gets three different axes.
    """
    matrix = check_affine(affine)[:3, :3]
    cosines = matrix / np.linalg.norm(matrix, axis=0)
    # The nearest rotation (polar decomposition) takes shear out before axes are compared.
    left, _, right = np.linalg.svd(cosines)
    weights = np.abs(left @ right)
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    best = max(orders, key=lambda order: round(float(sum(weights[w, v] for v, w in enumerate(order))), 9))
    return tuple((w, 1 if (left @ right)[w, v] >= 0 else -1) for v, w in enumerate(best))


def axis_codes(affine: ArrayLike) -> str:
    """Where each voxel axis leads to, such as ``RAS`` or ``LPS``: the direction of growing index."""
    return "".join(_POSITIVE[w] if sign > 0 else _NEGATIVE[w] for w, sign in axis_order(affine))


def parse_codes(codes: str) -> tuple[tuple[int, int], ...]:
    """World axis and sign of each of the three letters of axis codes such as ``RAS``.

    Raises:
        ValueError: If these are not three letters, one of each pair L/R, P/A and I/S.
    """
    found = []
    for letter in codes.upper():
        if letter in _POSITIVE:
            found.append((_POSITIVE.index(letter), 1))
        elif letter in _NEGATIVE:
            found.append((_NEGATIVE.index(letter), -1))
    if len(found) != len(codes) or sorted(w for w, _ in found) != [0, 1, 2]:
        raise ValueError(f"{codes!r} are no axis codes: give one letter of each pair L/R, P/A and I/S, such as RAS")
    return tuple(found)


def reorient(array: NDArray[Any], affine: ArrayLike, codes: str) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Reorder and flip the axes of a volume so that they follow ``codes``; no value is interpolated.

    Args:
        array: ``(..., X, Y, Z)``: the last three axes are spatial.
        affine: 4x4, voxel centres of ``array`` to RAS mm.
        codes: Axis codes wanted, such as ``RAS``.

    Returns:
        A view of the array, and the affine that maps the new indices to the same places.

    Raises:
        ValueError: If the codes or the affine cannot be used, or the array has fewer than three axes.
    """
    if array.ndim < 3:
        raise ValueError("only volumes can be reoriented")
    matrix = check_affine(affine)
    have, wanted = axis_order(matrix), parse_codes(codes)
    position = {w: v for v, (w, _) in enumerate(have)}
    lead = array.ndim - 3
    permutation = [position[w] for w, _ in wanted]
    moved = array.transpose(*range(lead), *(lead + p for p in permutation))
    change = np.zeros((4, 4))
    change[3, 3] = 1
    index: list[slice] = [slice(None)] * lead
    for new, (old, (_, sign)) in enumerate(zip(permutation, wanted, strict=True)):
        flip = have[old][1] != sign
        index.append(slice(None, None, -1) if flip else slice(None))
        change[old, new] = -1 if flip else 1
        change[old, 3] = array.shape[lead + old] - 1 if flip else 0
    return moved[tuple(index)], matrix @ change


def shear_degrees(affine: ArrayLike) -> float:
    """Angle between the third axis and the normal of the first two, in degrees: the tilt of a stack of slices."""
    matrix = check_affine(affine)[:3, :3]
    normal = np.cross(matrix[:, 0], matrix[:, 1])
    cosine = abs(float(normal @ matrix[:, 2])) / float(np.linalg.norm(normal) * np.linalg.norm(matrix[:, 2]))
    return float(np.degrees(np.arccos(min(1.0, cosine))))


def largest_shift(first: ArrayLike, second: ArrayLike, shape: Sequence[int]) -> float:
    """Largest distance in mm between the places that two affines give to the corners of a grid of ``shape``."""
    size = [*shape, 1, 1][:3]
    corners = np.array([[x, y, z] for x in (0, size[0] - 1) for y in (0, size[1] - 1) for z in (0, size[2] - 1)])
    return float(np.linalg.norm(apply_affine(first, corners) - apply_affine(second, corners), axis=1).max())


def plane_of(affine: ArrayLike) -> str:
    """``axial``, ``coronal`` or ``sagittal``: the plane nearest to that of the first two axes."""
    matrix = np.asarray(affine, dtype=np.float64)[:3, :3]
    normal = np.abs(np.cross(matrix[:, 0], matrix[:, 1]))
    return ("sagittal", "coronal", "axial")[int(np.argmax(normal))]


def tilt_of(affine: ArrayLike) -> tuple[float, float]:
    """How far each slice of a sheared stack is moved against the one before, in voxels of the first two axes.

    Returns:
        ``(0, 0)`` where the third axis is at right angles to the others.
    """
    matrix = check_affine(affine)[:3, :3]
    first, second, third = matrix.T
    # The part of the third axis inside the plane of the slices, as a combination of the other two.
    basis = np.stack([first, second], axis=1)
    shift, *_ = np.linalg.lstsq(basis, third, rcond=None)
    return float(shift[0]), float(shift[1])
