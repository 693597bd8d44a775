"""Nodules of the lung, and what distracts from them: granulomas, spurs, plaques, scars, cysts, knots of vessels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from medcnn.data.phantom.body import bone, generator, path, smooth, solid
from medcnn.data.phantom.lung_field import REACH, LungField
from medcnn.data.phantom.shapes import Array, Box, Distance, Point, Shape, ellipsoid

Kind = Literal["solid", "vessel", "pleura", "subsolid"]
# How often each kind comes.
KINDS: tuple[tuple[Kind, float], ...] = (("solid", 0.28), ("vessel", 0.26), ("pleura", 0.24), ("subsolid", 0.22))
SMALLEST, LARGEST = 6.5, 14.0
_MOST = 4


@dataclass(frozen=True, slots=True)
class Nodule:
    """One nodule.

    Attributes:
        kind: ``solid`` (free in the lung), ``vessel`` (solid, beside a vessel), ``pleura`` (solid, on the pleura),
            ``subsolid``.
        center: Middle of its largest part, in mm.
        radii: Half axes of that part in mm.
        turn: Rotation about z in degrees.
        hu: Its Hounsfield units.
        lobes: Smaller balls on its surface: middle and radius in mm.
    """

    kind: Kind
    center: Point
    radii: Point
    turn: float
    hu: float
    lobes: tuple[tuple[Point, float], ...] = ()

    def grown(self, factor: float) -> Nodule:
        """The same, larger."""
        x, y, z = (r * factor for r in self.radii)
        lobes = tuple(
            (_moved(self.center, np.subtract(place, self.center) * factor), radius * factor)
            for place, radius in self.lobes
        )
        return replace(self, radii=(x, y, z), lobes=lobes)


def _moved(point: Point, by: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]]) -> Point:
    x, y, z = (float(a + b) for a, b in zip(point, by, strict=True))
    return x, y, z


def draw_nodules(lung: LungField) -> tuple[Nodule, ...]:
    """One to four nodules that do not touch each other."""
    rng = generator(lung.key, "nodules")
    wanted = int(rng.choice(_MOST, p=(0.35, 0.35, 0.2, 0.1))) + 1
    found: list[Nodule] = []
    for _ in range(200):
        if len(found) == wanted:
            break
        kind = KINDS[int(rng.choice(len(KINDS), p=[share for _, share in KINDS]))][0]
        one = _draw(lung, rng, kind)
        if one is not None and all(_apart(one.center, max(one.radii), n.center, max(n.radii), 10) for n in found):
            found.append(one)
    return tuple(found)


def _apart(one: Point, reach: float, other: Point, other_reach: float, gap: float) -> bool:
    return bool(np.linalg.norm(np.subtract(one, other)) > 1.4 * (reach + other_reach) + gap)


def _draw(lung: LungField, rng: np.random.Generator, kind: Kind) -> Nodule | None:
    size = float(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST)))) / 2
    if kind == "subsolid":
        # What is faint and small can hardly be told from noise.
        size = max(size, 4.0)
    rx, ry, rz = (float(size * v) for v in rng.uniform(0.8, 1.25, 3))
    center = _place(lung, rng, kind, size)
    if center is None or max(abs(v) for v in center) > REACH - 1.5 * size - 2:
        return None
    hu = float(rng.uniform(-600, -360)) if kind == "subsolid" else float(rng.uniform(0, 70))
    lobes = []
    for _ in range(int(rng.integers(0, 4))):
        axis = rng.standard_normal(3)
        axis *= 0.62 * size / np.linalg.norm(axis)
        lobes.append((_moved(center, axis), float(size * rng.uniform(0.42, 0.6))))
    return Nodule(kind, center, (rx, ry, rz), float(rng.uniform(-90, 90)), hu, tuple(lobes))


def _place(lung: LungField, rng: np.random.Generator, kind: Kind, size: float) -> Point | None:
    if kind == "vessel":
        # Much wider than the vessel: what is hardly wider is a knot of the vessel itself.
        most = size / 2.2
        thin = [v for v in lung.vessels if 0.8 < v.radius_end < most and lung.depth_at(v.end) < -size - 3]
        if not thin:
            return None
        beside = rng.standard_normal(3)
        return _moved(thin[int(rng.integers(len(thin)))].end, beside * 0.7 * size / np.linalg.norm(beside))
    if kind == "pleura":
        return lung.behind(rng, float(rng.uniform(-42, 42)), -float(size * rng.uniform(0.25, 0.75)))
    for _ in range(50):
        x, y, z = (float(v) for v in rng.uniform(-44, 44, 3))
        if lung.depth_at((x, y, z)) < -size - 2:
            return x, y, z
    return None


def nodule_shapes(lung: LungField, nodules: Sequence[Nodule]) -> Iterator[Shape]:
    """The nodules; each keeps the fraction that it covers in a layer of its own, ``nodule-<k>``."""
    for k, nodule in enumerate(nodules):
        found = lung.clipped(_outline(nodule))
        yield solid(found, nodule.hu, mottle=60.0 if nodule.kind == "subsolid" else 10.0, layer=f"nodule-{k}")


def _outline(nodule: Nodule) -> tuple[Distance, Box]:
    """The largest part with its lobes."""
    parts = [ellipsoid(nodule.center, nodule.radii, turn=nodule.turn)]
    parts += [ellipsoid(place, (radius, radius, radius)) for place, radius in nodule.lobes]

    def distance(x: Array, y: Array, z: Array) -> Array:
        found = parts[0][0](x, y, z)
        for part, _ in parts[1:]:
            found = np.minimum(found, part(x, y, z))
        return found

    low, high = (np.array([box[k::2] for _, box in parts]) for k in (0, 1))
    (x1, y1, z1), (x2, y2, z2) = low.min(0).tolist(), high.max(0).tolist()
    return distance, (x1, x2, y1, y2, z1, z2)


def draw_distractors(lung: LungField, nodules: Sequence[Nodule], blood: float) -> Iterator[Shape]:
    """What a patient has beside nodules, away from them; as much in patients without nodules as in those with them.

    Args:
        lung: The anatomy.
        nodules: The patient's nodules.
        blood: HU of the blood.
    """
    rng = generator(lung.key, "distractors")

    def free(place: Point, reach: float) -> bool:
        return all(_apart(place, reach, n.center, max(n.radii), 3) for n in nodules)

    for place, found in _spots(lung, rng, blood):
        if free(place, 4.0):
            yield from found


def _spots(lung: LungField, rng: np.random.Generator, blood: float) -> Iterator[tuple[Point, list[Shape]]]:
    """Each distractor with a point of it."""
    for _ in range(int(rng.integers(3, 8))):
        # Small ones, dense or not so dense, and dense ones as large as small nodules.
        small = bool(rng.random() < 0.6)
        radius = float(rng.uniform(1.3, 2.1) if small else rng.uniform(2.1, 3.2))
        hu = float(np.exp(rng.uniform(np.log(250 if small else 550), np.log(1300))))
        place = _place(lung, rng, "solid", radius)
        if place is not None:
            yield place, [solid(ellipsoid(place, (radius, radius, radius)), hu)]
    for _ in range(int(rng.integers(1, 5))):
        place = lung.behind(rng, float(rng.uniform(-45, 45)), float(rng.uniform(0.5, 2.5)))
        x, y, z = (float(v) for v in rng.uniform(2.5, 5.0, 3))
        yield place, [bone(ellipsoid(place, (x, y, z)), float(rng.uniform(350, 800)), 250, 1.5)]
    for _ in range(int(rng.integers(1, 4))):
        yield _plaque(lung, rng)
    for _ in range(int(rng.integers(1, 4))):
        yield from _strand(lung, rng, float(rng.uniform(1.2, 2.6)), float(rng.uniform(0, 60)))
    for _ in range(int(rng.integers(2, 7))):
        yield from _strand(lung, rng, float(rng.uniform(1.6, 3.2)), blood, bend=14.0)
    for make, most in ((_cyst, 3), (_buds, 3), (_plug, 5)):
        for _ in range(int(rng.integers(1, most + 1))):
            yield from make(lung, rng)
    yield from _knots(lung, rng, blood)


def _plaque(lung: LungField, rng: np.random.Generator) -> tuple[Point, list[Shape]]:
    """A flat thickening of the pleura, calcified or not."""
    place = lung.behind(rng, float(rng.uniform(-45, 45)), 0.0)
    hu = float(rng.uniform(20, 70)) if rng.random() < 0.6 else float(rng.uniform(200, 500))
    angle = float(np.degrees(np.arctan2(place[1], place[0] + 62)))
    radii = (float(rng.uniform(2.0, 3.2)), float(rng.uniform(7, 13)), float(rng.uniform(7, 13)))
    return place, [solid(lung.clipped(ellipsoid(place, radii, turn=angle)), hu)]


def _knots(lung: LungField, rng: np.random.Generator, blood: float) -> Iterator[tuple[Point, list[Shape]]]:
    """Vessels that are swollen where they divide, at most by half."""
    thick = [v for v in lung.vessels if 1.7 < v.radius_end < 3.4 and lung.depth_at(v.end) < -4]
    for k in rng.permutation(len(thick))[: int(rng.integers(5, 11))]:
        radius = float(thick[k].radius_end * rng.uniform(1.25, 1.45))
        yield thick[k].end, [solid(ellipsoid(thick[k].end, (radius, radius, radius)), blood)]


def _cyst(lung: LungField, rng: np.random.Generator) -> Iterator[tuple[Point, list[Shape]]]:
    """A sac of air in a wall of soft tissue."""
    radius = float(rng.uniform(4.0, 6.5))
    place = _place(lung, rng, "solid", radius)
    if place is not None:
        x, y, z = (radius * float(v) for v in rng.uniform(0.85, 1.15, 3))
        air, wall = float(rng.uniform(-980, -880)), float(rng.uniform(1.0, 1.6))
        yield place, [solid(ellipsoid(place, (x, y, z)), float(rng.uniform(-50, 60)), core=air, wall=wall)]


def _buds(lung: LungField, rng: np.random.Generator) -> Iterator[tuple[Point, list[Shape]]]:
    """A cluster of dots (tree in bud), each far smaller than a nodule."""
    reach = float(rng.uniform(4.0, 6.5))
    place = _place(lung, rng, "solid", reach)
    if place is None:
        return
    found = []
    for _ in range(int(rng.integers(6, 12))):
        axis = rng.standard_normal(3)
        axis *= reach * float(rng.uniform(0.3, 1.0)) / np.linalg.norm(axis)
        radius = float(rng.uniform(0.9, 1.4))
        found.append(solid(ellipsoid(_moved(place, axis), (radius, radius, radius)), float(rng.uniform(0, 60))))
    yield place, found


def _plug(lung: LungField, rng: np.random.Generator) -> Iterator[tuple[Point, list[Shape]]]:
    """Mucus in an airway that divides: fingers from one point."""
    place = _place(lung, rng, "solid", 5.0)
    if place is None:
        return
    hu, radius = float(rng.uniform(0, 60)), float(rng.uniform(1.7, 2.8))
    found: list[Shape] = []
    for _ in range(int(rng.integers(3, 5))):
        axis = rng.standard_normal(3)
        axis *= float(rng.uniform(8, 12)) / np.linalg.norm(axis)
        found += [_clipped(lung, p) for p in path([place, _moved(place, axis)], [radius, 0.55 * radius], hu)]
    yield place, found


def _strand(
    lung: LungField, rng: np.random.Generator, radius: float, hu: float, bend: float = 4.0
) -> Iterator[tuple[Point, list[Shape]]]:
    """A curved scar or the loop of a vessel, thinner at both ends."""
    middle = _place(lung, rng, "solid", 4.0)
    if middle is None:
        return
    axis = rng.standard_normal(3)
    axis /= np.linalg.norm(axis)
    across = np.cross(axis, rng.standard_normal(3))
    across /= np.linalg.norm(across)
    long = float(rng.uniform(8, 14))
    ends = [_moved(middle, sign * long * axis + bend * across) for sign in (-1, 1)]
    line = smooth([ends[0], middle, ends[1]], 7)
    thick = [radius * share for share in (0.45, 0.7, 0.9, 1.0, 0.9, 0.7, 0.45)]
    yield middle, [_clipped(lung, piece) for piece in path(line, thick, hu)]


def _clipped(lung: LungField, shape: Shape) -> Shape:
    return replace(shape, distance=lung.clipped((shape.distance, shape.box))[0])
