"""The losses of segmentation by name: each function is one name in a recipe, its typed arguments are the options.

All losses take ``(logits, labels)`` and give one float32 number:

- exclusive labels: logits ``(B, L + 1, *spatial)`` and labels ``(B, *spatial)``, whole numbers: 0 background, k the
  k-th label; softmax.
- labels that may overlap: logits ``(B, L, *spatial)`` and labels ``(B, L, *spatial)`` of 0 and 1; a sigmoid each.

A label of 255 means that the voxel is not annotated: what the network says there has no influence on the loss and
gets a gradient of exactly 0. Logits may be a list of them, the finest first, as networks with deep supervision give
in training (:class:`~medcnn.models.dense_modules.DeepSupervision`). Each loss says by ``exclusive`` which kind of
labels it is for, and by ``dense = True`` that it is about voxels. torch is imported when a loss is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

    from medcnn.models.dense_modules import DeepSupervision

Weight = Annotated[float, Field(ge=0.0)]
Above0 = Annotated[float, Field(gt=0.0)]


def dice(
    exclusive: bool = True,
    background: bool = False,
    batch: bool = False,
    smooth: Above0 = 1e-5,
    *,
    class_weights: Tensor | None = None,
) -> DeepSupervision:
    """Soft Dice loss: 1 - (2 * overlap + s) / (sum of p + sum of the labels + s), the mean over labels and cases.

    Args:
        exclusive: Softmax over labels that exclude each other; false: a sigmoid for each, for labels that overlap.
        background: Count the background as a label too (exclusive labels alone).
        batch: Sum over all cases of a batch before dividing, so that small and absent labels count by their size.
        smooth: s, above 0; decides what a label that is absent from a case costs.
        class_weights: ``(outputs,)`` weights of the labels in the mean.
    """
    from medcnn.models.dense_modules import DeepSupervision, Overlap

    return DeepSupervision(Overlap(exclusive, background, batch, smooth, weights=class_weights))


def tversky(
    alpha: Weight = 0.3,
    beta: Weight = 0.7,
    exclusive: bool = True,
    background: bool = False,
    batch: bool = False,
    smooth: Above0 = 1e-5,
    *,
    class_weights: Tensor | None = None,
) -> DeepSupervision:
    """Tversky loss: 1 - (tp + s) / (tp + alpha * fp + beta * fn + s) (Salehi et al. 2017); Dice where both are 0.5.

    Args:
        alpha: What a false positive costs.
        beta: What a false negative costs; above alpha for small findings.
        exclusive: Softmax over labels that exclude each other; false: a sigmoid for each, for labels that overlap.
        background: Count the background as a label too (exclusive labels alone).
        batch: Sum over all cases of a batch before dividing.
        smooth: s, above 0.
        class_weights: ``(outputs,)`` weights of the labels in the mean.
    """
    from medcnn.models.dense_modules import DeepSupervision, Overlap

    return DeepSupervision(Overlap(exclusive, background, batch, smooth, (alpha, beta), class_weights))


def dice_ce(
    exclusive: bool = True,
    background: bool = False,
    batch: bool = False,
    smooth: Above0 = 1e-5,
    dice_weight: Weight = 1.0,
    ce_weight: Weight = 1.0,
    *,
    class_weights: Tensor | None = None,
) -> DeepSupervision:
    """Dice and cross-entropy over voxels, added (Isensee et al. 2021); binary cross-entropy for overlapping labels.

    Args:
        exclusive: Softmax over labels that exclude each other; false: a sigmoid for each, for labels that overlap.
        background: Count the background as a label in Dice too (exclusive labels alone).
        batch: In Dice, sum over all cases of a batch before dividing.
        smooth: Of Dice, above 0.
        dice_weight: Weight of Dice in the sum.
        ce_weight: Weight of the cross-entropy in the sum.
        class_weights: ``(outputs,)`` weights in the cross-entropy, as in ``cross_entropy``; for overlapping labels
            of their positive voxels, as in ``binary_cross_entropy``.
    """
    from medcnn.models.dense_modules import DeepSupervision, Overlap, OverlapAndVoxels

    overlap = Overlap(exclusive, background, batch, smooth)
    return DeepSupervision(OverlapAndVoxels(overlap, 0.0, dice_weight, ce_weight, class_weights))


def dice_focal(
    gamma: Weight = 2.0,
    exclusive: bool = True,
    background: bool = False,
    batch: bool = False,
    smooth: Above0 = 1e-5,
    dice_weight: Weight = 1.0,
    focal_weight: Weight = 1.0,
    *,
    class_weights: Tensor | None = None,
) -> DeepSupervision:
    """Dice and focal loss over voxels, added: voxels that are easy count little (Zhu et al. 2019).

    Args:
        gamma: Exponent of the focal loss; 0 is cross-entropy.
        exclusive: Softmax over labels that exclude each other; false: a sigmoid for each, for labels that overlap.
        background: Count the background as a label in Dice too (exclusive labels alone).
        batch: In Dice, sum over all cases of a batch before dividing.
        smooth: Of Dice, above 0.
        dice_weight: Weight of Dice in the sum.
        focal_weight: Weight of the focal loss in the sum.
        class_weights: As in ``dice_ce``.
    """
    from medcnn.models.dense_modules import DeepSupervision, Overlap, OverlapAndVoxels

    overlap = Overlap(exclusive, background, batch, smooth)
    return DeepSupervision(OverlapAndVoxels(overlap, gamma, dice_weight, focal_weight, class_weights))
