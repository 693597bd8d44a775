"""Skull, brain with ventricles and sulci, face, eyes, sinuses and teeth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medcnn.data.phantom.body import BONE, BRAIN, FAT, GAS, MUSCLE, Build, bone, path, smooth, solid
from medcnn.data.phantom.shapes import Array, Box, Distance, Point, Shape, capsule, ellipsoid, loft, plate, tube

SKULL = (
    (394, 0, 26, 16, 18), (402, 0, 14, 42, 46), (412, 0, 2, 57, 67), (435, 0, -14, 66, 84), (460, 0, -16, 72, 93),
    (485, 0, -14, 75, 95), (510, 0, -12, 74, 93), (530, 0, -10, 67, 84), (546, 0, -9, 54, 67), (557, 0, -8, 34, 44),
    (563, 0, -8, 8, 10),
)  # fmt: skip
FACE = (
    (352, 0, -58, 12, 10), (362, 0, -54, 32, 28), (380, 0, -50, 46, 44), (400, 0, -50, 54, 54), (425, 0, -48, 60, 62),
    (455, 0, -42, 62, 66), (478, 0, -30, 60, 70),
)  # fmt: skip
WALL = 6.0


def _floor(x: Array, y: Array) -> Array:
    """Lower border of the inside of the skull: three steps, low at the back, high over the eyes."""
    front = np.clip((np.float32(-36) - y) / np.float32(16), 0, 1)
    middle = np.clip((np.float32(10) - y) / np.float32(18), 0, 1)
    bowl = np.float32(0.0035) * (x * x + (y - np.float32(30)) ** 2)
    roof = np.float32(7) * np.sin(np.minimum(np.abs(x), 60) * np.float32(np.pi / 60)) + np.float32(0.12) * (-50 - y)
    found: Array = np.float32(398) + bowl * (1 - middle) + 36 * middle + (20 + roof) * front
    return found


def cranium(inset: float) -> tuple[Distance, Box]:
    """The skull's inside, ``inset`` mm below its outer surface."""
    shell, box = loft(SKULL, grow=-inset)

    def distance(x: Array, y: Array, z: Array) -> Array:
        found: Array = np.maximum(
            shell(x, y, z), _floor(x, y) + np.float32(inset) * np.where(y < -40, np.float32(0.22), np.float32(0.55)) - z
        )
        return found

    return distance, box


def _within(found: tuple[Distance, Box]) -> tuple[Distance, Box]:
    """The part of a solid that lies inside the skull."""
    inner, box = found
    skull, _ = cranium(WALL + 1.0)

    def distance(x: Array, y: Array, z: Array) -> Array:
        cut: Array = np.maximum(inner(x, y, z), skull(x, y, z))
        return cut

    return distance, box


def shapes(build: Build) -> Iterator[Shape]:
    """The head from the skin inwards."""
    build.part("head")
    yield solid(loft(FACE, grow=3), 15, core=-60, wall=2.5, mottle=20.0, layer="body")
    yield solid(loft(FACE, grow=-7), MUSCLE - 10, mottle=14.0)
    yield solid(loft(SKULL, grow=5.5), -25, core=42, wall=3.5, mottle=12.0, layer="body")
    yield solid(ellipsoid((0, -112, 428), (13, 14, 20)), 20, core=-20, wall=2.5)
    for side in (-1, 1):
        yield solid(ellipsoid((side * 81, 2, 438), (5, 15, 26), turn=side * 22), 10)
        yield solid(ellipsoid((side * 56, -34, 405), (12, 20, 32), turn=side * -8), MUSCLE + 6)
        yield solid(ellipsoid((side * 30, 40, 396), (22, 11, 24), turn=side * -24), MUSCLE)
    yield from _base(build)
    hard = build.near(1050, 60)
    yield bone(cranium(0), hard, 1.3 * hard - 420, 1.8)
    yield solid(cranium(build.near(WALL, 0.7) - 1.5), 900, BONE)
    yield solid(cranium(WALL), 8)
    yield from _brain(build)
    yield from _face(build)


def _base(build: Build) -> Iterator[Shape]:
    """Petrous bones with air cells, and the body of the sphenoid with its sinus."""
    yield bone(ellipsoid((0, -22, 432), (20, 26, 15)), 600, 250)
    yield bone(capsule((0, -2, 428), (0, 22, 408), 9), 650, 300)
    for side in (-1, 1):
        yield bone(capsule((side * 16, -2, 428), (side * 62, 22, 430), 9, 14), 1100, 700)
        yield bone(ellipsoid((side * 62, 26, 415), (11, 15, 20)), 700, 300)
        yield bone(
            plate([(408, side * 22, -28, side * 30, -46, 1.5), (450, side * 26, -24, side * 60, -46, 2.0)]), 600, 400
        )


