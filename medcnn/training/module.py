"""One training module for every task: it moves batches, sums losses, gathers rows and steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from medcnn.data.augment import Augmenter
from medcnn.data.batch import Batch
from medcnn.errors import RunError
from medcnn.inference.hardware import memory_format
from medcnn.tasks.base import Row, Task, TaskModel


@dataclass(frozen=True, slots=True)
class Optimization:
    """How weights are changed.

    Attributes:
        optimizer: Makes the optimizer for a model.
        schedule: Makes the schedule for it, given the optimizer steps in an epoch and the epochs.
        epochs: Epochs in all.
        accumulate: Batches an optimizer step.
    """

    optimizer: Callable[[torch.nn.Module], Optimizer]
    schedule: Callable[[Optimizer, int, int], Any]
    epochs: int
    accumulate: int = 1


def step_seed(seed: int, epoch: int, step: int, rank: int) -> int:
    """A 63-bit seed for the dropout of one step, a pure function of its arguments."""
    state = np.random.SeedSequence((seed, epoch, step, rank)).generate_state(1, np.uint64)
    return int(state[0] >> 1)


class TrainingModule(LightningModule):
    """Trains any :class:`~medcnn.tasks.base.TaskModel`.

    Args:
        task: Scores the validation rows.
        model: The network with its loss.
        augment: Changes the training batches, on the device.
        optimization: Optimizer and schedule.
        seed: The recipe's seed.
        case_ids: Ids by the positions that batches carry, to name the cases of a bad batch.
    """

    def __init__(
        self,
        task: Task,
        model: TaskModel,
        augment: Augmenter,
        optimization: Optimization,
        *,
        seed: int,
        case_ids: Sequence[str],
    ) -> None:
        super().__init__()
        self.task = task
        self.model = model
        self.augment = augment
        self.optimization = optimization
        self.seed = seed
        self.case_ids = tuple(case_ids)
        self._rows: list[Row] = []
        self._epoch_scheduler: Any = None
        self._epoch_monitor = False
        self._loss_sum = torch.zeros(())
        self._loss_count = 0
        self.figures: dict[str, float] = {}

    def configure_optimizers(self) -> Any:
        """The optimizer, with the schedule where it moves at every step."""
        optimizer = self.optimization.optimizer(self.model)
        steps = -(-self.batches_per_epoch() // self.optimization.accumulate)
        spec = self.optimization.schedule(optimizer, steps, self.optimization.epochs)
        if spec.interval == "step":
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": spec.scheduler, "interval": "step"}}
        # The trainer moves epoch schedules after the checkpoint of the epoch is written, so that a resumed
        # run would miss a move: this module moves them itself, before.
        self._epoch_scheduler, self._epoch_monitor = spec.scheduler, spec.monitor
        return optimizer

    def batches_per_epoch(self) -> int:
        """Batches of this process in an epoch; the trainer does not know them before it has the loader."""
        return int(self.trainer.num_training_batches)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of a schedule that moves by epochs."""
        if self._epoch_scheduler is not None:
            checkpoint["epoch_scheduler"] = self._epoch_scheduler.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the state until the schedule exists."""
        self._scheduler_state = checkpoint.get("epoch_scheduler")

    def on_train_start(self) -> None:
        """Give the schedule its state back, once it exists."""
        state = getattr(self, "_scheduler_state", None)
        if state is not None and self._epoch_scheduler is not None:
            self._epoch_scheduler.load_state_dict(state)
            self._scheduler_state = None

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment training batches on the device and put images into the fast memory format."""
        if self.trainer.training:
            batch = self.augment(batch, epoch=self.current_epoch)
        batch.image = batch.image.contiguous(memory_format=memory_format(batch.image.ndim - 2))
        return batch

    def on_train_epoch_start(self) -> None:
        """Begin the running mean of the loss."""
        self._loss_sum = torch.zeros((), device=self.device)
        self._loss_count = 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The sum of the task's losses; stops where it is not finite, naming the cases."""
        torch.manual_seed(step_seed(self.seed, self.current_epoch, batch_idx, self.global_rank))
        losses = self.model.losses(batch)
        total = torch.stack(list(losses.values())).sum()
        if not bool(torch.isfinite(total)):
            self._stop_non_finite(losses, batch)
        self._loss_sum += total.detach()
        self._loss_count += 1
        return total

    def _stop_non_finite(self, losses: dict[str, Tensor], batch: Batch) -> None:
        ids = [self.case_ids[i] for i in batch.index.tolist() if i >= 0]
        parts = ", ".join(f"{name} {value.item():g}" for name, value in losses.items())
        raise RunError(
            f"the loss is not finite ({parts}) in epoch {self.current_epoch + 1}, cases: {', '.join(ids)}",
            where="training",
            todo="lower training.learning_rate, set training.clip_norm=1, or look at the intensities of these cases",
        )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect the rows of the cases that are not padding."""
        self._rows.extend(self.model.rows(batch))

    def on_validation_epoch_start(self) -> None:
        """Forget the rows of the last validation."""
        self._rows = []

    def on_validation_epoch_end(self) -> None:
        """Score the rows of all processes, in the order of the cases."""
        rows = gather_rows(self._rows)
        self._rows = []
        self.figures = self.task.score(rows)
        for name, value in self.figures.items():
            self.log(f"validation_{name}", value, sync_dist=False, rank_zero_only=False)

    def on_train_epoch_end(self) -> None:
        """Take the mean of the loss over the processes, and move a schedule that moves by epochs."""
        if several_processes():
            torch.distributed.all_reduce(self._loss_sum)
            self._loss_sum /= torch.distributed.get_world_size()
        if self._epoch_scheduler is None:
            return
        if self._epoch_monitor:
            figure = self.figures.get(self.task.monitor)
            if figure is not None and np.isfinite(figure):
                self._epoch_scheduler.step(figure if self.task.mode == "min" else -figure)
        else:
            self._epoch_scheduler.step()

    @property
    def mean_loss(self) -> float:
        """Mean training loss of the epoch so far; until its end that of this process."""
        return float(self._loss_sum) / max(self._loss_count, 1)


def several_processes() -> bool:
    """Whether this is one of several processes of a group."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def gather_rows(rows: list[Row]) -> list[Row]:
    """The rows of all processes, ordered by case and each case once; in one process: ordered."""
    everything: list[Row] = rows
    if several_processes():
        parts: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, rows)
        everything = [row for part in parts for row in part]
    unique = {int(row["index"]): row for row in everything}
    return [unique[i] for i in sorted(unique)]
