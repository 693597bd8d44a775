"""One lung within its field of view: chest wall, ribs, heart, diaphragm, vessels, and what is taken for nodules.

Coordinates are in mm about the middle of the field: x to the patient's left, y to the back, z to the head. The drawing
is that of a left lung, whose chest wall lies on the side of larger x; a right one is its mirror image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from medcnn.data.phantom.body import FAT, HEART, LUNG, MUSCLE, bone, generator, path, solid
from medcnn.data.phantom.shapes import Array, Box, Distance, Point, Shape, ellipsoid, loft, tube

# Half the field of view in mm, along each axis.
REACH = 50.0
AIR = -865.0
# The grid on which depths are looked up: half its side and its step in mm.
_FAR, _GRID = 60.0, 2.0
# Tips of the tree are thinner than this radius in mm.
_THINNEST = 0.75
Vector = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Vessel:
    """A piece of a vessel, from one end to the other."""

    start: Point
    end: Point
    radius: float
    radius_end: float


@dataclass(slots=True)
class LungField:
    """The anatomy of one patient, the same in all scans of that patient.

    Args:
        key: Seeds everything.

    Attributes:
        wall: Inner face of the chest wall: signed distance in mm, negative inside, and the box around it.
        vessels: The arteries and veins, from the hilum to their tips.
    """

    key: str
    wall: tuple[Distance, Box] = field(init=False)
    vessels: tuple[Vessel, ...] = field(init=False)
    _knots: tuple[tuple[float, ...], ...] = field(init=False)
    _inner: tuple[tuple[Distance, Box], ...] = field(init=False)
    _coarse: Array = field(init=False)

    def __post_init__(self) -> None:
        rng = generator(self.key, "field")
        middle, width, depth = rng.normal(-62, 3), rng.normal(101, 3), rng.normal(80, 4)
        taper = rng.uniform(0.0, 0.14)
        self._knots = tuple(
            (z, middle, rng.normal(0, 1.0), width * (1 - taper * (z + 70) / 140), depth * (1 - taper * (z + 70) / 140))
            for z in (-70.0, -20.0, 30.0, 70.0)
        )
        self.wall = loft(self._knots, square=0.15)
        heart = ellipsoid(
            (rng.normal(-58, 3), rng.normal(-22, 5), rng.normal(-24, 6)), (36, 32, 34), turn=-30, pitch=15
        )
        middle_line = loft([(-80, -62, 8, 24, 60), (0, -60, 6, 24, 60), (80, -62, 4, 22, 55)])
        aorta = loft([(-80, -44, 30, 12, 12), (10, -42, 28, 12.5, 12.5), (80, -46, 22, 12, 12)])
        top = rng.uniform(-66, -28)
        dome = ellipsoid((rng.normal(-6, 5), rng.normal(0, 5), top - 60), (66, 78, 60))
        self._inner = (heart, middle_line, aorta, dome)
        line = np.arange(-_FAR, _FAR + _GRID, _GRID, dtype=np.float32)
        z, y, x = np.meshgrid(line, line, line, indexing="ij")
        self._coarse = self.depth(x, y, z[:, :, :1])
        self.vessels = tuple(_tree(self, generator(self.key, "tree")))

    def depth(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance in mm to the lung's surface, negative in the lung."""
        found = self.wall[0](x, y, z)
        for distance, _ in self._inner:
            found = np.maximum(found, -distance(x, y, z))
        return found

    def depth_at(self, point: Point) -> float:
        """The same at one point, to about a millimetre: it is read off a grid."""
        i, j, k = (round(min(max(v + _FAR, 0.0), 2 * _FAR) / _GRID) for v in point)
        return float(self._coarse[k, j, i])

    def inside(self, distance: Distance, x: Array, y: Array, z: Array) -> Array:
        """The part of a solid that lies in the lung."""
        found: Array = np.maximum(distance(x, y, z), self.depth(x, y, z))
        return found

    def clipped(self, found: tuple[Distance, Box]) -> tuple[Distance, Box]:
        """A solid without what lies outside the lung."""
        distance, box = found
        return (lambda x, y, z: self.inside(distance, x, y, z)), box

    def shell(self, grow: float) -> tuple[Distance, Box]:
        """The chest wall's inner face moved outwards, in mm."""
        return loft(self._knots, square=0.15, grow=grow)

    def section(self, height: float) -> tuple[float, float, float, float]:
        """Middle and half axes of the chest wall's inner face at some height."""
        heights, *columns = zip(*self._knots, strict=True)
        cx, cy, a, b = (float(np.interp(height, heights, column)) for column in columns)
        return cx, cy, a, b

    def behind(self, rng: np.random.Generator, height: float, offset: float) -> Point:
        """A point on the chest wall at some height, moved outwards by ``offset`` mm."""
        cx, cy, a, b = self.section(height)
        angle = rng.uniform(-0.75, 0.75)
        return cx + (a + offset) * float(np.cos(angle)), cy + (b + offset) * float(np.sin(angle)), height


