"""Elastic deformation and loss of resolution of batches, case by case and without a generator's state."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.randomness import uniforms

# Cells between the control points along an axis, whatever its length.
CELLS = 4
_POINTS = CELLS + 3
# With a seed of its own the number of control points changes no other draw.
_OWN = 0xE1A5


def control_points(seed: int, epoch: int, index: NDArray[np.int64], dims: int, strength: float) -> NDArray[np.float32]:
    """``(B, D, 7, ...)`` shifts of control points, last spatial axis first, in half lengths of each axis.

    Args:
        seed: The recipe's.
        epoch: From 0.
        index: ``(B,)`` positions of cases.
        dims: 2 or 3.
        strength: Largest shift as a share of the distance between points; below 0.4 nothing folds (Choi and Lee,
            "Injectivity conditions of 2D and 3D uniform cubic B-spline functions", Graphical Models 62, 2000).
    """
    draws = uniforms(seed ^ _OWN, epoch, index, dims * _POINTS**dims)
    shifts = strength * (2 / CELLS) * (2 * draws - 1)
    return np.asarray(shifts.reshape(len(draws), dims, *[_POINTS] * dims), np.float32)


def displacement(points: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The field ``(B, *shape, D)`` of uniform cubic B-splines over control points ``(B, D, 7, ...)``."""
    field = points
    for axis, length in enumerate(shape):
        weights = torch.from_numpy(_spline(length)).to(points.device)
        field = torch.tensordot(field, weights, dims=([2], [1]))  # The new axis goes to the end.
        assert field.shape[-1] == length, axis
    return field.movedim(1, -1)


@lru_cache(maxsize=64)
def _spline(length: int) -> NDArray[np.float32]:
    """``(length, 7)`` weights of the control points at the voxels' centres."""
    place = (np.arange(length) + 0.5) / length * CELLS
    cell = np.minimum(place.astype(np.int64), CELLS - 1)
    t = place - cell
    weights = np.zeros((length, _POINTS))
    basis = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    for step, values in enumerate(basis):
        weights[np.arange(length), cell + step] = values / 6
    return weights.astype(np.float32)


def lowered(image: Tensor, loss: NDArray[np.float32]) -> Tensor:
    """Images ``(B, C, *spatial)`` brought down and up again, as a scan with larger voxels would show them.

    Going down each voxel is the mean of what it covers, going up values are interpolated linearly.

    Args:
        image: The batch.
        loss: ``(B,)`` share of each axis' voxels that is lost, 0 to below 1; 0 leaves a case as it is.
    """
    shape = tuple(image.shape[2:])
    for axis, length in enumerate(shape):
        kept = [max(1, round(length * (1 - float(share)))) for share in loss]
        if all(count == length for count in kept):
            continue
        steps = torch.from_numpy(np.stack([_there_and_back(length, count) for count in kept])).to(image.device)
        lines = image.movedim(2 + axis, -1)
        image = torch.einsum("b...x,byx->b...y", lines, steps.to(image.dtype)).movedim(-1, 2 + axis)
    return image


@lru_cache(maxsize=256)
def _there_and_back(length: int, count: int) -> NDArray[np.float32]:
    """``(length, length)``: means over ``count`` equal intervals, then linear interpolation between their centres."""
    if count == length:
        return np.eye(length, dtype=np.float32)
    width = length / count
    edges = np.arange(count + 1) * width
    voxels = np.arange(length)
    down = np.minimum(edges[1:, None], voxels + 1) - np.maximum(edges[:-1, None], voxels)
    down = np.clip(down, 0, None) / width
    place = np.clip((voxels + 0.5) / width - 0.5, 0, count - 1)
    below = np.minimum(place.astype(np.int64), max(count - 2, 0))
    above = np.minimum(below + 1, count - 1)
    up = np.zeros((length, count))
    np.add.at(up, (voxels, below), 1 - (place - below))
    np.add.at(up, (voxels, above), place - below)
    return np.asarray(up @ down, np.float32)
