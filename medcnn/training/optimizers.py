"""The optimizers by name: each function is one name in a recipe, its typed arguments are the options.

Weight decay acts on the weights of convolutions, dense layers and attention alone: biases and the factors and offsets
of normalisation layers (all parameters with one axis) are left free, since shrinking them does not simplify what
the network computes. torch is imported when an optimizer is built.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from medcnn.errors import ModelError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

NotNegative = Annotated[float, Field(ge=0.0)]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]


def parameter_groups(params: nn.Module | Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters in one group with weight decay and one without, in their own order.

    Args:
        params: A network, or its parameters.
        weight_decay: The decay of the parameters with more than one axis.

    Raises:
        ModelError: If there is nothing to train.
    """
    from torch import nn

    every = params.parameters() if isinstance(params, nn.Module) else params
    trainable = [p for p in every if p.requires_grad]
    if not trainable:
        raise ModelError("the network has no trainable parameters", where="model", todo="use a network that has some")
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _build(
    name: str, params: nn.Module | Iterable[nn.Parameter], learning_rate: float, weight_decay: float, **options: Any
) -> Optimizer:
    """torch's optimizer of this name, over the two groups."""
    from torch import optim

    made: Optimizer = getattr(optim, name)(parameter_groups(params, weight_decay), lr=learning_rate, **options)
    return made


def sgd(
    params: nn.Module | Iterable[nn.Parameter],
    learning_rate: float,
    *,
    momentum: Decay = 0.9,
    nesterov: bool = False,
    weight_decay: NotNegative = 0.0,
) -> Optimizer:
    """Stochastic gradient descent; 0.01 is the learning rate to start with.

    Args:
        params: A network, or its parameters.
        learning_rate: The step along the gradient.
        momentum: Share of the last step that goes into the next, in [0, 1).
        nesterov: Look ahead along the momentum before the gradient is added.
        weight_decay: Pulls weights towards 0.

    Raises:
        ModelError: If Nesterov's variant is asked for without momentum.
    """
    if nesterov and momentum == 0:
        raise ModelError(
            "nesterov needs momentum", where="training.optimizer.momentum", todo="set momentum, 0.9 for example"
        )
    return _build("SGD", params, learning_rate, weight_decay, momentum=momentum, nesterov=nesterov)


def adam(
    params: nn.Module | Iterable[nn.Parameter],
    learning_rate: float,
    *,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NotNegative = 1e-8,
    weight_decay: NotNegative = 0.0,
    amsgrad: bool = False,
) -> Optimizer:
    """Adam: a step of its own size for each weight (Kingma and Ba 2015); when unsure, this one, with 0.001.

    Args:
        params: A network, or its parameters.
        learning_rate: About the size of each step.
        betas: Memory of the gradient and of its square, in [0, 1).
        eps: Keeps the division from 0.
        weight_decay: Added to the gradient; ``adamw`` has the better form of it.
        amsgrad: Keep the largest memory of the square.
    """
    return _build("Adam", params, learning_rate, weight_decay, betas=betas, eps=eps, amsgrad=amsgrad)


def adamw(
    params: nn.Module | Iterable[nn.Parameter],
    learning_rate: float,
    *,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NotNegative = 1e-8,
    weight_decay: NotNegative = 0.01,
    amsgrad: bool = False,
) -> Optimizer:
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019).

    Args:
        params: A network, or its parameters.
        learning_rate: About the size of each step.
        betas: Memory of the gradient and of its square, in [0, 1).
        eps: Keeps the division from 0.
        weight_decay: Share of each weight taken off in a step, times the learning rate.
        amsgrad: Keep the largest memory of the square.
    """
    return _build("AdamW", params, learning_rate, weight_decay, betas=betas, eps=eps, amsgrad=amsgrad)


def rmsprop(
    params: nn.Module | Iterable[nn.Parameter],
    learning_rate: float,
    *,
    alpha: Decay = 0.99,
    momentum: Decay = 0.0,
    eps: NotNegative = 1e-8,
    centered: bool = False,
    weight_decay: NotNegative = 0.0,
) -> Optimizer:
    """RMSprop: the gradient divided by its recent size (Tieleman and Hinton 2012).

    Args:
        params: A network, or its parameters.
        learning_rate: About the size of each step.
        alpha: Memory of the gradient's square, in [0, 1).
        momentum: Share of the last step that goes into the next, in [0, 1).
        eps: Keeps the division from 0.
        centered: Divide by the spread around the mean gradient.
        weight_decay: Pulls weights towards 0.
    """
    return _build(
        "RMSprop", params, learning_rate, weight_decay, alpha=alpha, momentum=momentum, eps=eps, centered=centered
    )
