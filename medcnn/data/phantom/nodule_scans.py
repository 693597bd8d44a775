"""CT scans of one lung with its nodules, and their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.phantom.body import generator
from medcnn.data.phantom.dicom import nifti_bytes
from medcnn.data.phantom.jobs import Rows
from medcnn.data.phantom.lung_field import REACH, LungField, draw_field
from medcnn.data.phantom.nodules import Nodule, draw_distractors, draw_nodules, nodule_shapes
from medcnn.data.phantom.shapes import Array, Canvas

# Voxels along x, y and z; the field of view is 100 mm along each.
SIZES = {"small": (80, 80, 40), "medium": (128, 128, 64)}
SCAN_COLUMNS = ("scan", "patient", "sex", "age", "side", "scanner", "contrast", "nodules")
NODULE_COLUMNS = (
    "scan", "nodule", "kind", "hu", "x1", "y1", "z1", "x2", "y2", "z2", "x_mm", "y_mm", "z_mm", "diameter_mm",
)  # fmt: skip
BLOCK = 6
_SAMPLES = 3


@dataclass(frozen=True, slots=True)
class Person:
    """One patient of the cohort."""

    id: str
    nodules: bool
    scans: int


@dataclass(frozen=True, slots=True)
class Protocol:
    """How one scan is made.

    Attributes:
        side: 1 for the left lung, -1 for the right.
        center: World position of the field's middle in mm (LPS).
        shift: How far the lung lies off that middle, in mm.
        roll: Rotation of the patient about the long axis in degrees.
        blood: HU of the blood.
        scanner: ``A`` (sharp and noisy) or ``B``.
        blur: Standard deviation of the in-plane point spread in mm.
        noise: Standard deviation in HU.
        growth: Size of the nodules relative to the first scan's.
    """

    side: int
    center: tuple[float, float, float]
    shift: tuple[float, float, float]
    roll: float
    blood: float
    scanner: str
    blur: float
    noise: float
    growth: float

    @classmethod
    def draw(cls, key: str, number: int) -> Protocol:
        """The protocol of a patient's scan ``number``, from 1; ``key`` seeds the patient."""
        own, rng = generator(key, "protocol"), generator(key, "protocol", number)
        side = int(own.choice([-1, 1]))
        center = (side * 82 + rng.normal(0, 4), rng.normal(-20, 8), rng.uniform(-700, 100))
        sharp = bool(rng.random() < 0.5)
        contrast = float(rng.uniform(60, 190)) if rng.random() < 0.4 else 0.0
        return cls(
            side,
            (round(center[0], 2), round(center[1], 2), round(center[2], 2)),
            (float(rng.normal(0, 1.5)), float(rng.normal(0, 1.5)), float(rng.normal(0, 2))),
            float(rng.normal(0, 2.5)),
            44 + contrast,
            "A" if sharp else "B",
            0.55 if sharp else 0.9,
            float(rng.uniform(34, 58) if sharp else rng.uniform(18, 34)),
            1.0 if number == 1 else float(rng.uniform(1.0, 1.2)),
        )


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan.

    Attributes:
        values: ``(X, Y, Z)`` int16 in HU; x to the patient's left, y to the back, z to the head.
        marks: ``(X, Y, Z)``: 0, or the number of the nodule from 1 in ``nodules``.
        nodules: The nodules that are seen.
        affine: Voxel centres to RAS+ mm.
    """

    values: NDArray[np.int16]
    marks: NDArray[np.uint8]
    nodules: tuple[Nodule, ...]
    affine: NDArray[np.float64]


def person(seed: int, index: int) -> Person:
    """One patient. In each block of six, two have no nodules and three are scanned twice, one without nodules."""
    block, place = divmod(index, BLOCK)
    order = generator("nodules", seed, "block", block).permutation(BLOCK)
    cell = int(order[place])
    name = f"C{seed}N{index + 1:03d}" if seed else f"N{index + 1:03d}"
    return Person(name, cell >= 2, 1 + cell % 2)


def work(folder: str, index: int, patients: int, seed: int, size: str) -> Rows:
    """Make the scans of one patient below ``folder``; rows of the tables ``scans`` and ``nodules``."""
    del patients
    one = person(seed, index)
    key = f"medcnn-nodules-1/{seed}/{one.id}"
    about = generator(key, "person")
    sex, age = "FM"[int(about.integers(2))], int(about.integers(35, 88))
    lung = LungField(key)
    drawn = draw_nodules(lung) if one.nodules else ()
    rows: Rows = {"scans": [], "nodules": []}
    for number in range(1, one.scans + 1):
        protocol = Protocol.draw(key, number)
        name = f"{one.id}-{number}"
        found = scan(lung, drawn, protocol, f"{key}/{number}", size)
        for kind, array in (("images", found.values), ("masks", np.minimum(found.marks, 1))):
            (Path(folder) / kind / f"{name}.nii.gz").write_bytes(nifti_bytes(array, found.affine))
        rows["nodules"] += _nodule_rows(name, found, protocol)
        rows["scans"].append(
            {
                "scan": name,
                "patient": one.id,
                "sex": sex,
                "age": age,
                "side": "left" if protocol.side > 0 else "right",
                "scanner": protocol.scanner,
                "contrast": int(protocol.blood > 60),
                "nodules": len(found.nodules),
            }
        )
    return rows


def scan(lung: LungField, nodules: tuple[Nodule, ...], protocol: Protocol, key: str, size: str) -> Scan:
    """Draw one scan.

    Args:
        lung: The patient's anatomy.
        nodules: The patient's nodules.
        protocol: How the scan is made.
        key: Seeds texture and noise.
        size: ``small`` or ``medium``.
    """
    shape = SIZES[size]
    steps = tuple(2 * REACH / n for n in shape)
    grown = tuple(n.grown(protocol.growth) for n in nodules)
    canvas = _canvas(protocol, shape, steps, key)
    # Distractors keep away from nodules as they are at first, so that scans of one patient show the same ones.
    for shape_ in draw_field(lung, protocol.blood):
        canvas.paint(shape_)
    for shape_ in draw_distractors(lung, nodules, protocol.blood):
        canvas.paint(shape_)
    for shape_ in nodule_shapes(lung, grown):
        canvas.paint(shape_)
    hu = _noisy(_planes(canvas.hu), protocol, steps, generator(key, "noise"))
    marks = np.zeros(shape[::-1], np.uint8)
    seen: list[Nodule] = []
    for k, nodule in enumerate(grown):
        layer = canvas.layers.get(f"nodule-{k}")
        where = None if layer is None else _planes(layer) >= 0.5
        if where is not None and where.any():
            seen.append(nodule)
            marks[where] = len(seen)
    return Scan(
        np.ascontiguousarray(np.clip(np.rint(hu), -1024, 3071).astype(np.int16).transpose(2, 1, 0)),
        np.ascontiguousarray(marks.transpose(2, 1, 0)),
        tuple(seen),
        _affine(protocol, shape, steps),
    )


def _affine(protocol: Protocol, shape: tuple[int, ...], steps: tuple[float, ...]) -> NDArray[np.float64]:
    lps = np.diag([*steps, 1.0])
    lps[:3, 3] = [c - s * (n - 1) / 2 for c, s, n in zip(protocol.center, steps, shape, strict=True)]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def _canvas(protocol: Protocol, shape: tuple[int, int, int], steps: tuple[float, ...], key: str) -> Canvas:
    """The sample points in the lung's own coordinates: mirrored for a right lung, turned and shifted."""
    from scipy.ndimage import zoom

    x, y, z = ((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, steps, strict=True))
    inner = (np.arange(_SAMPLES) - (_SAMPLES - 1) / 2) * steps[2] / _SAMPLES
    heights = (z[:, None] + inner[None]).reshape(-1, 1, 1) - protocol.shift[2]
    across, back = x[None, None, :] - protocol.shift[0], y[None, :, None] - protocol.shift[1]
    c, s = np.cos(np.radians(protocol.roll)), np.sin(np.radians(protocol.roll))
    u, v = protocol.side * (c * across + s * back), c * back - s * across
    points = tuple(np.broadcast_to(a, (len(heights), shape[1], shape[0])).astype(np.float32) for a in (u, v))
    level = np.broadcast_to(heights, (len(heights), shape[1], 1)).astype(np.float32)
    canvas = Canvas(points[0], points[1], level, steps[0])
    rough = generator(key, "texture").standard_normal((shape[2], 17, 17)).astype(np.float32)
    fine = zoom(rough, (1, shape[1] / 17, shape[0] / 17), order=1)
    canvas.texture = np.repeat(fine, _SAMPLES, axis=0)
    return canvas


