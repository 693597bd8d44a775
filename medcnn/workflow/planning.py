"""What a recipe leaves to ``auto``: planned for each fold from its own training part, and kept in the recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcnn import registry
from medcnn.data.cache import Cache
from medcnn.data.images import read_case
from medcnn.data.labels import read_mask
from medcnn.data.split import Split
from medcnn.errors import DataError, ImageError, RecipeError
from medcnn.geometry.resample import IGNORE
from medcnn.inference.hardware import Hardware
from medcnn.models.build import OWN_OPTIONS
from medcnn.models.fingerprint import Fingerprint, Given, Intensities
from medcnn.models.plan import Plan, plan
from medcnn.models.plan_cost import Planned
from medcnn.recipe.auto import concrete, folds_alike, planned_keys
from medcnn.recipe.parts import AUTO, Component
from medcnn.recipe.schema import InputSection, PlanSection, Recipe
from medcnn.tasks.base import Task
from medcnn.types import Case, Dataset, Mask

# Edge of the small copies by which images are surveyed before there is a plan.
_SURVEY = 8
# Images whose labelled voxels are looked at, and voxels of each.
_MOST_IMAGES = 40
_MOST_VOXELS = 10_000
_KINDS: dict[str, Planned] = {"dynunet": "dynunet", "small_unet": "small_unet"}


def check_plannable(recipe: Recipe) -> None:
    """Refuse ``auto`` where the task does not plan, before anything is read.

    Raises:
        RecipeError: If it does not.
    """
    keys = planned_keys(recipe)
    if keys and not registry.load("tasks", recipe.task.name).plannable:
        raise RecipeError(
            [f"{key}: {recipe.task.name} plans nothing by itself: give a value instead of auto" for key in keys],
            todo="segmentation plans network, patch, spacing and batch; here small_resnet is a start",
        )


def first_input(recipe: Recipe, cases: Sequence[Case]) -> InputSection:
    """What the cache holds before the split: the images themselves, or small copies where their size is planned.

    The copies tell shapes, spacings and identical pixels, and which images and masks cannot be used.
    """
    if not planned_keys(recipe):
        return recipe.input
    found = recipe.input.model_dump()
    size = (_SURVEY,) * _dimensions(recipe, cases)
    found.update(size=size, spacing=None, fit="resize", intensity={"method": "none"}, symmetric_axes=())
    return InputSection.model_validate(found)


def _dimensions(recipe: Recipe, cases: Sequence[Case]) -> int:
    given = recipe.input.size or recipe.input.spacing
    if given:
        return len(given)
    if recipe.plan and recipe.plan[0].input.get("size"):
        return len(recipe.plan[0].input["size"])
    for case in cases:
        try:
            shape = read_case(case).array.shape[1:]
        except ImageError:
            continue
        return 2 if len(shape) == 3 and shape[2] == 1 else len(shape)
    raise DataError("no image can be read", where=cases[0].images[0].paths[0], todo="medcnn data audit says why")


def with_plan(recipe: Recipe, dataset: Dataset, task: Task, cache: Cache, split: Split, hardware: Hardware) -> Recipe:
    """The recipe with a plan for each fold, from the fold's own training part; a plan that is there stays.

    Args:
        recipe: As loaded.
        dataset: The cases in use.
        task: What the network gives.
        cache: Of the survey (:func:`first_input`).
        split: The folds.
        hardware: Its precision says how large a number is.

    Raises:
        RecipeError: If the recipe has plans for another number of folds.
        ModelError: If no plan fits the budget.
    """
    if not planned_keys(recipe):
        return recipe
    if recipe.plan and len(recipe.plan) != len(split.folds):
        raise RecipeError(
            [f"plan: holds {len(recipe.plan)} plans, the split has {len(split.folds)} folds"],
            todo="take plan out of the recipe, and it is planned anew",
        )
    if recipe.plan:
        return recipe
    parts = [split.part(fold, "training") for fold in range(len(split.folds))]
    made = tuple(_plan(recipe, dataset, task, cache, part, hardware) for part in parts)
    return recipe.model_copy(update={"plan": made})


def _plan(
    recipe: Recipe, dataset: Dataset, task: Task, cache: Cache, training: Sequence[str], hardware: Hardware
) -> PlanSection:
    wanted = set(training)
    cases = [case for case in dataset.cases if case.id in wanted]
    section = recipe.input
    given = Given(
        size=section.size or None,
        spacing=section.spacing or None,
        keeps_grid=section.spacing is None,
        batch_size=recipe.training.batch_size or None,
    )
    number_bytes: Literal[2, 4] = 4 if hardware.precision == "32" else 2
    own = recipe.model.name == AUTO
    options: dict[str, Any] = recipe.model.options if own else {"network": recipe.model.name}
    found = plan(
        fingerprint_of(recipe, dataset, cases, task, cache),
        int(recipe.training.memory_gb * 2**30),
        network=_KINDS.get(str(options.get("network")), "dynunet"),
        number_bytes=number_bytes,
        work=options.get("work"),
        given=given,
    )
    return _section(recipe, found)


def _section(recipe: Recipe, found: Plan) -> PlanSection:
    """Of a plan what the recipe left open."""
    sections, keys = found.sections(), planned_keys(recipe)
    seen: dict[str, Any] = {}
    if "input.size" in keys:
        seen["size"] = sections["input"]["size"]
    if "input.spacing" in keys:
        seen["spacing"] = sections["input"].get("spacing")
    if "input.intensity.method" in keys:
        seen["intensity"] = sections["input"].get("intensity", {"method": AUTO})
    reasons = found.reasons
    model = None
    if "model" in keys:
        weights = {k: v for k, v in recipe.model.options.items() if k in OWN_OPTIONS}
        model = Component(**{**sections["model"], **(weights if weights.get("weights") else {})})
    else:
        reasons = (
            f"The network is the recipe's; memory is reckoned as that of a {found.design.name} as described here.",
            *reasons,
        )
    training = sections["training"] if "training.batch_size" in keys else {}
    return PlanSection(input=seen, model=model, training=training, reasons=reasons)


def fingerprint_of(recipe: Recipe, dataset: Dataset, cases: Sequence[Case], task: Task, cache: Cache) -> Fingerprint:
    """Shapes and spacings of cases along the network's axes, and intensities of their labelled voxels where needed."""
    row = {fact.case: number for number, fact in enumerate(cache.facts)}
    shapes, spacings = [], []
    for case in cases:
        fact = cache.facts[row[case.id]]
        axes = _axes(cache, row[case.id])
        shapes.append(tuple(fact.shape[1 + axis] for axis in axes))
        if fact.spacing is not None:
            spacings.append(tuple(fact.spacing[axis] for axis in axes))
    if recipe.input.spacing is None and len(spacings) < len(shapes):
        spacings = []
    looked_at = recipe.input.intensity.method == "planned"
    return Fingerprint(
        tuple(shapes),
        tuple(spacings),
        recipe.input.channels,
        task.outputs,
        intensities_of(dataset, cases, task) if looked_at else None,
    )


