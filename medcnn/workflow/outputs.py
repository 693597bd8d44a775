"""What can be said of a recipe's network before any training: its outputs, its layers, its weights' file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medcnn import registry
from medcnn.data.catalog import find_entry
from medcnn.data.dataset import load_dataset
from medcnn.errors import DataError
from medcnn.recipe.auto import concrete
from medcnn.recipe.schema import Recipe
from medcnn.types import Dataset

if TYPE_CHECKING:
    from medcnn.models.describe import LayerInfo
    from medcnn.tasks.base import Task


# Options of adapters that choose, merge or name labels: the catalog's own list then says nothing.
_OF_LABELS = frozenset({"label", "labels", "classes", "mask_labels", "box_labels", "overlapping", "multilabel"})


def count_outputs(recipe: Recipe) -> int:
    """What the task makes of the catalog's labels where they are known and unchanged, else of the dataset itself.

    Raises:
        DataError: If neither tells.
    """
    return int(known_task(recipe).outputs)


def known_task(recipe: Recipe) -> Task:
    """The task for the labels of the catalog's entry where it has them, else for the dataset.

    Raises:
        DataError: If neither tells.
    """
    task: type[Task] = registry.load("tasks", recipe.task.name)
    listed = _listed(recipe)
    if listed is not None:
        try:
            return task.create(listed, **recipe.task.options)
        except DataError:
            pass  # The entry does not list the labels of this task; the dataset itself says more.
    return task.create(load_dataset(recipe.data), **recipe.task.options)


def _listed(recipe: Recipe) -> Dataset | None:
    """A dataset without cases that has the labels of the catalog's entry; ``None`` where the recipe changes them."""
    data = recipe.data
    if data.dataset is None or data.derive is not None or _OF_LABELS & data.options.keys():
        return None
    entry = find_entry(data.dataset, data.catalog)
    kinds = {"class": entry.labels, "mask": entry.mask_labels, "boxes": entry.box_labels}
    return Dataset(data.dataset, (), {kind: labels.known() for kind, labels in kinds.items() if labels is not None})


def describe_network(recipe: Recipe, *, allow_code: Path | None = None) -> list[LayerInfo]:
    """The layers of the network; two outputs are assumed where the dataset is not at hand."""
    from medcnn.models.build import build_network
    from medcnn.models.describe import describe

    recipe = concrete(recipe, 0)
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
        **registry.load("tasks", recipe.task.name).gives,
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
