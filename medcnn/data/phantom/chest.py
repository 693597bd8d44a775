"""Lungs with their vessels, heart, great vessels, windpipe."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from medcnn.data.phantom.body import BLOOD, FAT, GAS, HEART, LUNG, Build, generator, path, smooth, solid
from medcnn.data.phantom.shapes import Array, Box, Distance, Point, Shape, depths, ellipsoid, loft
from medcnn.data.phantom.trunk import CAVITY

AORTA: tuple[Point, ...] = (
    (-4, -18, 150), (-18, -30, 175), (-20, -28, 205), (-6, -12, 226), (12, 12, 228), (26, 32, 212), (28, 38, 180),
    (24, 36, 120), (18, 30, 60), (10, 24, 20), (6, 16, -40), (6, 12, -100), (4, 14, -140),
)  # fmt: skip
MEDIASTINUM = (
    (40, 18, -4, 74, 74), (80, 20, -10, 74, 74), (110, 18, -10, 68, 74), (150, 10, -8, 48, 76), (185, 4, -2, 36, 74),
    (220, 2, 2, 36, 64), (255, 0, 6, 34, 48), (300, 0, 10, 30, 30),
)  # fmt: skip


@lru_cache(maxsize=64)
def dome(key: str) -> tuple[float, float]:
    """Height of the right and the left dome of the diaphragm above z = 0, depending on the breath."""
    breath = float(generator(key, "breath").normal(0, 9))
    return 84.0 + breath, 70.0 + breath


def diaphragm(build: Build, x: Array, y: Array) -> Array:
    """z of the diaphragm above each point of the plane; it falls towards the wall, most at the back."""
    right, left = dome(build.traits.key)
    top = np.where(x < 0, np.float32(right), np.float32(left))
    u, v = (np.abs(x) - np.float32(58)) / np.float32(72), (y + np.float32(18)) / np.float32(96)
    found: Array = top - np.float32(72) * (u * u + v * v) ** 1.5
    return np.maximum(found, np.float32(-28))


def lung(build: Build, side: int, *, grow: float = 0.0) -> tuple[Distance, Box]:
    """A lung: the chest's inside above the diaphragm, beside the mediastinum; ``side`` is -1 on the right."""
    wall, _ = loft(CAVITY, square=0.25, grow=grow - 5)
    middle, _ = loft(MEDIASTINUM)
    heart, _ = ellipsoid((24, -30, 112), (63, 55, 60), turn=-32, pitch=18)
    spine, _ = loft(
        [(-60, 0, 56, 22, 26), (0, 0, 60, 20, 26), (100, 0, 74, 18, 24), (200, 0, 76, 16, 22), (300, 0, 46, 15, 22)]
    )
    offset = np.float32(5 - grow)

    def distance(x: Array, y: Array, z: Array) -> Array:
        found = np.maximum(wall(x, y, z), offset - np.float32(side) * x)
        found = np.maximum(found, diaphragm(build, x, y) + offset - z)
        found = np.maximum(found, np.float32(2) - np.minimum(spine(x, y, z), heart(x, y, z)))
        mid = middle(x, y, z)
        # Behind the heart both lungs reach towards the spine.
        mid = np.where(y > 22, np.maximum(mid, np.abs(x) - 30), mid)
        joined: Array = np.maximum(found, -mid)
        return joined

    return distance, (4.0 if side > 0 else -130.0, 130.0 if side > 0 else -4.0, -95.0, 100.0, -45.0, 305.0)


def shapes(build: Build) -> Iterator[Shape]:
    """Lungs and what lies between them."""
    build.part("chest")
    air = build.near(-850, 25) + 20 * (1 - build.traits.wear)
    soft = 40.0
    yield solid(loft(MEDIASTINUM, grow=-4), FAT + 20, mottle=18.0)
    for side in (-1, 1):
        yield solid(lung(build, side, grow=2.5), soft, None)
        yield solid(lung(build, side), air, LUNG, mottle=38.0)
    yield from _heart(build)
    esophagus = smooth([(0, 22, 310), (2, 34, 200), (10, 28, 110), (22, 4, 70)], 8)
    yield from path(esophagus, [8] * 8, 42)
    if build.rng.random() < 0.5:
        yield from path(esophagus[2:4], [3, 3], GAS)
    thyroid = build.near(110, 10)
    for side in (-1, 1):
        yield solid(ellipsoid((side * 19, -18, 318), (9, 11, 20)), thyroid)
    airway = smooth([(0, -22, 395), (0, -14, 330), (2, 6, 260), (3, 14, 200)], 7)
    yield from path(airway, [10.5] * 7, 60)
    yield from path(airway, [8.5] * 7, GAS)
    for side, drop in ((-1, 176), (1, 170)):
        bronchus: list[Point] = [
            (3, 14, 202),
            (side * 22.0, 14, 185),
            (side * 48.0, 16, float(drop)),
            (side * 66.0, 22, drop - 28.0),
        ]
        yield from path(bronchus, (9, 8, 6.5, 4), 45, None)
        yield from path(bronchus, (7.5, 6.3, 4.8, 2.4), GAS, None)


