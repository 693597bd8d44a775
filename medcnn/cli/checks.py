"""Checks of a recipe against the catalog, so that ``validate`` and ``run`` list them with all other problems."""

from __future__ import annotations

from collections.abc import Iterator

from medcnn import registry
from medcnn.data.catalog import find_entry
from medcnn.errors import MedcnnError, RecipeError
from medcnn.recipe.auto import planned_keys
from medcnn.recipe.options import find_problems
from medcnn.recipe.problems import Problem
from medcnn.recipe.schema import Recipe


def plannable(recipe: Recipe) -> Iterator[Problem]:
    """The task plans what the recipe leaves to ``auto``; only then is the task itself imported."""
    keys = planned_keys(recipe)
    if not keys or recipe.task.name not in registry.names("tasks"):
        return
    from medcnn.workflow.planning import check_plannable

    try:
        check_plannable(recipe)
    except RecipeError as error:
        for key, text in zip(keys, error.problems, strict=True):
            yield Problem(tuple(key.split(".")), text.removeprefix(f"{key}: "))


def known_dataset(recipe: Recipe) -> Iterator[Problem]:
    """The dataset is in the catalog, serves the task, and its adapter knows the options that the recipe changes."""
    data = recipe.data
    if data.dataset is None:
        return
    try:
        entry = find_entry(data.dataset, data.catalog)
    except MedcnnError as error:
        path = ("data", "catalog" if error.where else "dataset")
        yield Problem(path, f"{error.what} ({error.todo})" if error.todo else str(error))
        return
    if recipe.task.name not in entry.tasks:
        yield Problem(("task",), f"the dataset {data.dataset!r} serves {', '.join(entry.tasks)}")
    options = {**entry.adapter.options, **data.options}
    yield from find_problems(
        "adapters", entry.adapter.name, options, path=("data", "options"), name_path=("data", "dataset")
    )
