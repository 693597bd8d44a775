"""Radiographs of the chest by projection of the painted body, and the localizer of a CT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcnn.data.phantom.body import HEART, LUNG, Build, Pose, Traits, everything, generator
from medcnn.data.phantom.design import Series
from medcnn.data.phantom.lesions import Lesion, lesion_shapes
from medcnn.data.phantom.marks import stamp
from medcnn.data.phantom.scanner import SCANNERS, SIZES
from medcnn.data.phantom.shapes import Array, Canvas

DEPTH_STEP = 7.5
# Sample points painted at once.
POINTS = 6_000_000
REACH = 150.0  # mm to the front and back of the body's axis


@dataclass(frozen=True, slots=True)
class Film:
    """A radiograph as it is stored.

    Attributes:
        values: ``(rows, columns)`` stored values, 12 bits.
        organs: ``(rows, columns)`` organ labels of what is seen in projection.
        lesions: ``(rows, columns)``: 0, or the number of the lesion from 1 in ``kinds``.
        kinds: The lesions that are seen.
        pixel: Pixel size at the detector in mm.
        view: ``PA``, ``AP`` or, for a localizer, ``AP``.
        side: ``L`` or ``R`` for a hand, else empty.
        width: Width of the body part within the film in mm.
    """

    values: NDArray[np.uint16]
    organs: NDArray[np.uint8]
    lesions: NDArray[np.uint8]
    kinds: tuple[Lesion, ...]
    pixel: float
    view: str
    side: str
    width: float


@dataclass(frozen=True, slots=True)
class Projection:
    """Line integrals through a body from front to back, seen from the front: rows from the head downwards.

    Attributes:
        soft: ``(rows, columns)`` attenuation.
        depths: mm of organs and layers along each ray, by name, ``(rows, columns)``.
    """

    soft: Array
    depths: dict[str, Array]


def project(
    build: Build, pose: Pose, lesions: Sequence[Lesion], *, x: Array, z: Array, pixel: float, step: float = DEPTH_STEP
) -> Projection:
    """Attenuation of a body in a frontal view, painted a strip of rows at a time.

    Args:
        build: The body.
        pose: How it stands.
        lesions: The patient's lesions.
        x: ``(I,)`` positions of the columns in mm, from the patient's right.
        z: ``(K,)`` positions of the rows in mm, rising.
        pixel: Pixel size in mm.
        step: Distance of sample planes in mm.
    """
    y = np.arange(-REACH, REACH + 0.5 * step, step)
    found = Projection(np.zeros((z.size, x.size), np.float32), {})
    rows = max(1, POINTS // (x.size * y.size))
    for start in range(0, z.size, rows):
        part = slice(start, start + rows)
        deep = y[None, :, None] + 0 * z[part, None, None]
        high = z[part, None, None] + 0 * deep
        canvas = Canvas(*pose.reference(build.traits.scale, x[None, None, :], deep, high, 0.0), 0.4 * (pixel + step))
        for painted in everything(build, (canvas.limits[4], canvas.limits[5]), lesion_shapes(lesions, build)):
            canvas.paint(painted)
        # At film energies bone attenuates more than its HU say; 0.017 / mm is soft tissue.
        density = np.minimum(canvas.hu, 4000) + np.float32(0.9) * np.clip(canvas.hu - 120, 0, 4000)
        found.soft[part] = np.maximum(density + 1000, 0).sum(axis=1, dtype=np.float32) * np.float32(0.017e-3 * step)
        covers = {"lungs": canvas.labels == LUNG, "heart": canvas.labels == HEART, **canvas.layers}
        for name, cover in covers.items():
            depth = found.depths.setdefault(name, np.zeros(found.soft.shape, np.float32))
            depth[part] = cover.sum(axis=1, dtype=np.float32) * np.float32(step)
    return Projection(found.soft[::-1], {name: depth[::-1] for name, depth in found.depths.items()})


def chest_film(key: str, series: Series, traits: Traits, lesions: Sequence[Lesion], size: str) -> Film:
    """A chest film: standing, from behind, or lying, from the front and with more scattered light."""
    rng = generator(key, "grid")
    rows = SIZES[size].film
    columns = rows if rng.random() < 0.5 else int(round(rows * 0.84 / 2) * 2)
    pixel = round(float(rng.uniform(335, 400)) * traits.scale[0] / rows * (0.94 if rng.random() < 0.2 else 1.0), 4)
    build = Build(traits, arms="side" if rng.random() < 0.25 else "none")
    pose = Pose.draw(key, traits, head=False)
    middle = (140 + rng.normal(0, 14)) * traits.scale[2]
    x = (np.arange(columns) - (columns - 1) / 2) * pixel + rng.normal(0, 9) + pose.shift[0]
    z = (np.arange(rows) - (rows - 1) / 2) * pixel + middle + pose.shift[2]
    step = DEPTH_STEP if size == "small" else 4.0 if size == "medium" else 2.5
    seen = project(build, pose, lesions, x=x, z=z, pixel=pixel, step=step)
    soft = _scatter(seen.soft, pixel, 0.35 if series.supine else 0.2)
    scanner = SCANNERS[series.scanner]
    image = _develop(soft, generator(key, "noise"), pixel=pixel, blur=0.5 * scanner.blur, dose=series.dose)
    organs, marks, kinds = _film_masks(seen, lesions)
    body = seen.depths["body"] > 20
    side_mark = "L" if rng.random() < 0.7 else "R"
    # The patient's left is on the right of the picture, whichever way the rays went.
    corner = (0.06, 0.88 if side_mark == "L" else 0.05)
    image = stamp(image, side_mark, corner, brightness=float(rng.uniform(0.85, 1.0)))
    values = _collimate(image, rng)
    width = float(np.ptp(np.flatnonzero(body.any(axis=0)))) * pixel if body.any() else 0.0
    return Film(
        to_stored(values, series.inverted), organs, marks, kinds, pixel, "AP" if series.supine else "PA", "", width
    )


def localizer(key: str, series: Series, traits: Traits, size: str) -> Film:
    """The low-dose frontal scout of a CT."""
    rng = generator(key, "grid")
    rows = SIZES[size].film
    low, high = {"head": (330, 575), "chest": (-90, 340), "abdomen": (-230, 160), "pelvis": (-400, -40)}[series.part]
    pixel = round(float((high - low) * traits.scale[2] / rows), 4)
    pose = Pose.draw(key, traits, head=False)
    z = (low * traits.scale[2]) + (np.arange(rows) + 0.5) * pixel + pose.shift[2]
    x = (np.arange(rows) - (rows - 1) / 2) * pixel + pose.shift[0]
    seen = project(Build(traits, arms=series.arms), pose, (), x=x, z=z, pixel=pixel, step=12.0)
    image = _develop(seen.soft, rng, pixel=pixel, blur=1.5, dose=0.5 * series.dose)
    empty = np.zeros(image.shape, np.uint8)
    return Film(to_stored(image, False), empty, empty, (), pixel, "AP", "", 0.0)


def _scatter(soft: Array, pixel: float, share: float) -> Array:
    """Add the broad fog of scattered photons to the transmitted ones."""
    from scipy.ndimage import gaussian_filter

    light = np.exp(-np.minimum(soft, 12))
    fog = gaussian_filter(light, 45 / pixel, mode="nearest")
    found: Array = -np.log(light + share * np.minimum(fog, 0.12) + np.float32(2e-4))
    return found


def _develop(soft: Array, rng: np.random.Generator, *, pixel: float, blur: float, dose: float) -> Array:
    """From line integrals to a picture in [0, 1] as a digital system shows it: noise, edges lifted, levels spread."""
    from scipy.ndimage import gaussian_filter

    grain = gaussian_filter(rng.standard_normal(soft.shape).astype(np.float32), 0.6)
    grain /= max(float(grain.std()), 1e-6)
    noise = 0.010 / np.sqrt(dose) * np.exp(0.32 * np.minimum(soft, 9)) / np.sqrt(max(pixel, 0.1))
    image = soft + grain * noise.astype(np.float32) * 0.8
    if blur / pixel > 0.2:
        image = gaussian_filter(image, blur / pixel)
    image = image - float(rng.uniform(0.2, 0.5)) * gaussian_filter(image, 28 / pixel, mode="nearest")
    inside = image[soft > 0.6] if (soft > 0.6).any() else image
    low, high = np.percentile(inside, [float(rng.uniform(1, 5)), float(rng.uniform(96.0, 99.5))])
    low -= 0.12 * (high - low)
    level = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1.15)
    found: Array = np.clip(level ** np.float32(rng.uniform(0.75, 1.25)), 0, 1)
    return found


def _film_masks(
    seen: Projection, lesions: Sequence[Lesion]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[Lesion, ...]]:
    """Lungs and heart in projection, and where lesions are at least a quarter as thick as at their thickest."""
    organs = np.zeros(seen.soft.shape, np.uint8)
    organs[seen.depths["lungs"] > 18] = LUNG
    organs[seen.depths["heart"] > 18] = HEART
    marks = np.zeros(seen.soft.shape, np.uint8)
    kinds: list[Lesion] = []
    for k, lesion in enumerate(lesions):
        depth = seen.depths.get(f"lesion-{k}")
        # In a film only what lies in the air of the lungs is seen; below the diaphragm no reader would mark it.
        if depth is None or not lesion.kind.startswith("lung"):
            continue
        if float(depth.max()) < 2:
            continue
        kinds.append(lesion)
        marks[depth >= 0.25 * float(depth.max())] = len(kinds)
    return organs, marks, tuple(kinds)


def _collimate(image: Array, rng: np.random.Generator) -> Array:
    """Unexposed borders, bright on the film as everything that no ray reached."""
    if rng.random() < 0.6:
        return image
    rows, columns = image.shape
    top, bottom, left, right = (int(v * rows) for v in rng.uniform(0.0, 0.06, 4))
    found = np.full(image.shape, np.float32(rng.choice([0.0, 1.0])))
    found[top : rows - bottom, left : columns - right] = image[top : rows - bottom, left : columns - right]
    return found


def to_stored(image: Array, inverted: bool) -> NDArray[np.uint16]:
    """12-bit values; with MONOCHROME1 small values are bright."""
    values = np.clip(np.rint(image * 4095), 0, 4095)
    return (4095 - values if inverted else values).astype(np.uint16)
