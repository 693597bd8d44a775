"""Training of the folds, and their predictions on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medcnn import registry
from medcnn.data.loaders import BatchLoader
from medcnn.data.patches import PatchDraw
from medcnn.data.preprocess import Preprocessor
from medcnn.files import digest, read_json, write_json
from medcnn.inference.hardware import Hardware
from medcnn.inference.model_file import FORMAT, export_model, load_model
from medcnn.inference.predictor import Keep, predict_batches
from medcnn.models.build import OWN_OPTIONS, build_network
from medcnn.models.weights import load_weights
from medcnn.progress import Progress
from medcnn.recipe.schema import Recipe
from medcnn.tasks.base import Placement, Task, TaskModel
from medcnn.training.fit import Fold, FoldData, evaluation_batch, fit
from medcnn.types import Part, Prediction
from medcnn.workflow import launch, processes
from medcnn.workflow.folder import MODEL
from medcnn.workflow.prepare import Prepared, of_fold
from medcnn.workflow.provenance import Clock, versions


def train_folds(
    prepared: Prepared,
    recipe: Recipe,
    hardware: Hardware,
    progress: Progress,
    *,
    resume: bool = False,
    allow_code: Path | None = None,
    callbacks: Sequence[Any] = (),
) -> None:
    """Train every fold that is not yet done; each leaves its checkpoints, predictions and model file.

    Raises:
        RunError: If the recipe asks for several processes and they cannot be started from here.
    """
    number_of_processes = launch.wanted(recipe.training, hardware.device)
    if not processes.launched() and (number_of_processes > 1 or recipe.training.nodes > 1):
        launch.require_launchable(recipe.training, callbacks)
        launch.train_in_processes(prepared.run, number_of_processes, progress, resume=resume)
        return
    folders, numbers = prepared.run.folds, prepared.run.fold_numbers
    targets = prepared.targets()
    for number, folder in zip(numbers, folders, strict=True):
        if resume and (folder / MODEL).is_file():
            continue
        clock = Clock()
        of_all = f"{number + 1} of {len(prepared.split.folds)}"
        name = "training" if len(folders) == 1 else f"training fold {number} ({of_all})"
        own, planned = of_fold(prepared, recipe, number, progress)
        fold = make_fold(own, planned, number, folder, targets, name, progress, allow_code, callbacks)
        checkpoint = fit(fold, planned, hardware, progress, resume=resume)
        if processes.is_main():
            note_training(own, folder.name, clock, fold.description)
        finish_fold(own, planned, hardware, number, folder, checkpoint, progress)


def make_fold(
    prepared: Prepared,
    recipe: Recipe,
    number: int,
    folder: Path,
    targets: Mapping[str, NDArray[Any]],
    name: str,
    progress: Progress,
    allow_code: Path | None,
    callbacks: Sequence[Any],
) -> Fold:
    """The network, its loss and its data for one fold."""
    training = prepared.places(number, "training")
    cases = [prepared.dataset.cases[place] for place in training]
    facts = prepared.task.facts(cases, {key: values[training] for key, values in targets.items()})
    weights = prepared.task.class_weights(recipe.training.class_weights, facts)
    chosen = recipe.training.loss
    loss_name = chosen.name if chosen else prepared.task.default_loss
    options = {**(chosen.options if chosen else {}), **prepared.task.loss_options}
    if weights is not None:
        options["class_weights"] = weights
    loss = registry.load("losses", loss_name)(**options)
    # The initial weights are a function of the seed and the fold alone.
    torch.manual_seed(recipe.seed * 1000 + number)
    network, spec = make_network(recipe, prepared.task, allow_code, progress)
    model = prepared.task.build(network, loss, facts)
    model.adopt(recipe.input)
    for line in model.remarks():
        progress.say(line)
    if processes.is_main():
        prepared.task.study_training(folder, prepared.images, training.tolist(), targets)
    patches = patch_draw(recipe)
    times = recipe.input.patches.per_case if patches else 1
    strata = [prepared.task.stratum(case) for case in cases for _ in range(times)]
    return Fold(
        task=prepared.task,
        model=model,
        data=FoldData(
            prepared.images,
            [case.id for case in prepared.dataset.cases],
            np.repeat(training, times),
            prepared.places(number, "validation"),
            targets,
            balanced_chances(strata) if recipe.training.balanced_sampling else None,
            patches,
        ),
        folder=folder,
        description=describe_model(prepared, recipe, spec, model),
        name=name,
        callbacks=callbacks,
    )


def patch_draw(recipe: Recipe) -> PatchDraw | None:
    """How patches of training are drawn; ``None`` where images come to one size."""
    section = recipe.input
    if section.fit != "patches":
        return None
    return PatchDraw(tuple(section.size), section.patches.foreground, recipe.seed)


def make_network(
    recipe: Recipe, task: Task, allow_code: Path | None, progress: Progress
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The recipe's network, with weights from a file where it names one, and how to build it again."""
    options = {k: v for k, v in recipe.model.options.items() if k not in OWN_OPTIONS}
    spec = {
        "name": recipe.model.name,
        "options": options,
        "spatial_dims": len(recipe.input.size),
        "in_channels": recipe.input.channels,
        "outputs": task.outputs,
        "size": list(recipe.input.size),
    }
    network = build_network(
        recipe.model.name,
        options,
        spatial_dims=len(recipe.input.size),
        in_channels=recipe.input.channels,
        outputs=task.outputs,
        size=recipe.input.size,
        **task.gives,
        allow_code=allow_code,
    )
    weights = recipe.model.options.get("weights")
    if weights:
        strict = bool(recipe.model.options.get("strict_weights", True))
        found = load_weights(network, Path(weights), strict=strict)
        if found.left_out:
            progress.say(f"{len(found.left_out)} weights do not fit and were left out: {', '.join(found.left_out)}")
    return network, spec


