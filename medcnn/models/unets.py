"""The built-in networks that give a value for each voxel: each function is one name in a recipe.

A builder's typed arguments, without the four that medcnn supplies, are the options of ``model:`` in a recipe. All
turn images ``(B, in_channels, *size)`` into logits ``(B, outputs, *size)`` and start from random weights. Those with
deep supervision give in training a list of logits, the finest first and each next one coarser, and the finest alone
in evaluation. torch and MONAI are imported when a network is built.

The four supplied arguments are the same everywhere:

- ``spatial_dims``: 2 or 3.
- ``in_channels``: channels of the image.
- ``outputs``: logits a voxel.
- ``size``: spatial size in px or voxels, ``(X, Y[, Z])``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from medcnn.recipe.schema import Count

if TYPE_CHECKING:
    from torch import nn

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Levels = Annotated[tuple[Count, ...], Field(min_length=2)]
# One number for all axes, or one an axis; a level each.
Axes = Count | Annotated[tuple[Count, ...], Field(min_length=2, max_length=3)]
PerLevel = Annotated[tuple[Axes, ...], Field(min_length=1)]
Norm = Literal["instance", "batch", "group"]


def small_unet(
    *,
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    filters: Levels = (16, 32, 64, 128),
    blocks: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=2)] | None = None,
    kernel_size: Count | PerLevel = 3,
    strides: PerLevel | None = None,
    deep_supervision: Annotated[int, Field(ge=0)] = 0,
    norm: Literal["batch", "instance"] = "batch",
    dropout: Share = 0.0,
) -> nn.Module:
    """A U-Net that works little on the finest grid, quick in bf16 and channels-last on a CPU, 2D and 3D.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        outputs: Logits a voxel.
        size: Spatial size of the image; any works.
        filters: Filters of each level; their number is the number of levels.
        blocks: Residual blocks of each level, after the convolution that enters it; where it is absent 0 on the
            finest and 1 on each other.
        kernel_size: Edge of the filters: one number, or for each level one number or one an axis; a list of one entry,
            such as ``[[3, 3, 1]]``, serves all levels.
        strides: Step into each level, the first from the image; where it is absent 1 and then 2 everywhere. A first
            step of 2 computes on half the resolution and is several times as fast.
        deep_supervision: How many coarser levels also give logits in training, less than levels.
        norm: Normalisation by batch, or by case and filter (slower on a CPU).
        dropout: Share of features silenced in training on the coarsest level, in [0, 1).

    Raises:
        ModelError: If the options do not fit the number of levels or each other.
    """
    from medcnn.models.levels import kernels_of, steps_between
    from medcnn.models.small_unet import SmallUNet

    return SmallUNet(
        spatial_dims,
        in_channels,
        outputs,
        filters=filters,
        blocks=(0, *(1,) * (len(filters) - 1)) if blocks is None else blocks,
        kernels=kernels_of(kernel_size, len(filters), spatial_dims),
        strides=steps_between(strides, len(filters), spatial_dims, first=1),
        deep_supervision=deep_supervision,
        norm=norm,
        dropout=dropout,
    )


def unet(
    *,
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    channels: Levels = (16, 32, 64, 128),
    strides: PerLevel | None = None,
    res_units: Annotated[int, Field(ge=0)] = 2,
    norm: Literal["instance", "batch"] = "instance",
    dropout: Share = 0.0,
) -> nn.Module:
    """MONAI's U-Net with residual units (Kerfoot et al. 2019), 2D and 3D.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        outputs: Logits a voxel.
        size: Spatial size of the image; a multiple of the strides' product on each axis.
        channels: Filters of each level; their number is the number of levels.
        strides: Step between levels, one less than levels; 2 everywhere where it is absent.
        res_units: Convolutions in the residual unit of a level; 0 is one plain convolution.
        norm: Normalisation by case and filter, or by batch.
        dropout: Share of features silenced in training in each unit, in [0, 1).

    Raises:
        ModelError: If the strides do not fit the levels or the image.
    """
    from medcnn.models import monai_unets

    return monai_unets.unet(
        spatial_dims,
        in_channels,
        outputs,
        size,
        channels=channels,
        strides=strides,
        res_units=res_units,
        norm=norm,
        dropout=dropout,
    )


def dynunet(
    *,
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    filters: Levels = (16, 32, 64, 128),
    kernel_size: Count | PerLevel = 3,
    strides: PerLevel | None = None,
    res_block: bool = False,
    deep_supervision: Annotated[int, Field(ge=0)] = 0,
    norm: Norm = "instance",
    dropout: Share = 0.0,
) -> nn.Module:
    """MONAI's DynUNet, nnU-Net's network with kernels and strides by level (Isensee et al. 2021), 2D and 3D.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        outputs: Logits a voxel.
        size: Spatial size of the image; a multiple of the strides' product on each axis.
        filters: Filters of each level, at least three; their number is the number of levels.
        kernel_size: Edge of the filters: one number, or for each level one number or one an axis; a list of one entry,
            such as ``[[3, 3, 1]]``, serves all levels.
        strides: Step into each level, the first into the finest (1); where it is absent 1 and then 2 everywhere.
        res_block: Residual blocks instead of plain ones.
        deep_supervision: How many coarser levels also give logits in training, at most two less than levels.
        norm: Normalisation by case and filter, by batch, or by case and group of filters.
        dropout: Share of features silenced in training after each convolution, in [0, 1).

    Raises:
        ModelError: If kernels, strides or supervision do not fit the levels or the image.
    """
    from medcnn.models import monai_unets

    return monai_unets.dynunet(
        spatial_dims,
        in_channels,
        outputs,
        size,
        filters=filters,
        kernel_size=kernel_size,
        strides=strides,
        res_block=res_block,
        deep_supervision=deep_supervision,
        norm=norm,
        dropout=dropout,
    )


def basic_unet(
    *,
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    features: Annotated[tuple[Count, ...], Field(min_length=6, max_length=6)] = (16, 16, 32, 64, 128, 16),
    norm: Norm = "instance",
    dropout: Share = 0.0,
    upsample: Literal["deconv", "nontrainable"] = "deconv",
) -> nn.Module:
    """MONAI's BasicUNet: two convolutions a level, five levels (Falk et al. 2019), 2D and 3D.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        outputs: Logits a voxel.
        size: Spatial size of the image; at least 16 on each axis, and best a multiple of 16.
        features: Filters of the five levels, and of the last layers.
        norm: Normalisation by case and filter, by batch, or by case and group of filters.
        dropout: Share of features silenced in training after each convolution, in [0, 1).
        upsample: Transposed convolutions, or linear interpolation.

    Raises:
        ModelError: If the image is too small.
    """
    from medcnn.models import monai_unets

    return monai_unets.basic_unet(
        spatial_dims, in_channels, outputs, size, features=features, norm=norm, dropout=dropout, upsample=upsample
    )


def attention_unet(
    *,
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    channels: Levels = (16, 32, 64, 128),
    strides: PerLevel | None = None,
    kernel_size: Axes = 3,
    dropout: Share = 0.0,
) -> nn.Module:
    """MONAI's U-Net with attention gates on its skip connections (Oktay et al. 2018), 2D and 3D.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        outputs: Logits a voxel.
        size: Spatial size of the image; a multiple of the strides' product on each axis.
        channels: Filters of each level; their number is the number of levels.
        strides: Step between levels, one less than levels; 2 everywhere where it is absent.
        kernel_size: Edge of the filters: one number, or one an axis.
        dropout: Share of features silenced in training in each block, in [0, 1).

    Raises:
        ModelError: If the strides do not fit the levels or the image.
    """
    from medcnn.models import monai_unets

    return monai_unets.attention_unet(
        spatial_dims,
        in_channels,
        outputs,
        size,
        channels=channels,
        strides=strides,
        kernel_size=kernel_size,
        dropout=dropout,
    )


def segresnet(
    *,
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    init_filters: Count = 16,
    blocks_down: Levels = (1, 2, 2, 2),
    blocks_up: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None,
    norm: Norm = "group",
    dropout: Share = 0.0,
) -> nn.Module:
    """MONAI's SegResNet: a residual encoder with a light decoder (Myronenko 2018), 2D and 3D.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        outputs: Logits a voxel.
        size: Spatial size of the image; a multiple of 2 to the number of halvings on each axis.
        init_filters: Filters of the finest level, twice as many on each coarser one; a multiple of 8 for ``group``.
        blocks_down: Residual blocks of each level on the way down; their number is the number of levels.
        blocks_up: The same on the way up, one level less; one block a level where it is absent.
        norm: Normalisation by case and filter, by batch, or by case and group of 8 filters.
        dropout: Share of filters silenced in training at the entry, in [0, 1).

    Raises:
        ModelError: If the blocks do not fit each other, or the levels do not fit the image.
    """
    from medcnn.models import monai_unets

    return monai_unets.segresnet(
        spatial_dims,
        in_channels,
        outputs,
        size,
        init_filters=init_filters,
        blocks_down=blocks_down,
        blocks_up=blocks_up,
        norm=norm,
        dropout=dropout,
    )
