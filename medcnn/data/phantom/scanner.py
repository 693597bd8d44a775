"""The two scanners: their grids, blur, noise and stored values, and the artefacts of metal and thick bodies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcnn.data.phantom.shapes import Array


@dataclass(frozen=True, slots=True)
class Scanner:
    """One CT scanner with its radiographic room.

    Attributes:
        name: ``A`` or ``B``.
        manufacturer: For the header.
        model: For the header.
        station: For the header.
        kernels: Names of the reconstruction kernels by part of the body.
        blur: Standard deviation of the point spread in mm.
        noise: Standard deviation in HU behind 250 mm of water at dose 1.
        grain: Correlation length of the noise in px.
        roomy: Range of the field of view relative to the body's width.
        gap: Slice spacing relative to the size's usual one.
        padded: Pixels outside the circle of reconstruction are padding.
        signed: Stored values are signed.
        voltage: Tube voltage in kV.
    """

    name: str
    manufacturer: str
    model: str
    station: str
    kernels: Mapping[str, str]
    blur: float
    noise: float
    grain: float
    roomy: tuple[float, float]
    gap: float
    padded: bool
    signed: bool
    voltage: int


SCANNERS = {
    "A": Scanner(
        name="A",
        manufacturer="Norrland Imaging",
        model="Helix 64",
        station="CTA1",
        kernels={"head": "H40", "chest": "B60", "abdomen": "B35", "pelvis": "B35"},
        blur=0.75,
        noise=13.0,
        grain=0.55,
        roomy=(1.04, 1.20),
        gap=0.9,
        padded=True,
        signed=True,
        voltage=120,
    ),
    "B": Scanner(
        name="B",
        manufacturer="Alpen Medical",
        model="Spira 16",
        station="CTB1",
        kernels={"head": "SOFT", "chest": "LUNG", "abdomen": "STANDARD", "pelvis": "STANDARD"},
        blur=1.45,
        noise=9.0,
        grain=0.95,
        roomy=(1.12, 1.38),
        gap=1.1,
        padded=False,
        signed=False,
        voltage=130,
    ),
}


@dataclass(frozen=True, slots=True)
class Size:
    """How large images are.

    Attributes:
        matrix: Rows and columns of a CT slice.
        body: Slice spacing of the trunk in mm.
        head: Slice spacing of the head in mm.
        samples: Sample planes within a slice (the partial volume along z); odd, so that one is the centre.
        film: Longer side of a film in px.
    """

    matrix: int
    body: float
    head: float
    samples: int
    film: int


SIZES = {
    "small": Size(96, 11.0, 8.0, 3, 128),
    "medium": Size(256, 5.0, 4.0, 3, 512),
    "large": Size(512, 2.5, 2.0, 3, 1536),
}


def degrade(
    volume: Array,
    metal: Array | None,
    scanner: Scanner,
    rng: np.random.Generator,
    *,
    pixel: float,
    dose: float,
    sharp: float,
    thickness: float,
) -> Array:
    """Blur, noise and streaks of a scanner.

    Args:
        volume: ``(K, J, I)`` in HU without noise.
        metal: Covered fraction of metal, or ``None``.
        scanner: The scanner.
        rng: Source of the noise.
        pixel: Pixel size in mm.
        dose: Relative dose.
        sharp: Sharpness of the reconstruction kernel relative to the scanner's usual one; noise rises with it.
        thickness: Slice thickness in mm.

    Returns:
        ``(K, J, I)`` in HU.
    """
    from scipy.ndimage import gaussian_filter1d

    sigma = scanner.blur / sharp / pixel
    for axis in (1, 2):
        if sigma > 0.25:
            volume = gaussian_filter1d(volume, sigma, axis=axis, mode="nearest", truncate=3.0)
    # Attenuation of water is about 0.019 / mm; the number of photons falls with its line integral.
    weight = np.maximum(volume + 1000, 0) * np.float32(0.019e-3 * pixel)
    rows, columns = weight.sum(axis=2), weight.sum(axis=1)
    level = scanner.noise * sharp / np.sqrt(dose * thickness / 8) * (3.5 / pixel) ** 0.25
    volume = volume + _noise(rows, columns, level, max(scanner.grain, 1.3 * scanner.grain / pixel), rng)
    streaks = _streaks(rows, volume.shape[2], dose, rng)
    if streaks is not None:
        volume += streaks
    if metal is not None:
        volume += _metal_streaks(metal, rng, pixel)
    return volume


def _noise(rows: Array, columns: Array, level: float, length: float, rng: np.random.Generator) -> Array:
    """Correlated noise that grows with the attenuation of a slice and towards the middle of the body.

    Args:
        rows: ``(K, J)`` line integrals along the rows.
        columns: ``(K, I)`` line integrals along the columns.
        level: Standard deviation in HU behind 250 mm of water.
        length: Correlation length in px.
        rng: Source of the noise.
    """
    from scipy.ndimage import gaussian_filter1d

    thick = rows.max(axis=1)
    strength = level * np.exp(0.36 * np.clip(thick - 4.75, -4, 4))
    grain: Array = rng.standard_normal((*rows.shape, columns.shape[1]), dtype=np.float32)
    for axis in (1, 2):
        grain = gaussian_filter1d(grain, length, axis=axis, mode="wrap", truncate=3.0)
    grain /= max(float(grain[0].std()), 1e-6)
    local = np.exp(0.10 * (rows[:, :, None] + columns[:, None, :] - 2 * thick[:, None, None]))
    found: Array = grain * (strength[:, None, None] * local).astype(np.float32)
    return found


def _streaks(rows: Array, width: int, dose: float, rng: np.random.Generator) -> Array | None:
    """Streaks along rows in which hardly a photon arrives (shoulders, hips); ``None`` where there are none."""
    from scipy.ndimage import gaussian_filter1d

    starved = np.clip(np.exp(0.7 * (rows - 6.6)) - 1, 0, 12) / np.sqrt(dose)
    streak = rng.standard_normal(rows.shape, dtype=np.float32) * starved
    if float(np.abs(streak).max()) <= 0.5:
        return None
    wave = gaussian_filter1d(rng.standard_normal((*rows.shape, width), dtype=np.float32), width / 8, axis=2)
    found: Array = (streak[:, :, None] * np.float32(4)) * (1 + np.float32(6) * wave)
    return found


def _metal_streaks(metal: Array, rng: np.random.Generator, pixel: float) -> Array:
    """Stars of bright and dark streaks around metal, and the dark band between two pieces."""
    from scipy.ndimage import center_of_mass, label

    found = np.zeros(metal.shape, np.float32)
    rows, columns = np.mgrid[: metal.shape[1], : metal.shape[2]].astype(np.float32)
    for k in np.flatnonzero(metal.max(axis=(1, 2)) > 0.3):
        pieces, count = label(metal[k] > 0.3)
        for number in range(1, min(count, 6) + 1):
            area = float((pieces == number).sum()) * pixel * pixel
            y, x = center_of_mass(pieces == number)
            dy, dx = (rows - y) * pixel, (columns - x) * pixel
            angle, far = np.arctan2(dy, dx), np.hypot(dx, dy)
            size = 190 * min(1.0, (area / 250) ** 0.5)
            star = sum(np.cos(m * angle + rng.uniform(0, 6.3)) * rng.normal(0, 1) for m in (2, 3, 5, 9, 14, 23))
            band = -1.2 * np.exp(-((dy / 9) ** 2))
            found[k] += (size * np.exp(-far / 55) * (0.6 * star + band)).astype(np.float32)
    found[metal > 0.3] = 0
    return found


def stored_values(volume: Array, scanner: Scanner) -> tuple[NDArray[np.int16] | NDArray[np.uint16], int | None]:
    """12-bit values with intercept -1024 as the scanner stores them, and its padding value.

    Args:
        volume: ``(K, J, I)`` in HU.
        scanner: The scanner.
    """
    values = np.clip(np.rint(volume + 1024), 0, 4095)
    if not scanner.padded:
        return values.astype(np.uint16), None
    n = volume.shape[2]
    axis = np.arange(n, dtype=np.float32) - (n - 1) / 2
    outside = axis[:, None] ** 2 + axis[None, :] ** 2 > (n / 2) ** 2
    values[:, outside] = -2000
    return values.astype(np.int16), -2000
