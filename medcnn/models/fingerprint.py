"""What is known of the images of a training part, and the spacing and intensities that follow from it.

The rules are nnU-Net's (:mod:`medcnn.models.plan`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from medcnn.errors import ModelError

# An axis is coarse where its voxels are this many times as long as those of the others, and it has as much fewer.
_ANISOTROPIC = 3.0
_CT_SHARE = "0.5 and 99.5"


@dataclass(frozen=True, slots=True)
class Intensities:
    """Intensities of the labelled voxels of the training part.

    Attributes:
        low: Their 0.5th percentile, in the image's unit.
        high: Their 99.5th percentile.
        hounsfield: Whether the unit is the same in all images (CT).
    """

    low: float
    high: float
    hounsfield: bool


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a plan needs to know of the images of the training part (never of other parts).

    Attributes:
        shapes: Spatial shape of each image in voxels, as its axes will lie in the network.
        spacings: Their spacings in mm, one tuple an image; empty where images have none.
        channels: Channels of an image.
        outputs: Logits of the network a voxel.
        intensities: Of the labelled voxels; ``None`` where they were not looked at.
    """

    shapes: tuple[tuple[int, ...], ...]
    spacings: tuple[tuple[float, ...], ...] = ()
    channels: int = 1
    outputs: int = 2
    intensities: Intensities | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """What the recipe says itself; the rest is planned around it.

    Attributes:
        size: Patch; ``None``: to be planned.
        spacing: In mm; ``None``: to be planned.
        keeps_grid: Whether images keep their grids, whatever their spacing.
        batch_size: Patches a step; ``None``: to be planned.
    """

    size: tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    keeps_grid: bool = False
    batch_size: int | None = None


def check(fingerprint: Fingerprint) -> None:
    dimensions = {len(shape) for shape in fingerprint.shapes} | {len(s) for s in fingerprint.spacings}
    if not fingerprint.shapes or dimensions not in ({2}, {3}):
        raise ModelError(
            "the training part has no images"
            if not fingerprint.shapes
            else f"the training part has images of {' and '.join(map(str, sorted(dimensions)))} dimensions",
            where="input.size",
            todo="give the size and the model in the recipe instead of auto",
        )
    if fingerprint.spacings and len(fingerprint.spacings) != len(fingerprint.shapes):
        raise ModelError(
            f"{len(fingerprint.spacings)} of {len(fingerprint.shapes)} training images have a spacing",
            where="input.spacing",
            todo="give input.spacing in the recipe instead of auto, or null to leave the images as they are",
        )
    numbers = [n for shape in fingerprint.shapes for n in shape] + [s for t in fingerprint.spacings for s in t]
    if not all(math.isfinite(n) and n > 0 for n in numbers):
        raise ModelError(
            "shapes and spacings must be above 0", where="input", todo="check the images with medcnn data audit"
        )


def target_spacing(fingerprint: Fingerprint) -> tuple[tuple[float, ...] | None, str]:
    """nnU-Net: the median of each axis; for a coarse axis of anisotropic images its 10th percentile."""
    if not fingerprint.spacings:
        return None, "The images have no spacing: they keep their grids."
    spacings = np.array(fingerprint.spacings, np.float64)
    target = np.median(spacings, axis=0)
    shapes = np.array(fingerprint.shapes, np.float64)
    size = np.median(shapes * spacings / target, axis=0)
    coarse = int(np.argmax(target))
    others = [axis for axis in range(len(target)) if axis != coarse]
    finest = float(target[others].max())
    if target[coarse] > _ANISOTROPIC * finest and size[coarse] * _ANISOTROPIC < size[others].min():
        wanted = float(np.percentile(spacings[:, coarse], 10))
        before, target[coarse] = float(target[coarse]), max(wanted, finest)
        reason = (
            f"The spacing is the median of each axis; along axis {coarse}, whose median of {before:.4g} mm is more "
            f"than {_ANISOTROPIC:g} times that of the others, it is the 10th percentile, {target[coarse]:.4g} mm, so "
            "that fine images are not blurred (anisotropy rule of nnU-Net)."
        )
    else:
        shown = " x ".join(f"{s:.4g}" for s in target)
        reason = f"The spacing is the median of each axis over the {len(spacings)} training images, {shown} mm."
    return tuple(float(s) for s in target), reason


def wanted_spacing(fingerprint: Fingerprint, given: Given) -> tuple[tuple[float, ...] | None, str]:
    """The spacing to bring the images to, and why: the recipe's own where it gives one."""
    if given.keeps_grid:
        return None, "The images keep their grids, as the recipe says."
    if given.spacing is None:
        return target_spacing(fingerprint)
    if not fingerprint.spacings:
        raise ModelError(
            "the training images have no spacing", where="input.spacing", todo="set input.spacing to null, or to auto"
        )
    return given.spacing, f"The spacing, {' x '.join(f'{s:.4g}' for s in given.spacing)} mm, is the recipe's."


def resampled(fingerprint: Fingerprint, spacing: tuple[float, ...] | None) -> np.ndarray[Any, np.dtype[np.float64]]:
    """``(N, D)`` shapes at the target spacing."""
    shapes = np.array(fingerprint.shapes, np.float64)
    return shapes if spacing is None else shapes * np.array(fingerprint.spacings) / np.array(spacing)


def intensity_of(found: Intensities | None) -> tuple[dict[str, Any], str]:
    """nnU-Net: CT is clipped to percentiles of the labelled voxels, other images are standardised one by one."""
    if found is None:
        return {}, ""
    if found.hounsfield and found.low < found.high:
        return (
            {"method": "window", "low": float(found.low), "high": float(found.high)},
            f"Intensities are clipped to {found.low:.4g} to {found.high:.4g} HU, the {_CT_SHARE} percentiles of the "
            "labelled voxels.",
        )
    return {"method": "zscore"}, "Intensities have no common unit: each image is standardised by itself."
