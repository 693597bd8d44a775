"""The courses of the learning rate by name: each function is one name in a recipe, its arguments are the options.

All but ``plateau`` are pure functions of the optimizer step, so that a resumed run goes on where it stopped. torch is
imported when a schedule is built. What medcnn supplies is the same everywhere:

- ``optimizer``: its learning rate is the highest one of the course.
- ``steps_per_epoch``: optimizer steps in an epoch (batches over ``training.accumulate``).
- ``epochs``: epochs of the whole training.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from medcnn.recipe.schema import Count, Fraction

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

Epochs = Annotated[int, Field(ge=0)]
Factor = Annotated[float, Field(gt=0.0, lt=1.0)]


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """A schedule and how the trainer moves it.

    Attributes:
        scheduler: torch's scheduler.
        interval: Whether it moves after each optimizer step or each epoch.
        monitor: Whether it is told a validation figure when it moves, lower being better.
    """

    scheduler: LRScheduler
    interval: Literal["step", "epoch"]
    monitor: bool


def constant(optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, warmup: Epochs = 0) -> ScheduleSpec:
    """The same learning rate throughout.

    Args:
        optimizer: See the head of the module.
        steps_per_epoch: As there.
        epochs: As there.
        warmup: Epochs in which it rises to its height in a straight line.
    """
    return _by_step(optimizer, _warm(warmup * steps_per_epoch, lambda step: 1.0))


def step(
    optimizer: Optimizer,
    *,
    steps_per_epoch: int,
    epochs: int,
    every: Count = 10,
    factor: Factor = 0.1,
    warmup: Epochs = 0,
) -> ScheduleSpec:
    """Smaller by a factor every few epochs.

    Args:
        optimizer: See the head of the module.
        steps_per_epoch: As there.
        epochs: As there.
        every: Epochs from one change to the next.
        factor: Times the learning rate at each change.
        warmup: Epochs in which it rises to its height in a straight line.
    """
    return _by_step(
        optimizer, _warm(warmup * steps_per_epoch, lambda step: factor ** (step // steps_per_epoch // every))
    )


def cosine(
    optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, warmup: Epochs = 0, minimum: Fraction = 0.0
) -> ScheduleSpec:
    """Down along half a cosine to the end of the training (Loshchilov and Hutter 2017, without restarts).

    Args:
        optimizer: See the head of the module.
        steps_per_epoch: As there.
        epochs: As there.
        warmup: Epochs in which it rises to its height in a straight line.
        minimum: Share of the learning rate at the end.
    """
    first, last = warmup * steps_per_epoch, epochs * steps_per_epoch

    def at(step: int) -> float:
        return _cosine(1.0, minimum, (step - first) / max(last - first, 1))

    return _by_step(optimizer, _warm(first, at))


def one_cycle(
    optimizer: Optimizer,
    *,
    steps_per_epoch: int,
    epochs: int,
    warmup: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3,
    start: Annotated[float, Field(gt=0.0, le=1.0)] = 0.04,
    minimum: Fraction = 4e-6,
) -> ScheduleSpec:
    """Up along half a cosine, then down along another (Smith and Topin 2019); momentum stays as it is.

    Args:
        optimizer: See the head of the module.
        steps_per_epoch: As there.
        epochs: As there.
        warmup: Share of the training in which it rises.
        start: Share of the learning rate at the beginning.
        minimum: Share of the learning rate at the end.
    """
    total = epochs * steps_per_epoch
    peak = max(warmup * total - 1, 1e-9)

    def at(step: int) -> float:
        if step <= peak:
            return _cosine(start, 1.0, step / peak)
        return _cosine(1.0, minimum, (step - peak) / max(total - 1 - peak, 1e-9))

    return _by_step(optimizer, at)


def plateau(
    optimizer: Optimizer,
    *,
    steps_per_epoch: int,
    epochs: int,
    patience: Annotated[int, Field(ge=0)] = 5,
    factor: Factor = 0.1,
    minimum: Fraction = 0.0,
    min_delta: Annotated[float, Field(ge=0.0)] = 1e-4,
) -> ScheduleSpec:
    """Smaller by a factor where the validation figure no longer improves.

    Args:
        optimizer: See the head of the module.
        steps_per_epoch: As there.
        epochs: As there.
        patience: Epochs without improvement that are borne.
        factor: Times the learning rate at each change.
        minimum: Share of the learning rate that is never passed below.
        min_delta: A smaller change of the figure is no improvement.
    """
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    lowest = [minimum * float(group["lr"]) for group in optimizer.param_groups]
    scheduler = ReduceLROnPlateau(
        optimizer,
        # A figure that is to rise comes negated; a relative threshold would call every negative value better.
        mode="min",
        threshold_mode="abs",
        threshold=min_delta,
        factor=factor,
        patience=patience,
        min_lr=lowest,
    )
    return ScheduleSpec(scheduler, "epoch", True)


def _by_step(optimizer: Optimizer, factor: Callable[[int], float]) -> ScheduleSpec:
    from torch.optim.lr_scheduler import LambdaLR

    return ScheduleSpec(LambdaLR(optimizer, factor), "step", False)


def _warm(steps: int, then: Callable[[int], float]) -> Callable[[int], float]:
    """Rises from 1/steps to 1 in a straight line over the first steps, times the course itself."""
    return lambda step: (step + 1) / steps * then(0) if step < steps else then(step)


def _cosine(high: float, low: float, share: float) -> float:
    """Half a cosine from one value to another; stays at its end."""
    return low + (high - low) * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0))) / 2
