"""A U-Net for small images and few cores, 2D and 3D."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from medcnn.errors import ModelError
from medcnn.models.layers import batch_norm_layer, check_share, conv_layer

Steps = tuple[int, ...]


class ConvNorm(nn.Sequential):
    """Convolution without bias, normalisation and, unless left out, ReLU."""

    def __init__(
        self, dims: int, channels: int, filters: int, kernel: Steps, *, stride: Steps = (), norm: str, relu: bool = True
    ) -> None:
        super().__init__()
        padding = tuple(k // 2 for k in kernel)
        self.add_module(
            "conv", conv_layer(dims, channels, filters, kernel, stride=stride or (1,) * dims, padding=padding)
        )
        self.add_module("norm", _norm_layer(dims, filters, norm))
        if relu:
            self.add_module("relu", nn.ReLU(inplace=True))


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity (He et al. 2016)."""

    def __init__(self, dims: int, filters: int, kernel: Steps, norm: str) -> None:
        super().__init__()
        self.first = ConvNorm(dims, filters, filters, kernel, norm=norm)
        self.second = ConvNorm(dims, filters, filters, kernel, norm=norm, relu=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as ``x``."""
        result: Tensor = self.relu(self.second(self.first(x)) + x)
        return result


class Up(nn.Module):
    """A 1x1 convolution on the coarse grid, its nearest neighbours on the fine one added to the skip; a convolution.

    Adding where other U-Nets concatenate halves the work of the convolution on the finest, dearest grid.
    """

    def __init__(self, dims: int, channels: int, filters: int, kernel: Steps, norm: str) -> None:
        super().__init__()
        # Normalised, so that neither the skip nor what comes from below drowns the other.
        self.narrow = ConvNorm(dims, channels, filters, (1,) * dims, norm=norm, relu=False)
        self.fuse = ConvNorm(dims, filters, filters, kernel, norm=norm)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """``(B, filters, *fine)`` of ``(B, channels, *coarse)`` and ``(B, filters, *fine)``."""
        result: Tensor = self.fuse(skip + F.interpolate(self.narrow(coarse), skip.shape[2:]))
        return result


class SmallUNet(nn.Module):
    """Levels of residual blocks on the way down, one convolution a level on the way up; see ``unets.small_unet``.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        outputs: Logits a voxel.
        filters: Filters of each level.
        blocks: Residual blocks of each level, after the convolution that enters it.
        kernels: Edges of the filters of each level.
        strides: Step into each level, the first from the image.
        deep_supervision: How many coarser levels give logits in training.
        norm: ``batch`` or ``instance``.
        dropout: Share of features silenced on the coarsest level.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        outputs: int,
        *,
        filters: tuple[int, ...],
        blocks: tuple[int, ...],
        kernels: tuple[Steps, ...],
        strides: tuple[Steps, ...],
        deep_supervision: int,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        check_share("dropout", dropout)
        _check_levels(filters, blocks, deep_supervision)
        dims = spatial_dims
        self.down = nn.ModuleList()
        channels = in_channels
        for width, count, kernel, stride in zip(filters, blocks, kernels, strides, strict=True):
            level = nn.Sequential(ConvNorm(dims, channels, width, kernel, stride=stride, norm=norm))
            level.extend(ResidualBlock(dims, width, kernel, norm) for _ in range(count))
            self.down.append(level)
            channels = width
        self.dropout = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        pairs = zip(filters[1:], filters[:-1], kernels[:-1], strict=True)
        self.up = nn.ModuleList(Up(dims, coarse, fine, kernel, norm) for coarse, fine, kernel in pairs)
        self.output = _output_layer(dims, filters[0], outputs, strides[0])
        self.coarse_outputs = nn.ModuleList(
            conv_layer(dims, width, outputs, 1, bias=True) for width in filters[1 : 1 + deep_supervision]
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        # Logits that spread around 1 from the start: small ones hold the layers below back for many steps.
        for layer in (self.output, *self.coarse_outputs):
            nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.in_channels))
            nn.init.zeros_(layer.bias)

    def features(self, image: Tensor) -> list[Tensor]:
        """Maps of all levels on the way up, the finest first, the coarsest last."""
        skips = []
        x = image
        for level in self.down:
            x = level(x)
            skips.append(x)
        maps = [self.dropout(skips.pop())]
        for up, skip in zip(reversed(self.up), reversed(skips), strict=True):
            maps.append(up(maps[-1], skip))
        return maps[::-1]

    def logits(self, maps: Sequence[Tensor], shape: Sequence[int]) -> list[Tensor]:
        """Logits of the voxels from :meth:`features`, the finest ``(B, outputs, *shape)`` and coarser ones after it."""
        finest: Tensor = self.output(maps[0])
        # A first step that does not divide the image gives a few voxels more than it has.
        for axis, n in enumerate(shape, 2):
            finest = finest.narrow(axis, 0, n) if finest.shape[axis] != n else finest
        return [finest, *(layer(m) for layer, m in zip(self.coarse_outputs, maps[1:], strict=False))]

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Logits ``(B, outputs, *size)`` of ``(B, C, *size)``; in training with deep supervision a list of them."""
        maps = self.features(image)
        if not self.training or not self.coarse_outputs:
            return self.logits(maps[:1], image.shape[2:])[0]
        return self.logits(maps, image.shape[2:])


def _output_layer(
    dims: int, channels: int, outputs: int, stride: Steps
) -> nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d:
    """1x1 convolution, or where the first level is coarser than the image one logit for each voxel under it."""
    if set(stride) == {1}:
        return conv_layer(dims, channels, outputs, 1, bias=True)
    kind: Any = nn.ConvTranspose3d if dims == 3 else nn.ConvTranspose2d
    layer: nn.ConvTranspose2d | nn.ConvTranspose3d = kind(channels, outputs, stride, stride=stride)
    return layer


def _norm_layer(dims: int, channels: int, norm: str) -> nn.Module:
    if norm == "batch":
        return batch_norm_layer(dims, channels)
    return (nn.InstanceNorm3d if dims == 3 else nn.InstanceNorm2d)(channels, affine=True)


def _check_levels(filters: tuple[int, ...], blocks: tuple[int, ...], deep_supervision: int) -> None:
    if len(blocks) != len(filters):
        raise ModelError(
            f"blocks has {len(blocks)} numbers for {len(filters)} levels",
            where="model.blocks",
            todo="give as many as filters; 0 leaves the convolution that enters a level alone",
        )
    if deep_supervision > len(filters) - 1:
        raise ModelError(
            f"deep_supervision is {deep_supervision} with {len(filters)} levels",
            where="model.deep_supervision",
            todo=f"at most {len(filters) - 1}",
        )
