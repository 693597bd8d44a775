"""Torch's layers by the number of spatial dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from medcnn.errors import ModelError

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(0.01, inplace=True),
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


def activation_layer(name: str) -> nn.Module:
    """An activation by its name in a recipe."""
    if name not in _ACTIVATIONS:
        raise ModelError(
            f"unknown activation {name!r}", where="model.activation", todo=f"known: {', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[name]()


def conv_layer(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    kernel: int | tuple[int, ...],
    *,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] = 0,
    bias: bool = False,
) -> nn.Conv2d | nn.Conv3d:
    """A convolution; kernel, stride and padding are one number for all axes, or one an axis."""
    kind: type[nn.Conv3d | nn.Conv2d] = nn.Conv3d if spatial_dims == 3 else nn.Conv2d
    # The number of entries is spatial_dims, which the types of torch cannot say.
    sizes: dict[str, Any] = {"kernel_size": kernel, "stride": stride, "padding": padding}
    return kind(in_channels, out_channels, bias=bias, **sizes)


def batch_norm_layer(spatial_dims: int, channels: int) -> nn.BatchNorm2d | nn.BatchNorm3d:
    """Batch normalisation over all positions."""
    return nn.BatchNorm3d(channels) if spatial_dims == 3 else nn.BatchNorm2d(channels)


def pool_layer(spatial_dims: int, kind: str, edge: int) -> nn.Module:
    """``max`` or ``average`` over windows that touch without overlap; an incomplete last window is left out."""
    if kind == "max":
        return nn.MaxPool3d(edge) if spatial_dims == 3 else nn.MaxPool2d(edge)
    if kind == "average":
        return nn.AvgPool3d(edge) if spatial_dims == 3 else nn.AvgPool2d(edge)
    raise ModelError(f"unknown pooling {kind!r}", where="model.pooling", todo="known: max, average, none")


def check_share(option: str, value: float) -> None:
    """Refuse a share of dropped units outside [0, 1)."""
    if not 0.0 <= value < 1.0:
        raise ModelError(f"{option} is {value}", where=f"model.{option}", todo="give a number from 0 up to below 1")
