"""What can be said of a recipe's network before any training: its outputs, its layers, its weights' file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medcnn import registry
from medcnn.data.catalog import find_entry
from medcnn.data.dataset import load_dataset
from medcnn.errors import DataError
from medcnn.recipe.schema import Recipe

if TYPE_CHECKING:
    from medcnn.models.describe import LayerInfo
    from medcnn.tasks.base import Task


def count_outputs(recipe: Recipe) -> int:
    """From the catalog's schema where it has one, else from the dataset itself.

    Raises:
        DataError: If the dataset is not at hand.
    """
    task: type[Task] = registry.load("tasks", recipe.task.name)
    if recipe.data.dataset is not None and not task.dense:
        entry = find_entry(recipe.data.dataset, recipe.data.catalog)
        if entry.labels is not None and entry.labels.classes:
            return len(entry.labels.classes)
    dataset = load_dataset(recipe.data)
    made = task.create(dataset, **recipe.task.options)
    return int(made.outputs)


def describe_network(recipe: Recipe, *, allow_code: Path | None = None) -> list[LayerInfo]:
    """The layers of the network; two outputs are assumed where the dataset is not at hand."""
    from medcnn.models.build import build_network
    from medcnn.models.describe import describe

    try:
        outputs = count_outputs(recipe)
    except DataError:
        outputs = 2
    network = build_network(
        recipe.model.name,
        recipe.model.options,
        spatial_dims=len(recipe.input.size),
        in_channels=recipe.input.channels,
        outputs=outputs,
        size=recipe.input.size,
        **({"dense": True} if registry.load("tasks", recipe.task.name).dense else {}),
        allow_code=allow_code,
    )
    return describe(network, (recipe.input.channels, *recipe.input.size))


def check_weights(recipe: Recipe) -> None:
    """Read the file of weights that a recipe names, before anything else takes time.

    Raises:
        ModelError: If it is missing, is broken, or holds anything but tensors and plain values.
    """
    named = recipe.model.options.get("weights")
    if named:
        from medcnn.models.weights import read_weights

        read_weights(Path(named))
