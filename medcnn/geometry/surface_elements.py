"""Area of the surface between the voxels of a mask, element by element.

The surface runs through the corners at which voxels meet. What lies around a corner (2 x 2 voxels in 2D, 2 x 2 x 2 in
3D, each in the mask or not) fixes the piece of surface there: it cuts the edges between an inner and an outer voxel
in their middle, as marching cubes does (Lorensen and Cline 1987). Where a face of the cube is ambiguous the pieces are
kept apart, and a piece of more than three corners is divided into the triangles of greatest area; the areas are then
those of the ``surface-distance`` package (Nikolov et al., JMIR 2021, "Clinically applicable segmentation of head and
neck anatomy"), which the tests compare for every pattern and several spacings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, ...]
Loop = list[Point]
Triangle = tuple[Point, Point, Point]

# The corners of a face, going round.
ROUND = ((0, 0), (1, 0), (1, 1), (0, 1))


def element_sizes(spacing: Sequence[float]) -> NDArray[np.float64]:
    """The size of the surface element of every pattern of voxels around a corner.

    Args:
        spacing: mm (or px) of each axis, 2 or 3 of them.

    Returns:
        ``(16,)`` lengths in mm, or ``(256,)`` areas in mm². A pattern's number has bit ``4 i + 2 j + k`` (``2 i + j``
        in 2D) set where the voxel at offset ``(i, j, k)`` is in the mask.
    """
    if len(spacing) == 2:
        x, y = spacing
        return np.array([np.hypot(vector[:, 0] * y, vector[:, 1] * x).sum() for vector in _normals_2d()])
    x, y, z = spacing
    scale = np.array([y * z, x * z, x * y])
    return np.array([np.linalg.norm(vectors * scale, axis=1).sum() for vectors in _normals_3d()])


@lru_cache(maxsize=1)
def _normals_2d() -> tuple[NDArray[np.float64], ...]:
    """For each of 16 patterns ``(n, 2)`` vectors across its line segments, as long as they are, for unit spacing."""
    found = []
    for pattern in range(16):
        inside = {offset: bool(pattern >> (2 * offset[0] + offset[1]) & 1) for offset in ROUND}
        segments = _face_segments([inside[c] for c in ROUND], [tuple(map(float, c)) for c in ROUND])
        steps = np.array([np.subtract(b, a) for a, b in segments]).reshape(-1, 2)
        found.append(np.stack([steps[:, 1], steps[:, 0]], axis=1))
    return tuple(found)


@lru_cache(maxsize=1)
def _normals_3d() -> tuple[NDArray[np.float64], ...]:
    """For each of 256 patterns ``(n, 3)`` normals of its triangles, as long as they are large, for unit spacing."""
    found = []
    for pattern in range(256):
        triangles = [triangle for loop in _loops(pattern) for triangle in _largest(tuple(loop))]
        found.append(np.array([_normal(t) for t in triangles]).reshape(-1, 3))
    return tuple(found)


def _face_segments(
    inside: Sequence[bool], corners: Sequence[Point], *, around: bool = True
) -> list[tuple[Point, Point]]:
    """Segments in one face, between middles of its edges; ``around`` says which corners an ambiguous one cuts off."""
    middle = [tuple((np.asarray(corners[i]) + np.asarray(corners[(i + 1) % 4])) / 2) for i in range(4)]
    crossed = [i for i in range(4) if inside[i] != inside[(i + 1) % 4]]
    if len(crossed) == 2:
        return [(middle[crossed[0]], middle[crossed[1]])]
    if len(crossed) == 4:
        return [(middle[(i - 1) % 4], middle[i]) for i in range(4) if inside[i] == around]
    return []


def _loops(pattern: int) -> list[Loop]:
    """The polygons of the surface in a cube: of the two ways to join ambiguous faces the one with more pieces."""
    both = [_join(list(_cube_segments(pattern, around))) for around in (True, False)]
    return max(both, key=len)


def _cube_segments(pattern: int, around: bool) -> Iterator[tuple[Point, Point]]:
    inside = {
        offset: bool(pattern >> (4 * offset[0] + 2 * offset[1] + offset[2]) & 1) for offset in product((0, 1), repeat=3)
    }
    for axis, side in product(range(3), (0, 1)):
        corners = [(*pair[:axis], side, *pair[axis:]) for pair in ROUND]
        yield from _face_segments([inside[c] for c in corners], [tuple(map(float, c)) for c in corners], around=around)


def _join(segments: list[tuple[Point, Point]]) -> list[Loop]:
    """Polygons from segments of which two meet in every point."""
    neighbours: dict[Point, list[Point]] = {}
    for a, b in segments:
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    loops: list[Loop] = []
    while neighbours:
        point = next(iter(neighbours))
        loop: Loop = []
        while point in neighbours:
            loop.append(point)
            ahead = neighbours.pop(point)
            point = next((p for p in ahead if p in neighbours), point)
        loops.append(loop)
    return loops


def _largest(loop: tuple[Point, ...]) -> tuple[Triangle, ...]:
    """The division of a polygon into triangles whose area is greatest."""
    return max(_divisions(loop), key=lambda triangles: sum(float(np.linalg.norm(_normal(t))) for t in triangles))


def _divisions(loop: tuple[Point, ...]) -> Iterator[tuple[Triangle, ...]]:
    if len(loop) < 3:
        yield ()
        return
    for apex in range(1, len(loop) - 1):
        triangle = (loop[0], loop[apex], loop[-1])
        for before in _divisions(loop[: apex + 1]):
            for after in _divisions(loop[apex:]):
                yield (triangle, *before, *after)


def _normal(triangle: Triangle) -> NDArray[np.float64]:
    a, b, c = (np.asarray(p, np.float64) for p in triangle)
    return np.asarray(np.cross(b - a, c - a) / 2, np.float64)
