"""Memory and work of a training step of a U-Net, by formula.

Counted are the tensors that the backward pass keeps, the numbers of the optimizer and the loss; a test holds the
formula against what torch really keeps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

Planned = Literal["dynunet", "small_unet"]

# Adam: weight, gradient and two moments in float32, and the copy in mixed precision.
_PARAMETER_BYTES = 18
# The loss keeps logits, probabilities, targets and products of a voxel and output in float32.
_LOSS_COPIES = 8
# Gradients under way, workspace of the convolutions, and fragmentation.
_MARGIN = 1.25
# Libraries, kernels and the batch on its way.
_FIXED_BYTES = 200 * 2**20


@dataclass(frozen=True, slots=True)
class Design:
    """A network by level, the finest first.

    Attributes:
        name: Which network.
        filters: Filters of each level.
        kernels: Edges of the filters of each level.
        strides: Step into each level, 1 into the finest.
    """

    name: Planned
    filters: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]

    @property
    def factors(self) -> tuple[int, ...]:
        """How much the coarsest level is smaller than the image."""
        return tuple(math.prod(step) for step in zip(*self.strides, strict=True))

    @property
    def supervised(self) -> int:
        """Coarser levels with logits of their own: all but the two coarsest, as in nnU-Net, and at most 3."""
        return max(0, min(len(self.filters) - 3, 3))

    def options(self) -> dict[str, Any]:
        """The builder's options."""
        return {
            "filters": list(self.filters),
            "kernel_size": [list(kernel) for kernel in self.kernels],
            "strides": [list(step) for step in self.strides],
            "deep_supervision": self.supervised,
        }


@dataclass(frozen=True, slots=True)
class Cost:
    """What a training step takes.

    Attributes:
        bytes: Memory.
        work: Multiply-adds, forward and backward.
        parameters: Learned numbers.
    """

    bytes: int
    work: float
    parameters: int


def cost(design: Design, size: tuple[int, ...], batch: int, channels: int, outputs: int, number_bytes: int = 2) -> Cost:
    """The cost of a training step with Adam.

    Args:
        design: The network.
        size: Spatial size of a patch.
        batch: Patches.
        channels: Channels of the image.
        outputs: Logits a voxel.
        number_bytes: Bytes of a number in the feature maps.
    """
    work = parameters = kept = 0
    extent = size
    shapes = []
    for step in design.strides:
        extent = tuple(math.ceil(n / s) for n, s in zip(extent, step, strict=True))
        shapes.append(math.prod(extent))
    layers = _LAYERS[design.name](design, channels, outputs)
    for layer in layers:
        work += shapes[layer.level] * layer.weights
        parameters += layer.weights
        kept += shapes[layer.level] * layer.kept
    loss = sum(shapes[: 1 + design.supervised]) * outputs * 4 * _LOSS_COPIES
    image = shapes[0] * channels * (4 + number_bytes)
    needed = batch * (kept * number_bytes + loss + image) * _MARGIN + parameters * _PARAMETER_BYTES + _FIXED_BYTES
    return Cost(int(needed), 3.0 * batch * work, parameters)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A convolution: its level, its weights, and how many numbers a voxel of the level are kept for the way back."""

    level: int
    weights: int
    kept: int


def _dynunet(design: Design, channels: int, outputs: int) -> list[_Layer]:
    """Two convolutions a level and way, each with normalisation and activation; skips are concatenated."""
    layers = []
    before = channels
    for level, (width, kernel) in enumerate(zip(design.filters, design.kernels, strict=True)):
        k = math.prod(kernel)
        layers += [_Layer(level, before * width * k, 2 * width), _Layer(level, width * width * k, 2 * width)]
        before = width
    for level in range(len(design.filters) - 1):
        width, below = design.filters[level], design.filters[level + 1]
        # MONAI's blocks on the way up have the kernel of the coarser level.
        k, step = math.prod(design.kernels[level + 1]), math.prod(design.strides[level + 1])
        # A fine voxel has one coarse one, hence below * width products; the weights are one set a place in the step.
        layers.append(_Layer(level + 1, below * width * step, 0))
        layers += [_Layer(level, 2 * width * width * k, 4 * width), _Layer(level, width * width * k, 2 * width)]
    return layers + _heads(design, outputs)


def _small_unet(design: Design, channels: int, outputs: int) -> list[_Layer]:
    """An entry and a residual block a level (the entry alone on the finest), one convolution on the way up."""
    layers = []
    before = channels
    for level, (width, kernel) in enumerate(zip(design.filters, design.kernels, strict=True)):
        k = math.prod(kernel)
        layers.append(_Layer(level, before * width * k, 2 * width))
        if level:
            layers += [_Layer(level, width * width * k, 2 * width), _Layer(level, width * width * k, 2 * width)]
        before = width
    for level in range(len(design.filters) - 1):
        width, below = design.filters[level], design.filters[level + 1]
        k = math.prod(design.kernels[level])
        layers += [_Layer(level + 1, below * width, width), _Layer(level, width * width * k, 3 * width)]
    return layers + _heads(design, outputs)


def _heads(design: Design, outputs: int) -> list[_Layer]:
    return [_Layer(level, design.filters[level] * outputs, 0) for level in range(1 + design.supervised)]


_LAYERS = {"dynunet": _dynunet, "small_unet": _small_unet}
