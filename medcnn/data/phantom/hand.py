"""Radiographs of the hand: bones and soft tissue as solids of known thickness, projected in closed form.

Coordinates are mm in the plane of the film, x to the little finger, y to the finger tips, the wrist at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcnn.data.phantom.body import BONE, Traits, generator
from medcnn.data.phantom.design import Series
from medcnn.data.phantom.film import Film, to_stored
from medcnn.data.phantom.lesions import Lesion
from medcnn.data.phantom.marks import stamp
from medcnn.data.phantom.scanner import SCANNERS, SIZES
from medcnn.data.phantom.shapes import Array

# Of each digit from the thumb: base of the metacarpal, angle from y in degrees, lengths and half widths of its bones.
DIGITS = (
    ((-25, 20), -44, (44, 31, 22), (5.0, 4.4, 3.8)),
    ((-14, 35), -12, (66, 41, 24, 17), (4.4, 4.1, 3.5, 2.8)),
    ((-2, 37), -1, (63, 45, 29, 18), (4.5, 4.2, 3.7, 3.0)),
    ((9, 35), 8, (57, 42, 27, 18), (3.9, 3.9, 3.4, 2.9)),
    ((18, 31), 19, (52, 33, 20, 16), (3.7, 3.4, 3.0, 2.5)),
)
# Center, half axes and turn of the eight bones of the wrist.
CARPALS = (
    (-13, 12, 5.2, 9.0, 38), (-1, 9, 6.8, 6.2, 0), (10, 11, 5.4, 6.2, 20), (13, 8, 4.2, 4.6, 0),
    (-20, 21, 5.8, 6.8, 20), (-12, 26, 4.6, 5.6, 0), (-2, 24, 6.2, 10.0, 4), (9, 23, 6.6, 8.6, -12),
)  # fmt: skip
BONE_MU, SPONGE_MU, SOFT_MU = 0.085, 0.040, 0.032


# Two ends with their radii.
Flesh = tuple[tuple[float, float], tuple[float, float], float, float]


@dataclass(frozen=True, slots=True)
class Rod:
    """A long bone: its ends, half width of the shaft, how far the ends flare, and its outer layer in mm."""

    start: tuple[float, float]
    end: tuple[float, float]
    width: float
    flare: float
    cortex: float


@dataclass(frozen=True, slots=True)
class Hand:
    """The bones and the soft outline of one hand."""

    rods: tuple[Rod, ...]
    carpals: tuple[tuple[float, float, float, float, float], ...]
    flesh: tuple[Flesh, ...]
    digits: tuple[tuple[Rod, ...], ...]


# Ends and radius of the solids that make up palm, wrist and forearm.
PALM = (
    ((-12, 16), (14, 16), 19), ((-14, 40), (18, 36), 17), ((-4, 78), (14, 68), 14), ((-20, 24), (-8, 52), 15),
    ((-5, 4), (6, 4), 22), ((-3, -8), (5, -150), 26), ((8, -12), (4, -150), 25),
)  # fmt: skip


def build_hand(traits: Traits, key: str) -> Hand:
    """The hand of a person (shape) on one film (spread of the fingers)."""
    own, spread = generator(traits.key, "hand"), generator(key, "spread")
    scale = traits.scale[2] * float(own.normal(1.0, 0.03))
    thin = 1 - 0.25 * traits.wear
    opening = float(spread.uniform(0.7, 1.25))
    flesh: list[Flesh] = []
    digits: list[tuple[Rod, ...]] = []
    for number in range(len(DIGITS)):
        chain, around = _digit(number, scale, thin, opening, own, spread)
        digits.append(chain)
        flesh += around
    rods = [rod for chain in digits for rod in chain]
    rods.append(Rod((-9 * scale, -6 * scale), (-6 * scale, -150.0), 8.2 * scale, 0.85, 2.4 * thin))
    rods.append(Rod((14 * scale, -9 * scale), (14 * scale, -150.0), 5.2 * scale, 0.55, 2.1 * thin))
    for a, b, r in PALM:
        wide = (r + 0.12 * traits.fat) * scale
        flesh.append(((a[0] * scale, a[1] * scale), (b[0] * scale, b[1] * scale), wide, wide))
    carpals = tuple(
        (x * scale, y * scale, a * scale, b * scale, t + float(own.normal(0, 5))) for x, y, a, b, t in CARPALS
    )
    return Hand(tuple(rods), carpals, tuple(flesh), tuple(digits))


def _digit(
    number: int, scale: float, thin: float, opening: float, own: np.random.Generator, spread: np.random.Generator
) -> tuple[tuple[Rod, ...], list[Flesh]]:
    """The bones of one digit from the metacarpal outwards, and the flesh around them."""
    base, angle, lengths, widths = DIGITS[number]
    turn = angle * opening + float(spread.normal(0, 2.5))
    place = (base[0] * scale, base[1] * scale)
    chain: list[Rod] = []
    flesh: list[Flesh] = []
    for k, (length, width) in enumerate(zip(lengths, widths, strict=True)):
        turn += float(spread.normal(0, 1.5)) if k else 0.0
        dx, dy = float(np.sin(np.radians(turn))), float(np.cos(np.radians(turn)))
        tip = (place[0] + dx * length * scale, place[1] + dy * length * scale)
        last = k == len(lengths) - 1
        half = width * scale * float(own.normal(1, 0.04))
        chain.append(Rod(place, tip, half, 0.35 if last else 0.62, (1.5 if k < 2 else 1.1) * thin))
        if k == 0:
            flesh.append((place, tip, 15.0 * scale, 13.0 * scale))
        else:
            thick, beyond = (10.0 if number else 11.0) - 0.9 * k, 3.0 if last else 0.0
            end = (tip[0] + dx * beyond, tip[1] + dy * beyond)
            flesh.append((place, end, (thick + 0.6) * scale, thick * scale))
        place = (tip[0] + dx * 2.6, tip[1] + dy * 2.6)
    return tuple(chain), flesh


def _along(x: Array, y: Array, a: tuple[float, float], b: tuple[float, float]) -> tuple[Array, Array]:
    """Position along a segment in [0, 1], and squared distance from it."""
    ax, ay = b[0] - a[0], b[1] - a[1]
    t = np.clip(((x - a[0]) * ax + (y - a[1]) * ay) / max(ax * ax + ay * ay, 1e-6), 0, 1)
    return t, (x - a[0] - t * ax) ** 2 + (y - a[1] - t * ay) ** 2


def _rod(x: Array, y: Array, rod: Rod) -> Array:
    """Attenuation of a long bone: a dense tube around a spongy core, its ends flared and spongy."""
    # The rounded ends lie inside the bone's length.
    ax, ay = rod.end[0] - rod.start[0], rod.end[1] - rod.start[1]
    length = max(float(np.hypot(ax, ay)), 1e-6)
    inset = min(0.9 * rod.width / length, 0.4)
    a = (rod.start[0] + inset * ax, rod.start[1] + inset * ay)
    b = (rod.end[0] - inset * ax, rod.end[1] - inset * ay)
    t, gap = _along(x, y, a, b)
    ends = np.abs(2 * t - 1) ** 3
    half = rod.width * (1 + rod.flare * ends)
    inner = half - rod.cortex * (1 - 0.65 * ends)
    outer_chord = 2 * np.sqrt(np.maximum(half * half - gap, 0))
    inner_chord = 2 * np.sqrt(np.maximum(np.maximum(inner, 0) ** 2 - gap, 0))
    sponge = SPONGE_MU * (0.55 + 0.55 * ends)
    found: Array = BONE_MU * (outer_chord - inner_chord) + sponge * inner_chord
    return found


def _carpal(x: Array, y: Array, carpal: tuple[float, float, float, float, float]) -> Array:
    cx, cy, a, b, turn = carpal
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    u, v = (c * (x - cx) + s * (y - cy)) / a, (c * (y - cy) - s * (x - cx)) / b
    near = u * u + v * v
    thick = 1.5 * min(a, b)
    outer, inner = (
        2 * thick * np.sqrt(np.maximum(1 - near, 0)),
        2 * (thick - 1) * np.sqrt(np.maximum(1 - near / 0.81, 0)),
    )
    found: Array = 0.8 * BONE_MU * (outer - inner) + 0.85 * SPONGE_MU * inner
    return found


def attenuation(hand: Hand, x: Array, y: Array) -> tuple[Array, Array]:
    """Line integrals of bone (above soft tissue) and mm of soft tissue at points of the film."""
    bones = np.zeros(x.shape, np.float32)
    for rod in hand.rods:
        bones += _rod(x, y, rod).astype(np.float32)
    for carpal in hand.carpals:
        bones += _carpal(x, y, carpal).astype(np.float32)
    flesh = np.zeros(x.shape, np.float32)
    for a, b, r, s in hand.flesh:
        t, gap = _along(x, y, a, b)
        half = r + t * (s - r)
        # Fingers are round, the palm and the forearm flat.
        flat = 1.0 if r < 12 * 1.15 else 0.75
        flesh = np.maximum(flesh, (2 * flat * np.sqrt(np.maximum(half * half - gap, 0))).astype(np.float32))
    return bones, flesh


def _lesion(hand: Hand, lesion: Lesion, x: Array, y: Array) -> tuple[Array, float]:
    """What a bone cyst takes away from the attenuation, and its largest radius."""
    number = int(lesion.center[0])
    digit = hand.digits[number]
    place = min(int(lesion.center[1]), len(digit) - 1)
    rod = digit[place]
    t = lesion.center[2]
    cx, cy = (rod.start[i] + t * (rod.end[i] - rod.start[i]) for i in (0, 1))
    # The bone's usual width limits it, not this person's: the size must tell nothing about sex or age.
    radius = min(max(lesion.radii), 1.3 * DIGITS[number][3][place])
    gap = ((x - cx) ** 2 + (y - cy) ** 2) / radius**2
    found: Array = np.sqrt(np.maximum(1 - gap, 0))
    return found.astype(np.float32), radius


def hand_film(key: str, series: Series, traits: Traits, lesions: Sequence[Lesion], size: str) -> Film:
    """A frontal film of one hand."""
    from scipy.ndimage import gaussian_filter

    rng = generator(key, "grid")
    rows = SIZES[size].film
    columns = int(round(rows * float(rng.choice([0.75, 0.8, 1.0])) / 2) * 2)
    pixel = round(float(rng.uniform(245, 310)) / rows, 4)
    hand = build_hand(traits, key)
    side = "L" if generator(traits.key, "side").random() < 0.5 else "R"
    x, y = _plane(rng, rows, columns, pixel, mirrored=side == "R")
    bones, flesh = attenuation(hand, x, y)
    marks = np.zeros(x.shape, np.uint8)
    kinds: list[Lesion] = []
    for lesion in (one for one in lesions if one.part == "hand"):
        hole, _ = _lesion(hand, lesion, x, y)
        inside = hole > 0.25
        if inside.any():
            bones *= 1 - lesion.visibility * 0.85 * hole
            kinds.append(lesion)
            marks[inside] = len(kinds)
    rough = generator(key, "texture").standard_normal(x.shape).astype(np.float32)
    grain = gaussian_filter(rough, 1.2 / pixel) * np.float32(1.2 / pixel * 3.5)
    soft = bones * (1 + 0.10 * grain) + SOFT_MU * flesh + _metal(traits, hand, x, y)
    image = _develop(soft.astype(np.float32), key, series, pixel)
    image = stamp(image, side, (float(rng.uniform(0.05, 0.8)), float(rng.uniform(0.03, 0.1))), brightness=1.0)
    image = _border(image, rng)
    organs = np.where(bones > 0.12, np.uint8(BONE), np.uint8(0))
    width = float(np.ptp(np.flatnonzero((flesh > 2).any(axis=0)))) * pixel if (flesh > 2).any() else 0.0
    return Film(to_stored(image, series.inverted), organs, marks, tuple(kinds), pixel, "PA", side, width)


def _plane(rng: np.random.Generator, rows: int, columns: int, pixel: float, *, mirrored: bool) -> tuple[Array, Array]:
    """Hand coordinates of the pixels of a film on which the hand lies turned and shifted."""
    turn = np.radians(float(rng.normal(0, 9)) + (180 if rng.random() < 0.04 else 0))
    u = (np.arange(columns) - (columns - 1) / 2) * pixel
    v = ((rows - 1) / 2 - np.arange(rows)) * pixel
    u, v = u[None, :] + rng.normal(0, 7), v[:, None] + rng.normal(0, 8)
    x, y = np.cos(turn) * u + np.sin(turn) * v, np.cos(turn) * v - np.sin(turn) * u
    return (-x if mirrored else x).astype(np.float32), (y + np.float32(62)).astype(np.float32)


def _metal(traits: Traits, hand: Hand, x: Array, y: Array) -> Array:
    """A ring, at a known rate."""
    rng = generator(traits.key, "ring")
    if rng.random() > 0.15:
        return np.zeros(x.shape, np.float32)
    rod = hand.digits[3][1]
    t, gap = _along(x, y, rod.start, rod.end)
    band = (np.abs(t - 0.3) < 0.06) & (gap < (9.5 * traits.scale[2]) ** 2)
    found: Array = (2.5 * band).astype(np.float32)
    return found


def _develop(soft: Array, key: str, series: Series, pixel: float) -> Array:
    from scipy.ndimage import gaussian_filter

    rng = generator(key, "noise")
    scanner = SCANNERS[series.scanner]
    noise = rng.standard_normal(soft.shape).astype(np.float32) * np.float32(
        0.022 / np.sqrt(series.dose) / np.sqrt(max(pixel, 0.2))
    )
    image = soft + noise * np.exp(0.5 * soft)
    if 0.45 * scanner.blur / pixel > 0.2:
        image = gaussian_filter(image, 0.45 * scanner.blur / pixel)
    heel = 1 + 0.10 * float(rng.uniform(-1, 1)) * np.linspace(-1, 1, soft.shape[0], dtype=np.float32)[:, None]
    image = image * heel + float(rng.uniform(0.0, 0.12))
    top = float(np.percentile(image, 99.5)) * float(rng.uniform(0.85, 1.1))
    found: Array = np.clip(image / max(top, 1e-6), 0, 1) ** np.float32(rng.uniform(0.7, 1.05))
    return found


def _border(image: Array, rng: np.random.Generator) -> NDArray[np.float32]:
    """The cassette or the collimator: a frame, black or white, often a little askew."""
    kind = rng.random()
    rows, columns = image.shape
    v, u = np.mgrid[:rows, :columns].astype(np.float32)
    slant = float(rng.normal(0, 0.02))
    left, right, top, bottom = (float(s) for s in rng.uniform(0.01, 0.08, 4))
    outside = (u + slant * v < left * columns) | (u + slant * v > (1 - right) * columns)
    outside |= (v - slant * u < top * rows) | (v - slant * u > (1 - bottom) * rows)
    if kind < 0.45:
        return image
    found: NDArray[np.float32] = np.where(outside, np.float32(0.0 if kind < 0.8 else 0.9), image).astype(np.float32)
    return found