def draw_field(lung: LungField, blood: float) -> Iterator[Shape]:
    """What is healthy, in the order of painting.

    Args:
        lung: The anatomy.
        blood: HU of the blood, with or without contrast medium.
    """
    rng = generator(lung.key, "tissue")
    yield solid(lung.shell(float(rng.uniform(18, 34))), 20)
    yield solid(lung.shell(float(rng.uniform(14, 17))), FAT, mottle=10.0)
    yield solid(lung.shell(12), MUSCLE, mottle=10.0)
    yield solid(lung.wall, 35)
    heart, middle, aorta, dome = lung._inner
    yield solid(middle, FAT + 60, mottle=20.0)
    yield solid(heart, 45, HEART)
    yield solid(aorta, blood)
    yield solid(dome, 55 + 0.3 * (blood - 40), mottle=8.0)
    yield solid((lung.depth, lung.wall[1]), AIR + float(rng.normal(0, 18)), LUNG, mottle=32.0)
    yield from _ribs(lung, rng)
    for piece in lung.vessels:
        yield from path([piece.start, piece.end], [piece.radius, piece.radius_end], blood)


def _ribs(lung: LungField, rng: np.random.Generator) -> Iterator[Shape]:
    gap, first = rng.uniform(21, 26), rng.uniform(-95, -75)
    for k in range(9):
        points: list[Point] = []
        for angle in np.linspace(-1.25, 1.25, 12):
            # A rib falls from the back to the front.
            z = float(first + gap * k + 26 * angle)
            cx, cy, a, b = lung.section(z)
            points.append((cx + (a + 6.5) * float(np.cos(angle)), cy + (b + 6.5) * float(np.sin(angle)), z))
        for found in tube(points, [4.8] * len(points)):
            yield bone(found, 620, 250, 1.8)


def _turned(rng: np.random.Generator, axis: Vector, degrees: float) -> Vector:
    """A direction at an angle from another, on a random side."""
    across = np.cross(axis, rng.standard_normal(3))
    across /= np.linalg.norm(across)
    found: Vector = np.cos(np.radians(degrees)) * axis + np.sin(np.radians(degrees)) * across
    return found


def _point(place: Vector) -> Point:
    x, y, z = (float(v) for v in place)
    return x, y, z


def _tree(lung: LungField, rng: np.random.Generator) -> Iterator[Vessel]:
    """Vessels that divide (Murray's law: cubes of the radii add up) until they are thin, or reach the edge."""
    hilum = np.array([-36.0, 6.0, rng.uniform(2, 14)])
    open_: list[tuple[Vector, Vector, float]] = []
    for _ in range(int(rng.integers(8, 11))):
        aim = np.array([rng.uniform(-5, 42), rng.uniform(-44, 44), rng.uniform(-55, 55)]) - hilum
        place = hilum + rng.normal(0, 5, 3) * (0.3, 1, 1)
        open_.append((place, aim / np.linalg.norm(aim), float(rng.uniform(2.4, 4.4))))
    while open_:
        place, axis, radius = open_.pop()
        length = float(rng.uniform(4.5, 8.0) * (1 + radius))
        after = radius * 0.93
        for share in (1.0, 2.0, 3.0):
            axis = _turned(rng, axis, abs(rng.normal(0, 9)))
            end = place + axis * length / 3
            if lung.depth_at(_point(end)) > -2.0 and end[0] > -25:
                break
            thick = [radius + (after - radius) * s / 3 for s in (share - 1, share)]
            yield Vessel(_point(place), _point(end), *thick)
            place = end
        else:
            part = float(rng.uniform(0.35, 0.65))
            for portion, angle in ((part, 22 + 45 * (1 - part)), (1 - part, 22 + 45 * part)):
                thin = after * portion ** (1 / 3)
                if thin > _THINNEST:
                    open_.append((place, _turned(rng, axis, angle * rng.uniform(0.6, 1.2)), thin))