def balanced_chances(strata: Sequence[str | None]) -> NDArray[np.float64]:
    """Chances by which every stratum is drawn equally often."""
    names, index = np.unique([s or "" for s in strata], return_inverse=True)
    counts = np.bincount(index, minlength=len(names))
    chances = 1.0 / counts[index]
    return np.asarray(chances / chances.sum(), np.float64)


def describe_model(prepared: Prepared, recipe: Recipe, spec: Mapping[str, Any], model: TaskModel) -> dict[str, Any]:
    """What a checkpoint says of itself: plain values only."""
    digests = prepared.run.provenance["digests"]
    # As it was written when the run was prepared, with the plan of each fold where there is one.
    text = (prepared.run.folder / "recipe.yaml").read_text(encoding="utf-8")
    return {
        "format": FORMAT,
        "versions": versions(),
        "recipe": text,
        "recipe_digest": digest(text.encode()),
        "split_digest": digests["split"],
        "data_digest": digests["data"],
        "dataset": prepared.dataset.name,
        "task": {"name": recipe.task.name, "state": prepared.task.state()},
        "network": dict(spec),
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "preprocess": Preprocessor(recipe.input).state(),
        "stack": None if recipe.data.stack is None else recipe.data.stack.model_dump(),
        "thresholds": {},
    }


def finish_fold(
    prepared: Prepared,
    recipe: Recipe,
    hardware: Hardware,
    number: int,
    folder: Path,
    checkpoint: Path,
    progress: Progress,
) -> None:
    """Predict the validation and test parts, choose thresholds on validation, export the model."""
    predict_parts(prepared, recipe, hardware, number, folder, checkpoint, progress)
    if processes.is_main():
        thresholds = prepared.task.thresholds(folder / "predictions", prepared.run.cases, recipe.evaluation)
        export_model(checkpoint, folder / MODEL, thresholds)
    processes.barrier()


def predict_parts(
    prepared: Prepared,
    recipe: Recipe,
    hardware: Hardware,
    number: int,
    folder: Path,
    checkpoint: Path,
    progress: Progress,
) -> None:
    """Write ``predictions/validation.csv`` and ``predictions/test.csv`` of one fold."""
    loaded = load_model(checkpoint, allow_code=prepared.run.allow_code)
    targets = prepared.targets()
    parts: tuple[Part, ...] = ("validation", "test")
    for part in parts:
        places = prepared.places(number, part)
        progress.start(f"predicting the {part} part", len(places), "images")
        loader = BatchLoader(
            prepared.images,
            places,
            targets,
            evaluation_batch(recipe),
            seed=recipe.seed,
            shuffle=False,
            rank=processes.rank(),
            world_size=processes.count(),
        )
        own = predict_batches(loaded.model, loader, hardware, progress, keep=keeper(prepared, folder, part))
        found = processes.gather(own)
        progress.advance(len(found) - len(own))
        if processes.is_main():
            cases = [prepared.dataset.cases[place].id for place in places]
            prepared.task.write(folder / "predictions", cases, [found[int(place)] for place in places], part)
    progress.finish()


def keeper(prepared: Prepared, folder: Path, part: Part) -> Keep:
    """Puts what is large about each prediction of a part on disk as soon as it is made."""
    target, cases, images = folder / "predictions" / part, prepared.dataset.cases, prepared.images

    def keep(place: int, prediction: Prediction) -> Prediction:
        placement = Placement(*images.placement(place)) if images.placed else None
        return prepared.task.keep(target, cases[place], prediction, placement)

    return keep


def note_training(prepared: Prepared, step: str, clock: Clock, description: Mapping[str, Any]) -> None:
    """Add the seconds of a fold's training and the size of its network to the provenance."""
    path = prepared.run.folder / "provenance.json"
    provenance = read_json(path)
    provenance["times"][step] = clock.read()
    provenance["model"] = {"name": description["network"]["name"], "parameters": description["parameters"]}
    write_json(path, provenance)