def _axes(cache: Cache, row: int) -> list[int]:
    """For each axis of the network the image's axis that lies along it."""
    dims = len(cache.shape) - 1
    if cache.matrices is None:
        return list(range(dims))
    matrix = np.abs(cache.matrices[row][:dims, :dims])
    return [int(axis) for axis in matrix.argmax(1)]


def intensities_of(dataset: Dataset, cases: Sequence[Case], task: Task) -> Intensities:
    """Percentiles of labelled voxels over an even sample of the cases; only CT has a unit of its own."""
    masks = task.masks
    by_catalog = str(dataset.facts.get("modality") or "")
    values: list[NDArray[Any]] = []
    for case in cases[:: -(-len(cases) // _MOST_IMAGES)]:
        mask = case.target(Mask)
        if masks is None or mask is None:
            continue
        image = read_case(case)
        if (image.header.get("modality") or by_catalog.split(" ")[0]) != "CT" or image.array.shape[0] != 1:
            return Intensities(0.0, 0.0, hounsfield=False)
        labels = read_mask(
            mask, masks.schema, image, resample=masks.resample, consensus=masks.consensus, drawn_on=case.images[0]
        )
        drawn = (labels > 0) & (labels != IGNORE)
        found = image.array[0][drawn.any(0) if masks.schema.multilabel else drawn]
        values.append(found[:: max(1, len(found) // _MOST_VOXELS)])
    together = np.concatenate(values) if values else np.zeros(0)
    together = together[np.isfinite(together)]
    if not together.size:
        return Intensities(0.0, 0.0, hounsfield=False)
    low, high = np.percentile(together, (0.5, 99.5))
    return Intensities(float(np.floor(low)), float(np.ceil(high)), hounsfield=True)


def plan_lines(recipe: Recipe) -> list[str]:
    """The plan and its reasons in lines for the user; folds with the same plan stand together."""
    lines = []
    for folds in folds_alike([one.model_dump(mode="json") for one in recipe.plan]):
        own = concrete(recipe, folds[0])
        name = "plan" if len(recipe.plan) == 1 else f"plan of fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))}"
        spacing = f", spacing {_by(own.input.spacing)} mm" if own.input.spacing else ""
        network = f"{own.model.name} with {', '.join(map(str, own.model.options.get('filters', ())))} filters"
        lines.append(
            f"{name}: {network if own.model.options.get('filters') else own.model.name}, patches of "
            f"{_by(own.input.size)}{spacing}, {own.training.batch_size} a step"
        )
        lines += [f"  {reason}" for reason in recipe.plan[folds[0]].reasons]
    return lines


def _by(values: Sequence[float]) -> str:
    return " x ".join(f"{v:g}" for v in values)
