"""Recipes with values that are planned: which those are, and the recipe of a fold once they are known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from medcnn.errors import RecipeError
from medcnn.recipe.parts import AUTO
from medcnn.recipe.problems import from_validation
from medcnn.recipe.schema import InputSection, Recipe


def planned_keys(recipe: Recipe) -> tuple[str, ...]:
    """The keys of a recipe that say ``auto`` (or ``planned``), dotted."""
    found = {
        "model": recipe.model.name == AUTO,
        "input.size": not recipe.input.size,
        "input.spacing": recipe.input.spacing == (),
        "input.intensity.method": recipe.input.intensity.method == "planned",
        "training.batch_size": not recipe.training.batch_size,
    }
    return tuple(key for key, planned in found.items() if planned)


def folds_alike(plans: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Folds with the same planned values, whatever the reasons; in the order of their first."""
    together: dict[str, list[int]] = {}
    for fold, one in enumerate(plans):
        values = {key: value for key, value in one.items() if key != "reasons"}
        together.setdefault(json.dumps(values, sort_keys=True, default=str), []).append(fold)
    return list(together.values())


def same_but_for_plan(one: Recipe, other: Recipe) -> bool:
    """Whether two recipes ask for the same, where only one of them may know its plan yet."""
    if one.plan and other.plan:
        return one == other
    return one.model_copy(update={"plan": ()}) == other.model_copy(update={"plan": ()})


def concrete(recipe: Recipe, fold: int) -> Recipe:
    """The recipe of one fold with the planned values in their places; the recipe itself where nothing is planned.

    Args:
        recipe: With its plan, where it needs one.
        fold: Of the split.

    Raises:
        RecipeError: If it has no plan for this fold, or the planned values do not fit the others.
    """
    if not planned_keys(recipe):
        return recipe
    if fold >= len(recipe.plan):
        raise RecipeError(
            [f"{', '.join(planned_keys(recipe))}: auto is planned from the training part when a run is prepared"],
            todo="give the folder of a run, whose recipe.yaml holds the plan, or values instead of auto",
        )
    found = recipe.plan[fold]
    seen: dict[str, Any] = {**recipe.input.model_dump(), **found.input}
    try:
        section = InputSection.model_validate(seen)
    except ValidationError as error:
        problems = from_validation(error, seen, InputSection, ("input",))
        raise RecipeError(
            [f"{'.'.join(map(str, p.path))}: {p.text}" for p in problems],
            where="the plan and the recipe do not fit each other",
        ) from error
    training = recipe.training.model_copy(update=found.training)
    return recipe.model_copy(
        update={"input": section, "training": training, "model": found.model or recipe.model, "plan": ()}
    )
