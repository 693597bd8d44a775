"""A residual network for small images, 2D and 3D."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medcnn.errors import ModelError
from medcnn.models.layers import batch_norm_layer, check_share, conv_layer


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016).

    Where the block shrinks the image, the shortcut takes averages before its 1x1 convolution instead of
    every second pixel, so that none is passed over (He et al. 2019, "Bag of Tricks", ResNet-D).
    """

    def __init__(self, spatial_dims: int, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv_layer(spatial_dims, channels, filters, 3, stride=stride, padding=1)
        self.norm1 = batch_norm_layer(spatial_dims, filters)
        self.conv2 = conv_layer(spatial_dims, filters, filters, 3, padding=1)
        self.norm2 = batch_norm_layer(spatial_dims, filters)
        self.relu1 = nn.ReLU(inplace=True)
        self.relu2 = nn.ReLU(inplace=True)
        self.shortcut = _shortcut(spatial_dims, channels, filters, stride)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, filters, ceil(size / stride))`` of ``(B, channels, size)``."""
        y = self.relu1(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        result: Tensor = self.relu2(y + self.shortcut(x))
        return result


class AveragePool(nn.Module):
    """Averages over windows, rounding sizes up as the strided convolution beside it does.

    Windows at the edge average what is there; an axis shorter than the window is averaged whole, which torch's
    own layer refuses in 3D.
    """

    def __init__(self, edge: int) -> None:
        super().__init__()
        self.edge = edge

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, ceil(size / edge))``."""
        window = tuple(min(self.edge, n) for n in x.shape[2:])
        pool = F.avg_pool3d if len(window) == 3 else F.avg_pool2d
        return pool(x, window, ceil_mode=True, count_include_pad=False)

    def extra_repr(self) -> str:
        """What the printed network shows."""
        return f"edge={self.edge}"


class AverageAndMaximum(nn.Module):
    """The mean and the maximum of every filter over the image, one after the other.

    A finding that fills a small part of the image moves the maximum where it hardly moves the mean.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 2 * C, 1, 1[, 1])``."""
        axes = tuple(range(2, x.ndim))
        return torch.cat([x.mean(axes, keepdim=True), x.amax(axes, keepdim=True)], 1)


class AttentionPool(nn.Module):
    """The mean of every filter where a learned map points, and its maximum over the image.

    The map is a 1x1 convolution with a softmax over all places (soft attention, as in Jetley et al. 2018). Masks of
    findings can teach it where to look: :meth:`places` is what such a loss sees.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.score = conv_layer(spatial_dims, channels, 1, 1, bias=True)

    def places(self, features: Tensor) -> Tensor:
        """Logits ``(B, 1, *spatial)`` of the places of ``(B, C, *spatial)``."""
        scores: Tensor = self.score(features)
        return scores

    def forward(self, features: Tensor) -> Tensor:
        """``(B, 2 * C)``."""
        return self.pooled(features, self.places(features))

    def pooled(self, features: Tensor, places: Tensor) -> Tensor:
        """``(B, 2 * C)`` with a map that was made before."""
        shares = places.flatten(2).float().softmax(2).to(features.dtype)
        mean = (features.flatten(2) * shares).sum(2)
        return torch.cat([mean, features.flatten(2).amax(2)], 1)


def _shortcut(spatial_dims: int, channels: int, filters: int, stride: int) -> nn.Sequential:
    """Empty (the identity) where the block changes neither size nor number of filters."""
    path = nn.Sequential()
    if stride > 1:
        path.add_module("pool", AveragePool(stride))
    if stride > 1 or channels != filters:
        path.add_module("conv", conv_layer(spatial_dims, channels, filters, 1))
        path.add_module("norm", batch_norm_layer(spatial_dims, filters))
    return path


class SmallResNet(nn.Module):
    """Stem, stages of residual blocks, global pooling, dropout, one linear layer."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        outputs: int,
        *,
        width: int,
        blocks: tuple[int, ...],
        strides: tuple[int, ...],
        stem_stride: int,
        dropout: float,
        zero_init: bool,
        pooling: str = "average",
    ) -> None:
        super().__init__()
        _check_options(width, blocks, strides, stem_stride)
        check_share("dropout", dropout)
        self.stem = nn.Sequential()
        self.stem.add_module(
            "conv", conv_layer(spatial_dims, in_channels, width, 3, stride=min(stem_stride, 2), padding=1)
        )
        self.stem.add_module("norm", batch_norm_layer(spatial_dims, width))
        self.stem.add_module("relu", nn.ReLU(inplace=True))
        if stem_stride == 4:
            pool = nn.MaxPool3d(3, 2, 1) if spatial_dims == 3 else nn.MaxPool2d(3, 2, 1)
            self.stem.add_module("pool", pool)
        self.stages = nn.Sequential()
        channels = width
        for i, (count, stride) in enumerate(zip(blocks, strides, strict=True)):
            filters = width * 2**i
            stage = nn.Sequential()
            for j in range(count):
                stage.add_module(f"block{j + 1}", BasicBlock(spatial_dims, channels, filters, stride if j == 0 else 1))
                channels = filters
            self.stages.add_module(f"stage{i + 1}", stage)
        if pooling == "attention":
            self.pool: nn.Module = AttentionPool(spatial_dims, channels)
            channels *= 2
        elif pooling == "both":
            self.pool = AverageAndMaximum()
            channels *= 2
        else:
            self.pool = nn.AdaptiveAvgPool3d(1) if spatial_dims == 3 else nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.output = nn.Linear(channels, outputs)
        _initialise(self, zero_init)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(B, outputs)`` of images ``(B, C, *size)``."""
        features = self.flatten(self.pool(self.stages(self.stem(image))))
        result: Tensor = self.output(self.dropout(features))
        return result

    def attend(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(B, outputs)``, and those ``(B, 1, *spatial)`` of the places that the attention points to.

        Raises:
            ModelError: If the network pools without attention.
        """
        if not isinstance(self.pool, AttentionPool):
            raise ModelError(
                "this network has no attention that masks could teach",
                where="model.pooling",
                todo="set model.pooling=attention, or task.focus=0",
            )
        features = self.stages(self.stem(image))
        places = self.pool.places(features)
        return self.output(self.dropout(self.flatten(self.pool.pooled(features, places)))), places


def _check_options(width: int, blocks: tuple[int, ...], strides: tuple[int, ...], stem_stride: int) -> None:
    if width < 1:
        raise ModelError(f"width is {width}", where="model.width", todo="give a number from 1 up")
    if not blocks or min(blocks) < 1:
        raise ModelError(
            f"blocks is {list(blocks)}",
            where="model.blocks",
            todo="give at least one stage, each with one block or more",
        )
    if len(strides) != len(blocks):
        raise ModelError(
            f"strides has {len(strides)} numbers for {len(blocks)} stages",
            where="model.strides",
            todo="give as many strides as blocks",
        )
    if not set(strides) <= {1, 2}:
        raise ModelError(f"strides is {list(strides)}", where="model.strides", todo="a stride is 1 or 2")
    if stem_stride not in (1, 2, 4):
        raise ModelError(f"stem_stride is {stem_stride}", where="model.stem_stride", todo="give 1, 2 or 4")


def _initialise(network: SmallResNet, zero_init: bool) -> None:
    """He et al. 2015; ``zero_init`` after Goyal et al. 2017 lets each block start as its shortcut."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if zero_init:
        for module in network.modules():
            if isinstance(module, BasicBlock):
                nn.init.zeros_(module.norm2.weight)
    nn.init.zeros_(network.output.bias)
