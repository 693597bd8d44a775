"""Parametric solids and the canvas that paints them in order, with soft edges, onto a grid of sample points.

Coordinates are those of a reference adult in mm: x to the patient's left, y to the back, z to the head
(DICOM's LPS), with z = 0 between the last thoracic and the first lumbar vertebra.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Distance = Callable[[Array, Array, Array], Array]
Box = tuple[float, float, float, float, float, float]
Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Shape:
    """One solid with what fills it.

    Attributes:
        distance: Signed distance in mm (negative inside) at ``x, y`` ``(K, J, I)`` and ``z`` ``(K, J, 1)``.
        box: ``x1, x2, y1, y2, z1, z2`` that encloses it, in mm.
        hu: Its Hounsfield units.
        label: Value in the organ mask; ``None`` leaves what was there.
        core: HU further inside than ``wall``; ``None`` for a homogeneous solid.
        wall: Thickness of the outer layer in mm.
        mottle: Amplitude in HU of the coarse texture inside.
        layer: Name under which the covered fraction is kept (lesions, metal); empty for none.
    """

    distance: Distance
    box: Box
    hu: float
    label: int | None = 0
    core: float | None = None
    wall: float = 0.0
    mottle: float = 0.0
    layer: str = ""


class Profile:
    """Values along z, interpolated on a grid of 1 mm.

    Args:
        knots: Rows ``(z, value, value, ...)`` with rising z.
    """

    def __init__(self, knots: Sequence[Sequence[float]]) -> None:
        table = np.asarray(knots, dtype=float)
        self.low, self.high = float(table[0, 0]), float(table[-1, 0])
        z = np.arange(self.low, self.high + 1.0)
        self.table = np.stack([np.interp(z, table[:, 0], column) for column in table[:, 1:].T]).astype(np.float32)

    def __call__(self, z: Array) -> list[Array]:
        """The columns at ``z``; beyond the ends the last values stay."""
        rows = np.clip(np.rint(z - self.low), 0, self.table.shape[1] - 1).astype(np.intp)
        return [column[rows] for column in self.table]

    def at(self, z: float) -> list[float]:
        """The columns at one ``z``."""
        return [float(column[0]) for column in self(np.array([z], np.float32))]


def ellipsoid(center: Point, radii: Point, *, turn: float = 0.0, pitch: float = 0.0) -> tuple[Distance, Box]:
    """An ellipsoid turned by ``turn`` degrees about z after ``pitch`` degrees about x."""
    c, s = np.cos(np.radians(turn)).astype(np.float32), np.sin(np.radians(turn)).astype(np.float32)
    cp, sp = np.cos(np.radians(pitch)).astype(np.float32), np.sin(np.radians(pitch)).astype(np.float32)
    cx, cy, cz = (np.float32(v) for v in center)
    rx, ry, rz = (np.float32(v) for v in radii)
    smallest, largest = np.float32(min(radii)), np.float32(max(radii))

    def distance(x: Array, y: Array, z: Array) -> Array:
        dx, dy, dz = x - cx, y - cy, z - cz
        u, v = (c * dx + s * dy) if turn else dx, (c * dy - s * dx) if turn else dy
        v, w = ((cp * v + sp * dz), (cp * dz - sp * v)) if pitch else (v, dz)
        u, v, w = np.square(u * (1 / rx)), np.square(v * (1 / ry)), np.square(w * (1 / rz))
        near = np.sqrt(u + v + w)
        u *= 1 / (rx * rx)
        v *= 1 / (ry * ry)
        slope: Array = u + v
        slope += w * (1 / (rz * rz))
        np.sqrt(slope, out=slope)
        # First-order distance to the surface; near the centre, where it has no slope, the smallest radius.
        np.maximum(slope, near * (1 / largest), out=slope)
        found: Array = near * (near - 1) / np.maximum(slope, np.float32(1e-6))
        return np.where(near < np.float32(0.02), -smallest, found)

    ax, ay, az = radii
    if turn:
        ax = ay = max(ax, ay)
    if pitch:
        ay = az = max(ay, az)
    x, y, z = center
    return distance, (x - ax, x + ax, y - ay, y + ay, z - az, z + az)


def capsule(start: Point, end: Point, radius: float, radius_end: float | None = None) -> tuple[Distance, Box]:
    """A rounded segment whose radius runs from ``radius`` to ``radius_end``."""
    a, b = np.asarray(start, np.float32), np.asarray(end, np.float32)
    axis = b - a
    steps = axis / np.float32(max(float(axis @ axis), 1e-6))
    r0, r1 = np.float32(radius), np.float32(radius if radius_end is None else radius_end)

    def distance(x: Array, y: Array, z: Array) -> Array:
        dx, dy, dz = x - a[0], y - a[1], z - a[2]
        t = dx * steps[0] + (dy * steps[1] + dz * steps[2])
        t = np.minimum(np.maximum(t, np.float32(0)), np.float32(1))
        gap = np.square(dx - t * axis[0])
        gap += np.square(dy - t * axis[1])
        gap += np.square(dz - t * axis[2])
        found: Array = np.sqrt(gap, out=gap)
        found -= r0 if r0 == r1 else r0 + t * (r1 - r0)
        return found

    r = max(float(r0), float(r1))
    (x1, x2), (y1, y2), (z1, z2) = ((min(s, e) - r, max(s, e) + r) for s, e in zip(start, end, strict=True))
    return distance, (x1, x2, y1, y2, z1, z2)


def tube(points: Sequence[Point], radii: Sequence[float]) -> list[tuple[Distance, Box]]:
    """Capsules along a polyline, one a segment, so that each is painted within its own small box."""
    return [capsule(p, q, r, s) for p, q, r, s in zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True)]


def loft(knots: Sequence[Sequence[float]], *, square: float = 0.0, grow: float = 0.0) -> tuple[Distance, Box]:
    """A solid whose cross-section at each z is an ellipse, squared a little.

    Args:
        knots: Rows ``(z, center x, center y, half width, half depth)`` with rising z.
        square: 0 is an ellipse, towards 1 a rectangle with round corners (the squircle of Fernández-Guasti).
        grow: Added to both half axes, in mm.
    """
    profile = Profile(knots)
    table = np.asarray(knots, float)
    q, g = np.float32(square), np.float32(grow)

    def distance(x: Array, y: Array, z: Array) -> Array:
        cx, cy, a, b = profile(z)
        a, b = np.maximum(a + g, np.float32(0.5)), np.maximum(b + g, np.float32(0.5))
        u, v = (x - cx) * (1 / a), (y - cy) * (1 / b)
        np.square(u, out=u)
        np.square(v, out=v)
        near: Array = u + v
        if square:
            # Beyond the square the squircle turns back; there the larger coordinate decides.
            larger = np.maximum(u, v)
            u *= v
            u *= q
            near -= u
            np.maximum(near, larger, out=near)
        np.sqrt(near, out=near)
        near -= np.float32(1)
        near *= np.minimum(a, b)
        found: Array = np.maximum(near, np.maximum(profile.low - z, z - profile.high), out=near)
        return found

    wide, deep = table[:, 3].max() + grow, table[:, 4].max() + grow
    x, y = table[:, 1], table[:, 2]
    return distance, (
        x.min() - wide, x.max() + wide, y.min() - deep, y.max() + deep, profile.low, profile.high,
    )  # fmt: skip


def plate(knots: Sequence[Sequence[float]]) -> tuple[Distance, Box]:
    """A bent plate: at each z a rounded segment in the plane.

    Args:
        knots: Rows ``(z, x1, y1, x2, y2, half thickness)`` with rising z.
    """
    profile = Profile(knots)
    table = np.asarray(knots, float)

    def distance(x: Array, y: Array, z: Array) -> Array:
        x1, y1, x2, y2, r = profile(z)
        ax, ay = x2 - x1, y2 - y1
        dx, dy = x - x1, y - y1
        t = np.clip((dx * ax + dy * ay) / np.maximum(ax * ax + ay * ay, np.float32(1e-6)), 0, 1)
        side = np.sqrt((dx - t * ax) ** 2 + (dy - t * ay) ** 2) - r
        found: Array = np.maximum(side, np.maximum(profile.low - z, z - profile.high))
        return found

    xs, ys, r = table[:, [1, 3]], table[:, [2, 4]], table[:, 5].max()
    return distance, (xs.min() - r, xs.max() + r, ys.min() - r, ys.max() + r, profile.low, profile.high)


def depths(distance: Distance, points: Sequence[Point]) -> Array:
    """Signed distances of single points, ``(N,)``."""
    x, y, z = np.asarray(points, np.float32).T[:, :, None, None]
    found: Array = distance(x, y, z).ravel()
    return found


class Canvas:
    """Hounsfield units, organ labels and covered fractions at the sample points of a grid.

    Args:
        x: Reference coordinates ``(K, J, I)`` in mm.
        y: The same for y.
        z: ``(K, J, 1)``; it does not depend on the column.
        edge: Width in mm over which a surface blurs (the in-plane partial volume).
    """

    def __init__(self, x: Array, y: Array, z: Array, edge: float) -> None:
        self.x, self.y, self.z, self.edge = x, y, z, np.float32(edge)
        self.hu = np.full(x.shape, -1000, np.float32)
        self.labels = np.zeros(x.shape, np.uint8)
        self.layers: dict[str, Array] = {}
        self.texture: Array | None = None
        self._slab = np.stack([z.min(axis=(1, 2)), z.max(axis=(1, 2))])
        self._rows = np.stack([y.min(axis=(0, 2)), y.max(axis=(0, 2))])
        self._columns = np.stack([x.min(axis=(0, 1)), x.max(axis=(0, 1))])
        ends = (self._columns, self._rows, self._slab)
        x1, x2, y1, y2, z1, z2 = (float(v) for low, high in ends for v in (low.min() - edge, high.max() + edge))
        self.limits: Box = (x1, x2, y1, y2, z1, z2)

    def block(self, box: Box) -> tuple[slice, slice, slice] | None:
        """The part of the grid that a box may touch; ``None`` where it lies outside."""
        found = []
        for k, ends in ((4, self._slab), (2, self._rows), (0, self._columns)):
            low, high = box[k], box[k + 1]
            if high < self.limits[k] or low > self.limits[k + 1]:
                return None
            hit = np.flatnonzero((ends[1] >= low - self.edge) & (ends[0] <= high + self.edge))
            if not hit.size:
                return None
            found.append(slice(int(hit[0]), int(hit[-1]) + 1))
        return found[0], found[1], found[2]

    def _cover(self, depth: Array) -> Array:
        """Fraction of a sample that a surface at this signed distance leaves inside."""
        found = depth * (np.float32(-1) / self.edge)
        found += np.float32(0.5)
        np.maximum(found, np.float32(0), out=found)
        np.minimum(found, np.float32(1), out=found)
        return found

    def paint(self, shape: Shape) -> None:
        """Cover what was there, as far as the shape reaches."""
        part = self.block(shape.box)
        if part is None:
            return
        depth = shape.distance(self.x[part], self.y[part], self.z[part[0], part[1]])
        cover = self._cover(depth)
        value: Array | np.float32 = np.float32(shape.hu)
        if shape.core is not None:
            inside = self._cover(depth + np.float32(shape.wall))
            value = shape.hu + inside * np.float32(shape.core - shape.hu)
        if shape.mottle and self.texture is not None:
            value = value + np.float32(shape.mottle) * self.texture[part]
        here = self.hu[part]
        here += cover * (value - here)
        if shape.label is not None:
            np.copyto(self.labels[part], np.uint8(shape.label), where=cover > 0.5)
        if shape.layer:
            layer = self.layers.setdefault(shape.layer, np.zeros(self.hu.shape, np.float32))
            layer[part] = np.maximum(layer[part], cover)
