"""One CT series: its grid in the scanner, the painted body, and the masks that belong to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcnn.data.phantom.body import Build, Pose, Traits, everything, generator
from medcnn.data.phantom.design import Series
from medcnn.data.phantom.lesions import Lesion, lesion_shapes
from medcnn.data.phantom.scanner import SCANNERS, SIZES, Scanner, degrade, stored_values
from medcnn.data.phantom.shapes import Array, Canvas

# Lower and upper end in the reference body, and their standard deviation: neighbours overlap, as in hospitals.
COVERAGE = {"head": (388, 556, 12), "chest": (24, 302, 12), "abdomen": (-146, 56, 12), "pelvis": (-385, -152, 12)}
NOD = 420.0
# Sample points painted at once: about 25 bytes each.
POINTS = 6_000_000


@dataclass(frozen=True, slots=True)
class Volume:
    """A series as it is stored, slices from the feet to the head.

    Attributes:
        values: ``(K, rows, columns)`` stored values.
        padding: Padding value, or ``None``.
        organs: ``(K, rows, columns)`` organ labels.
        lesions: ``(K, rows, columns)``: 0, or the number of the lesion from 1 in ``kinds``.
        kinds: The lesions that are seen, in the order of their numbers.
        corner: World position (LPS, mm) of the centre of the first pixel of the first slice.
        column: Direction of a column in the world (down the rows).
        pixel: Pixel size in mm.
        gap: Distance between slices along the table in mm.
        thickness: Slice thickness in mm.
        widths: Width of the body in each slice within the field of view, in mm.
    """

    values: NDArray[np.int16] | NDArray[np.uint16]
    padding: int | None
    organs: NDArray[np.uint8]
    lesions: NDArray[np.uint8]
    kinds: tuple[Lesion, ...]
    corner: tuple[float, float, float]
    column: tuple[float, float, float]
    pixel: float
    gap: float
    thickness: float
    widths: NDArray[np.float64]

    def affine(self) -> NDArray[np.float64]:
        """Voxel ``(column, row, slice)`` to RAS+ mm; sheared where the gantry is tilted."""
        lps = np.eye(4)
        lps[:3, 0] = (self.pixel, 0, 0)
        lps[:3, 1] = np.multiply(self.column, self.pixel)
        lps[:3, 2] = (0, 0, self.gap)
        lps[:3, 3] = self.corner
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the pixels of a series lie.

    Attributes:
        corner: World position (LPS, mm) of the first pixel of the first slice.
        column: Direction of a column in the world.
        shape: Slices, and rows (as many as columns).
        steps: Pixel size, distance of slices and slice thickness in mm.
        samples: Sample planes in a slice.
    """

    corner: tuple[float, float, float]
    column: tuple[float, float, float]
    shape: tuple[int, int]
    steps: tuple[float, float, float]
    samples: int


