"""Augmentation of whole batches on the training device.

What happens to a case is a function of (seed, epoch, case) alone: it does not depend on the batch, the
process or any generator's state. Only mixup takes partners from the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.batch import BOXES, LABELS, Batch
from medcnn.data.box_moves import moved as move_boxes
from medcnn.data.deform import control_points, displacement, lowered
from medcnn.data.randomness import hashes, uniforms
from medcnn.recipe.schema import AugmentSection

# Columns of the draws: each quantity has its own, so that adding one changes no other.
APPLY, BRIGHTNESS, CONTRAST, GAMMA, NOISE, BLUR, ERASE, MIX = range(8)
ERASE_AT, FLIP, ROTATE, ZOOM, SHIFT, RESOLUTION = 8, 12, 16, 20, 24, 28
DRAWS = 29
# Different windows of the row of noise.
WINDOWS = 2**20


@dataclass(frozen=True, slots=True)
class AffineDraw:
    """The geometric change of each case of a batch.

    Attributes:
        theta: ``(B, D, D+1)`` float32, output to input coordinates around the centre, last spatial axis first.
            The linear part is in px along every axis; the last column is in half lengths of each axis, as
            ``torch.nn.functional.affine_grid`` takes it.
        identity: No case is changed.
        bend: ``(B, D, 7, ...)`` shifts of the control points of an elastic deformation; ``None`` without one.
    """

    theta: NDArray[np.float32]
    identity: bool
    bend: NDArray[np.float32] | None = None


class Augmenter:
    """Draws and applies the changes of :class:`~medcnn.recipe.schema.AugmentSection`.

    Args:
        section: How much of each; ``None`` leaves batches as they are.
        symmetric_axes: Spatial axes along which mirror images are drawn.
        seed: The recipe's seed.
        swap: Takes label maps ``(B, K, *spatial)`` and which cases ``(B,)`` are mirrored along axis 0, and gives label
            maps in which paired labels (left and right) have changed places in those.
    """

    def __init__(
        self,
        section: AugmentSection | None,
        symmetric_axes: Sequence[int],
        *,
        seed: int,
        swap: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.section = section
        self.swap = swap
        self.symmetric_axes = tuple(symmetric_axes)
        self.seed = seed
        self._bank = torch.empty(0)

    def __call__(self, batch: Batch, *, epoch: int) -> Batch:
        """The changed batch; the given one is left as it is."""
        section = self.section
        if section is None:
            return batch
        index = (batch.index if batch.keys is None else batch.keys).cpu().numpy()
        draws = uniforms(self.seed, epoch, index, DRAWS)
        moved = self._geometry(draws, index, epoch, batch.image.ndim - 2, section)
        image = _transform(batch.image, moved)
        active = torch.from_numpy(draws[:, APPLY] < section.probability).to(image.device)
        image = _intensities(image, draws, section, active)
        if section.noise > 0:
            strength = torch.from_numpy(section.noise * draws[:, NOISE]).to(image.device)
            strength = torch.where(active, strength, 0.0).view(-1, *[1] * (image.ndim - 1))
            image = torch.addcmul(image, self._noise(image, index, epoch), strength)
        if section.erase > 0:
            image = _erase(image, draws, section.erase, active)
        targets = dict(batch.targets)
        before = targets.get(LABELS)
        if before is not None:
            targets[LABELS] = _transform_labels(before, moved)
            if self.swap is not None and 0 in self.symmetric_axes:
                mirrored = torch.from_numpy(_mirrored(draws, 0, section)).to(image.device)
                targets[LABELS] = self.swap(targets[LABELS], mirrored)
        if BOXES in targets and not moved.identity:
            move_boxes(targets, before, moved.theta, tuple(batch.image.shape[2:]))
        if section.mixup > 0 and len(index) > 1:
            image = _mix(image, targets, draws, section.mixup)
        return Batch(image, targets, batch.index, batch.keys)

    def draw(self, index: NDArray[np.int64], epoch: int, dims: int) -> AffineDraw:
        """The geometric changes of cases ``(B,)`` in an epoch."""
        if self.section is None:
            return AffineDraw(_identity(len(index), dims), True)
        return self._geometry(uniforms(self.seed, epoch, index, DRAWS), index, epoch, dims, self.section)

    def _geometry(
        self, draws: NDArray[np.float32], index: NDArray[np.int64], epoch: int, dims: int, section: AugmentSection
    ) -> AffineDraw:
        drawn = self._affine(draws, dims, section)
        if section.elastic == 0:
            return drawn
        active = (draws[:, APPLY] < section.probability).reshape(-1, *[1] * (dims + 1))
        points = control_points(self.seed, epoch, index, dims, section.elastic)
        return AffineDraw(drawn.theta, False, np.where(active, points, np.float32(0)))

    def _affine(self, draws: NDArray[np.float32], dims: int, section: AugmentSection) -> AffineDraw:
        theta = _identity(len(draws), dims)
        active = draws[:, APPLY] < section.probability
        linear = theta[:, :, :dims]
        geometric = section.rotate > 0 or section.zoom > 0 or section.shift > 0
        if section.rotate > 0:
            angles = np.deg2rad(section.rotate) * _signed(draws[:, ROTATE : ROTATE + (1 if dims == 2 else 3)])
            linear = linear @ _rotations(np.where(active[:, None], angles, 0.0), dims)
        if section.zoom > 0:
            factor = np.exp(np.log1p(section.zoom) * _signed(draws[:, ZOOM]))
            linear = linear / np.where(active, factor, 1.0).astype(np.float32)[:, None, None]
        for axis in self.symmetric_axes:
            mirrored = _mirrored(draws, axis, section)
            # The last axis comes first in the matrix.
            linear[:, :, dims - 1 - axis] *= np.where(mirrored, -1, 1).astype(np.float32)[:, None]
        theta[:, :, :dims] = linear
        if section.shift > 0:
            moved = 2 * section.shift * _signed(draws[:, SHIFT : SHIFT + dims])
            theta[:, :, dims] = np.where(active[:, None], moved, 0.0)
        return AffineDraw(theta, not geometric and not self.symmetric_axes)

    def _noise(self, image: Tensor, index: NDArray[np.int64], epoch: int) -> Tensor:
        """Standard normal noise of the image's shape: for each case a window of one long row of numbers.

        A generator for each case would cost more than the rest of the augmentation together.
        """
        size = image[0].numel()
        if self._bank.numel() != size + WINDOWS - 1 or self._bank.device != image.device:
            generator = torch.Generator().manual_seed(int(hashes(self.seed, 0, np.zeros(1), 1)[0, 0] >> np.uint64(1)))
            self._bank = torch.randn(size + WINDOWS - 1, generator=generator).to(image.device)
        drawn = hashes(self.seed ^ 0x5EED, epoch, index, 2)
        start = torch.from_numpy((drawn[:, 0] % np.uint64(WINDOWS)).astype(np.int64)).to(image.device)
        sign = torch.from_numpy(1 - 2 * (drawn[:, 1] & np.uint64(1)).astype(np.float32)).to(image.device)
        window = self._bank.unfold(0, size, 1)[start]
        return window.mul_(sign[:, None]).view(image.shape)


def _mirrored(draws: NDArray[np.float32], axis: int, section: AugmentSection) -> NDArray[np.bool_]:
    """Which cases are mirrored along an axis."""
    return np.asarray((draws[:, FLIP + axis] < 0.5) & (draws[:, APPLY] < section.probability))


def _identity(cases: int, dims: int) -> NDArray[np.float32]:
    return np.tile(np.eye(dims, dims + 1, dtype=np.float32), (cases, 1, 1))


def _intensities(image: Tensor, draws: NDArray[np.float32], section: AugmentSection, active: Tensor) -> Tensor:
    """Gamma, contrast, brightness, blur, loss of resolution; a case that is not active stays as it is, to the bit."""
    spatial = tuple(range(2, image.ndim))

    def column(values: NDArray[np.float32], neutral: float) -> Tensor:
        drawn = torch.from_numpy(np.asarray(values, np.float32)).to(image.device)
        return torch.where(active, drawn, neutral).view(-1, *[1] * (image.ndim - 1))

    if section.gamma > 0:
        power = np.exp(np.log1p(section.gamma) * _signed(draws[:, GAMMA]))
        # On the case's own range, which may lie anywhere (standardised intensities are negative too).
        low, high = image.amin(spatial, keepdim=True), image.amax(spatial, keepdim=True)
        extent = high - low
        share = (image - low) / extent.clamp_min(torch.finfo(image.dtype).tiny)
        changed = low + extent * share.clamp_(0, 1) ** column(power, 1.0)
        image = torch.where(active.view(-1, *[1] * (image.ndim - 1)), changed, image)
    if section.contrast > 0 or section.brightness > 0:
        gain = column(1 + section.contrast * _signed(draws[:, CONTRAST]), 1.0)
        offset = column(section.brightness * _signed(draws[:, BRIGHTNESS]), 0.0)
        if section.contrast > 0:
            # Around the case's own mean: contrast alone changes no brightness, however intensities are scaled.
            offset = offset + image.mean(spatial, keepdim=True) * (1 - gain)
        image = torch.addcmul(offset, image, gain)
    if section.blur > 0:
        image = _blur(image, column(section.blur * draws[:, BLUR], 0.0).flatten(), section.blur)
    if section.low_resolution > 0:
        loss = np.where(active.cpu().numpy(), section.low_resolution * draws[:, RESOLUTION], np.float32(0))
        image = lowered(image, np.asarray(loss, np.float32))
    return image


def _mix(image: Tensor, targets: dict[str, Tensor], draws: NDArray[np.float32], alpha: float) -> Tensor:
    """Mixup (Zhang et al. 2018) of each case with its neighbour in the batch."""
    partner = torch.roll(torch.arange(len(image)), 1).to(image.device)
    weight = torch.from_numpy(_beta(draws[:, MIX], alpha)).to(image.device)
    targets["mix_index"], targets["mix_weight"] = partner, weight
    shaped = weight.view(-1, *[1] * (image.ndim - 1))
    return image * shaped + image[partner] * (1 - shaped)


def _signed(uniform: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(2 * uniform - 1, np.float32)


def _beta(uniform: NDArray[np.float32], alpha: float) -> NDArray[np.float32]:
    from scipy.special import betaincinv

    weight = betaincinv(alpha, alpha, np.clip(uniform.astype(np.float64), 1e-6, 1 - 1e-6))
    return np.asarray(np.maximum(weight, 1 - weight), np.float32)


def _rotations(angles: NDArray[np.float64], dims: int) -> NDArray[np.float32]:
    """``(B, D, D)`` from one angle in 2D, or one about each axis in 3D, in radians."""
    cos, sin = np.cos(angles), np.sin(angles)
    turn = np.tile(np.eye(dims), (len(angles), 1, 1))
    for number, (a, b) in enumerate([(0, 1)] if dims == 2 else [(0, 1), (0, 2), (1, 2)]):
        plane = np.tile(np.eye(dims), (len(angles), 1, 1))
        plane[:, a, a] = plane[:, b, b] = cos[:, number]
        plane[:, a, b], plane[:, b, a] = -sin[:, number], sin[:, number]
        turn = turn @ plane
    return np.asarray(turn, np.float32)


def _transform_labels(labels: Tensor, draw: AffineDraw) -> Tensor:
    """Label maps moved as their images are, each voxel taking the label of the nearest."""
    if draw.identity:
        return labels
    # The values are small whole numbers, which float32 and the nearest neighbour keep as they are.
    return _transform(labels.float(), draw, mode="nearest").to(labels.dtype)


def _transform(image: Tensor, draw: AffineDraw, mode: str = "bilinear") -> Tensor:
    if draw.identity:
        return image
    shape = tuple(image.shape[2:])
    dims = len(shape)
    theta = draw.theta.astype(np.float64)
    # Coordinates run from -1 to 1 along each axis whatever its length; turning must happen in px.
    lengths = np.array(shape[::-1], np.float64)
    theta[:, :, :dims] *= lengths[None, None, :] / lengths[None, :, None]
    grid = _grid(torch.from_numpy(theta.astype(np.float32)).to(image.device), shape)
    if draw.bend is not None:
        grid = grid + displacement(torch.from_numpy(draw.bend).to(image.device), shape)
    moved = F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=False)
    # Sampling on the grid itself rounds: what is not moved stays as it is, to the bit.
    still = (draw.theta == np.eye(dims, dims + 1, dtype=np.float32)).all((1, 2))
    if draw.bend is not None:
        still &= (draw.bend == 0).reshape(len(still), -1).all(1)
    if not still.any():
        return moved
    return torch.where(torch.from_numpy(still).to(image.device).view(-1, *[1] * (dims + 1)), image, moved)


def _grid(theta: Tensor, shape: tuple[int, ...]) -> Tensor:
    """What ``affine_grid(theta, ..., align_corners=False)`` gives, ``(B, *shape, D)``, as sums along the axes.

    torch multiplies a matrix for every pixel, which takes longer than the sampling itself.
    """
    cases, dims = len(theta), len(shape)
    grid = torch.empty(cases, *shape, dims, device=theta.device)
    lines = [(2 * torch.arange(n, device=theta.device) + 1) / n - 1 for n in shape]
    for row in range(dims):
        total = theta[:, row, dims].view(-1, *[1] * dims)
        for axis, line in enumerate(lines):
            along = [1] * dims
            along[axis] = -1
            total = total + (theta[:, row, dims - 1 - axis, None] * line).view(cases, *along)
        grid[..., row] = total
    return grid


def _blur(image: Tensor, sigma: Tensor, largest: float) -> Tensor:
    """Gaussian blur with a width for each case, separable; a width of 0 leaves the case as it is."""
    # From the largest width possible, not from those drawn: a case must not depend on its batch.
    radius = max(1, math.ceil(3 * largest))
    steps = torch.arange(-radius, radius + 1, device=image.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (steps[None] / sigma.clamp(min=1e-3)[:, None]) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    cases, channels = image.shape[:2]
    folded = image.reshape(1, cases * channels, *image.shape[2:])
    weights = kernel.repeat_interleave(channels, 0)
    dims = image.ndim - 2
    convolve = F.conv2d if dims == 2 else F.conv3d
    for axis in range(dims):
        shape = [1] * dims
        shape[axis] = len(steps)
        padding = [0] * (2 * dims)
        padding[2 * (dims - 1 - axis)] = padding[2 * (dims - 1 - axis) + 1] = radius
        padded = F.pad(folded, padding, mode="replicate")
        folded = convolve(padded, weights.view(cases * channels, 1, *shape), groups=cases * channels)
    return folded.reshape(image.shape)


def _erase(image: Tensor, draws: NDArray[np.float32], share: float, active: Tensor) -> Tensor:
    """Replace a block of up to ``share`` of the volume by the case's mean (random erasing, Zhong et al. 2020)."""
    dims = image.ndim - 2
    inside = torch.ones(len(image), *[1] * (dims + 1), dtype=torch.bool, device=image.device)
    side = (share * draws[:, ERASE]) ** (1 / dims)
    for axis, length in enumerate(image.shape[2:]):
        size = side * length
        start = draws[:, ERASE_AT + axis] * (length - size)
        place = np.arange(length)[None]
        covered = (place >= start[:, None]) & (place < (start + size)[:, None])
        shape = [len(image), *[1] * (dims + 1)]
        shape[2 + axis] = length
        inside = inside & torch.from_numpy(covered).to(image.device).view(shape)
    mean = image.mean(dim=tuple(range(1, image.ndim)), keepdim=True)
    return torch.where(inside & active.view(-1, *[1] * (dims + 1)), mean, image)