def _air_cells(build: Build) -> Iterator[Shape]:
    for side in (-1, 1):
        for _ in range(12):
            place = build.point(side * 62, 26, 420, 6)
            yield solid(ellipsoid(place, (3.2, 3.6, 3.6)), -600, None)
        yield solid(capsule((side * 44, 6, 430), (side * 78, 4, 434), 3.2), GAS)
    yield solid(ellipsoid(build.point(0, -26, 432, 1.5), (15, 17, 10)), GAS)


def _gyri(build: Build) -> tuple[Distance, Box]:
    """The furrows of the cortex: where a slow random field passes through zero, near the surface."""
    inner, box = cranium(WALL + 1.0)
    wave = build.rng.normal(size=(7, 3))
    wave *= (2 * np.pi / build.rng.uniform(22, 34, 7) / np.linalg.norm(wave, axis=1))[:, None]
    phase = build.rng.uniform(0, 2 * np.pi, 7)
    wide = np.float32(0.55 + 1.5 * build.traits.wear + 0.25 * build.rng.random())

    def distance(x: Array, y: Array, z: Array) -> Array:
        field = sum(
            np.sin(np.float32(w[0]) * x + np.float32(w[1]) * y + np.float32(w[2]) * z + np.float32(p))
            for w, p in zip(wave, phase, strict=True)
        )
        depth = -inner(x, y, z)
        # 3.2 mm is the distance over which the field changes by one near its zeros.
        furrow = np.float32(3.2) * np.abs(field) - wide * np.clip(1.6 - depth / 14, 0, 1.6)
        found: Array = np.maximum(np.maximum(furrow, depth - 22), 446 - z)
        return np.maximum(found, -depth)

    return distance, box


def _brain(build: Build) -> Iterator[Shape]:
    wear = build.traits.wear
    gray, white = build.enhanced(39, 3), build.enhanced(29, 2)
    yield solid(cranium(WALL + 1.2 + 1.6 * wear), gray, BRAIN, core=white, wall=5.0, mottle=1.5)
    yield solid(_gyri(build), 9, BRAIN)
    yield solid(_within(plate([(470, 0, -92, 0, 68, 0.9), (552, 0, -50, 0, 30, 1.0)])), 62, BRAIN)
    for side in (-1, 1):
        tentorium = plate(
            [
                (446, side * 40, -2, side * 62, 26, 1.0),
                (462, side * 10, 18, side * 58, 52, 1.2),
                (478, side * 2, 34, side * 30, 62, 1.2),
            ]
        )
        yield solid(_within(tentorium), 52, BRAIN)
        yield solid(_within(ellipsoid((side * 24, 38, 432), (28, 27, 22), turn=side * -18)), 37, BRAIN, mottle=2.0)
        yield solid(ellipsoid((side * 24, -6, 478), (8, 19, 13), turn=side * 16), 41, BRAIN)
        yield solid(ellipsoid((side * 13, -30, 484), (6, 11, 12), turn=side * 10), 40, BRAIN)
        yield solid(ellipsoid((side * 11, 12, 478), (8, 14, 9), turn=side * -20), 40, BRAIN)
        yield solid(capsule((side * 20, -28, 470), (side * 22, 12, 490), 2.0), white, BRAIN)
    yield from path([(0, 10, 402), (0, 4, 436), (0, 8, 462)], [8, 13, 12], 34, BRAIN)
    yield solid(ellipsoid((0, -14, 450), (15, 9, 7)), 6, BRAIN)
    yield solid(ellipsoid((0, 20, 458), (15, 4, 8)), 6, BRAIN)
    yield from _ventricles(build)


