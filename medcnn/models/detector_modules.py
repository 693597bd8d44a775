"""RetinaNet of MONAI's parts: a ResNet with a feature pyramid, heads, and anchors that are kept with the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from medcnn.errors import ModelError
from medcnn.models.layers import conv_layer
from medcnn.models.quiet import quiet_monai

with quiet_monai():
    from monai.apps.detection.networks.retinanet_network import RetinaNet as MonaiRetinaNet
    from monai.networks.blocks.backbone_fpn_utils import BackboneWithFPN
    from monai.networks.blocks.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool
    from monai.networks.nets.resnet import ResNet

STAGES = 4


class _NoMore(ExtraFPNBlock):
    """The pyramid as it is, without a level on top."""

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """What was given."""
        return results, names


@dataclass(frozen=True, slots=True)
class Backbone:
    """The options of the ResNet and of the levels above it, as of :func:`medcnn.models.detectors.retinanet`."""

    filters: tuple[int, ...]
    blocks: tuple[int, ...]
    bottleneck: bool
    stem_kernel: int
    stem_stride: int | tuple[int, ...]
    stem_pool: bool
    levels: tuple[int, ...]
    top_level: bool
    outlines: bool = False

    @property
    def mapped(self) -> tuple[int, ...]:
        """Stages that the pyramid is made from: one finer than the finest with boxes, where outlines are learned."""
        finer = self.outlines and self.levels[0] > 1
        return (self.levels[0] - 1, *self.levels) if finer else self.levels

    def check(self, dims: int) -> None:
        """Raise :class:`~medcnn.errors.ModelError` for an option out of its range."""
        for key, values in (("filters", self.filters), ("blocks", self.blocks)):
            if len(values) != STAGES:
                raise ModelError(
                    f"{key} has {len(values)} entries", where=f"model.{key}", todo=f"give {STAGES}, one a stage"
                )
        if self.stem_kernel % 2 == 0:
            raise ModelError(
                f"stem_kernel is {self.stem_kernel}", where="model.stem_kernel", todo="give an odd number, such as 3"
            )
        if isinstance(self.stem_stride, tuple) and len(self.stem_stride) != dims:
            raise ModelError(
                f"stem_stride has {len(self.stem_stride)} entries for {dims} axes",
                where="model.stem_stride",
                todo="give one number, or one an axis",
            )
        first, last = self.levels[0], self.levels[-1]
        if self.levels != tuple(range(first, last + 1)) or not 1 <= first <= last <= STAGES:
            raise ModelError(
                f"levels are {', '.join(map(str, self.levels))}",
                where="model.levels",
                todo="give neighbouring stages of 1 to 4 in rising order, such as [2, 3, 4]",
            )

    def strides(self, dims: int) -> tuple[tuple[int, ...], ...]:
        """Step of each level of the pyramid along each axis, in voxels of the image."""
        stem = self.stem_stride if isinstance(self.stem_stride, tuple) else (self.stem_stride,) * dims
        pool = 2 if self.stem_pool else 1
        stages = [*self.levels, *([self.levels[-1] + 1] if self.top_level else [])]
        return tuple(tuple(s * pool * 2 ** (stage - 1) for s in stem) for stage in stages)


class RetinaNet(nn.Module):
    """Class logits and box codes of all anchors.

    Args:
        network: MONAI's RetinaNet with list output.
        strides: Step of each level with boxes along each axis.
        anchors: ``(A, D)`` sides at the finest level, or ``None``: to be fitted, and until then of no use.
        count: A, where they are to be fitted.
        outline: Logits of the background and of each class on the finest map of the pyramid; ``None``: none.
    """

    anchor_shapes: Tensor

    def __init__(
        self,
        network: nn.Module,
        strides: Sequence[Sequence[int]],
        anchors: Sequence[Sequence[float]] | None,
        count: int,
        outline: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.outline = outline
        self.strides = tuple(tuple(s) for s in strides)
        self.dims = len(self.strides[0])
        self.fitted = anchors is None
        shapes = torch.ones(count, self.dims) if anchors is None else torch.tensor(anchors, dtype=torch.float32)
        self.register_buffer("anchor_shapes", shapes)

    @property
    def scales(self) -> list[float]:
        """Scale of each level relative to the finest."""
        return [float(2**level) for level in range(len(self.strides))]

    def set_anchors(self, shapes: ArrayLike) -> None:
        """Take ``(A, D)`` sides at the finest level."""
        values = torch.as_tensor(np.asarray(shapes), dtype=torch.float32)
        self.anchor_shapes.copy_(values)

    def all_shapes(self) -> Tensor:
        """``(levels * A, D)`` sides of the anchors of all levels."""
        return torch.cat([self.anchor_shapes * scale for scale in self.scales])

    def grids(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """Places of each level along each axis, for an image of a spatial shape."""
        return [tuple(-(-n // s) for n, s in zip(shape, stride, strict=True)) for stride in self.strides]

    def anchors(self, shape: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Corners ``(N, 2*D)`` of all anchors, and the number of places of each level.

        A place i of a level with step s sees the image around voxel i * s, whose middle lies at i * s + 0.5.
        """
        device = self.anchor_shapes.device
        found, counts = [], []
        for grid, stride, scale in zip(self.grids(shape), self.strides, self.scales, strict=True):
            lines = [torch.arange(n, device=device) * s + 0.5 for n, s in zip(grid, stride, strict=True)]
            middles = torch.stack(torch.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 1, self.dims)
            half = self.anchor_shapes * (scale / 2)
            found.append(torch.cat([middles - half, middles + half], -1).reshape(-1, 2 * self.dims))
            counts.append(math.prod(grid))
        return torch.cat(found).float(), counts

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits ``(B, N, classes)`` and box codes ``(B, N, 2*D)``, float32."""
        return self._heads(self._pyramid(image))

    def outlined(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Also logits ``(B, 1 + classes, *small)`` of the background and of each class, on the finest map.

        Raises:
            ModelError: If the network was built without outlines.
        """
        if self.outline is None:
            raise ModelError(
                "this network has no map that masks could teach",
                where="model.outlines",
                todo="set model.outlines=true, or task.outlines=0",
            )
        maps = self._pyramid(image)
        logits, codes = self._heads(maps)
        return logits, codes, self.outline(maps[0]).float()

    def _pyramid(self, image: Tensor) -> list[Tensor]:
        network: Any = self.network
        return list(network.feature_extractor(image).values())

    def _heads(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        network: Any = self.network
        seen = list(maps[len(maps) - len(self.strides) :])
        # Under autocast the heads give bf16, which is too coarse for coordinates and scores.
        return self._listed(network.classification_head(seen)), self._listed(network.regression_head(seen))

    def _listed(self, maps: Sequence[Tensor]) -> Tensor:
        count = len(self.anchor_shapes)
        rows = []
        for level in maps:
            split = level.float().view(len(level), count, -1, *level.shape[2:])
            rows.append(split.permute(0, *range(3, split.ndim), 1, 2).flatten(1, -2))
        return torch.cat(rows, 1)


def build_retinanet(
    dims: int,
    in_channels: int,
    classes: int,
    size: tuple[int, ...],
    backbone: Backbone,
    pyramid_filters: int,
    anchors: tuple[tuple[float, ...], ...] | None,
    count: int,
    prior: float,
) -> RetinaNet:
    """The network of :func:`medcnn.models.detectors.retinanet`."""
    backbone.check(dims)
    strides = backbone.strides(dims)
    _check_size(size, strides[len(backbone.levels) - 1])
    if anchors is not None and any(len(shape) != dims for shape in anchors):
        raise ModelError(
            "an anchor has not one side an axis", where="model.anchors", todo=f"give {dims} numbers for each"
        )
    number = count if anchors is None else len(anchors)
    network = MonaiRetinaNet(
        spatial_dims=dims,
        num_classes=classes,
        num_anchors=number,
        feature_extractor=_pyramid(dims, in_channels, backbone, pyramid_filters),
        use_list_output=True,
    )
    nn.init.constant_(network.classification_head.cls_logits.bias, -math.log((1 - prior) / prior))
    outline = conv_layer(dims, pyramid_filters, 1 + classes, 1, bias=True) if backbone.outlines else None
    return RetinaNet(network, strides, anchors, number, outline)


def _check_size(size: tuple[int, ...], stride: tuple[int, ...]) -> None:
    if any(n < s for n, s in zip(size, stride, strict=True)):
        raise ModelError(
            f"an image of {' x '.join(map(str, size))} is smaller than the step of the coarsest level, "
            f"{' x '.join(map(str, stride))}",
            where="input.size",
            todo="use a larger input.size, fewer model.levels, or model.stem_stride: 1",
        )


def _pyramid(dims: int, in_channels: int, backbone: Backbone, filters: int) -> nn.Module:
    """MONAI's ResNet with MONAI's feature pyramid."""
    make: Any = ResNet
    resnet: nn.Module = make(
        block="bottleneck" if backbone.bottleneck else "basic",
        layers=list(backbone.blocks),
        block_inplanes=list(backbone.filters),
        spatial_dims=dims,
        n_input_channels=in_channels,
        conv1_t_size=backbone.stem_kernel,
        conv1_t_stride=backbone.stem_stride,
        no_max_pool=not backbone.stem_pool,
        feed_forward=False,
    )
    if not backbone.stem_pool:
        # The pyramid runs the layers one after the other, whatever the network's own forward leaves out.
        resnet.maxpool = nn.Identity()

    expansion = 4 if backbone.bottleneck else 1
    return BackboneWithFPN(
        resnet,
        {f"layer{stage}": str(number) for number, stage in enumerate(backbone.mapped)},
        [backbone.filters[stage - 1] * expansion for stage in backbone.mapped],
        filters,
        spatial_dims=dims,
        extra_blocks=LastLevelMaxPool(dims) if backbone.top_level else _NoMore(),
    )
