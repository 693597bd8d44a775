"""The loss of detection by name; its typed arguments are the options of ``training.loss``.

It takes class logits ``(B, N, C)`` and box codes ``(B, N, 2*D)`` of N anchors, the anchors, and the boxes and labels of
each image, and gives a loss of the classes and one of the boxes. torch is imported when a loss is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from medcnn.errors import ModelError
from medcnn.recipe.schema import Count, Positive

if TYPE_CHECKING:
    from torch import Tensor

    from medcnn.models.detection_loss_modules import DetectionLoss

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Above0 = Annotated[float, Field(gt=0.0)]


def retinanet_loss(
    matcher: Literal["atss", "max_iou"] = "atss",
    candidates: Count = 4,
    centre_inside: bool = False,
    foreground_iou: Share = 0.5,
    background_iou: Share = 0.4,
    classes: Literal["focal", "quality_focal", "hard_negatives"] = "focal",
    gamma: Annotated[float, Field(ge=0.0)] = 2.0,
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] | None = 0.25,
    sampled: Count = 64,
    positive_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3,
    pool: Positive = 20.0,
    boxes: Literal["smooth_l1", "giou"] = "smooth_l1",
    box_weight: Above0 = 1.0,
    *,
    class_weights: Tensor | None = None,
) -> DetectionLoss:
    """Anchors are matched to boxes; their classes are learned from all or from the hard ones, their boxes from hits.

    Args:
        matcher: atss: of the anchors nearest to a box those whose overlap stands out (Zhang et al. 2020), which needs
            no threshold; max_iou: an anchor learns the box that it overlaps most, from a threshold on.
        candidates: For atss: places of each level that are looked at, times the anchors of a place.
        centre_inside: For atss: only anchors whose middle lies in the box.
        foreground_iou: For max_iou: from this overlap on an anchor learns the box; the best anchor of a box always
            does.
        background_iou: For max_iou: below this overlap it learns that nothing is there; in between it learns nothing.
        classes: focal: all anchors, easy ones counting little (Lin et al. 2017); quality_focal: the same, a hit
            learning how well its box fits, so that boxes that fit come first (Li et al. 2020); hard_negatives:
            cross-entropy of the hits and of some of the worst false alarms.
        gamma: For focal and quality_focal.
        alpha: For focal: weight of hits, 1 - alpha being that of all others; null: none.
        sampled: For hard_negatives: anchors an image.
        positive_share: For hard_negatives: share of hits among them, at most.
        pool: For hard_negatives: they are drawn among so many times as many of the highest score.
        boxes: smooth_l1: of offsets relative to the anchor; giou: of the box itself (Rezatofighi et al. 2019).
        box_weight: Weight of the loss of the boxes.
        class_weights: ``(C,)`` weights of the classes of boxes.

    Raises:
        ModelError: If an option is out of its range.
    """
    from medcnn.models import detection_loss_modules as modules

    if foreground_iou < background_iou:
        raise ModelError(
            f"foreground_iou {foreground_iou:g} is below background_iou {background_iou:g}",
            where="training.loss.foreground_iou",
            todo="give a larger one",
        )
    matching = modules.Matching(matcher == "atss", candidates, centre_inside, foreground_iou, background_iou)
    kinds: dict[str, Callable[[], modules.ClassLoss]] = {
        "focal": lambda: modules.Focal(gamma, alpha, class_weights),
        "quality_focal": lambda: modules.QualityFocal(gamma, class_weights),
        "hard_negatives": lambda: modules.HardNegatives(sampled, positive_share, pool, class_weights),
    }
    return modules.DetectionLoss(matching, kinds[classes](), giou=boxes == "giou", box_weight=box_weight)