@dataclass(frozen=True, slots=True)
class Painted:
    """The slices of a series without noise, ``(K, rows, columns)``.

    Attributes:
        hu: Means over the sample planes.
        labels: Organs in the central sample plane.
        layers: Covered fractions by name.
    """

    hu: Array
    labels: NDArray[np.uint8]
    layers: dict[str, Array]

    @classmethod
    def empty(cls, shape: tuple[int, int, int]) -> Painted:
        """Slices that are yet to be painted."""
        return cls(np.zeros(shape, np.float32), np.zeros(shape, np.uint8), {})

    def take(self, part: slice, canvas: Canvas, samples: int) -> None:
        """Average the sample planes of some slices."""

        def mean(array: Array) -> Array:
            found: Array = array.reshape(-1, samples, *array.shape[1:]).mean(axis=1, dtype=np.float32)
            return found

        # Detectors saturate: metal counts as the largest value that 12 bits hold.
        self.hu[part] = mean(np.minimum(canvas.hu, np.float32(4500)))
        self.labels[part] = canvas.labels[samples // 2 :: samples]
        for name, cover in canvas.layers.items():
            self.layers.setdefault(name, np.zeros(self.hu.shape, np.float32))[part] = mean(cover)


def body_width(traits: Traits) -> float:
    """Width of the trunk at the chest in mm, without the arms."""
    return 2 * (146 + 3 + 0.72 * traits.fat) * traits.scale[0]


def scan(key: str, series: Series, traits: Traits, lesions: Sequence[Lesion], size: str) -> Volume:
    """Make one CT series.

    Args:
        key: Seeds everything about this series.
        series: What is to be made.
        traits: The patient.
        lesions: The patient's lesions; those outside the series are not in it.
        size: ``small``, ``medium`` or ``large``.
    """
    rng = generator(key, "grid")
    scanner, grain = SCANNERS[series.scanner], SIZES[size]
    head = series.part == "head"
    pose = Pose.draw(key, traits, head=head)
    gap = round((grain.head if head else grain.body) * scanner.gap, 2)
    thickness = round(gap * float(rng.choice([0.7, 0.85, 1.0])), 2)
    bottom, top, spread = COVERAGE[series.part]
    low, high = bottom - series.beyond[0], top + series.beyond[1]
    start, end = ((v + spread * float(np.clip(rng.standard_normal(), -2, 2))) * traits.scale[2] for v in (low, high))
    planes = start + gap * np.arange(max(4, int((end - start) / gap) + 1))
    pixel = round(_field(rng, series, traits, scanner) / grain.matrix, 4)
    center = (
        pose.shift[0] + rng.normal(0, 6),
        pose.shift[1] + rng.normal(0, 6) - (14 * traits.scale[1] if head else 0),
    )
    corner = (center[0] - pixel * (grain.matrix - 1) / 2, 0.0, 0.0)
    tilt = np.radians(series.tilt)
    column = (0.0, float(np.cos(tilt)), float(-np.sin(tilt)))
    first = center[1] - column[1] * pixel * (grain.matrix - 1) / 2
    rise = -column[2] * pixel * (grain.matrix - 1) / 2
    corner = (round(corner[0], 3), round(first, 3), round(float(planes[0] + pose.shift[2] + rise), 3))
    build = Build(traits, series.contrast, series.oral, series.arms, early=series.part == "chest")
    grid = Grid(corner, column, (len(planes), grain.matrix), (pixel, gap, thickness), grain.samples)
    painted = _paint(build, pose, lesions, grid, generator(key, "texture"), head)
    return _finish(painted, lesions, scanner, series, generator(key, "noise"), grid)


def _field(rng: np.random.Generator, series: Series, traits: Traits, scanner: Scanner) -> float:
    if series.part == "head":
        return float(rng.uniform(*scanner.roomy)) * 212 * traits.scale[1]
    wide = body_width(traits) * float(rng.uniform(*scanner.roomy))
    return wide * float(rng.uniform(0.72, 0.85)) if series.tight else max(wide, 300.0)


def _paint(
    build: Build, pose: Pose, lesions: Sequence[Lesion], grid: Grid, rng: np.random.Generator, head: bool
) -> Painted:
    """Paint table and body, a block of slices at a time, so that memory does not grow with the series."""
    slices, matrix = grid.shape
    count = int(np.ceil(matrix / max(1.0, 6.0 / grid.steps[0]))) + 1
    rough = rng.standard_normal((slices, count, count)).astype(np.float32)
    found = Painted.empty((slices, matrix, matrix))
    step = max(1, POINTS // (matrix * matrix * grid.samples))
    for start in range(0, slices, step):
        part = slice(start, min(start + step, slices))
        found.take(part, _block(build, pose, lesions, grid, part, rough[part], head), grid.samples)
    return found


def _block(
    build: Build, pose: Pose, lesions: Sequence[Lesion], grid: Grid, part: slice, rough: Array, head: bool
) -> Canvas:
    """Some slices of a series, at every sample plane."""
    from scipy.ndimage import zoom

    (pixel, gap, thickness), matrix, scale = grid.steps, grid.shape[1], build.traits.scale
    index = np.arange(matrix) * pixel
    offsets = (np.arange(grid.samples) - (grid.samples - 1) / 2) * thickness / grid.samples
    heights = grid.corner[2] + gap * np.arange(part.start, part.stop)
    z0 = (heights[:, None] + offsets[None, :]).reshape(-1, 1, 1)
    x = (grid.corner[0] + index)[None, None, :]
    y = grid.corner[1] + grid.column[1] * index[None, :, None] + 0 * z0
    z = z0 + grid.column[2] * index[None, :, None]
    canvas = Canvas(*pose.reference(scale, x, y, z, NOD * scale[2]), pixel / scale[0])
    fine = zoom(rough, (1, matrix / rough.shape[1], matrix / rough.shape[2]), order=1)[:, :matrix, :matrix]
    canvas.texture = np.repeat(fine, grid.samples, axis=0)
    back = pose.shift[1] + (88 if head else 109 + 0.55 * build.traits.fat) * scale[1]
    _table(canvas, x - pose.shift[0], y - back, pixel, head)
    for painted in everything(build, (canvas.limits[4], canvas.limits[5]), lesion_shapes(lesions, build)):
        canvas.paint(painted)
    return canvas


def _table(canvas: Canvas, x: Array, y: Array, pixel: float, head: bool) -> None:
    """A curved carbon plate with its lower shell, or the cradle of a head; it does not turn with the patient."""
    x, y = x.astype(np.float32), y[:1].astype(np.float32)
    if head:
        ring = np.abs(np.hypot(x, y + 112) - 121) - 2.2
        depth = np.maximum(ring, -y - 120)
        surfaces: tuple[tuple[Array, float], ...] = ((depth, -350.0),)
    else:
        inside = np.abs(x) - 205
        top = y - x * x / -900.0 - 4
        bottom = y + x * x / 1500.0 - 42
        surfaces = (
            (np.maximum(np.maximum(-top, bottom), inside), -930.0),
            (np.maximum(np.abs(top) - 1.8, inside), 0.0),
            (np.maximum(np.abs(bottom) - 1.8, inside), 0.0),
        )
    for depth, hu in surfaces:
        cover = np.clip(0.5 - depth / pixel, 0, 1).astype(np.float32)
        canvas.hu += cover * (np.float32(hu) - canvas.hu)


def _finish(
    painted: Painted, lesions: Sequence[Lesion], scanner: Scanner, series: Series, rng: np.random.Generator, grid: Grid
) -> Volume:
    """Degrade the painted slices as the scanner does, and take the masks."""
    pixel, gap, thickness = grid.steps
    # A head is scanned with several times the dose of a trunk, for the faint contrast of the brain;
    # a chest is reconstructed sharper, for the lungs.
    dose = series.dose * (6.0 if series.part == "head" else 1.0)
    sharp = 1.45 if series.part == "chest" else 1.0
    metal = painted.layers.get("metal")
    noisy = degrade(painted.hu, metal, scanner, rng, pixel=pixel, dose=dose, sharp=sharp, thickness=thickness)
    values, padding = stored_values(noisy, scanner)
    marks, kinds = lesion_marks(painted.layers, lesions, painted.hu.shape)
    body = painted.layers.get("body", np.zeros(painted.hu.shape, np.float32)).max(axis=1) > 0.5
    widths = np.array([np.ptp(np.flatnonzero(row)) + 1 if row.any() else 0 for row in body]) * pixel
    return Volume(
        values, padding, painted.labels, marks, kinds, grid.corner, grid.column, pixel, gap, thickness, widths
    )


def lesion_marks(
    layers: dict[str, Array], lesions: Sequence[Lesion], shape: tuple[int, ...]
) -> tuple[NDArray[np.uint8], tuple[Lesion, ...]]:
    """Where each lesion covers at least half of what it covers at most; one that hardly touches the grid is absent."""
    marks = np.zeros(shape, np.uint8)
    kinds: list[Lesion] = []
    for k, lesion in enumerate(lesions):
        cover = layers.get(f"lesion-{k}")
        if cover is None or float(cover.max()) < 0.3:
            continue
        kinds.append(lesion)
        marks[cover >= 0.5 * float(cover.max())] = len(kinds)
    return marks, tuple(kinds)
