"""Metal in the body: what patients of a hospital bring with them, at known rates."""

from __future__ import annotations

from collections.abc import Iterator

from medcnn.data.phantom.body import METAL, Build, smooth, solid
from medcnn.data.phantom.shapes import Shape, capsule, ellipsoid, tube


def shapes(build: Build) -> Iterator[Shape]:
    """Prosthesis, pacemaker, clips, dental work, and rods, as the person's traits say."""
    build.part("implants")
    traits = build.traits
    if traits.hip:
        s = traits.hip
        yield solid(ellipsoid((s * 89, 3, -293), (29, 28, 29)), METAL, None, layer="metal")
        for found in tube([(s * 92, 4, -298), (s * 126, 12, -330), (s * 114, 6, -440)], (10, 10, 6)):
            yield solid(found, METAL, None, layer="metal")
    if traits.pacemaker:
        yield solid(ellipsoid((100, -104, 232), (24, 5, 22), turn=24), METAL, None, layer="metal")
        for end in ((42.0, -50.0, 96.0), (-8.0, -34.0, 136.0)):
            lead = smooth([(86, -96, 246), (58, -30, 262), (-18, -22, 244), (-26, -18, 190), (-22, -24, 140), end], 14)
            for found in tube(lead, [1.3] * len(lead)):
                yield solid(found, 4500, None, layer="metal")
    if traits.clips:
        for _ in range(5):
            x, y, z = build.point(-48, -34, -34, 9)
            yield solid(capsule((x, y, z), (x + 5, y + 1, z + 4), 1.2), METAL, None, layer="metal")
    if traits.dental:
        for _ in range(int(build.rng.integers(1, 5))):
            side = 1 if build.rng.random() < 0.5 else -1
            place = (side * build.near(30, 2), build.near(-68, 6), 391.0 if build.rng.random() < 0.5 else 379.0)
            yield solid(ellipsoid(place, (4.5, 4.5, 4.5)), METAL, None, layer="metal")
    if traits.rods:
        for side in (-1, 1):
            yield solid(capsule((side * 24, 78, -30), (side * 24, 72, -135), 2.8), METAL, None, layer="metal")
            for z in (-30, -64, -98, -132):
                yield solid(capsule((side * 24, 76, z), (side * 13, 34, z), 2.8), METAL, None, layer="metal")
