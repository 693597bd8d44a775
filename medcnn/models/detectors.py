"""The built-in detectors: each function is one name in a recipe, its typed arguments are the options of ``model:``.

They give, for images ``(B, in_channels, *size)``, class logits ``(B, N, outputs)`` and box codes ``(B, N, 2*D)`` of N
anchors. torch and MONAI are imported when a network is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from medcnn.recipe.schema import Count, Positive

if TYPE_CHECKING:
    from torch import nn

Several = Annotated[tuple[Count, ...], Field(min_length=1)]
Shapes = Annotated[tuple[tuple[Positive, ...], ...], Field(min_length=1)]
Prior = Annotated[float, Field(gt=0.0, lt=1.0)]


def retinanet(
    *,
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    filters: Several = (16, 32, 64, 128),
    blocks: Several = (1, 1, 1, 1),
    bottleneck: bool = False,
    stem_kernel: Count = 3,
    stem_stride: Literal[1, 2] | tuple[Literal[1, 2], ...] = 2,
    stem_pool: bool = True,
    levels: Several = (2, 3, 4),
    top_level: bool = False,
    pyramid_filters: Annotated[int, Field(ge=8, multiple_of=8)] = 64,
    anchors: Literal["auto"] | Shapes = "auto",
    anchors_per_place: Count = 3,
    prior: Prior = 0.01,
    outlines: bool = False,
) -> nn.Module:
    """RetinaNet (Lin et al. 2017): a ResNet, a feature pyramid on it, and heads for classes and boxes, all MONAI's.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        outputs: Classes of boxes.
        size: Spatial size of the image or patch.
        filters: Filters of the four stages of the ResNet.
        blocks: Residual blocks of the four stages.
        bottleneck: Bottleneck blocks, with four times the filters at their end.
        stem_kernel: Edge of the filters of the first convolution, odd.
        stem_stride: Step of the first convolution: one for all axes, or one an axis (1 along thick slices).
        stem_pool: A pooling after it that halves the image once more.
        levels: Stages (1 to 4, rising without a gap) from which the levels of the pyramid are made; the first one
            decides how small a box can be.
        top_level: One more level, at half the resolution of the last.
        pyramid_filters: Filters of the pyramid and of the heads, a multiple of 8; time grows with its square.
        anchors: Sides of the anchors at the finest level in px or voxels of the network's image, each coarser level
            having them twice as large; auto: fitted to the boxes of the training part.
        anchors_per_place: How many shapes are fitted.
        prior: Probability of a finding that each anchor starts with.
        outlines: A map, one stage finer than the finest level with boxes where there is one, from which masks teach the
            network in training what is where (as in Retina U-Net, Jaeger et al. 2018); the task's outlines is the
            weight. Prediction needs no masks.

    Raises:
        ModelError: If an option is out of its range, or the image is smaller than the step of the coarsest level.
    """
    from medcnn.models.detector_modules import Backbone, build_retinanet

    backbone = Backbone(filters, blocks, bottleneck, stem_kernel, stem_stride, stem_pool, levels, top_level, outlines)
    shapes = None if anchors == "auto" else anchors
    return build_retinanet(
        spatial_dims, in_channels, outputs, size, backbone, pyramid_filters, shapes, anchors_per_place, prior
    )
