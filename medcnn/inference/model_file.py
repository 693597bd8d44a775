"""Model files: weights with all that is needed to use them, so that no run folder is.

A file holds tensors and plain values only. Checkpoints of a run carry the same description.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medcnn import registry
from medcnn.data.preprocess import Preprocessor
from medcnn.errors import ModelError
from medcnn.files import open_atomic
from medcnn.models.build import build_network
from medcnn.tasks.base import Task, TaskModel, TrainingFacts

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Model:
    """A trained model, ready to predict.

    Attributes:
        task: What it does, with its labels.
        model: Network and decoding, in evaluation mode.
        preprocess: From an image to what the network takes.
        thresholds: Chosen on validation; empty where the checkpoint was made before that.
        description: Recipe, versions, dataset and digests.
    """

    task: Task
    model: TaskModel
    preprocess: Preprocessor
    thresholds: Mapping[str, float]
    description: Mapping[str, Any]


def export_model(checkpoint: Path, target: Path, thresholds: Mapping[str, float]) -> None:
    """Write a checkpoint's weights and description, with the thresholds, as a model file."""
    stored = read_description(checkpoint)
    weights = {k: v for k, v in stored["state_dict"].items() if not k.startswith("model.loss.")}
    with open_atomic(target, "wb") as file:
        torch.save({"state_dict": weights, "medcnn": {**stored["medcnn"], "thresholds": dict(thresholds)}}, file)


def read_description(path: Path) -> dict[str, Any]:
    """The contents of a checkpoint or model file.

    Raises:
        ModelError: If it is missing, damaged, holds anything but tensors and plain values, or is not one of medcnn.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError("there is no such model file", where=str(path)) from error
    except Exception as error:
        raise ModelError(
            "the file cannot be read as a model: it is damaged, or holds more than tensors and plain values",
            where=str(path),
            todo="only files written by medcnn are loaded; weights of other programs go into the recipe "
            "as model.weights (a .safetensors file or a plain state dict)",
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("medcnn"), dict) or "state_dict" not in found:
        raise ModelError(
            "the file holds weights without the description that medcnn needs",
            where=str(path),
            todo="use the model.pt or best.ckpt of a run; bare weights go into the recipe as model.weights",
        )
    if found["medcnn"].get("format", 0) > FORMAT:
        raise ModelError("the file was written by a newer version of medcnn", where=str(path), todo="update medcnn")
    return found


def load_model(path: Path, *, allow_code: Path | None = None) -> Model:
    """A model from a file.

    Raises:
        ModelError: As :func:`read_description`, or if the weights do not fit the network described.
    """
    stored = read_description(path)
    about = stored["medcnn"]
    task: Task = registry.load("tasks", about["task"]["name"]).restore(about["task"]["state"])
    spec = about["network"]
    network = build_network(
        spec["name"],
        spec["options"],
        spatial_dims=spec["spatial_dims"],
        in_channels=spec["in_channels"],
        outputs=spec["outputs"],
        size=tuple(spec["size"]),
        **task.gives,
        allow_code=allow_code,
    )
    preprocess = Preprocessor.restore(about["preprocess"])
    model = task.build(network, nn.Module(), TrainingFacts())
    model.adopt(preprocess.section)
    weights = {k.removeprefix("model."): v for k, v in stored["state_dict"].items() if not k.startswith("model.loss.")}
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ModelError(
            f"the weights do not fit the network that the file describes: {str(error).splitlines()[-1].strip()}",
            where=str(path),
        ) from error
    model.eval().requires_grad_(False)
    return Model(task, model, preprocess, about.get("thresholds", {}), about)
