"""Liver, spleen, stomach, pancreas, kidneys, gallbladder and bowel with gas and faeces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medcnn.data.phantom.body import FAT, GAS, KIDNEY, LIVER, SPLEEN, Build, generator, path, smooth, solid
from medcnn.data.phantom.chest import diaphragm
from medcnn.data.phantom.shapes import Array, Box, Distance, Point, Shape, depths, ellipsoid, loft
from medcnn.data.phantom.trunk import CAVITY


def _below_dome(build: Build, found: tuple[Distance, Box], gap: float) -> tuple[Distance, Box]:
    """The part of a solid that lies inside the abdominal wall and under the diaphragm."""
    inner, box = found
    wall, _ = loft(CAVITY, square=0.25, grow=-gap)

    def distance(x: Array, y: Array, z: Array) -> Array:
        joined = np.maximum(inner(x, y, z), wall(x, y, z))
        cut: Array = np.maximum(joined, z - diaphragm(build, x, y) + np.float32(3))
        return cut

    return distance, box


def liver(build: Build) -> tuple[Distance, Box]:
    """A large right and a thin left lobe under the diaphragm, with a slanting lower edge."""
    rng = generator(build.traits.key, "liver")
    low, tilt = rng.normal(-88, 14), rng.normal(0.62, 0.08)
    right, _ = ellipsoid((-62, 2, 12), (70, 82, 100), turn=12)
    left, _ = ellipsoid((10, -48, 42), (78, 36, 36), turn=-10)

    def distance(x: Array, y: Array, z: Array) -> Array:
        joined = np.minimum(right(x, y, z), left(x, y, z))
        edge = np.float32(low) + np.float32(tilt) * (x + np.float32(125)) - np.float32(0.25) * (y - np.float32(20)) - z
        cut: Array = np.maximum(joined, np.float32(0.8) * edge)
        return cut

    return _below_dome(build, (distance, (-135.0, 92.0, -92.0, 88.0, -115.0, 110.0)), 4)


def shapes(build: Build) -> Iterator[Shape]:
    """The organs of the upper abdomen, then the bowel."""
    build.part("abdomen")
    fatty = 22 * (build.rng.random() ** 3)
    # A layer of muscle lines the dome; under it lies fat.
    base = (-128.0, 128.0, -95.0, 98.0, -45.0, 110.0)
    dome = (lambda x, y, z: np.maximum(z - diaphragm(build, x, y), -40 - z), base)
    yield solid(_below_dome(build, dome, 1), 45)
    yield solid(_below_dome(build, dome, 4), FAT, mottle=8.0)
    yield solid(liver(build), build.enhanced(60 - fatty, 52, 8), LIVER, mottle=7.0)
    yield from _liver_vessels(build, fatty)
    spleen = ellipsoid(build.point(90, 40, 18, 4), (build.near(27, 3), build.near(46, 5), build.near(46, 6)), turn=-35)
    yield solid(_below_dome(build, spleen, 4), build.enhanced(48, 70, 60), SPLEEN, mottle=5.0)
    yield from _stomach(build)
    pancreas = smooth([build.point(-34, 0, -42), (-12, -8, -30), (24, -6, -14), build.point(66, 22, 6)], 7)
    yield from path(
        pancreas, [build.near(13, 1.5), 12, 11, 11, 10, 9, 8], build.enhanced(40, 55) - 12 * build.traits.wear
    )
    yield solid(ellipsoid(build.point(-52, -46, -36, 5), (build.near(16, 3), 19, 25)), build.near(10, 4))
    yield from _kidneys(build)
    yield from _small_bowel(build)
    yield from _colon(build)


def _liver_vessels(build: Build, fatty: float) -> Iterator[Shape]:
    hue = build.enhanced(43 - 0.2 * fatty, 105, 12)
    porta: Point = (-22.0, -6.0, -4.0)
    yield from path(smooth([(2, 2, -34), (-10, -2, -18), porta], 4), [7.5] * 4, hue, None)
    inside, _ = liver(build)
    for _ in range(9):
        x, y, z = (float(v) for v in build.rng.uniform((-112, -55, -40), (10, 50, 70)))
        start: Point = porta if build.rng.random() < 0.6 else (-22.0, 4.0, 74.0)
        bend = build.point(0.5 * (start[0] + x), 0.5 * (start[1] + y), 0.5 * (start[2] + z), 8)
        line = smooth([start, bend, (x, y, z)], 6)
        line = [p for p, depth in zip(line, depths(inside, line), strict=True) if depth < -4]
        if len(line) > 1:
            yield from path(line, np.linspace(4.8, 1.8, len(line)).tolist(), hue, None)


def _stomach(build: Build) -> Iterator[Shape]:
    size = build.near(1.0, 0.14)
    parts: tuple[tuple[Point, Point, float], ...] = (
        ((62, 6, 44), (36 * size, 42 * size, 34 * size), -10),
        ((52, -34, 4), (34 * size, 34 * size, 46 * size), -10),
        ((14, -46, -36), (40 * size, 24 * size, 24 * size), 0),
    )
    level = build.near(-46, 8)
    full = 320.0 if build.oral else build.near(25, 12)
    for center, radii, turn in parts:
        yield solid(_below_dome(build, ellipsoid(center, radii, turn=turn), 3), build.enhanced(45, 35))
    for center, radii, turn in parts:
        inner, box = ellipsoid(center, (radii[0] - 5, radii[1] - 5, radii[2] - 5), turn=turn)
        inner, box = _below_dome(build, (inner, box), 7)
        yield solid((inner, box), full, mottle=14.0)
        # The patient lies on the back: gas gathers in front of a level.
        yield solid((_before(inner, level), box), GAS)


def _before(inner: Distance, level: float) -> Distance:
    """The part of a solid in front of a level in y."""

    def distance(x: Array, y: Array, z: Array) -> Array:
        found: Array = np.maximum(inner(x, y, z), y - np.float32(level))
        return found

    return distance


def _kidneys(build: Build) -> Iterator[Shape]:
    for side in (-1, 1):
        z = -52 + (0 if side < 0 else 12)
        center = build.point(side * 60, 46, z, 4)
        size = build.near(1, 0.07)
        found = ellipsoid(center, (25 * size, 29 * size, 56 * size), turn=side * 28, pitch=-10)
        yield solid(found, build.enhanced(32, 150, 120), KIDNEY, core=build.enhanced(32, 120, 30), wall=9.0)
        hilum = (center[0] - side * 9, center[1] - 4, center[2])
        yield solid(ellipsoid(hilum, (14 * size, 10 * size, 30 * size), turn=side * 28), FAT + 10, KIDNEY)
        yield solid(
            ellipsoid((hilum[0] + side * 3, hilum[1], hilum[2]), (8, 5, 18), turn=side * 28),
            build.enhanced(8, 30),
            KIDNEY,
        )
        yield from path(
            [(side * 18.0, 16.0, z + 8.0), (side * 34.0, 28.0, z + 4.0), hilum],
            [4.5, 4, 4],
            build.enhanced(42, 110, 120),
        )
        if build.rng.random() < 0.15:
            yield solid(ellipsoid((hilum[0] + side * 6, hilum[1] + 4, hilum[2] - 16), (2.6, 2.6, 3)), 750, KIDNEY)
        yield from path(
            smooth([hilum, (side * 38, 26, z - 60), (side * 34, 20, z - 130), (side * 30, 20, -260)], 8), [2.4] * 8, 15
        )


def _small_bowel(build: Build) -> Iterator[Shape]:
    content = 280.0 if build.oral else 22.0
    for _ in range(26):
        center = (build.rng.uniform(-62, 70), build.rng.uniform(-62, -8), build.rng.uniform(-250, -55))
        if abs(center[0]) > 50 and center[2] < -210:
            continue
        turn = build.rng.uniform(0, np.pi)
        arm = build.rng.uniform(16, 38)
        x, y, z = center
        dx, dy = arm * np.cos(turn), 0.5 * arm * np.sin(turn)
        line = [
            (x - dx, y - dy, z - build.rng.uniform(-16, 16)),
            center,
            (x + dx, y + dy, z - build.rng.uniform(-20, 20)),
        ]
        r = build.rng.uniform(10.0, 15.5)
        curve = smooth(line, 5)
        yield from path(curve, [r] * 5, build.enhanced(42, 45))
        yield from path(curve, [r - 3.5] * 5, build.near(content, 0.2 * content) if build.rng.random() < 0.6 else 35)
        if build.rng.random() < 0.25:
            x, y, z = curve[2]
            yield solid(ellipsoid((x, y - 0.4 * r, z), (r - 3, 0.5 * r, r - 3)), GAS)
    for _ in range(40):
        x, z = build.rng.uniform(-70, 75), build.rng.uniform(-220, -20)
        line2 = [
            (x, build.rng.uniform(-55, 0), z),
            (x + build.rng.normal(0, 10), build.rng.uniform(-55, 0), z + build.rng.normal(0, 14)),
        ]
        yield from path(line2, [1.8, 1.2], build.enhanced(42, 90))


def _colon(build: Build) -> Iterator[Shape]:
    wall = build.enhanced(42, 30)
    right, left = build.near(-92, 5), build.near(97, 4)
    lines = (
        ([(-78, -16, -205), (right, 2, -165), (right, 4, -110), (right + 2, -6, -62)], 23.0),
        ([(right + 4, -28, -58), (-50, -58, -78), (0, -64, build.near(-88, 14)), (50, -58, -60), (84, -20, -8)], 19.0),
        ([(92, 8, 0), (left, 22, -60), (left, 16, -120), (left - 4, 0, -175)], 16.0),
        ([(left - 6, -6, -185), (70, -18, -215), (30, -12, -232), (10, 18, -245), (2, 44, -262)], 15.0),
        ([(2, 44, -262), (0, 50, -290), (0, 52, -345)], 17.0),
    )
    for points, radius in lines:
        curve = smooth(points, 4 * len(points))
        radii = [
            max(9.0, radius * (1 + 0.16 * np.sin(2.1 * k) + 0.08 * build.rng.standard_normal()))
            for k in range(len(curve))
        ]
        yield from path(curve, radii, wall)
        yield from path(curve, [r - 3.0 for r in radii], build.near(10, 20), None)
        for k, (x, y, z) in enumerate(curve):
            r = radii[k] - 3.5
            what, faeces = build.rng.random(), build.near(-60, 90)
            if what < 0.4:
                yield solid(ellipsoid((x, y - 0.25 * r, z), (0.95 * r, 0.75 * r, 0.95 * r)), GAS)
            elif what < 0.8:
                yield solid(
                    ellipsoid((x, y, z), (0.9 * r, 0.9 * r, r)),
                    200 if build.oral else faeces,
                    mottle=110.0,
                )
