"""Hip bones, sacrum, femurs, bladder and the organs around it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medcnn.data.phantom.body import BLADDER, FAT, MUSCLE, Build, bone, path, smooth, solid
from medcnn.data.phantom.shapes import Array, Shape, capsule, ellipsoid, loft, plate, tube


def shapes(build: Build) -> Iterator[Shape]:
    """The soft organs of the small pelvis."""
    build.part("pelvis")
    for side in (-1, 1):
        # The internal obturator and levator muscles line the small pelvis.
        yield solid(
            plate(
                [
                    (-345, side * 30, 20, side * 48, 2, 8),
                    (-300, side * 52, 28, side * 60, -28, 9),
                    (-255, side * 66, 20, side * 72, -14, 7),
                ]
            ),
            MUSCLE,
        )
        yield solid(
            plate(
                [
                    (-340, side * 6, -78, side * 44, -76, 7),
                    (-240, side * 6, -82, side * 40, -84, 6),
                    (-100, side * 6, -84, side * 52, -82, 6),
                ]
            ),
            MUSCLE,
        )
        # Fat behind and in front of the hip joint.
        yield solid(ellipsoid((side * 62, 60, -350), (26, 16, 30), turn=side * -30), FAT)
        yield solid(ellipsoid((side * 74, -70, -335), (26, 10, 34), turn=side * 20), FAT)
    fill = build.near(1.0, 0.22)
    center = build.point(0, -36, -292, 4)
    radii = (42 * fill, 30 * fill, 30 * fill)
    yield solid(ellipsoid(center, (radii[0] + 4, radii[1] + 4, radii[2] + 4)), 38)
    yield solid(ellipsoid(center, radii), 5, BLADDER)
    late = build.rng.random() < 0.3
    if build.contrast and late:
        inner, box = ellipsoid(center, radii)
        yield solid((lambda x, y, z: _below(inner(x, y, z), y, center[1] + 8), box), 240, BLADDER)
    yield from _genitals(build)
    for _ in range(4):
        x, y, z = build.rng.uniform(-48, 48), build.rng.uniform(-10, 34), build.rng.uniform(-335, -285)
        if build.rng.random() < 0.5:
            yield solid(ellipsoid((x, y, z), (2.4, 2.4, 2.6)), 480, None)


def _genitals(build: Build) -> Iterator[Shape]:
    """Womb and ovaries, or prostate and seminal vesicles."""
    if build.traits.female:
        yield solid(
            ellipsoid(build.point(0, 6, -276), (build.near(28, 4), 20, 24), turn=10), build.enhanced(48, 45), mottle=6.0
        )
        for side in (-1, 1):
            yield solid(ellipsoid(build.point(side * 40, 6, -262, 5), (13, 10, 14)), build.enhanced(30, 20))
    else:
        size = 20 + 8 * build.traits.wear
        yield solid(ellipsoid((0, -16, -334), (size + 3, size, size)), build.enhanced(42, 30), mottle=8.0)
        for side in (-1, 1):
            yield from path([(side * 4.0, 14.0, -306.0), (side * 36.0, 18.0, -298.0)], [6, 6], 30)
        if build.traits.wear > 0.3 and build.rng.random() < 0.6:
            yield solid(ellipsoid((4, -10, -332), (3, 3, 3)), 500, None)


def _below(depth: Array, y: Array, level: float) -> Array:
    """The back part of a solid: heavy contrast medium settles there."""
    found: Array = np.maximum(depth, np.float32(level) - y)
    return found


def skeleton(build: Build) -> Iterator[Shape]:
    """Sacrum, hip bones and femurs."""
    build.part("hips")
    wide = 1.05 if build.traits.female else 1.0
    spongy = 230 - 110 * build.traits.wear
    sacrum = [
        (-330, 0, 48, 8, 5),
        (-295, 0, 66, 16, 9),
        (-260, 0, 72, 32, 13),
        (-225, 0, 64, 48, 18),
        (-185, 0, 50, 52, 19),
        (-176, 0, 44, 30, 17),
    ]
    yield bone(loft(sacrum), 480, spongy * 0.8, 2.5)
    for z, half in ((-195, 22), (-225, 19), (-255, 15)):
        for side in (-1, 1):
            yield solid(ellipsoid((side * half, 58 - 0.15 * (z + 225), z), (5, 6, 6)), -20)
    yield solid(loft([(-262, 0, 84, 7, 3), (-180, 0, 66, 10, 5)]), 10)
    for side in (-1, 1):
        s = side * wide
        # z, joint with the sacrum, the bulge of the wing, its front end, half thickness.
        wing = (
            (-262, 62, 42, 84, 22, 90, -6, 10),
            (-240, 58, 52, 92, 24, 98, -16, 8),
            (-215, 56, 60, 100, 26, 106, -24, 5.5),
            (-185, 54, 66, 104, 30, 112, -28, 4.5),
            (-155, 62, 58, 106, 30, 117, -18, 4.5),
            (-135, 82, 42, 106, 28, 116, 4, 4),
            (-124, 94, 28, 104, 22, 110, 14, 2.5),
        )
        back = [(z, s * x1, y1, s * x2, y2, r + 1.5) for z, x1, y1, x2, y2, _, _, r in wing]
        front = [(z, s * x2, y2, s * x3, y3, r) for z, _, _, x2, y2, x3, y3, r in wing]
        for blade in (back, front):
            yield bone(plate(blade), 620, spongy, 2.0)
        yield bone(capsule((s * 57, 62, -205), (s * 55, 64, -240), 10), 560, spongy, 2.0)
        yield bone(ellipsoid((s * 84, 2, -290), (35, 33, 35)), 640, spongy, 2.5)
        yield bone(capsule((s * 78, 30, -285), (s * 62, 34, -368), 17, 14), 620, spongy, 2.5)
        for found in tube([(s * 78, -24, -286), (s * 44, -54, -304), (side * 14, -60, -322)], (15, 9, 13)):
            yield bone(found, 600, spongy, 2.0)
        for found in tube([(side * 12, -54, -340), (s * 38, -14, -366), (s * 60, 24, -378)], (9, 7.5, 11)):
            yield bone(found, 600, spongy, 2.0)
        yield solid(ellipsoid((s * 89, 4, -294), (27, 27, 27)), 45)
        yield bone(ellipsoid((s * 90, 4, -295), (24, 24, 24)), 560, 1.25 * spongy + 60, 2.0)
        yield bone(capsule((s * 94, 5, -298), (s * 132, 14, -328), 15, 19), 620, spongy, 2.5)
        yield bone(capsule((s * 138, 20, -305), (s * 136, 20, -330), 13), 520, spongy * 0.8, 2.0)
        yield bone(capsule((s * 132, 14, -330), (s * 108, 4, -470), 17, 14), 1150, 20, 5.0)
    yield from path(smooth([(0, -60, -318), (0, -60, -338)], 2), [4, 4], 90)
