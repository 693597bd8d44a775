"""Networks that say something of every voxel: whole images at once, or a window that slides over them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from medcnn.geometry.resample import IGNORE

Maps = Callable[[Tensor], Tensor]


def sliding_maps(maps: Maps, image: Tensor, window: Sequence[int], *, overlap: float, batch: int) -> Tensor:
    """``maps`` over images of any size: directly where they are no larger than the window, else tile by tile.

    Tiles are weighted by a Gaussian around their centre (Isensee et al. 2021), so that a voxel near the edge of one
    is decided by the tiles in which it lies further inside.

    Args:
        maps: ``(B, C, *window)`` to ``(B, K, *window)``.
        image: ``(B, C, *spatial)``.
        window: Spatial size that the network takes.
        overlap: Share by which neighbouring tiles overlap, 0 to below 1.
        batch: Tiles at a time.
    """
    if tuple(image.shape[2:]) == tuple(window):
        return maps(image)
    from monai.inferers.utils import sliding_window_inference

    slide: Any = sliding_window_inference

    def summed_on(device: torch.device) -> Tensor:
        found: Tensor = slide(
            image, tuple(window), batch, maps, overlap=overlap, mode="gaussian", device=device, progress=False
        )
        return found

    try:
        return summed_on(image.device)
    except torch.OutOfMemoryError:
        # The maps of a whole volume can be too much for a GPU that computes tiles with ease.
        return summed_on(torch.device("cpu"))


def mirrored_mean(values: Maps, image: Tensor, axes: Sequence[int]) -> Tensor:
    """The mean of ``values`` ``(B, K)`` over the image and its mirror images along every combination of axes."""
    total = values(image)
    flips = [c for n in range(1, len(axes) + 1) for c in itertools.combinations(axes, n)]
    for chosen in flips:
        total = total + values(torch.flip(image, [a + 2 for a in chosen]))
    return total / (len(flips) + 1)


def mirrored_maps(maps: Maps, image: Tensor, axes: Sequence[int], swap: Sequence[int] | None) -> Tensor:
    """The mean of ``maps`` over the image and its mirror images along every combination of axes.

    Args:
        maps: ``(B, C, *spatial)`` to ``(B, K, *spatial)``.
        image: ``(B, C, *spatial)``.
        axes: Spatial axes along which the image may be mirrored; none: ``maps`` alone.
        swap: Channels in the order that they have in a mirror image along axis 0 (left becomes right); ``None``: as
            they are.
    """
    total: Tensor = maps(image)
    flips = [c for n in range(1, len(axes) + 1) for c in itertools.combinations(axes, n)]
    for chosen in flips:
        dims = [a + 2 for a in chosen]
        found = maps(torch.flip(image, dims))
        if found.device != total.device:
            total, found = total.cpu(), found.cpu()
        order = swap if swap is not None and 0 in chosen else range(found.shape[1])
        # Channel by channel and in place: maps of a whole volume are gigabytes.
        for channel, source in enumerate(order):
            total[:, channel] += found[:, source].flip([d - 1 for d in dims])
    return total.div_(len(flips) + 1)


def turned_maps(maps: Maps, image: Tensor) -> Tensor:
    """The mean of ``maps`` over the image and its quarter turns in the plane of the first two spatial axes.

    Args:
        maps: ``(B, C, X, Y[, Z])`` to ``(B, K, X, Y[, Z])``, and of images with X and Y in each other's place.
        image: ``(B, C, X, Y[, Z])``.
    """
    total: Tensor = maps(image)
    for quarters in (1, 2, 3):
        found = maps(torch.rot90(image, quarters, (2, 3)))
        if found.device != total.device:
            total, found = total.cpu(), found.cpu()
        for channel in range(found.shape[1]):
            total[:, channel] += torch.rot90(found[:, channel], -quarters, (1, 2))
    return total.div_(4)


def swapped_labels(labels: Tensor, mirrored: Tensor, order: Sequence[int], *, overlapping: bool) -> Tensor:
    """Label maps in which paired labels have changed places.

    Args:
        labels: ``(B, K, *spatial)`` uint8, 255 where nothing is annotated.
        mirrored: ``(B,)`` in which cases.
        order: Channels in the order that they have in a mirror image.
        overlapping: Whether each label has a channel of its own.
    """
    chosen = mirrored.view(-1, *[1] * (labels.ndim - 1))
    if overlapping:
        return torch.where(chosen, labels[:, list(order)], labels)
    names = torch.arange(IGNORE + 1, dtype=labels.dtype, device=labels.device)
    names[: len(order)] = torch.tensor(order, dtype=labels.dtype, device=labels.device)
    return torch.where(chosen, names[labels.long()], labels)
