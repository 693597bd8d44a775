"""What happens beside the training step: checkpoints, the log, the averaged weights, the display."""

from __future__ import annotations

import csv
import io
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, WeightAveraging
from torch import Tensor

from medcnn.errors import RunError
from medcnn.files import explain, write_text
from medcnn.progress import Progress
from medcnn.training.module import TrainingModule

BEST, LAST = "best.ckpt", "last.ckpt"


def better(value: float, best: float | None, mode: str) -> bool:
    """Whether a validation figure beats the best so far; an undefined one never does."""
    if not np.isfinite(value):
        return False
    return best is None or (value > best if mode == "max" else value < best)


class Checkpoints(Checkpoint):
    """Writes ``last.ckpt`` after every epoch and ``best.ckpt`` after every better one, whole or not at all.

    Args:
        folder: Where they go.
        description: What lets a checkpoint describe itself; stored under ``medcnn``.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        super().__init__()
        self.folder = folder
        self.description = dict(description)
        self.best: float | None = None
        self.best_epoch = -1

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best figure of the interrupted run."""
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint describe itself."""
        checkpoint["medcnn"] = self.description

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's checkpoints."""
        assert isinstance(pl_module, TrainingModule)
        figure = pl_module.figures.get(pl_module.task.monitor, float("nan"))
        improved = better(figure, self.best, pl_module.task.mode)
        if improved:
            self.best, self.best_epoch = figure, trainer.current_epoch
        temporary = self.folder / f".{LAST}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            trainer.save_checkpoint(temporary)
            if trainer.is_global_zero:
                # The best one first: a run killed in between repeats the epoch and writes both again.
                if improved:
                    copy = self.folder / f".{BEST}.part"
                    shutil.copyfile(temporary, copy)
                    replace(copy, self.folder / BEST)
                replace(temporary, self.folder / LAST)
        except OSError as error:
            raise explain(error, self.folder / LAST) from error
        except RuntimeError as error:
            # torch's writer turns a full disk into a RuntimeError of its own.
            if "write" not in str(error).lower() and "enforce fail" not in str(error).lower():
                raise
            raise RunError(
                f"the checkpoint cannot be written: {str(error).splitlines()[0]}",
                where=str(self.folder / LAST),
                todo="free some space, then go on with --resume",
            ) from error
        finally:
            if trainer.is_global_zero:
                # Of a checkpoint that could not be written whole nothing stays, least of all on a full disk.
                for name in (LAST, BEST):
                    (self.folder / f".{name}.part").unlink(missing_ok=True)
        trainer.strategy.barrier("checkpoint")


def replace(temporary: Path, final: Path) -> None:
    """Give a complete file its name, after its bytes have reached the disk."""
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, final)


class EpochLog(Checkpoint):
    """Keeps ``log.csv``: a row an epoch, rewritten whole, so that a resumed run has no row twice.

    It counts as a checkpoint callback only to be called after the module has seen the end of the epoch.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, float | int]] = []
        self._started = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows of the interrupted run."""
        self.rows = [dict(row) for row in state_dict["rows"]]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row."""
        assert isinstance(pl_module, TrainingModule)
        row: dict[str, float | int] = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "train_loss": pl_module.mean_loss,
            **{f"validation_{name}": value for name, value in pl_module.figures.items()},
            "learning_rate": float(trainer.optimizers[0].param_groups[0]["lr"]),
            "seconds": round(time.monotonic() - self._started, 2),
        }
        self.rows.append(row)
        if not trainer.is_global_zero:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(row), lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())
        if trainer.loggers:
            trainer.logger.log_metrics({k: float(v) for k, v in row.items()}, step=trainer.global_step)  # type: ignore[union-attr]


def warm_average(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """An update of averaged tensors by current ones with a decay that grows to its final value."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        steps = float(count)
        share = 1.0 - min(decay, (1.0 + steps) / (10.0 + steps))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, share)
        else:
            for mean, value in zip(averaged, current, strict=True):
                mean.copy_(value)

    return update


class AveragedWeights(WeightAveraging):
    """Exponential moving average of the weights, validated and kept as the model.

    Args:
        decay: Share of the old average at each optimizer step. In the first steps it is
            ``(1 + step) / (10 + step)`` where that is smaller, so that the initial weights are soon forgotten.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=warm_average(decay))


class OwnTermination(Callback):
    """Gives SIGTERM back the meaning that it had before the trainer took it.

    The trainer would go on to the end of the step and then tell all processes, one of which may be gone. Every
    file is whole at any moment, so there is nothing to put in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self._before = signal.getsignal(signal.SIGTERM)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Undo what the trainer has just done."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)


class Display(Callback):
    """Tells a :class:`~medcnn.progress.Progress` where training is."""

    def __init__(self, progress: Progress, name: str) -> None:
        super().__init__()
        self.progress = progress
        self.name = name

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The bar counts the batches of all epochs."""
        batches = int(trainer.num_training_batches)
        epochs = int(trainer.max_epochs or 0)
        self.progress.start(self.name, batches * epochs, "batches")
        self.progress.advance(batches * trainer.current_epoch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One batch more, with the loss now and then (reading it makes a GPU wait)."""
        assert isinstance(pl_module, TrainingModule)
        note = ""
        if batch_idx % 20 == 0:
            figure = pl_module.figures.get(pl_module.task.monitor)
            note = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  loss {pl_module.mean_loss:.3f}"
            if figure is not None:
                note += f"  validation {pl_module.task.monitor} {figure:.3f}"
        self.progress.advance(1, note)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The bar is full."""
        self.progress.finish()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of tensors and plain values.

    Raises:
        RunError: If the file is missing, broken, or holds anything but tensors and plain values.
    """
    try:
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RunError("there is no checkpoint", where=str(path), todo="train first") from error
    except Exception as error:
        raise RunError(
            f"the checkpoint cannot be read: {str(error).splitlines()[0]}",
            where=str(path),
            todo="it must hold tensors and plain values only; train again if it is damaged",
        ) from error
    return found
