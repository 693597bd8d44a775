"""The trainer on arrays: what it stops at, averages, adds up, clips, keeps and writes."""

from __future__ import annotations

import csv
import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.loaders import ImageSource
from medcnn.errors import RunError
from medcnn.inference.hardware import choose_hardware
from medcnn.models.build import build_network
from medcnn.models.losses import cross_entropy
from medcnn.progress import Silent
from medcnn.recipe.schema import Component, DataSection, InputSection, Recipe, TrainingSection
from medcnn.tasks.base import TrainingFacts
from medcnn.tasks.classification import ClassificationTask
from medcnn.training import callbacks
from medcnn.training.callbacks import load_checkpoint
from medcnn.training.fit import Fold, FoldData, fit
from medcnn.types import LabelClass, LabelSchema

COUNT, VALIDATION = 32, 8
TASK = ClassificationTask(LabelSchema((LabelClass(0, "dark"), LabelClass(1, "bright")), positive="bright"))
DESCRIPTION = {"recipe_digest": "r", "split_digest": "s", "data_digest": "d"}


@dataclass
class Arrays(ImageSource):
    """Images in memory, as a loader takes them."""

    images: NDArray[np.float32]
    scale: float = 1.0

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.images[rows]


def arrays() -> tuple[Arrays, dict[str, NDArray[Any]]]:
    truth = np.arange(COUNT + VALIDATION) % 2
    noise = np.random.default_rng(0).normal(0, 0.3, (len(truth), 1, 8, 8))
    images = (noise + truth[:, None, None, None]).astype(np.float32)
    return Arrays(images), {"states": np.eye(2, dtype=np.float32)[truth], "valid": np.ones((len(truth), 2), bool)}


Train = Callable[..., Path]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    def call(
        images: Arrays | None = None,
        *,
        extra: tuple[Callback, ...] = (),
        resume: bool = False,
        description: dict[str, str] = DESCRIPTION,
        folder: str = "training",
        **options: Any,
    ) -> Path:
        source, targets = arrays()
        settings = {"epochs": 2, "batch_size": 8, "optimizer": Component(name="sgd"), "learning_rate": 0.05, **options}
        recipe = Recipe(
            task=Component(name="classification"),
            data=DataSection(dataset="none"),
            input=InputSection(size=(8, 8), augment=None),
            model=Component(name="basic_cnn"),
            training=TrainingSection(**settings),
        )
        torch.manual_seed(0)
        network = build_network(
            "basic_cnn",
            {"filters": [4], "dense": [4], "batch_norm": False},
            spatial_dims=2,
            in_channels=1,
            outputs=2,
            size=(8, 8),
        )
        data = FoldData(
            images or source,
            [f"case-{i}" for i in range(COUNT + VALIDATION)],
            np.arange(COUNT),
            np.arange(COUNT, COUNT + VALIDATION),
            targets,
        )
        model = TASK.build(network, cross_entropy(), TrainingFacts())
        fold = Fold(TASK, model, data, tmp_path / folder, description, callbacks=extra)
        return fit(fold, recipe, choose_hardware("cpu", "32", 1), Silent(), resume=resume)

    return call


