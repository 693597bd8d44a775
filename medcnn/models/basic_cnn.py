"""The plain convolutional network, 2D and 3D."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medcnn.errors import ModelError
from medcnn.models.layers import activation_layer, batch_norm_layer, check_share, conv_layer, pool_layer


@dataclass(frozen=True, slots=True)
class Block:
    """What one block does to each axis."""

    number: int
    filters: int
    kernel: int
    stride: int
    pads: tuple[int, int]
    pooling: str
    pool: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """The options of all blocks as the recipe gives them: one value for all, or one a block."""

    filters: tuple[int, ...]
    kernel_size: int | tuple[int, ...] = 3
    stride: int | tuple[int, ...] = 1
    padding: str | int = "same"
    pooling: str = "max"
    pool_size: int | tuple[int, ...] = 2

    def __iter__(self) -> Iterator[Block]:
        count = len(self.filters)
        if count == 0:
            raise ModelError("basic_cnn needs at least one block", where="model.filters", todo="for example [16, 32]")
        filters = _per_block(self.filters, count, "filters")
        kernels = _per_block(self.kernel_size, count, "kernel_size")
        strides = _per_block(self.stride, count, "stride")
        pools = _per_block(self.pool_size, count, "pool_size")
        for i in range(count):
            pads = self._pads(kernels[i])
            yield Block(i + 1, filters[i], kernels[i], strides[i], pads, self.pooling, pools[i])

    def _pads(self, kernel: int) -> tuple[int, int]:
        """Zeros before and after each axis; an even kernel with ``same`` needs one more after than before."""
        if self.padding == "same":
            return (kernel - 1) // 2, kernel // 2
        if self.padding == "valid":
            return 0, 0
        pad = int(self.padding)
        if pad < 0:
            raise ModelError(f"padding is {pad}", where="model.padding", todo="give same, valid or a number from 0")
        return pad, pad


@dataclass(frozen=True, slots=True)
class Head:
    """What follows the blocks: logits, the units of the dense layers before them, and the share that is silenced."""

    outputs: int
    dense: tuple[int, ...] = ()
    dropout: float = 0.0


def _per_block(value: int | tuple[int, ...], count: int, option: str) -> tuple[int, ...]:
    values = (value,) * count if isinstance(value, int) else tuple(value)
    if len(values) != count:
        raise ModelError(
            f"{option} has {len(values)} numbers for {count} blocks",
            where=f"model.{option}",
            todo="give one number for all blocks, or as many as filters",
        )
    if min(values) < 1:
        raise ModelError(f"{option} contains {min(values)}", where=f"model.{option}", todo="give numbers from 1 up")
    return values


def final_size(size: tuple[int, ...], blocks: Blocks) -> tuple[int, ...]:
    """Spatial size after the last block: floor((n + pads - kernel) / stride) + 1, then floor(n / pool), a block.

    Raises:
        ModelError: If nothing is left after some block, which is named with its operation.
    """
    for block in blocks:
        before = size
        padded = [n + sum(block.pads) for n in size]
        if min(padded) < block.kernel:
            raise _shrunk(block, f"its filters are {block.kernel} wide", before)
        size = tuple((n - block.kernel) // block.stride + 1 for n in padded)
        if block.pooling != "none":
            if min(size) < block.pool:
                raise _shrunk(block, f"its pooling takes {block.pool} at a time from {_shown(size)}", before)
            size = tuple(n // block.pool for n in size)
    return size


def _shrunk(block: Block, reason: str, before: tuple[int, ...]) -> ModelError:
    fewer = f"use at most {block.number - 1} block(s) in filters, " if block.number > 1 else ""
    return ModelError(
        f"the image shrinks to nothing in block {block.number} of basic_cnn: {_shown(before)} comes in and {reason}",
        where="model",
        todo=f"{fewer}enlarge input.size, or take a smaller kernel_size, stride or pool_size, or padding: same",
    )


def _shown(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))


class BasicCNN(nn.Module):
    """Conv → BatchNorm → activation → Pool, repeated; then flatten, dense layers and the logits.

    ``features`` holds the blocks, ``head`` the rest. Convolutions that a batch norm follows have no bias, since
    the norm has one. Weights start by He's rule, biases at 0.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        size: tuple[int, ...],
        blocks: Blocks,
        head: Head,
        *,
        batch_norm: bool,
        activation: str,
    ) -> None:
        super().__init__()
        check_share("dropout", head.dropout)
        left = final_size(size, blocks)
        self.features = nn.Sequential()
        channels = in_channels
        for block in blocks:
            name = f"block{block.number}"
            self.features.add_module(name, _block(spatial_dims, channels, block, batch_norm, activation))
            channels = block.filters
        self.head = _head(channels * math.prod(left), head, activation)
        _initialise(self, activation)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(B, outputs)`` of images ``(B, C, *size)``."""
        result: Tensor = self.head(self.features(image))
        return result


def _block(spatial_dims: int, channels: int, block: Block, batch_norm: bool, activation: str) -> nn.Sequential:
    layers = nn.Sequential()
    before, after = block.pads
    if before != after:
        layers.add_module(
            "pad", nn.ConstantPad3d(block.pads * 3, 0.0) if spatial_dims == 3 else nn.ZeroPad2d(block.pads * 2)
        )
    layers.add_module(
        "conv",
        conv_layer(
            spatial_dims,
            channels,
            block.filters,
            block.kernel,
            stride=block.stride,
            padding=before if before == after else 0,
            bias=not batch_norm,
        ),
    )
    if batch_norm:
        layers.add_module("norm", batch_norm_layer(spatial_dims, block.filters))
    layers.add_module("activation", activation_layer(activation))
    if block.pooling != "none":
        layers.add_module("pool", pool_layer(spatial_dims, block.pooling, block.pool))
    return layers


def _head(features: int, options: Head, activation: str) -> nn.Sequential:
    head = nn.Sequential()
    head.add_module("flatten", nn.Flatten())
    for i, units in enumerate(options.dense, start=1):
        if units < 1:
            raise ModelError(f"dense contains {units}", where="model.dense", todo="give numbers from 1 up")
        head.add_module(f"dense{i}", nn.Linear(features, units))
        head.add_module(f"activation{i}", activation_layer(activation))
        if options.dropout > 0:
            head.add_module(f"dropout{i}", nn.Dropout(options.dropout))
        features = units
    if options.dropout > 0 and not options.dense:
        head.add_module("dropout", nn.Dropout(options.dropout))
    head.add_module("output", nn.Linear(features, options.outputs))
    return head


def _initialise(network: BasicCNN, activation: str) -> None:
    """He et al. 2015 for the rectifier kin, Glorot and Bengio 2010 for the saturating activations and the output."""
    saturating = activation in ("sigmoid", "tanh")
    with torch.no_grad():
        for name, module in network.named_modules():
            if not isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear)):
                continue
            if saturating or name == "head.output":
                nn.init.xavier_uniform_(module.weight)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
