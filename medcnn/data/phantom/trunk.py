"""The outline of the trunk with fat and muscles, the spine, the ribs, the shoulders and the arms."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from medcnn.data.phantom.body import FAT, MUSCLE, Build, bone, generator, path, smooth, solid
from medcnn.data.phantom.shapes import Box, Distance, Point, Profile, Shape, capsule, ellipsoid, loft, tube

# z, center x, center y, half width, half depth of the outer surface of the muscles.
MUSCLES = (
    (-352, 0, 8, 150, 84), (-300, 0, 10, 158, 94), (-250, 0, 8, 154, 95), (-200, 0, 5, 142, 92), (-150, 0, 3, 131, 88),
    (-100, 0, 0, 128, 88), (-50, 0, 0, 130, 92), (0, 0, 0, 134, 96), (60, 0, 0, 140, 100), (120, 0, 0, 143, 102),
    (180, 0, 0, 147, 100), (230, 0, 3, 152, 92), (262, 0, 8, 152, 80), (285, 0, 10, 122, 66), (305, 0, 8, 84, 56),
    (325, 0, 4, 57, 50), (350, 0, -2, 51, 48), (390, 0, -6, 51, 50), (412, 0, -8, 53, 55),
)  # fmt: skip
# The inner surface of the wall of chest and abdomen.
CAVITY = (
    (-345, 0, 0, 26, 26), (-300, 0, 0, 58, 56), (-250, 0, -2, 76, 62), (-200, 0, -12, 96, 62), (-150, 0, -14, 110, 64),
    (-100, 0, -10, 113, 70), (-50, 0, -4, 117, 80), (0, 0, 0, 122, 86), (60, 0, 0, 126, 90), (120, 0, 2, 126, 90),
    (180, 0, 6, 117, 83), (220, 0, 10, 102, 71), (255, 0, 14, 80, 55), (285, 0, 16, 52, 38), (303, 0, 18, 20, 16),
)  # fmt: skip
# Center of the vertebral bodies in y.
SPINE = Profile(
    ((-200, 46), (-180, 42), (-100, 36), (0, 46), (100, 60), (180, 62), (250, 50), (290, 36), (320, 22), (360, 13),
     (412, 14))
)  # fmt: skip
SQUARE = 0.35
SPINAL_FLUID = 18.0


def _spine(z: float) -> float:
    return SPINE.at(z)[0]


def vertebrae() -> list[tuple[float, float, float, float]]:
    """Centers in z with half width, half depth and half height of the bodies, from the fifth lumbar upwards."""
    lumbar = [(-163.0 + 34 * k, 24.0 - k, 17.0 - 0.4 * k, 13.5) for k in range(5)]
    thoracic = [(12 + 24 * k, 18.5 - 0.6 * k, 15.0 - 0.4 * k, 10.0) for k in range(12)]
    cervical = [(300 + 17 * k, 11.0 - 0.2 * k, 8.5, 7.0) for k in range(7)]
    return lumbar + thoracic + cervical


def envelope(build: Build) -> Iterator[Shape]:
    """Skin, fat, muscles, and the fat inside the wall."""
    build.part("envelope")
    fat = build.traits.fat
    grow = Profile(
        ((-352, 1.0), (-230, 1.1), (-120, 1.25), (0, 0.9), (150, 0.65), (280, 0.45), (330, 0.15), (412, 0.1))
    )
    knots = [
        (z, x, y - 0.25 * (g - 3.0) * (z < 60), a + g, b + g)
        for z, x, y, a, b in MUSCLES
        for g in [3.0 + fat * grow.at(z)[0]]
    ]
    if build.arms != "none":
        yield from _arms(build)
    yield from _thighs(build)
    if build.traits.female:
        size = build.near(38, 6) + 0.4 * fat
        for side in (-1, 1):
            breast = ellipsoid((side * 72, -88 - 0.5 * fat, 138), (size * 1.25, size, size * 1.3))
            yield solid(breast, 20, core=FAT + 20, wall=2.0, mottle=45.0, layer="body")
    yield solid(loft(knots, square=SQUARE), 15, core=FAT, wall=1.8, mottle=6.0, layer="body")
    muscle = build.near(MUSCLE, 4)
    yield solid(loft(MUSCLES, square=SQUARE), muscle, mottle=10.0)
    yield solid(loft(CAVITY, square=0.25, grow=-2), FAT - 2, mottle=8.0)
    yield from _muscles(build, muscle)


def _muscles(build: Build, hu: float) -> Iterator[Shape]:
    """Muscles along the spine with the fat between them, and the psoas."""
    for side in (-1, 1):
        yield solid(
            loft([(-240, side * 26, 78, 14, 12), (-150, side * 36, 72, 27, 20), (0, side * 34, 78, 26, 18),
                  (200, side * 26, 88, 18, 11), (300, side * 22, 52, 15, 14), (390, side * 18, 36, 13, 12)]),
            hu, mottle=12.0,
        )  # fmt: skip
        yield solid(loft([(-300, side * 78, -38, 15, 15), (-220, side * 66, 0, 21, 20), (-150, side * 47, 30, 21, 22),
                          (-60, side * 32, 40, 13, 15), (-10, side * 26, 44, 8, 9)]), hu + 3, mottle=6.0)  # fmt: skip
        # Seams of fat between the gluteal muscles and between the layers of the back.
        yield solid(ellipsoid((side * 92, 62, -262), (56, 3.0, 62), turn=side * -24), FAT, mottle=6.0)
        yield solid(ellipsoid((side * 104, 40, -240), (44, 2.6, 48), turn=side * -30), FAT, mottle=6.0)
        yield solid(ellipsoid((side * 70, 84, 150), (46, 2.2, 90), turn=side * -18), FAT, mottle=6.0)


def _thighs(build: Build) -> Iterator[Shape]:
    fat = build.traits.fat
    for side in (-1, 1):
        knots = [
            (-460, side * 92, 6, 70, 74),
            (-380, side * 88, 8, 78, 82),
            (-340, side * 84, 8, 78, 86),
            (-320, side * 80, 8, 70, 80),
        ]
        yield solid(loft(knots, grow=3 + 0.5 * fat), 15, core=FAT, wall=1.8, layer="body")
        yield solid(loft(knots, grow=-2), build.near(MUSCLE, 3), mottle=14.0)
        for k in range(4):
            angle = k * 1.6 + 0.4 * side
            center = (side * 88 + 42 * np.cos(angle), 8 + 42 * np.sin(angle), -400.0)
            yield solid(ellipsoid(center, (26, 2.5, 75), turn=float(np.degrees(angle))), FAT)


def _arms(build: Build) -> Iterator[Shape]:
    fat = 3 + 0.35 * build.traits.fat
    # Where the arms lie is no trait of the person: the other shapes must not depend on it.
    rng = generator(build.traits.key, "arms")
    for side in (-1, 1):
        out = float(rng.normal(212, 9)) + build.traits.fat
        if build.arms == "up":
            points = [(side * 150.0, 6.0, 262.0), (side * 165.0, -10.0, 330.0), (side * 120.0, -30.0, 440.0)]
        else:
            elbow, hand = (side * out, 18.0, -20.0), (side * (out - 8), -10.0, -230.0)
            points = [(side * 152.0, 8.0, 262.0), (side * (out - 22), 10.0, 180.0), elbow, hand]
        radii = (52.0, 40.0, 34.0, 26.0)[: len(points)]
        for found in tube(points, [r + fat for r in radii]):
            yield solid(found, 15, core=FAT, wall=1.8)
        for found in tube(points, radii):
            yield solid(found, MUSCLE, mottle=10.0)
        for k, (start, end) in enumerate(pairwise(points)):
            yield bone(capsule(start, end, 12.0 if k == 0 else 10.5), 1000, 60, 4.0)
        yield bone(ellipsoid((side * 148, 5, 268), (23, 23, 24)), 600, 240)


def skeleton(build: Build) -> Iterator[Shape]:
    """Spine, ribs, breastbone, collarbones and shoulder blades."""
    build.part("skeleton")
    spongy = 260 - 150 * build.traits.wear
    yield from _column(build, spongy)
    yield from _ribs(build)
    front = [
        (z, 0, y, a, 6) for z, y, a in ((88, -96, 8), (120, -100, 16), (200, -84, 16), (225, -74, 26), (240, -66, 28))
    ]
    yield bone(loft(front), 420, 160, 2)
    for side in (-1, 1):
        knots: list[Point] = [
            (side * 22.0, -66.0, 238.0),
            (side * 60.0, -62.0, 262.0),
            (side * 105.0, -30.0, 276.0),
            (side * 140.0, -8.0, 284.0),
        ]
        for found in tube(knots, (9.0, 6.5, 6.5, 7.5)):
            yield bone(found, 750, 260)
        yield bone(ellipsoid((side * 105, 62, 205), (44, 4.5, 62), turn=side * -38), 500, 250, 1.5)
        yield bone(capsule((side * 75, 88, 238), (side * 140, 22, 268), 6), 650, 300)


def _column(build: Build, spongy: float) -> Iterator[Shape]:
    bodies = vertebrae()
    disc = [(z, 0.0, _spine(z), 0.92 * a, 0.92 * b) for z, a, b, _ in bodies]
    yield solid(loft([(-182, 0, 43, 22, 15), *disc]), 90)
    for z, a, b, h in bodies:
        y = _spine(z)
        back = y + b + 7
        cervical = z > 295
        small = 0.6 if cervical else 1.0
        yield bone(ellipsoid((0, back, z - 4), (17 * small, 13 * small, 0.85 * h)), 550, 260)
        yield bone(
            capsule(
                (0, back + 5, z - 4),
                (0, back + (20 if cervical else 27), z - (6 if z < 0 or cervical else 20)),
                4.0 * small,
                5.0 * small,
            ),
            520,
            220,
        )
        for side in (-1, 1):
            reach = 26 if cervical else 34
            yield bone(
                capsule(
                    (side * 11 * small, back - 1, z),
                    (side * reach, back + (0 if z < 0 or cervical else 8), z + 2),
                    5.5 * small,
                ),
                500,
                220,
            )
        yield solid(_drum((0, y, z), (a, b, h)), 480 - 120 * build.traits.wear, 8, core=spongy, wall=2.0, mottle=25.0)
    for k, (z, a, b, _) in enumerate(bodies):
        if build.traits.wear > 0.4 and build.rng.random() < 0.25 * build.traits.wear and k < 17:
            side = 1 if build.rng.random() < 0.5 else -1
            yield bone(ellipsoid((side * 0.8 * a, _spine(z) - 0.8 * b, z + 12), (6, 5, 5)), 520, 400)
    canal = [(z, 0, _spine(z) + b + 7, 8.5 if z < 295 else 7.5, 7.0) for z, _, b, _ in bodies]
    yield solid(loft([(-200, 0, 66, 8, 6), *canal, (412, 0, 30, 9, 8)]), SPINAL_FLUID + 6)
    yield solid(loft([(-20, 0, _spine(-20) + 21, 3.5, 3), *[(z, x, y, 5, 3.8) for z, x, y, _, _ in canal[5:]]]), 38)


def _drum(center: Point, radii: Point) -> tuple[Distance, Box]:
    x, y, z = center
    a, b, h = radii
    return loft([(z - h, x, y, a, b), (z, x, y + 1, 0.93 * a, 0.93 * b), (z + h, x, y, a, b)], square=0.3)


def _ribs(build: Build) -> Iterator[Shape]:
    cavity = Profile(CAVITY)
    thick = build.near(5.2, 0.4)
    for k in range(12):
        start = 18.0 + 24 * k  # the twelfth rib first
        end = (0.32, 0.42, 0.68, 0.74, 0.8, 0.84, 0.86, 0.87, 0.87, 0.86, 0.86, 0.8)[k]
        drop = (40, 60, 105, 112, 110, 105, 100, 92, 82, 70, 56, 36)[k]
        for side in (-1, 1):
            points: list[Point] = []
            for t in np.linspace(0.13, end, 10):
                z = start + 6 * np.sin(np.pi * t) - drop * t**1.3
                x, y, a, b = cavity.at(max(float(z), -60.0))
                angle = np.pi * t
                points.append((side * (x + (a + 7) * np.sin(angle)), y + (b + 7) * np.cos(angle), float(z)))
            points.insert(0, (side * 16.0, _spine(start) + 16, start))
            yield from (
                bone(found, 560, 260, 2.0)
                for found in tube(points, np.linspace(thick + 0.6, thick, len(points)).tolist())
            )
            if 2 <= k <= 10:
                x, y, z = points[-1]
                bend = (side * (30.0 + 3 * (10 - k)), -90.0, z + (10 if k > 6 else 34))
                front = (side * 14.0, -94.0 + 3 * max(0, k - 6), max(100.0, z + (14 if k > 6 else 60)))
                gristle = smooth([(x, y, z), bend, front], 4)
                calcium = 90 + (200 * build.traits.wear if build.rng.random() < 0.5 else 0)
                yield from path(gristle, [thick] * 4, calcium)
