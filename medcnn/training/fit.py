"""Training of one fold: from cached arrays to ``best.ckpt`` and ``last.ckpt``."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from numpy.typing import NDArray
from torch.optim import Optimizer

from medcnn import registry
from medcnn.data.augment import Augmenter
from medcnn.data.loaders import BatchLoader, ImageSource
from medcnn.data.patches import PatchDraw
from medcnn.errors import RunError
from medcnn.inference.hardware import Hardware, memory_format
from medcnn.progress import Progress
from medcnn.recipe.schema import Recipe, TrainingSection
from medcnn.tasks.base import Task, TaskModel
from medcnn.training.batch_sync import BatchSync
from medcnn.training.callbacks import (
    LAST,
    AveragedWeights,
    Checkpoints,
    Display,
    EpochLog,
    OwnTermination,
    load_checkpoint,
)
from medcnn.training.module import Optimization, TrainingModule


@dataclass(frozen=True, slots=True)
class FoldData:
    """The cached cases of one fold.

    Attributes:
        images: The images of all cases, by place.
        case_ids: Ids of all cases, by place.
        training: ``(N,)`` places of the cases for training.
        validation: ``(M,)`` places for validation; may be empty.
        targets: Encoded targets of all cases, by place.
        weights: ``(N,)`` chances of the training cases to be drawn; ``None``: each once an epoch.
        patches: Draws the patches of training; ``None`` trains on whole images.
    """

    images: ImageSource
    case_ids: Sequence[str]
    training: NDArray[np.int64]
    validation: NDArray[np.int64]
    targets: Mapping[str, NDArray[Any]]
    weights: NDArray[np.float64] | None = None
    patches: PatchDraw | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> FoldData:
        # Averaging of weights copies the module; the arrays behind it must stay one.
        return self


@dataclass(frozen=True, slots=True)
class Fold:
    """One training: what, on what, and where its files go.

    Attributes:
        task: The task.
        model: Network with loss.
        data: The cases.
        folder: Receives checkpoints and the log.
        description: Lets the checkpoint describe itself.
        name: As the display calls it.
        callbacks: More callbacks of the trainer.
    """

    task: Task
    model: TaskModel
    data: FoldData
    folder: Path
    description: Mapping[str, Any]
    name: str = "training"
    callbacks: Sequence[Callback] = field(default_factory=tuple)


def optimization(section: TrainingSection) -> Optimization:
    """Optimizer and schedule as a recipe names them."""

    def make_optimizer(model: torch.nn.Module) -> Optimizer:
        builder = registry.load("optimizers", section.optimizer.name)
        made: Optimizer = builder(model, section.learning_rate, **section.optimizer.options)
        return made

    def make_schedule(optimizer: Optimizer, steps: int, epochs: int) -> Any:
        builder = registry.load("schedules", section.schedule.name)
        return builder(optimizer, steps_per_epoch=steps, epochs=epochs, **section.schedule.options)

    return Optimization(make_optimizer, make_schedule, section.epochs, section.accumulate)


def make_loaders(data: FoldData, recipe: Recipe, processes: int, rank: int) -> tuple[BatchLoader, BatchLoader | None]:
    """The training and validation loaders of one process."""
    training = BatchLoader(
        data.images,
        data.training,
        data.targets,
        recipe.training.batch_size,
        seed=recipe.seed,
        shuffle=True,
        rank=rank,
        world_size=processes,
        drop_last=len(data.training) >= recipe.training.batch_size * processes,
        weights=data.weights,
        patches=data.patches,
    )
    if len(data.validation) == 0:
        return training, None
    validation = BatchLoader(
        data.images,
        data.validation,
        data.targets,
        evaluation_batch(recipe),
        seed=recipe.seed,
        shuffle=False,
        rank=rank,
        world_size=processes,
    )
    return training, validation


def evaluation_batch(recipe: Recipe) -> int:
    """Cases a batch without gradients: four training batches fit in the same memory; images that keep their size
    come one by one."""
    return 1 if recipe.input.fit == "patches" else 4 * recipe.training.batch_size


class _Module(TrainingModule):
    """The module with its loaders: each process makes its own, knowing its rank only now."""

    data: FoldData
    recipe: Recipe

    def batches_per_epoch(self) -> int:
        """Known from the number of cases."""
        return len(self.train_dataloader())

    def train_dataloader(self) -> BatchLoader:
        """This process's share of the training part."""
        return make_loaders(self.data, self.recipe, self.trainer.world_size, self.trainer.global_rank)[0]

    def val_dataloader(self) -> BatchLoader | list[Any]:
        """This process's share of the validation part."""
        loader = make_loaders(self.data, self.recipe, self.trainer.world_size, self.trainer.global_rank)[1]
        return loader if loader is not None else []

    def on_train_epoch_start(self) -> None:
        """Every epoch has its own order."""
        super().on_train_epoch_start()
        loader = self.trainer.train_dataloader
        assert isinstance(loader, BatchLoader)
        loader.set_epoch(self.current_epoch)


