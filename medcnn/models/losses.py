"""The losses by name: each function is one name in a recipe, its typed arguments are the options.

All losses take ``(outputs, states, valid)``, each ``(B, C)``: logits (values for ``mse``), targets in [0, 1] with
soft ones allowed (values for ``mse``), and whether each target is known. They give one float32 number over what is
known, and 0, with a gradient of 0, for a batch where nothing is. Each says by ``exclusive`` what it is for: ``True``
classes of which exactly one is present, ``False`` classes each present or absent by itself, ``None`` no classes.
torch is imported when a loss is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from medcnn.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from medcnn.models.loss_modules import Loss

Share = Annotated[float, Field(ge=0.0, lt=1.0)]


def cross_entropy(label_smoothing: Share = 0.0, *, class_weights: Tensor | None = None) -> Loss:
    """Cross-entropy over classes that exclude each other: minus the log of the probability of the true one.

    With class weights w it is the weighted mean, sum of w[y] * loss over sum of w[y], as torch has it.

    Args:
        label_smoothing: Share of each label that is spread evenly over all classes, in [0, 1).
        class_weights: ``(C,)``, from the training part.
    """
    from medcnn.models.loss_modules import CrossEntropy

    return CrossEntropy(label_smoothing, class_weights)


def binary_cross_entropy(label_smoothing: Share = 0.0, *, class_weights: Tensor | None = None) -> Loss:
    """Binary cross-entropy of each class by itself, the mean over all known labels.

    Args:
        label_smoothing: Labels become label * (1 - s) + s / 2, with s in [0, 1).
        class_weights: ``(C,)`` weights of the positive labels against the negative ones.
    """
    from medcnn.models.loss_modules import BinaryCrossEntropy

    return BinaryCrossEntropy(label_smoothing, class_weights)


def focal(
    gamma: Annotated[float, Field(ge=0.0)] = 2.0,
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None,
    exclusive: bool = True,
    *,
    class_weights: Tensor | None = None,
) -> Loss:
    """Focal loss: cross-entropy times (1 - p) ** gamma, so that easy cases count little (Lin et al. 2017, eq. 5).

    Args:
        gamma: 0 is cross-entropy; 2 is the paper's choice.
        alpha: Weight of the positive class, the negative one weighs 1 - alpha; for two exclusive classes (the second
            is the positive one) or several labels a case. More than two exclusive classes have class weights instead.
        exclusive: Softmax over classes that exclude each other; false: a sigmoid for each class, for several labels
            a case.
        class_weights: ``(C,)``: for exclusive classes as in ``cross_entropy``, else as in ``binary_cross_entropy``.
    """
    from medcnn.models.loss_modules import SigmoidFocal, SoftmaxFocal

    return (SoftmaxFocal if exclusive else SigmoidFocal)(gamma, alpha, class_weights)


def mse(*, class_weights: Tensor | None = None) -> Loss:
    """Mean of the squared errors, for continuous labels.

    Args:
        class_weights: Must be ``None``: values have no classes.

    Raises:
        ModelError: If class weights are given.
    """
    from medcnn.models.loss_modules import MeanSquaredError

    if class_weights is not None:
        raise ModelError(
            "mse has no classes to weigh", where="training.class_weights", todo="take class_weights out of the recipe"
        )
    return MeanSquaredError()
