"""The levels of a U-Net: steps, kernels and the sizes of images that they fit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medcnn.errors import ModelError

Axes = int | tuple[int, ...]


def check_divisible(size: tuple[int, ...], steps: Sequence[tuple[int, ...]]) -> None:
    """Refuse an image that the steps of a network do not divide: the way up would not meet the way down.

    Args:
        size: Spatial size of the image.
        steps: One step an axis for each level.

    Raises:
        ModelError: With the nearest size that fits.
    """
    factors = tuple(math.prod(step[axis] for step in steps) for axis in range(len(size)))
    if any(n % f for n, f in zip(size, factors, strict=True)):
        fits = tuple(math.ceil(n / f) * f for n, f in zip(size, factors, strict=True))
        raise ModelError(
            f"an image of {shown(size)} is not a multiple of the network's strides, {shown(factors)}",
            where="input.size",
            todo=f"the next that fits is {shown(fits)}; or give the model fewer levels",
        )


def check_coarsest(size: tuple[int, ...], steps: Sequence[tuple[int, ...]], norm: str) -> None:
    """Refuse instance normalisation of a single voxel, which has no spread."""
    coarsest = [n // math.prod(step[axis] for step in steps) for axis, n in enumerate(size)]
    if norm == "instance" and math.prod(coarsest) < 2:
        raise ModelError(
            f"an image of {shown(size)} is one voxel on the coarsest level, which norm: instance cannot normalise",
            where="input.size",
            todo="enlarge input.size, give the model fewer levels, or use norm: batch or group",
        )


def steps_between(
    strides: tuple[Axes, ...] | None, wanted: int, spatial_dims: int, first: int = 2
) -> tuple[tuple[int, ...], ...]:
    """The step into each level as one number an axis; ``first`` and then 2 everywhere where none is given."""
    if strides is None:
        strides = (first, *(2,) * (wanted - 1))
    if len(strides) != wanted:
        raise ModelError(
            f"strides has {len(strides)} entries for {wanted} steps between levels",
            where="model.strides",
            todo=f"give {wanted}",
        )
    return tuple(per_axis(step, spatial_dims, "strides") for step in strides)


def kernels_of(value: int | tuple[Axes, ...], levels: int, spatial_dims: int) -> tuple[tuple[int, ...], ...]:
    """The kernel of each level; a single entry serves all levels."""
    entries = (value,) if isinstance(value, int) else tuple(value)
    if len(entries) == 1:
        entries *= levels
    if len(entries) != levels:
        raise ModelError(
            f"kernel_size has {len(entries)} entries for {levels} levels",
            where="model.kernel_size",
            todo=f"give one for all levels (one an axis as [[3, 3, 1]]), or {levels}",
        )
    return tuple(per_axis(kernel, spatial_dims, "kernel_size") for kernel in entries)


def per_axis(value: Axes, spatial_dims: int, option: str) -> tuple[int, ...]:
    """One number an axis."""
    values = (value,) * spatial_dims if isinstance(value, int) else tuple(value)
    if len(values) != spatial_dims:
        raise ModelError(
            f"an entry of {option} is {list(values)} in {spatial_dims} dimensions",
            where=f"model.{option}",
            todo=f"give one number, or {spatial_dims}",
        )
    return values


def shown(size: Sequence[int]) -> str:
    """A size for the eye."""
    return " x ".join(map(str, size))
