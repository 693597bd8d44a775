"""MONAI's segmentation networks behind one signature, their options checked against the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medcnn.errors import ModelError
from medcnn.models.layers import check_share
from medcnn.models.levels import Axes, check_coarsest, check_divisible, kernels_of, per_axis, shown, steps_between
from medcnn.models.quiet import quiet_monai

with quiet_monai():
    from monai.networks.nets.attentionunet import AttentionUnet
    from monai.networks.nets.basic_unet import BasicUNet
    from monai.networks.nets.dynunet import DynUNet
    from monai.networks.nets.segresnet import SegResNet
    from monai.networks.nets.unet import UNet

# Four poolings of BasicUNet leave nothing of fewer.
_BASIC_UNET_SMALLEST = 16
_GROUP = 8


def unet(
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    *,
    channels: tuple[int, ...],
    strides: tuple[Axes, ...] | None,
    res_units: int,
    norm: str,
    dropout: float,
) -> nn.Module:
    """See :func:`medcnn.models.unets.unet`."""
    check_share("dropout", dropout)
    steps = steps_between(strides, len(channels) - 1, spatial_dims)
    check_divisible(size, steps)
    check_coarsest(size, steps, norm)
    return UNet(
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        out_channels=outputs,
        channels=channels,
        strides=steps,  # type: ignore[arg-type]  # a step an axis works too
        num_res_units=res_units,
        norm=_norm(norm, channels),
        dropout=dropout,
    )


class ListingDynUNet(DynUNet):
    """MONAI's DynUNet whose coarser logits keep their own resolution."""

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits ``(B, outputs, *size)``; with deep supervision in training a list, the finest first."""
        finest: Tensor = self.output_block(self.skip_layers(x))
        coarser = list(self.heads)
        # The layers share this list, so its entries are replaced: a network that holds a graph cannot be copied.
        self.heads[:] = [torch.empty(0)] * len(coarser)
        return [finest, *coarser] if self.training and self.deep_supervision else finest


def dynunet(
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    *,
    filters: tuple[int, ...],
    kernel_size: int | tuple[Axes, ...],
    strides: tuple[Axes, ...] | None,
    res_block: bool,
    deep_supervision: int,
    norm: str,
    dropout: float,
) -> nn.Module:
    """See :func:`medcnn.models.unets.dynunet`."""
    check_share("dropout", dropout)
    levels = len(filters)
    if levels < 3:
        raise ModelError(
            f"dynunet has {levels} levels", where="model.filters", todo="give the filters of three levels or more"
        )
    if deep_supervision > levels - 2:
        raise ModelError(
            f"deep_supervision is {deep_supervision} with {levels} levels",
            where="model.deep_supervision",
            todo=f"at most {levels - 2}: the coarsest level has no logits of its own",
        )
    kernels = kernels_of(kernel_size, levels, spatial_dims)
    steps = steps_between(strides, levels, spatial_dims, first=1)
    check_divisible(size, steps)
    check_coarsest(size, steps, norm)
    if math.prod(steps[0]) != 1:
        raise ModelError(
            "the first of dynunet's strides shrinks its logits", where="model.strides", todo="let the first be 1"
        )
    return ListingDynUNet(
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        out_channels=outputs,
        kernel_size=kernels,
        strides=steps,
        upsample_kernel_size=steps[1:],
        filters=filters,
        dropout=dropout or None,
        norm_name=_norm(norm, filters),
        deep_supervision=deep_supervision > 0,
        deep_supr_num=max(1, deep_supervision),
        res_block=res_block,
    )


def basic_unet(
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    *,
    features: tuple[int, ...],
    norm: str,
    dropout: float,
    upsample: str,
) -> nn.Module:
    """See :func:`medcnn.models.unets.basic_unet`."""
    check_share("dropout", dropout)
    if min(size) < _BASIC_UNET_SMALLEST:
        raise ModelError(
            f"an image of {shown(size)} shrinks to nothing in basic_unet, which needs {_BASIC_UNET_SMALLEST} "
            "on each axis",
            where="input.size",
            todo="enlarge input.size, or use unet or dynunet with fewer levels",
        )
    check_coarsest(size, ((2,) * spatial_dims,) * 4, norm)
    return BasicUNet(
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        out_channels=outputs,
        features=features,
        norm=_norm(norm, features),
        dropout=dropout,
        upsample=upsample,
    )


def attention_unet(
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    *,
    channels: tuple[int, ...],
    strides: tuple[Axes, ...] | None,
    kernel_size: Axes,
    dropout: float,
) -> nn.Module:
    """See :func:`medcnn.models.unets.attention_unet`."""
    check_share("dropout", dropout)
    steps = steps_between(strides, len(channels) - 1, spatial_dims)
    check_divisible(size, steps)
    return AttentionUnet(
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        out_channels=outputs,
        channels=channels,
        strides=steps,  # type: ignore[arg-type]  # a step an axis works too
        kernel_size=per_axis(kernel_size, spatial_dims, "kernel_size"),
        dropout=dropout,
    )


def segresnet(
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    *,
    init_filters: int,
    blocks_down: tuple[int, ...],
    blocks_up: tuple[int, ...] | None,
    norm: str,
    dropout: float,
) -> nn.Module:
    """See :func:`medcnn.models.unets.segresnet`."""
    check_share("dropout", dropout)
    halvings = len(blocks_down) - 1
    up = (1,) * halvings if blocks_up is None else blocks_up
    if len(up) != halvings:
        raise ModelError(
            f"blocks_up has {len(up)} numbers and blocks_down {len(blocks_down)}",
            where="model.blocks_up",
            todo=f"give {halvings}: one less than blocks_down",
        )
    steps = ((2,) * spatial_dims,) * halvings
    check_divisible(size, steps)
    check_coarsest(size, steps, norm)
    return SegResNet(
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        out_channels=outputs,
        init_filters=init_filters,
        blocks_down=blocks_down,
        blocks_up=up,
        norm=_norm(norm, (init_filters,)),
        dropout_prob=dropout or None,
    )


def _norm(name: str, filters: Sequence[int]) -> tuple[str, dict[str, Any]]:
    """Normalisation in MONAI's words, with learned scale and offset."""
    if name != "group":
        return name, {"affine": True}
    if any(n % _GROUP for n in filters):
        raise ModelError(
            f"groups of {_GROUP} do not divide {', '.join(str(n) for n in filters if n % _GROUP)} filters",
            where="model.norm",
            todo=f"use multiples of {_GROUP}, or norm: instance",
        )
    return "group", {"num_groups": _GROUP}
