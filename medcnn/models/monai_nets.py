"""MONAI's classification networks behind one signature, with logits as a plain tensor."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from medcnn.errors import ModelError
from medcnn.models.layers import check_share
from medcnn.models.quiet import quiet_monai

with quiet_monai():
    from monai.networks.nets import resnet as resnets
    from monai.networks.nets.densenet import DenseNet121, DenseNet169, DenseNet201
    from monai.networks.nets.efficientnet import EfficientNetBN
    from monai.networks.nets.senet import SEResNet50, SEResNet101, SEResNet152
    from monai.networks.nets.vit import ViT

# The five halvings of DenseNet leave nothing of less than this many px.
_DENSENET_SMALLEST = 29
_SERESNET_SMALLEST = 3


def densenet(
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    *,
    depth: int,
    init_features: int,
    growth_rate: int,
    dropout: float,
) -> nn.Module:
    """See :func:`medcnn.models.builders.densenet`."""
    check_share("dropout", dropout)
    _check_size("densenet", size, _DENSENET_SMALLEST)
    kind = _choose({121: DenseNet121, 169: DenseNet169, 201: DenseNet201}, depth, "depth")
    network: nn.Module = kind(
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        out_channels=outputs,
        init_features=init_features,
        growth_rate=growth_rate,
        dropout_prob=dropout,
    )
    return network


def resnet(
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    *,
    depth: int,
    conv1_t_size: int | tuple[int, ...],
    conv1_t_stride: int | tuple[int, ...],
    **options: Any,
) -> nn.Module:
    """See :func:`medcnn.models.builders.resnet`."""
    known = {d: getattr(resnets, f"resnet{d}") for d in (10, 18, 34, 50, 101, 152, 200)}
    network: nn.Module = _choose(known, depth, "depth")(
        spatial_dims=spatial_dims,
        n_input_channels=in_channels,
        num_classes=outputs,
        conv1_t_size=_per_axis(conv1_t_size, spatial_dims, "conv1_t_size"),
        conv1_t_stride=_per_axis(conv1_t_stride, spatial_dims, "conv1_t_stride"),
        **options,
    )
    return network


def efficientnet(spatial_dims: int, in_channels: int, outputs: int, *, variant: str) -> nn.Module:
    """See :func:`medcnn.models.builders.efficientnet`."""
    if spatial_dims != 2:
        raise ModelError(
            f"efficientnet is for 2D images and input.size has {spatial_dims} numbers",
            where="model.name",
            todo="use small_resnet, resnet, densenet or seresnet for volumes",
        )
    network: nn.Module = EfficientNetBN(
        f"efficientnet-{variant}",
        pretrained=False,
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        num_classes=outputs,
    )
    return network


def seresnet(
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    *,
    depth: int,
    reduction: int,
    dropout: float,
) -> nn.Module:
    """See :func:`medcnn.models.builders.seresnet`."""
    check_share("dropout", dropout)
    _check_size("seresnet", size, _SERESNET_SMALLEST)
    kind = _choose({50: SEResNet50, 101: SEResNet101, 152: SEResNet152}, depth, "depth")
    network: nn.Module = kind(
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        num_classes=outputs,
        reduction=reduction,
        dropout_prob=dropout or None,
    )
    return network


class LogitsViT(ViT):
    """MONAI's classifying ViT without its hidden states and with logits that no tanh bounds."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, outputs)`` of images ``(B, C, *size)``."""
        logits: Tensor = super().forward(x)[0]  # type: ignore[no-untyped-call]  # MONAI leaves it untyped
        return logits


def vit(
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    *,
    patch_size: int | tuple[int, ...],
    hidden_size: int,
    mlp_dim: int,
    num_layers: int,
    num_heads: int,
    dropout: float,
    pos_embed_type: str,
    qkv_bias: bool,
) -> nn.Module:
    """See :func:`medcnn.models.builders.vit`."""
    check_share("dropout", dropout)
    patch = _per_axis(patch_size, spatial_dims, "patch_size")
    if any(n % p for n, p in zip(size, patch, strict=True)):
        fits = math.gcd(*size)
        raise ModelError(
            f"patches of {_shown(patch)} do not tile an image of {_shown(size)}",
            where="model.patch_size",
            todo=f"a patch_size that divides every axis, such as {fits}, or an input.size of multiples of the patch",
        )
    if hidden_size % num_heads:
        raise ModelError(
            f"{num_heads} heads do not divide a width of {hidden_size}",
            where="model.hidden_size",
            todo="make hidden_size a multiple of num_heads",
        )
    return LogitsViT(
        in_channels=in_channels,
        img_size=size,
        patch_size=patch,
        hidden_size=hidden_size,
        mlp_dim=mlp_dim,
        num_layers=num_layers,
        num_heads=num_heads,
        pos_embed_type=pos_embed_type,
        classification=True,
        num_classes=outputs,
        dropout_rate=dropout,
        spatial_dims=spatial_dims,
        post_activation="none",
        qkv_bias=qkv_bias,
    )


def _choose(known: dict[int, Any], value: int, option: str) -> Any:
    if value not in known:
        raise ModelError(f"{option} is {value}", where=f"model.{option}", todo=f"known: {', '.join(map(str, known))}")
    return known[value]


def _per_axis(value: int | tuple[int, ...], spatial_dims: int, option: str) -> tuple[int, ...]:
    values = (value,) * spatial_dims if isinstance(value, int) else tuple(value)
    if len(values) != spatial_dims or min(values) < 1:
        raise ModelError(
            f"{option} is {list(values)} in {spatial_dims} dimensions",
            where=f"model.{option}",
            todo=f"give one number, or {spatial_dims}, from 1 up",
        )
    return values


def _check_size(name: str, size: tuple[int, ...], smallest: int) -> None:
    if min(size) < smallest:
        raise ModelError(
            f"an image of {_shown(size)} shrinks to nothing in {name}, which needs {smallest} on each axis",
            where="input.size",
            todo="enlarge input.size, or use small_resnet, which works at any size",
        )


def _shown(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))
