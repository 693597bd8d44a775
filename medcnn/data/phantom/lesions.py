"""Lesions: where they may lie, what they look like, and how far they stand out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medcnn.data.phantom.abdomen import liver
from medcnn.data.phantom.body import Build, Traits, generator, solid
from medcnn.data.phantom.chest import lung
from medcnn.data.phantom.shapes import Array, Box, Distance, Point, Shape, depths, ellipsoid


@dataclass(frozen=True, slots=True)
class Lesion:
    """One lesion of a patient, the same in all series that cover it.

    Attributes:
        kind: What it is, such as ``lung nodule``.
        part: The part of the body.
        center: In reference coordinates, mm.
        radii: Half axes in the patient in mm, whatever the size of the body.
        turn: Rotation about z in degrees.
        visibility: Contrast with the surroundings, 0 (none) to 1 (obvious).
    """

    kind: str
    part: str
    center: Point
    radii: Point
    turn: float
    visibility: float


# Site: kind, chance within its part, smallest and largest radius in mm.
_SITES: dict[str, tuple[tuple[str, float, float, float], ...]] = {
    "head": (("haemorrhage", 0.4, 5, 22), ("infarct", 0.35, 8, 26), ("brain metastasis", 0.25, 4, 14)),
    "chest": (("lung nodule", 0.8, 4, 17), ("lung consolidation", 0.2, 16, 30)),
    "abdomen": (("liver lesion", 0.75, 5, 26), ("kidney cyst", 0.25, 6, 20)),
    "pelvis": (("bone lesion", 0.6, 6, 15), ("lymph node", 0.4, 7, 17)),
    "hand": (("bone cyst", 1.0, 2.5, 5.0),),
}
_BONES: tuple[tuple[Point, float], ...] = (
    ((88, 18, -242), 7), ((-88, 18, -242), 7), ((66, 48, -220), 7), ((-66, 48, -220), 7), ((20, 58, -215), 12),
    ((-20, 58, -215), 12), ((90, 4, -296), 14), ((-90, 4, -296), 14), ((0, 42, -163), 11), ((70, 32, -320), 9),
)  # fmt: skip
_NODES: tuple[Point, ...] = (
    (46, 2, -205),
    (-46, 2, -205),
    (60, -22, -245),
    (-60, -22, -245),
    (30, 12, -175),
    (-30, 12, -175),
)


def draw_lesions(key: str, traits: Traits, parts: Sequence[str]) -> tuple[Lesion, ...]:
    """One to three lesions in each of some parts, at least one in all, none touching another."""
    found: list[Lesion] = []
    rng = generator(key, "lesions")
    chosen = [p for p in dict.fromkeys(parts) if rng.random() < 0.8] or [parts[0]]
    for part in chosen:
        sites = _SITES[part]
        for _ in range(1 if part == "hand" else int(rng.choice([1, 1, 2, 3]))):
            site = sites[int(rng.choice(len(sites), p=[s[1] for s in sites]))]
            one = _place(rng, traits, part, site)
            if one is not None and all(_apart(one, other) for other in found):
                found.append(one)
    return tuple(found)


def _apart(one: Lesion, other: Lesion) -> bool:
    if one.part == "hand" or other.part == "hand":
        return one.part != other.part
    gap = np.linalg.norm(np.subtract(one.center, other.center))
    return bool(gap > max(one.radii) + max(other.radii) + 24)


def _place(rng: np.random.Generator, traits: Traits, part: str, site: tuple[str, float, float, float]) -> Lesion | None:
    kind, _, smallest, largest = site
    size = float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
    visibility = float(np.clip(np.exp(rng.uniform(np.log(0.04), np.log(1.3))), 0, 1))
    rx, ry, rz = (float(size * rng.uniform(0.75, 1.2)) for _ in range(3))
    center = _PLACES[kind](rng, traits, size)
    if center is None:
        return None
    return Lesion(kind, part, center, (rx, ry, rz), float(rng.uniform(-90, 90)), visibility)


def _inside(rng: np.random.Generator, low: Point, high: Point, distance: Distance, depth: float) -> Point | None:
    tries = rng.uniform(low, high, (200, 3))
    good = np.flatnonzero(depths(distance, tries.tolist()) < -depth)
    if not good.size:
        return None
    x, y, z = (float(v) for v in tries[good[0]])
    return x, y, z


def _in_brain(rng: np.random.Generator, traits: Traits, size: float) -> Point | None:
    found, _ = ellipsoid((0, -12, 486), (56, 72, 46))
    point = _inside(rng, (12, -80, 462), (60, 60, 530), found, 0.9 * size)
    return None if point is None else (float(rng.choice([-1, 1])) * point[0], point[1], point[2])


def _in_lung(rng: np.random.Generator, traits: Traits, size: float) -> Point | None:
    side = int(rng.choice([-1, 1]))
    found, _ = lung(Build(traits), side)
    return _inside(
        rng, (min(20 * side, 120 * side), -80, -10), (max(20 * side, 120 * side), 90, 280), found, 0.8 * min(size, 15)
    )


def _in_liver(rng: np.random.Generator, traits: Traits, size: float) -> Point | None:
    found, _ = liver(Build(traits))
    return _inside(rng, (-125, -70, -80), (30, 75, 90), found, 0.8 * size)


def _in_kidney(rng: np.random.Generator, traits: Traits, size: float) -> Point:
    side = float(rng.choice([-1, 1]))
    return side * (74 + 0.3 * size), 56 + rng.uniform(-6, 4), float(rng.uniform(-80, -25))


def _in_bone(rng: np.random.Generator, traits: Traits, size: float) -> Point:
    (x, y, z), _ = _BONES[int(rng.integers(len(_BONES)))]
    return x + float(rng.normal(0, 3)), y + float(rng.normal(0, 3)), z + float(rng.normal(0, 6))


def _node(rng: np.random.Generator, traits: Traits, size: float) -> Point:
    x, y, z = _NODES[int(rng.integers(len(_NODES)))]
    return x + float(rng.normal(0, 4)), y + float(rng.normal(0, 4)), z + float(rng.normal(0, 8))


def _hand(rng: np.random.Generator, traits: Traits, size: float) -> Point:
    # A digit, a bone of it, and the place along that bone: the hand has coordinates of its own.
    return float(rng.integers(1, 5)), float(rng.integers(0, 3)), float(rng.uniform(0.25, 0.8))


_PLACES: dict[str, Callable[[np.random.Generator, Traits, float], Point | None]] = {
    "haemorrhage": _in_brain, "infarct": _in_brain, "brain metastasis": _in_brain, "lung nodule": _in_lung,
    "lung consolidation": _in_lung, "liver lesion": _in_liver, "kidney cyst": _in_kidney, "bone lesion": _in_bone,
    "lymph node": _node, "bone cyst": _hand,
}  # fmt: skip


def _hu(lesion: Lesion, build: Build) -> tuple[float, float]:
    """HU of the surroundings, and of the lesion where it is obvious."""
    odd = hash_side(lesion)
    return {
        "haemorrhage": (33.0, 76.0),
        "infarct": (33.0, 12.0),
        "brain metastasis": (33.0, build.enhanced(20, 55)),
        "lung nodule": (-840.0, build.enhanced(35, 25)),
        "lung consolidation": (-840.0, build.enhanced(30, 30)),
        "liver lesion": (build.enhanced(56, 48), build.enhanced(18, 25) if odd < 0.8 else build.enhanced(56, 110)),
        "kidney cyst": (build.enhanced(32, 110), 6.0 if odd < 0.7 else build.enhanced(38, 45)),
        "bone lesion": (260.0, 950.0 if odd < 0.5 else 35.0),
        "lymph node": (20.0, build.enhanced(45, 35)),
        "bone cyst": (0.0, 0.0),
    }[lesion.kind]


def hash_side(lesion: Lesion) -> float:
    """A number in [0, 1) that belongs to the lesion, for choices between two looks."""
    return float(np.modf(abs(lesion.center[0]) * 7.13 + abs(lesion.center[2]) * 3.7)[0])


def lesion_shapes(lesions: Sequence[Lesion], build: Build) -> Iterator[Shape]:
    """The lesions as shapes; each keeps the fraction that it covers in a layer of its own, ``lesion-<k>``."""
    for k, lesion in enumerate(lesions):
        if lesion.part == "hand":
            continue
        around, obvious = _hu(lesion, build)
        hu = around + lesion.visibility * (obvious - around)
        found = _uneven(lesion, build.traits.scale, generator(build.traits.key, "surface", k))
        soft = 0.25 * abs(obvious - around) * lesion.visibility * 0.3
        yield solid(found, hu, None, mottle=soft, layer=f"lesion-{k}")


def _uneven(lesion: Lesion, scale: Point, rng: np.random.Generator) -> tuple[Distance, Box]:
    """The ellipsoid of a lesion with a wavy surface, in reference coordinates."""
    # Small bodies do not have small lesions: the size must tell nothing about sex or age.
    wide = (scale[0] + scale[1]) / 2
    radii = (lesion.radii[0] / wide, lesion.radii[1] / wide, lesion.radii[2] / scale[2])
    inner, (x1, x2, y1, y2, z1, z2) = ellipsoid(lesion.center, radii, turn=lesion.turn)
    p, q, s = (float(v) for v in rng.uniform(0, 2 * np.pi, 3))
    r = min(radii)

    def distance(x: Array, y: Array, z: Array) -> Array:
        wave = np.sin(3.1 / r * x + p) + np.sin(2.7 / r * y + q) + np.sin(2.3 / r * z + s)
        found: Array = inner(x, y, z) + 0.06 * r * wave
        return found

    margin = 0.2 * r
    return distance, (x1 - margin, x2 + margin, y1 - margin, y2 + margin, z1 - margin, z2 + margin)
