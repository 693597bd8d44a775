"""A small model as a checkpoint of a run would hold it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medcnn.data.preprocess import Preprocessor
from medcnn.inference.model_file import FORMAT
from medcnn.models.build import build_network
from medcnn.models.losses import cross_entropy
from medcnn.recipe.schema import InputSection
from medcnn.tasks.base import TrainingFacts
from medcnn.tasks.classification import ClassificationTask
from medcnn.types import LabelClass, LabelSchema

TASK = ClassificationTask(LabelSchema((LabelClass(0, "dark"), LabelClass(1, "bright")), positive="bright"))
OPTIONS = {"filters": [4], "dense": [4]}


def write_checkpoint(path: Path, seed: int = 0, **changes: Any) -> Path:
    """A checkpoint with random weights, some of the loss among them."""
    torch.manual_seed(seed)
    network = build_network("basic_cnn", OPTIONS, spatial_dims=2, in_channels=1, outputs=2, size=(16, 16))
    model = TASK.build(network, cross_entropy(), TrainingFacts())
    state = {f"model.{k}": v for k, v in model.state_dict().items()}
    about = {
        "format": FORMAT,
        "task": {"name": "classification", "state": TASK.state()},
        "network": {
            "name": "basic_cnn",
            "options": OPTIONS,
            "spatial_dims": 2,
            "in_channels": 1,
            "outputs": 2,
            "size": [16, 16],
        },
        "preprocess": Preprocessor(InputSection(size=(16, 16))).state(),
        "thresholds": {},
        **changes,
    }
    torch.save({"state_dict": {**state, "model.loss.extra": torch.zeros(2)}, "medcnn": about}, path)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """One such file."""
    return write_checkpoint(tmp_path / "best.ckpt")


@pytest.fixture
def make_checkpoint() -> Callable[..., Path]:
    """Writes more of them."""
    return write_checkpoint