def make_trainer(recipe: Recipe, hardware: Hardware, *, folder: Path, callbacks: Sequence[Callback]) -> Trainer:
    """The trainer for a recipe: precision and strategy; silent, since the display is ours.

    Under a launcher (torchrun) it is one of the launcher's processes, else the only one.
    """
    section = recipe.training
    under_launcher = TorchElasticEnvironment.detect()
    # How many processes there are is the launcher's word, whatever the recipe says.
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if under_launcher else 1
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // devices if under_launcher else 1
    on_cpu = hardware.device == "cpu"
    plugins: list[Any] = [] if under_launcher else [LightningEnvironment()]
    if section.sync_batchnorm and on_cpu:
        plugins.append(BatchSync())
    return Trainer(
        accelerator=hardware.device,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if under_launcher else "auto",
        precision=hardware.trainer_precision,
        max_epochs=section.epochs,
        accumulate_grad_batches=section.accumulate,
        gradient_clip_val=section.clip_norm,
        sync_batchnorm=section.sync_batchnorm and not on_cpu,
        deterministic="warn" if hardware.device == "cuda" else False,
        benchmark=False,
        logger=make_loggers(section, folder),
        callbacks=list(callbacks),
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=folder,
        plugins=plugins or None,
    )


def make_loggers(section: TrainingSection, folder: Path) -> Any:
    """TensorBoard and MLflow where the recipe asks for them; the CSV log is a callback of its own.

    MLflow's records go to its server (``MLFLOW_TRACKING_URI``), else into a database in the folder.

    Raises:
        RunError: If the package of a logger is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Any] = []
    for name in section.loggers:
        try:
            if name == "tensorboard":
                from lightning.pytorch.loggers import TensorBoardLogger

                made.append(TensorBoardLogger(folder, name="tensorboard", version=""))
            else:
                from lightning.pytorch.loggers import MLFlowLogger

                place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder / 'mlflow.db').resolve()}"
                made.append(MLFlowLogger(experiment_name="medcnn", tracking_uri=place))
        except ModuleNotFoundError as error:
            raise RunError(
                f"the logger {name!r} needs a package that is not installed: {error.name or error}",
                where="training.loggers",
                todo=f"install the extra {name!r} of this package, or take it out of the recipe",
            ) from error
    return made or False


def fold_callbacks(fold: Fold, section: TrainingSection, progress: Progress) -> list[Callback]:
    """What a fold needs beside the trainer; the checkpoint comes last, when all states are settled."""
    made: list[Callback] = [OwnTermination(), Display(progress, fold.name)]
    if section.ema is not None:
        made.append(AveragedWeights(section.ema))
    if section.early_stopping is not None and len(fold.data.validation):
        made.append(
            EarlyStopping(
                monitor=f"validation_{fold.task.monitor}",
                mode=fold.task.mode,
                patience=section.early_stopping.patience,
                min_delta=section.early_stopping.min_delta,
                check_finite=False,
            )
        )
    return [*made, *fold.callbacks, EpochLog(fold.folder / "log.csv"), Checkpoints(fold.folder, fold.description)]


def quiet_trainer() -> None:
    """What the trainer says of itself does not reach the user."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning.*")
    warnings.filterwarnings(
        "ignore", message=r".*(does not have many workers|lr_scheduler\.step|isinstance\(treespec).*"
    )


def fit(fold: Fold, recipe: Recipe, hardware: Hardware, progress: Progress, *, resume: bool = False) -> Path:
    """Train one fold to its end; returns the checkpoint to use, as ``training.select`` says.

    Args:
        fold: What to train.
        recipe: The resolved recipe.
        hardware: The device and precision chosen for it.
        progress: Receives the display.
        resume: Go on from ``last.ckpt`` where there is one.

    Raises:
        RunError: If a loss is not finite, a checkpoint cannot be written or belongs to another recipe.
    """
    quiet_trainer()
    torch.set_num_threads(hardware.threads)
    last = fold.folder / LAST
    start = last if resume and last.is_file() else None
    if start is not None:
        require_same(load_checkpoint(start).get("medcnn", {}), fold.description, start)
    dims = len(recipe.input.size)
    model = fold.model.to(memory_format=memory_format(dims))
    module = _Module(
        fold.task,
        model,
        Augmenter(recipe.input.augment, recipe.input.symmetric_axes, seed=recipe.seed, swap=fold.task.mirrored_labels),
        optimization(recipe.training),
        seed=recipe.seed,
        case_ids=fold.data.case_ids,
    )
    module.data, module.recipe = fold.data, recipe
    trainer = make_trainer(
        recipe, hardware, folder=fold.folder, callbacks=fold_callbacks(fold, recipe.training, progress)
    )
    try:
        trainer.fit(module, ckpt_path=start, weights_only=True)
    except SystemExit as end:
        # The trainer shuts down in order on Ctrl-C and then exits the process, which is not its to decide.
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from end
        raise
    return selected(fold.folder, recipe.training)


def selected(folder: Path, section: TrainingSection) -> Path:
    """The checkpoint that a recipe selects: the best by validation, else the last one."""
    best = folder / "best.ckpt"
    return best if section.select == "best" and best.is_file() else folder / LAST


def require_same(stored: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint of another recipe, split or dataset."""
    for key, what in (("recipe_digest", "recipe"), ("split_digest", "split"), ("data_digest", "dataset")):
        if stored.get(key) != wanted.get(key):
            raise RunError(
                f"the checkpoint was made with another {what}",
                where=str(path),
                todo="train in a new folder, or run again with what the checkpoint was made with",
            )
