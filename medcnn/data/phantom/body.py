"""A person: traits, the pose on the table, and the order in which the parts of the body are painted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from medcnn.data.phantom.shapes import Array, Box, Distance, Point, Shape, tube

ORGANS = ("background", "brain", "lungs", "heart", "liver", "spleen", "kidneys", "bladder", "bone")
BRAIN, LUNG, HEART, LIVER, SPLEEN, KIDNEY, BLADDER, BONE = range(1, 9)

FAT, MUSCLE, BLOOD, WATER, GAS, METAL = -100.0, 52.0, 42.0, 4.0, -960.0, 6000.0


def generator(*keys: object) -> np.random.Generator:
    """A random generator that depends on its keys alone: one for each purpose, in any process."""
    text = "/".join(str(key) for key in keys).encode()
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text).digest()[:16], "little"))


@dataclass(frozen=True, slots=True)
class Traits:
    """What makes one person differ from the next; the same in all series of that person.

    Attributes:
        key: Seeds the anatomy.
        female: Breasts, a wider pelvis and a smaller body.
        age: In years; ventricles, sulci, bone density and calcified vessels follow it.
        scale: Size relative to the reference adult along x, y and z.
        fat: Thickness of the fat below the skin in mm.
        hip: Side of a hip prosthesis (-1 right, 1 left), 0 for none.
        pacemaker: A generator below the left collarbone with its leads.
        clips: Surgical clips in the upper abdomen.
        dental: Metal in the teeth.
        rods: Screws and rods in the lumbar spine.
    """

    key: str
    female: bool
    age: int
    scale: tuple[float, float, float]
    fat: float
    hip: int = 0
    pacemaker: bool = False
    clips: bool = False
    dental: bool = False
    rods: bool = False

    @property
    def wear(self) -> float:
        """Age from 0 (20 years) to 1 (90 years)."""
        return float(np.clip((self.age - 20) / 70, 0, 1))

    @classmethod
    def draw(cls, key: str, *, female: bool, age: int) -> Traits:
        """A random person; implants come at fixed rates."""
        rng = generator(key, "traits")
        # The young are not grown: 87 % of an adult's size at 12, all of it at 18.
        grown = 1 - 0.022 * max(0, 18 - age)
        size = ((0.95 if female else 1.03) + 0.045 * rng.standard_normal()) * grown
        girth = rng.normal(1.04, 0.05)
        rates = rng.random(6)
        return cls(
            key,
            female,
            age,
            (size * girth, size * girth * rng.normal(1, 0.03), size),
            float(np.clip(rng.gamma(4.0, 4.5), 4, 45)),
            hip=(1 if rates[5] < 0.5 else -1) if rates[0] < 0.10 else 0,
            pacemaker=bool(rates[1] < 0.10),
            clips=bool(rates[2] < 0.12),
            dental=bool(rates[3] < 0.30),
            rods=bool(rates[4] < 0.07),
        )


@dataclass(slots=True)
class Build:
    """What the parts of the body share while their shapes are listed.

    Attributes:
        traits: The person.
        contrast: Strength of the contrast medium in the vessels, 0 for none.
        early: The picture is taken while the medium is in the arteries.
        oral: Whether the bowel holds contrast medium.
        arms: ``up``, ``side`` (beside the body) or ``none``.
    """

    traits: Traits
    contrast: float = 0.0
    oral: bool = False
    arms: str = "up"
    early: bool = False
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.part("body")

    def part(self, name: str) -> None:
        """Start the random stream of one part, so that a change of another leaves it alone."""
        self.rng = generator(self.traits.key, name)

    def near(self, value: float, spread: float) -> float:
        """``value`` with a normal deviation, cut at two standard deviations."""
        return float(value + spread * np.clip(self.rng.standard_normal(), -2, 2))

    def point(self, x: float, y: float, z: float, spread: float = 3.0) -> Point:
        """A point with a deviation on each axis."""
        return self.near(x, spread), self.near(y, spread), self.near(z, spread)

    def enhanced(self, native: float, late: float, early: float | None = None) -> float:
        """HU with contrast medium.

        Args:
            native: HU without it.
            late: Rise at full strength while it is in the veins and organs.
            early: Rise while it is in the arteries; absent: a third of ``late``.
        """
        if not self.early:
            return native + late * self.contrast
        return native + (late / 3 if early is None else early) * self.contrast


def solid(
    found: tuple[Distance, Box],
    hu: float,
    label: int | None = 0,
    *,
    core: float | None = None,
    wall: float = 0.0,
    mottle: float = 0.0,
    layer: str = "",
) -> Shape:
    """A shape from a primitive."""
    return Shape(found[0], found[1], hu, label, core, wall, mottle, layer)


def bone(found: tuple[Distance, Box], hu: float = 650.0, core: float = 220.0, wall: float = 2.5) -> Shape:
    """A bone with a dense outer layer."""
    return Shape(found[0], found[1], hu, BONE, core=core, wall=wall)


def path(points: Sequence[Point], radii: Sequence[float], hu: float, label: int | None = 0) -> Iterator[Shape]:
    """A tube of one filling along a polyline."""
    for found in tube(points, radii):
        yield solid(found, hu, label)


def smooth(points: Sequence[Point], count: int) -> list[Point]:
    """``count`` points along a Catmull-Rom curve through the given ones."""
    p = np.asarray(points, float)
    ends = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.linspace(0, len(p) - 1, count)
    k = np.minimum(t.astype(int), len(p) - 2)
    u = (t - k)[:, None]
    a, b, c, d = ends[k], ends[k + 1], ends[k + 2], ends[k + 3]
    curve = 0.5 * (2 * b + (c - a) * u + (2 * a - 5 * b + 4 * c - d) * u**2 + (3 * b - a - 3 * c + d) * u**3)
    return [(float(x), float(y), float(z)) for x, y, z in curve]


@dataclass(frozen=True, slots=True)
class Pose:
    """How the person lies in the scanner.

    Attributes:
        roll: Rotation about the long axis in degrees.
        pitch: Nod of the head about the left-right axis in degrees.
        shift: Offset of the body's axis in mm (x, y) and of its z = 0 in the scanner's frame.
        bend: Phases and amplitudes of the slow warp that makes each body irregular.
    """

    roll: float
    pitch: float
    shift: tuple[float, float, float]
    bend: tuple[float, ...]

    @classmethod
    def draw(cls, key: str, traits: Traits, *, head: bool) -> Pose:
        """A random pose for one series; the warp belongs to the person."""
        rng = generator(key, "pose")
        own = generator(traits.key, "warp")
        bend = (*own.uniform(0, 2 * np.pi, 6), *own.uniform(0.5, 3.0, 4))
        turn = 6.0 if head else 3.0
        shift = (rng.normal(0, 5), rng.normal(0, 4), float(np.round(rng.uniform(-900, 0), 1)))
        return cls(float(rng.normal(0, turn)), float(rng.normal(0, 5)) if head else 0.0, shift, bend)

    def reference(
        self, scale: Sequence[float], x: Array, y: Array, z: Array, pivot: float
    ) -> tuple[Array, Array, Array]:
        """Reference coordinates of world points (LPS, mm).

        Args:
            scale: The person's size.
            x: ``(1, 1, I)`` or ``(K, J, I)``.
            y: ``(K, J, 1)``.
            z: ``(K, J, 1)``.
            pivot: World z (without the shift) about which the head nods.

        Returns:
            x and y as ``(K, J, I)`` and z as ``(K, J, 1)``, float32.
        """
        x, y, z = x - self.shift[0], y - self.shift[1], z - self.shift[2]
        if self.pitch:
            c, s = np.cos(np.radians(self.pitch)), np.sin(np.radians(self.pitch))
            y, z = c * y + s * (z - pivot), c * (z - pivot) - s * y + pivot
        c, s = np.cos(np.radians(self.roll)), np.sin(np.radians(self.roll))
        u, v, w = (c * x + s * y) / scale[0], (c * y - s * x) / scale[1], z / scale[2]
        u, v, w = (np.asarray(a, np.float32) for a in (u, v, w))
        p, a = np.asarray(self.bend[:6], np.float32), np.asarray(self.bend[6:], np.float32)
        # Slow waves: a slightly crooked spine, one side fuller than the other, organs of no plain form.
        across = a[0] * np.sin(w / 90 + p[0]) + a[1] * np.sin(v / 38 + p[1])
        along = a[2] * np.sin(w / 110 + p[3]) + a[3] * np.sin(u / 45 + p[4])
        return (u + across).astype(np.float32), (v + along).astype(np.float32), np.ascontiguousarray(w)


def everything(build: Build, reach: tuple[float, float], lesions: Iterable[Shape] = ()) -> Iterator[Shape]:
    """The shapes of the body in the order of painting, with lesions before the implants.

    Args:
        build: The body.
        reach: Lowest and highest reference z of the picture; parts that end before it are left out.
        lesions: Shapes painted over the organs.
    """
    from medcnn.data.phantom import abdomen, chest, head, implants, pelvis, trunk

    low, high = reach
    yield from trunk.envelope(build)
    if high > -350 and low < 115:
        yield from abdomen.shapes(build)
    if high > -50 and low < 400:
        yield from chest.shapes(build)
    if low < -90:
        yield from pelvis.shapes(build)
    if low < 420:
        yield from trunk.skeleton(build)
    if low < -110:
        yield from pelvis.skeleton(build)
    if high > 345:
        yield from head.shapes(build)
    if low < 400:
        yield from chest.vessels(build, lungs=high > -50 and low < 310)
    yield from lesions
    yield from implants.shapes(build)