def log(checkpoint: Path) -> list[dict[str, float]]:
    with open(checkpoint.parent / "log.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def weights(checkpoint: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = load_checkpoint(checkpoint)["state_dict"]
    return found


class Recorder(Callback):
    """Keeps the weights at the start and after every optimizer step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def keep(self, module: LightningModule) -> None:
        self.steps.append({k: v.detach().clone() for k, v in module.state_dict().items()})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.keep(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == len(self.steps):
            self.keep(pl_module)


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return float(torch.sqrt(sum(((one[k] - other[k]) ** 2).sum() for k in one)))  # type: ignore[arg-type]


def test_a_loss_that_is_not_finite_stops_with_the_cases_of_its_batch(train: Train) -> None:
    images, _ = arrays()
    images.images[13, 0, 2, 2] = np.inf
    with pytest.raises(RunError, match=r"not finite \(loss nan\) in epoch 1, cases: .*case-13\b") as error:
        train(images)
    named = error.value.what.partition("cases: ")[2].split(", ")
    assert len(named) == 8
    assert len(set(named)) == 8


def test_training_stops_early_where_nothing_improves(train: Train) -> None:
    done = train(epochs=10, learning_rate=1e-12, early_stopping={"patience": 2})
    assert [row["epoch"] for row in log(done)] == [1, 2, 3]


def test_the_averaged_weights_are_the_average(train: Train) -> None:
    recorder = Recorder()
    done = train(extra=(recorder,), ema=0.5, select="last")
    first, *later = recorder.steps[1:]
    average = dict(first)
    for count, step in enumerate(later, 1):
        share = 1 - min(0.5, (1 + count) / (10 + count))
        average = {k: v + share * (step[k] - v) for k, v in average.items()}
    assert len(later) == 7
    stored = load_checkpoint(done)
    for key, value in average.items():
        torch.testing.assert_close(stored["state_dict"][key], value)
        torch.testing.assert_close(stored["current_model_state"][key], recorder.steps[-1][key])
    assert distance(average, recorder.steps[-1]) > 1e-3


def test_batches_that_are_added_up_are_one_bigger_batch(train: Train) -> None:
    big, small = Recorder(), Recorder()
    one = weights(train(extra=(big,), folder="one", select="last"))
    two = weights(train(extra=(small,), folder="two", select="last", batch_size=4, accumulate=2))
    assert len(big.steps) == len(small.steps) == 9
    assert distance(one, two) < 1e-6 < distance(one, big.steps[0])


def test_the_gradient_is_clipped(train: Train) -> None:
    recorder = Recorder()
    plain = Component(name="sgd", momentum=0.0)
    train(extra=(recorder,), optimizer=plain, learning_rate=0.5, clip_norm=0.01)
    moves = [distance(a, b) for a, b in zip(recorder.steps, recorder.steps[1:], strict=False)]
    assert len(moves) == 8
    assert max(moves) <= 0.5 * 0.01 * (1 + 1e-3)
    assert moves[0] == pytest.approx(0.5 * 0.01, rel=1e-3)


def test_the_log_tells_loss_figures_and_rate_of_every_epoch(train: Train) -> None:
    done = train(learning_rate=1e-12, epochs=3, schedule=Component(name="step", every=2, factor=0.5))
    rows = log(done)
    assert [row["step"] for row in rows] == [4, 8, 12]
    assert [row["learning_rate"] for row in rows] == pytest.approx([1e-12, 0.5e-12, 0.5e-12])
    # Weights that hardly move have the loss of the whole training part in every epoch.
    state = {k.removeprefix("model.network."): v for k, v in weights(done).items()}
    network = build_network(
        "basic_cnn",
        {"filters": [4], "dense": [4], "batch_norm": False},
        spatial_dims=2,
        in_channels=1,
        outputs=2,
        size=(8, 8),
    )
    network.load_state_dict(state)
    images, targets = arrays()
    with torch.no_grad():
        logits = network(torch.from_numpy(images.images))
    classes = torch.from_numpy(targets["states"].argmax(1))
    loss = torch.nn.functional.cross_entropy(logits[:COUNT], classes[:COUNT]).item()
    assert [row["train_loss"] for row in rows] == pytest.approx([loss] * 3, abs=1e-5)
    right = (logits.argmax(1) == classes)[COUNT:].float().mean().item()
    assert [row["validation_accuracy"] for row in rows] == pytest.approx([right] * 3)


def test_the_rate_falls_where_validation_no_longer_improves(train: Train) -> None:
    rule = Component(name="plateau", patience=1, factor=0.1)
    rates = [row["learning_rate"] for row in log(train(learning_rate=1e-6, epochs=5, schedule=rule))]
    assert rates == pytest.approx([1e-6, 1e-6, 1e-7, 1e-7, 1e-8])


def test_the_best_epoch_or_the_last_one_is_chosen(train: Train) -> None:
    best, last = (train(epochs=6, learning_rate=0.3, select=s, folder=s) for s in ("best", "last"))
    assert (best.name, last.name) == ("best.ckpt", "last.ckpt")
    figures = [row["validation_macro_f1"] for row in log(best)]
    assert load_checkpoint(best)["epoch"] == figures.index(max(figures))
    assert load_checkpoint(last)["epoch"] == 5


@pytest.mark.parametrize(("key", "what"), [("recipe_digest", "recipe"), ("split_digest", "split")])
def test_a_checkpoint_of_something_else_is_refused(train: Train, key: str, what: str) -> None:
    train(epochs=1)
    with pytest.raises(RunError, match=f"made with another {what}"):
        train(epochs=1, resume=True, description={**DESCRIPTION, key: "other"})


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, kept = tmp_path / "training" / "last.ckpt", []
    replace = callbacks.replace

    def full(temporary: Path, final: Path) -> None:
        if place.is_file() and final.name == "last.ckpt":
            kept.append(place.read_bytes())
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(temporary, final)

    monkeypatch.setattr(callbacks, "replace", full)
    with pytest.raises(RunError, match="No space left") as error:
        train(epochs=3)
    assert "--resume" in error.value.todo
    assert place.read_bytes() == kept[0]
    assert load_checkpoint(place)["epoch"] == 0
    monkeypatch.undo()
    assert load_checkpoint(train(epochs=3, resume=True, select="last"))["epoch"] == 2


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no checkpoint"):
        load_checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(RunError, match="cannot be read"):
        load_checkpoint(tmp_path / "last.ckpt")


def test_curves_for_tensorboard(train: Train) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = train(loggers=("tensorboard",))
    events = EventAccumulator(str(done.parent / "tensorboard"))
    events.Reload()
    rows = log(done)
    found = events.Scalars("train_loss")
    assert [e.step for e in found] == [row["step"] for row in rows]
    assert [e.value for e in found] == pytest.approx([row["train_loss"] for row in rows])
    assert "validation_macro_f1" in events.Tags()["scalars"]


def test_curves_for_mlflow(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    done = train(loggers=("mlflow",))
    client = mlflow.MlflowClient(f"sqlite:///{done.parent / 'mlflow.db'}")
    run = client.search_runs([e.experiment_id for e in client.search_experiments()])[0]
    assert run.data.metrics["train_loss"] == pytest.approx(log(done)[-1]["train_loss"])


@pytest.mark.parametrize(
    ("name", "flags"),
    [("mlflow", ["_MLFLOW_AVAILABLE"]), ("tensorboard", ["_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"])],
)
def test_a_logger_that_is_not_installed_is_named_with_its_extra(
    train: Train, monkeypatch: pytest.MonkeyPatch, name: str, flags: list[str]
) -> None:
    import lightning.fabric.loggers.tensorboard as fabric_tensorboard
    import lightning.pytorch.loggers.mlflow as mlflow_logger

    for flag in flags:
        monkeypatch.setattr(fabric_tensorboard if name == "tensorboard" else mlflow_logger, flag, False)
    with pytest.raises(RunError, match=f"{name!r} needs a package that is not installed") as error:
        train(loggers=(name,))
    assert f"extra {name!r}" in error.value.todo