def _heart(build: Build) -> Iterator[Shape]:
    muscle = build.enhanced(45, 65, 50)
    blood = build.enhanced(BLOOD, 105, 230)
    size = build.near(1.0, 0.06) + 0.08 * build.traits.wear
    yield solid(ellipsoid((24, -30, 112), (60 * size, 52 * size, 57 * size), turn=-32, pitch=18), FAT + 40, HEART)
    yield solid(ellipsoid((24, -29, 113), (56 * size, 49 * size, 54 * size), turn=-32, pitch=18), muscle, HEART)
    for center, radii, turn in (
        ((40, -22, 104), (30, 20, 27), -38), ((10, -50, 106), (30, 16, 30), -20),
        ((-16, -26, 120), (20, 23, 28), 0), ((14, 6, 132), (31, 16, 20), 10),
    ):  # fmt: skip
        yield solid(ellipsoid(center, radii, turn=turn), blood, HEART)
    if build.traits.wear > 0.35 and build.rng.random() < 0.6:
        yield from path(smooth([(2, -62, 142), (28, -66, 128), (48, -58, 112)], 5), [1.8] * 5, 550, None)


def vessels(build: Build, *, lungs: bool = True) -> Iterator[Shape]:
    """Great vessels, the tree of vessels in the lungs, and calcified plaques."""
    build.part("vessels")
    blood = build.enhanced(BLOOD, 115, 290)
    vein = build.enhanced(BLOOD, 110, 60)
    wide = build.near(12.5, 0.8) + 3 * build.traits.wear
    aorta = smooth(AORTA, 30)
    radii = np.interp(np.linspace(0, 1, 30), [0, 0.3, 0.5, 1], [wide + 3, wide + 1, wide, wide - 4]).tolist()
    yield from path(aorta, radii, blood)
    yield from path(smooth([(-26, -22, 245), (-27, -18, 200), (-24, -16, 150)], 5), [10] * 5, vein)
    yield from path(
        smooth([(-22, 10, 100), (-24, 4, 60), (-22, 12, 0), (-20, 18, -70), (-20, 20, -145)], 10), [11.5] * 10, vein
    )
    yield from path(
        smooth([(4, -42, 150), (10, -30, 182), (22, -4, 192), (44, 12, 180)], 7), [14, 14, 13, 12, 11, 9, 8], blood
    )
    yield from path([(8, -14, 188), (-20, 2, 182), (-48, 10, 172)], [12, 10, 8], blood)
    for side in (-1, 1):
        yield from path(
            smooth([(side * 8, -14, 235), (side * 20, -12, 270), (side * 26, -8, 330), (side * 27, -10, 395)], 6),
            [6, 5, 4.5, 4, 4, 4],
            blood,
        )
        yield from path(
            smooth([(side * 22, -24, 245), (side * 36, -16, 290), (side * 34, -4, 395)], 5), [7, 6, 6, 6, 6], vein
        )
        yield from path(
            smooth([(side * 24, -26, 246), (side * 80, -28, 268), (side * 130, -4, 262)], 5), [7, 6.5, 6, 6, 5.5], vein
        )
        iliac: list[Point] = [
            (side * 3, 14, -138),
            (side * 28, 18, -180),
            (side * 58, -6, -240),
            (side * 78, -54, -320),
            (side * 80, -50, -430),
        ]
        yield from path(smooth(iliac, 9), [8, 7.5, 7, 7, 6.5, 6, 6, 6, 5.5], build.enhanced(BLOOD, 100, 200))
    for k, (x, y, z) in enumerate(aorta):
        if build.rng.random() < 0.55 * max(0.0, build.traits.wear - 0.2):
            angle = build.rng.uniform(0, 2 * np.pi)
            place = (x + (radii[k] - 1) * np.cos(angle), y + (radii[k] - 1) * np.sin(angle), z)
            yield solid(ellipsoid(place, (2.2 + 3 * abs(np.sin(angle)), 2.2 + 3 * abs(np.cos(angle)), 5)), 650, None)
    if lungs:
        for side in (-1, 1):
            yield from _tree(build, side)


def _between(build: Build, a: Point, b: Point, share: float, spread: float) -> Point:
    """A point near the line from a to b."""
    x, y, z = (float(s + share * (e - s) + build.rng.normal(0, spread)) for s, e in zip(a, b, strict=True))
    return x, y, z


def _tree(build: Build, side: int) -> Iterator[Shape]:
    """Vessels that branch from the hilum to the edge of one lung; what would leave the lung is cut there."""
    inside, _ = lung(build, side)
    hue = build.enhanced(BLOOD, 60, 90)
    hilum: Point = (side * 44.0, 12.0, 178.0)
    twigs: list[tuple[Point, Point, float]] = []
    low, high = (50, -75, 10), (115, 80, 290)
    aims = [(side * float(x), float(y), float(z)) for x, y, z in build.rng.uniform(low, high, (44, 3))]
    for aim in aims:
        middle = _between(build, hilum, aim, 0.45, 7)
        line = smooth([hilum, middle, aim], 5)
        keep = [p for p, depth in zip(line, depths(inside, line), strict=True) if depth < 1]
        if len(keep) > 1:
            size = build.rng.uniform(2.6, 5.0)
            yield from path(keep, np.linspace(size, 1.2, len(line))[: len(keep)].tolist(), hue, None)
            twig = keep[len(keep) // 2]
            end = _between(build, twig, twig, 0, 20)
            twigs.append((twig, end, 0.55 * size))
    for (start, end, size), depth in zip(twigs, depths(inside, [t[1] for t in twigs]), strict=True):
        if depth < 0:
            yield from path([start, end], [size, 0.9], hue, None)
