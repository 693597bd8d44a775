"""How many outputs a recipe's network has."""

from __future__ import annotations

from medcnn import registry
from medcnn.data.catalog import find_entry
from medcnn.data.dataset import load_dataset
from medcnn.recipe.schema import Recipe


def count_outputs(recipe: Recipe) -> int:
    """From the catalog's schema where it has one, else from the dataset itself.

    Raises:
        DataError: If the dataset is not at hand.
    """
    if recipe.data.dataset is not None:
        entry = find_entry(recipe.data.dataset, recipe.data.catalog)
        if entry.labels is not None and entry.labels.classes:
            return len(entry.labels.classes)
    dataset = load_dataset(recipe.data)
    made = registry.load("tasks", recipe.task.name).create(dataset, **recipe.task.options)
    return int(made.outputs)
