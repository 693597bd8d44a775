"""The built-in networks for images with one label or one value: each function is one name in a recipe.

A builder's typed arguments, without the four that medcnn supplies, are the options of ``model:`` in a recipe.
All give logits ``(B, outputs)`` for images ``(B, in_channels, *size)`` and start from random weights. torch and
MONAI are imported when a network is built.

The four supplied arguments are the same everywhere:

- ``spatial_dims``: 2 or 3.
- ``in_channels``: channels of the image.
- ``outputs``: logits a case.
- ``size``: spatial size in px or voxels, ``(X, Y[, Z])``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, cast

from pydantic import Field

from medcnn.errors import ModelError
from medcnn.recipe.schema import Count, Positive

if TYPE_CHECKING:
    from torch import nn

    from medcnn.models.small_unet import SmallUNet

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Several = Annotated[tuple[Count, ...], Field(min_length=1)]
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "tanh"]
Padding = Literal["same", "valid"]
Pooling = Literal["max", "average", "none"]


def basic_cnn(
    *,
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    filters: Several = (16, 32, 64),
    kernel_size: Count | Several = 3,
    stride: Count | Several = 1,
    padding: Padding | Annotated[int, Field(ge=0)] = "same",
    pooling: Pooling = "max",
    pool_size: Count | Several = 2,
    batch_norm: bool = True,
    activation: Activation = "relu",
    dense: tuple[Count, ...] = (128,),
    dropout: Share = 0.0,
) -> nn.Module:
    """The plain convolutional network: Conv → BatchNorm → activation → Pool, repeated; flatten; dense layers.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        outputs: Logits a case.
        size: Spatial size of the image.
        filters: Filters of each block; their number is the number of blocks.
        kernel_size: Edge of the filters: one number for all blocks, or one a block.
        stride: Step of the convolution: one for all blocks, or one a block.
        padding: ``same`` gives ceil(size / stride), ``valid`` adds nothing, a number adds that many on each side.
        pooling: What follows each block: the maximum, the average, or nothing.
        pool_size: Edge and step of the pooling: one for all blocks, or one a block.
        batch_norm: Batch normalisation between convolution and activation.
        activation: The non-linearity of blocks and dense layers.
        dense: Units of the dense layers between flatten and the outputs; may be empty.
        dropout: Share of units silenced in training after each dense layer (after flatten without any), in [0, 1).

    Raises:
        ModelError: If the image shrinks to nothing (the block is named), or an option is out of its range.
    """
    from medcnn.models.basic_cnn import BasicCNN, Blocks, Head

    blocks = Blocks(filters, kernel_size, stride, padding, pooling, pool_size)
    head = Head(outputs, dense, dropout)
    return BasicCNN(spatial_dims, in_channels, size, blocks, head, batch_norm=batch_norm, activation=activation)


def small_resnet(
    *,
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    width: Count = 24,
    blocks: Several = (1, 1, 1, 1),
    strides: tuple[Literal[1, 2], ...] = (1, 2, 2, 2),
    stem_stride: Literal[1, 2, 4] = 2,
    dropout: Share = 0.0,
    zero_init: bool = False,
    pooling: Literal["average", "both", "attention"] = "average",
) -> nn.Module:
    """A small residual network for small images, quick in bf16 and channels-last on a CPU.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        outputs: Logits a case.
        size: Spatial size of the image; any works.
        width: Filters of the stem and the first stage; each later stage has twice as many.
        blocks: Residual blocks of each stage; their number is the number of stages.
        strides: Step at the start of each stage, 1 or 2.
        stem_stride: How much the stem shrinks the image: 1 for images up to about 32 px, 2 up to about 128, 4 above.
        dropout: Share of features silenced in training before the last layer, in [0, 1).
        zero_init: Start each block as the identity (the last batch norm's factor is 0).
        pooling: What the last layer sees of a filter: its mean over the image; both: also its maximum (small findings);
            attention: the mean where a learned map points, and the maximum. The task's focus lets masks teach the map.

    Raises:
        ModelError: If an option is out of its range.
    """
    from medcnn.models.small_resnet import SmallResNet

    return SmallResNet(
        spatial_dims,
        in_channels,
        outputs,
        width=width,
        blocks=blocks,
        strides=strides,
        stem_stride=stem_stride,
        dropout=dropout,
        zero_init=zero_init,
        pooling=pooling,
    )


def unet_classifier(
    *,
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    filters: Annotated[tuple[Count, ...], Field(min_length=2)] = (16, 32, 64, 128, 256),
    blocks: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=2)] | None = None,
    deep_supervision: Annotated[int, Field(ge=0)] = 2,
    norm: Literal["batch", "instance"] = "batch",
    dropout: Share = 0.0,
) -> nn.Module:
    """A classifier that looks where the decoder of a small U-Net sees a finding, 2D and 3D.

    The decoder gives logits of the background and of each class for each voxel, which masks teach in training by the
    task's ``outlines``. The features of all levels but the finest, averaged where it sees anything but background,
    give the class. Prediction needs no masks; without any in training use another network.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        outputs: Logits a case.
        size: Spatial size of the image, on each axis at least twice the step of the coarsest level, 2 ** (levels - 1).
        filters: Filters of each level; their number is the number of levels.
        blocks: Residual blocks of each level, as in ``small_unet``.
        deep_supervision: How many coarser levels also learn the masks, less than levels.
        norm: Normalisation by batch, or by case and filter (slower on a CPU).
        dropout: Share of features silenced in training before the last layer, in [0, 1).

    Raises:
        ModelError: If the options do not fit the number of levels or each other, or the image is too small for them.
    """
    from medcnn.models.unet_classifier import UNetClassifier
    from medcnn.models.unets import small_unet

    least = 2 ** len(filters)
    if min(size) < least:
        raise ModelError(
            f"an image of {' x '.join(map(str, size))} leaves one place at the coarsest of {len(filters)} levels",
            where="model.filters",
            todo=f"use a larger input.size (from {least}), or fewer levels",
        )
    trunk = small_unet(
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        outputs=1 + outputs,
        size=size,
        filters=filters,
        blocks=blocks,
        deep_supervision=deep_supervision,
        norm=norm,
    )
    return UNetClassifier(cast("SmallUNet", trunk), filters, outputs, dropout=dropout)


def densenet(
    *,
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    depth: Literal[121, 169, 201] = 121,
    init_features: Count = 64,
    growth_rate: Count = 32,
    dropout: Share = 0.0,
) -> nn.Module:
    """MONAI's DenseNet (Huang et al. 2017), 2D and 3D.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        outputs: Logits a case.
        size: Spatial size of the image; at least 29 on each axis.
        depth: Number of layers.
        init_features: Filters of the first convolution.
        growth_rate: Filters that each layer adds.
        dropout: Share of features silenced after each dense layer, in [0, 1).

    Raises:
        ModelError: If the image is too small.
    """
    from medcnn.models import monai_nets

    return monai_nets.densenet(
        spatial_dims,
        in_channels,
        outputs,
        size,
        depth=depth,
        init_features=init_features,
        growth_rate=growth_rate,
        dropout=dropout,
    )


def resnet(
    *,
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    depth: Literal[10, 18, 34, 50, 101, 152, 200] = 18,
    conv1_t_size: Count | Several = 7,
    conv1_t_stride: Count | Several = 1,
    no_max_pool: bool = False,
    shortcut_type: Literal["A", "B"] = "B",
    bias_downsample: bool = True,
    widen_factor: Positive = 1.0,
) -> nn.Module:
    """MONAI's ResNet (He et al. 2016; Hara et al. 2018 in 3D) with MONAI's options and defaults.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        outputs: Logits a case.
        size: Spatial size of the image; any works.
        depth: Number of layers: basic blocks up to 34, bottlenecks from 50.
        conv1_t_size: Edge of the first convolution's filters.
        conv1_t_stride: Its step; 2 in the paper for photographs of 224 px.
        no_max_pool: Leave out the pooling after the first convolution, for small images.
        shortcut_type: ``B`` projects by a 1x1 convolution, ``A`` pads with zeros.
        bias_downsample: A bias in these projections.
        widen_factor: Multiplies the filters of every stage.
    """
    from medcnn.models import monai_nets

    return monai_nets.resnet(
        spatial_dims,
        in_channels,
        outputs,
        depth=depth,
        conv1_t_size=conv1_t_size,
        conv1_t_stride=conv1_t_stride,
        no_max_pool=no_max_pool,
        shortcut_type=shortcut_type,
        bias_downsample=bias_downsample,
        widen_factor=widen_factor,
    )


def efficientnet(
    *,
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    variant: Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"] = "b0",
) -> nn.Module:
    """MONAI's EfficientNet (Tan and Le 2019), 2D.

    Args:
        spatial_dims: 2.
        in_channels: Channels of the image.
        outputs: Logits a case.
        size: Spatial size of the image; b0 was made for 224 px, b7 for 600 px.
        variant: From the smallest to the largest.

    Raises:
        ModelError: In 3D: its depthwise convolutions have no quick kernels there.
    """
    from medcnn.models import monai_nets

    return monai_nets.efficientnet(spatial_dims, in_channels, outputs, variant=variant)


def seresnet(
    *,
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    depth: Literal[50, 101, 152] = 50,
    reduction: Count = 16,
    dropout: Share = 0.0,
) -> nn.Module:
    """MONAI's squeeze-and-excitation ResNet (Hu et al. 2018), 2D and 3D.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        outputs: Logits a case.
        size: Spatial size of the image; at least 3 on each axis.
        depth: Number of layers.
        reduction: How much narrower than the block the excitation's middle layer is.
        dropout: Share of features silenced before the last layer, in [0, 1).

    Raises:
        ModelError: If the image is too small.
    """
    from medcnn.models import monai_nets

    return monai_nets.seresnet(
        spatial_dims, in_channels, outputs, size, depth=depth, reduction=reduction, dropout=dropout
    )


def vit(
    *,
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    patch_size: Count | Several = 16,
    hidden_size: Count = 768,
    mlp_dim: Count = 3072,
    num_layers: Count = 12,
    num_heads: Count = 12,
    dropout: Share = 0.0,
    pos_embed_type: Literal["none", "learnable", "sincos"] = "learnable",
    qkv_bias: bool = False,
) -> nn.Module:
    """MONAI's vision transformer (Dosovitskiy et al. 2021) for classification, 2D and 3D.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        outputs: Logits a case.
        size: Spatial size of the image; a multiple of the patch on each axis.
        patch_size: Edge of a patch in px: one for all axes, or one an axis.
        hidden_size: Width of the tokens; a multiple of the heads.
        mlp_dim: Width of the feed-forward layers.
        num_layers: Transformer blocks.
        num_heads: Attention heads.
        dropout: Share of units silenced in training, in [0, 1).
        pos_embed_type: How tokens know their place.
        qkv_bias: A bias in the attention's projections.

    Raises:
        ModelError: If the patches do not tile the image or the heads do not divide the width.
    """
    from medcnn.models import monai_nets

    return monai_nets.vit(
        spatial_dims,
        in_channels,
        outputs,
        size,
        patch_size=patch_size,
        hidden_size=hidden_size,
        mlp_dim=mlp_dim,
        num_layers=num_layers,
        num_heads=num_heads,
        dropout=dropout,
        pos_embed_type=pos_embed_type,
        qkv_bias=qkv_bias,
    )