def _planes(samples: Array) -> Array:
    """The mean over the sample planes of each slice."""
    found: Array = samples.reshape(-1, _SAMPLES, *samples.shape[1:]).mean(axis=1, dtype=np.float32)
    return found


def _noisy(hu: Array, protocol: Protocol, steps: tuple[float, ...], rng: np.random.Generator) -> Array:
    """Blur in the plane, and correlated noise that is stronger in the soft tissue than in air."""
    from scipy.ndimage import gaussian_filter

    sigma = protocol.blur / steps[0]
    hu = gaussian_filter(hu, (0, sigma, sigma), mode="nearest")
    grain = gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), (0.3, 0.8 * sigma, 0.8 * sigma))
    grain *= protocol.noise / float(grain.std())
    dense = np.clip((hu + 1000) / 1000, 0, 1)
    found: Array = hu + grain * (0.7 + 0.6 * dense)
    return found


def _nodule_rows(name: str, found: Scan, protocol: Protocol) -> list[dict[str, Any]]:
    rows = []
    for number, nodule in enumerate(found.nodules, start=1):
        hit = np.nonzero(found.marks == number)
        corners = [int(h.min()) for h in hit] + [int(h.max()) + 1 for h in hit]
        x, y, z = _world(nodule.center, protocol)
        diameter = round(float(np.cbrt(np.prod(nodule.radii)) * 2), 2)
        entries = (name, number, nodule.kind, round(nodule.hu), *corners, *(round(v, 2) for v in (x, y, z)), diameter)
        rows.append(dict(zip(NODULE_COLUMNS, entries, strict=True)))
    return rows


def _world(point: tuple[float, float, float], protocol: Protocol) -> tuple[float, float, float]:
    """RAS+ mm of a point of the lung's own coordinates."""
    c, s = np.cos(np.radians(protocol.roll)), np.sin(np.radians(protocol.roll))
    u, v = protocol.side * point[0], point[1]
    lps = (np.array([c * u - s * v, s * u + c * v, point[2]]) + protocol.shift + protocol.center).tolist()
    return -lps[0], -lps[1], lps[2]
