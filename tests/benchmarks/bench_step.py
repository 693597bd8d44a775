"""The trainer's step against a bare PyTorch loop: same network, tensors, augmentation, optimizer and precision.

    python tests/benchmarks/bench_step.py [--pairs 10] [--steps 20] [--batch 128] [--size 64] [--width 24] [--threads 2]
                                          [--clock wall|cpu]

Prints one JSON object. The pairs are interleaved, so that what else the machine does falls on both alike; the figure
is the median of their ratios, and its goal is 1.05. Where the machine is busy, ``--clock cpu`` counts the seconds of
this process alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback
from numpy.typing import NDArray

from medcnn.data.augment import Augmenter
from medcnn.data.loaders import BatchLoader, ImageSource
from medcnn.inference.hardware import Hardware, choose_hardware, memory_format
from medcnn.models.build import build_network
from medcnn.models.losses import cross_entropy
from medcnn.progress import Silent
from medcnn.recipe.schema import AugmentSection, Component, DataSection, InputSection, Recipe, TrainingSection
from medcnn.tasks.base import TaskModel, TrainingFacts
from medcnn.tasks.classification import ClassificationTask
from medcnn.training.fit import Fold, FoldData, fit, optimization
from medcnn.types import LabelClass, LabelSchema

CLASSES = 6
WARM = 5
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Arrays(ImageSource):
    """uint8 images in memory, as the cache holds them."""

    scale = 1 / 255

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.images = images

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.images[rows]


class Clock(Callback):
    """The trainer's seconds a step, from the end of one to the end of the next, without the first ones."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.marks: list[float] = []

    def on_train_batch_end(self, *arguments: Any, **options: Any) -> None:
        synchronise()
        self.marks.append(CLOCKS[self.kind]())

    def seconds(self) -> float:
        return (self.marks[-1] - self.marks[WARM - 1]) / (len(self.marks) - WARM)


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Bench:
    """Both loops over the same data."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        generator = np.random.default_rng(0)
        size, steps = (arguments.size, arguments.size), arguments.steps + WARM
        count = arguments.batch * steps
        self.images = Arrays(generator.integers(0, 255, (count, 1, *size), np.uint8))
        truth = generator.integers(0, CLASSES, count)
        self.targets = {"states": np.eye(CLASSES, dtype=np.float32)[truth], "valid": np.ones((count, CLASSES), bool)}
        self.rows = np.arange(count)
        self.width, self.clock = arguments.width, arguments.clock
        self.task = ClassificationTask(LabelSchema(tuple(LabelClass(i, str(i)) for i in range(CLASSES))))
        self.hardware: Hardware = choose_hardware(threads=arguments.threads)
        self.recipe = Recipe(
            task=Component(name="classification"),
            data=DataSection(dataset="none"),
            input=InputSection(size=size, augment=AugmentSection()),
            model=Component(name="small_resnet"),
            training=TrainingSection(epochs=1, batch_size=arguments.batch, optimizer=Component(name="adamw")),
        )

    def model(self) -> TaskModel:
        torch.manual_seed(0)
        network = build_network(
            "small_resnet",
            {"width": self.width},
            spatial_dims=2,
            in_channels=1,
            outputs=CLASSES,
            size=self.recipe.input.size,
        )
        return self.task.build(network, cross_entropy(), TrainingFacts()).to(memory_format=memory_format(2))

    def trainer(self) -> float:
        clock = Clock(self.clock)
        ids = [str(i) for i in self.rows]
        data = FoldData(self.images, ids, self.rows, self.rows[:0], self.targets)
        with tempfile.TemporaryDirectory() as folder:
            fold = Fold(self.task, self.model(), data, Path(folder), {}, callbacks=[clock])
            fit(fold, self.recipe, self.hardware, Silent())
        return clock.seconds()

    def bare(self) -> float:
        device, dtype = self.hardware.device, self.hardware.autocast_dtype
        torch.set_num_threads(self.hardware.threads)
        model = self.model().to(device).train()
        optimizer = optimization(self.recipe.training).optimizer(model)
        augment = Augmenter(self.recipe.input.augment, (), seed=0)
        size = self.recipe.training.batch_size
        loader = BatchLoader(self.images, self.rows, self.targets, size, seed=0, shuffle=True, drop_last=True)
        marks = []
        for batch in loader:
            batch = augment(batch.to(device), epoch=0)
            batch.image = batch.image.contiguous(memory_format=memory_format(2))
            with torch.autocast(device, dtype=dtype or torch.float32, enabled=dtype is not None):
                loss = model.losses(batch)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            synchronise()
            marks.append(CLOCKS[self.clock]())
        return (marks[-1] - marks[WARM - 1]) / (len(marks) - WARM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("pairs", 10), ("steps", 20), ("batch", 128), ("size", 64), ("width", 24), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    bench.bare()
    pairs = []
    for number in range(arguments.pairs):
        # Who comes first changes from pair to pair.
        first, second = (bench.bare, bench.trainer) if number % 2 else (bench.trainer, bench.bare)
        seconds = {first.__name__: first(), second.__name__: second()}
        pairs.append((seconds["trainer"], seconds["bare"]))
    found = {
        "trainer_ms": round(1000 * statistics.median(t for t, _ in pairs), 2),
        "bare_ms": round(1000 * statistics.median(b for _, b in pairs), 2),
        "ratio": round(statistics.median(t / b for t, b in pairs), 4),
        "ratios": [round(t / b, 3) for t, b in pairs],
        "goal": 1.05,
        "device": bench.hardware.name,
        "precision": bench.hardware.precision,
        **vars(arguments),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