def _ventricles(build: Build) -> Iterator[Shape]:
    """The ventricles, wider with age, and what calcifies beside them."""
    wear, near = build.traits.wear, build.near
    size = 0.75 + 0.9 * wear + 0.12 * near(0, 1)
    for side in (-1, 1):
        horn = smooth(
            [
                (side * 11, -50, 484),
                (side * 7, -24, 494),
                (side * 13, 6, 500),
                (side * 24, 30, 488),
                (side * 22, 56, 480),
            ],
            11,
        )
        radii = [r * size * (1 + 0.08 * side * near(0, 1)) for r in (3, 5, 6, 5.5, 5.5, 5.5, 6.5, 7, 5, 3.5, 2)]
        yield from path(horn, radii, 7, BRAIN)
        yield from path(
            smooth([(side * 24, 30, 486), (side * 34, 14, 466), (side * 32, -16, 456)], 4),
            [4 * size, 3 * size, 2 * size, 1.5 * size],
            7,
            BRAIN,
        )
        yield solid(capsule((side * 38, -26, 472), (side * 42, 6, 484), 1.2 + 1.6 * wear), 8, BRAIN)
        if build.rng.random() < 0.3 + 0.5 * wear:
            yield solid(ellipsoid((side * 24, 32, 486), (2.8, 4.5, 3)), near(170, 60), BRAIN)
    yield solid(ellipsoid((0, -2, 474), (2.0 * size + 0.6, 15, 11)), 7, BRAIN)
    yield solid(ellipsoid((0, 28, 436), (6, 4.5, 9)), 7, BRAIN)
    if build.rng.random() < 0.5:
        yield solid(ellipsoid((0, 19, 474), (3, 3, 3.5)), near(200, 60), BRAIN)


def _face(build: Build) -> Iterator[Shape]:
    for side in (-1, 1):
        eye: Point = (side * 31.0, -82.0, 446.0)
        socket = ellipsoid((side * 27, -64, 446), (19, 30, 18), turn=side * 20)
        yield solid(socket, 500, BONE)
        yield solid(ellipsoid((side * 28, -68, 446), (17, 29, 16), turn=side * 20), FAT)
        yield solid(capsule((side * 16, -40, 446), (side * 29, -76, 446), 2.4), 35)
        for out in (-12, 12):
            yield solid(capsule((side * 17, -42, 446), (side * (30 + out), -76, 446), 1.8), 45)
        yield solid(ellipsoid(eye, (12, 12, 12)), 55, core=12, wall=1.8)
        yield solid(ellipsoid((eye[0], eye[1] - 8.5, eye[2]), (4.4, 2.3, 4.4)), 85)
        yield solid(ellipsoid((side * 29, -66, 414), (20, 22, 19), turn=side * 14), 550, BONE)
        yield solid(
            ellipsoid((side * 29, -66, 414), (18, 20, 17), turn=side * 14), GAS if build.rng.random() < 0.85 else 25
        )
        arch = smooth([(side * 46, -78, 428), (side * 63, -52, 428), (side * 64, -20, 430)], 5)
        yield from (bone(found, 700, 350, 1.5) for found in tube(arch, [5, 4, 3.5, 3.5, 4]))
        jaw = smooth([(side * 52, -14, 424), (side * 49, -24, 385), (side * 36, -66, 368), (side * 6, -92, 364)], 9)
        yield from (bone(found, 850, 350, 2.5) for found in tube(jaw, [5, 5, 6, 7, 8, 8, 8, 8, 9]))
        yield bone(ellipsoid((side * 15, -90, 474), (18, 9, 12)), 800, 300)
        if build.rng.random() < 0.8:
            yield solid(ellipsoid((side * 13, -91, 474), (13, 5, 9)), GAS)
        yield from path(
            [(side * 5.0, -104.0, 414.0), (side * 6.0, -70.0, 412.0), (side * 6.0, -34.0, 408.0)], [4, 5, 5], GAS
        )
        yield solid(ellipsoid((side * 8, -64, 444), (7, 24, 11)), 260, BONE)
        for y in (-80, -68, -56, -46):
            yield solid(ellipsoid((side * 8, y, 444), (5.0, 5.0, 8.5)), -750, None)
    yield solid(plate([(402, 0, -98, 0, -36, 0.9), (436, 0, -98, 0, -40, 0.9)]), 250)
    yield solid(ellipsoid((0, -30, 396), (14, 9, 18)), GAS)
    yield solid(ellipsoid((0, -52, 382), (24, 30, 14)), 60, mottle=12.0)
    for upper in (True, False):
        z = 391.0 if upper else 379.0
        for angle in np.linspace(-1.25, 1.25, 13):
            tooth = (33 * np.sin(angle), -62 - 32 * np.cos(angle), z)
            yield solid(capsule(tooth, (tooth[0], tooth[1], z + (9 if upper else -9)), 3.8), 1500, BONE)
    yield from _air_cells(build)
