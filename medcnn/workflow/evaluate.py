"""Evaluation of a run: of its own test part, or of another dataset with everything frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medcnn.data.cache import build_cache
from medcnn.data.cases_csv import write_cases, write_exclusions
from medcnn.data.dataset import load_dataset
from medcnn.data.split import overlap
from medcnn.errors import DataError, RunError
from medcnn.evaluation.files import write_evaluation
from medcnn.evaluation.results import Evaluation
from medcnn.inference.hardware import Hardware, available_cores
from medcnn.inference.model_file import Model, load_model, read_description
from medcnn.inference.predictor import predict_cases
from medcnn.progress import Progress
from medcnn.recipe.schema import DataSection, Recipe
from medcnn.tasks.base import EvaluationOptions, Placement
from medcnn.types import Case, ClassLabel, Dataset, LabelSchema, Prediction
from medcnn.workflow.folder import Run, check_belongs
from medcnn.workflow.folds import finish_fold
from medcnn.workflow.prepare import Prepared, cache_folder, check_unusable, divide_labelled, of_fold, reopen

_TRAIN = "medcnn run RECIPE --resume (or medcnn train) comes first"


def evaluate_run(run: Run, progress: Progress, hardware: Hardware) -> Evaluation:
    """Evaluate the predictions of the test part (all folds together), predicting first where they are missing.

    Raises:
        RunError: If a fold is not trained, or the split was changed.
    """
    recipe, split = run.recipe, run.split
    prepared: Prepared | None = None
    for number, folder in zip(run.fold_numbers, run.folds, strict=True):
        if (folder / "predictions" / "test.csv").is_file():
            continue
        checkpoint = next((p for p in (folder / "best.ckpt", folder / "last.ckpt") if p.is_file()), None)
        if checkpoint is None:
            raise RunError("nothing is trained here", where=str(folder), todo=_TRAIN)
        check_belongs(run, checkpoint, read_description(checkpoint)["medcnn"])
        prepared = prepared or reopen(run, progress)
        own, planned = of_fold(prepared, recipe, number, progress)
        finish_fold(own, planned, hardware, number, folder, checkpoint, progress)
    progress.start("evaluating", None)
    task = load_run_models(run)[0].task
    options = EvaluationOptions(
        title=recipe.report.title or recipe.title or recipe.task.name,
        part="test",
        patients_known=run.dataset.patients_known,
        options=recipe.evaluation,
        gallery=recipe.report.gallery,
        seed=recipe.seed,
        folds=len(split.folds),
    )
    evaluation = task.evaluate([f / "predictions" for f in run.folds], run.cases, options)
    write_evaluation(run.folder / "evaluation", evaluation)
    progress.finish()
    return evaluation


def evaluate_external(
    run: Run,
    data: DataSection,
    progress: Progress,
    hardware: Hardware,
    *,
    labels: Mapping[str, str] | None = None,
) -> Evaluation:
    """Test the frozen networks of a run on another dataset: thresholds and preprocessing as they are.

    Args:
        run: A trained run; several folds are combined as the task says.
        data: The other dataset.
        progress: Receives the display.
        hardware: What to compute on.
        labels: Names of classes in the other dataset to those of the run, where they differ.

    Raises:
        DataError: If the labels do not fit, or cases of the training part are among the others.
    """
    models = load_run_models(run)
    task, recipe = models[0].task, run.recipe
    other = map_labels(load_dataset(data, progress), task.schema, labels or {})
    labelled, without = divide_labelled(other.cases, task)
    progress.start("preprocessing", len(labelled), "images")
    cache = build_cache(
        labelled, models[0].preprocess, cache_folder(recipe), workers=available_cores(), progress=progress
    )
    check_unusable([*other.exclusions, *cache.exclusions], len(cache.cases), recipe)
    notes = check_overlap(run, cache.cases, {f.case: f.digest for f in cache.facts}, progress)
    progress.start("predicting", len(cache.cases), "images")
    folder = run.external(other.name)
    target = folder / "predictions" / other.name

    def keep(case: Case, prediction: Prediction, placement: Placement) -> Prediction:
        return task.keep(target, case, prediction, placement)

    found, unreadable = predict_cases(models, cache.cases, hardware, progress=progress, keep=keep)
    cases = [c for c in cache.cases if c.id in found]
    task.write(folder / "predictions", [c.id for c in cases], [found[c.id] for c in cases], other.name)
    used = replace(other, cases=tuple(cases), exclusions=(*other.exclusions, *without, *cache.exclusions, *unreadable))
    write_cases(folder / "cases.csv", used)
    write_exclusions(folder / "exclusions.csv", used.exclusions)
    evaluation = task.evaluate([folder / "predictions"], {c.id: c for c in cases}, external_options(run, used, models))
    evaluation = replace(evaluation, warnings=[*evaluation.warnings, *notes])
    write_evaluation(folder, evaluation, cases="evaluated.csv")
    progress.finish()
    return evaluation


def external_options(run: Run, other: Dataset, models: Sequence[Model]) -> EvaluationOptions:
    """What the evaluator needs to judge another dataset: the run's own rules and its thresholds."""
    recipe = run.recipe
    return EvaluationOptions(
        title=f"{recipe.title or recipe.task.name}, external: {other.facts.get('title') or other.name}",
        part=other.name,
        patients_known=other.patients_known,
        options=recipe.evaluation,
        gallery=recipe.report.gallery,
        seed=recipe.seed,
        thresholds=[models[0].thresholds] if len(models) == 1 else [mean_thresholds([m.thresholds for m in models])],
    )


def load_run_models(run: Run) -> list[Model]:
    """The model of each trained fold.

    Raises:
        RunError: If nothing is trained, or a file was made by another run.
        ModelError: If a file cannot be loaded.
    """
    if not run.models:
        raise RunError("nothing is trained here", where=str(run.folder), todo=_TRAIN)
    models = [load_model(path, allow_code=run.allow_code) for path in run.models]
    for path, model in zip(run.models, models, strict=True):
        check_belongs(run, path, model.description)
    return models


def mean_thresholds(all_thresholds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Thresholds for the mean of several networks' probabilities: the mean of theirs."""
    keys = set.intersection(*(set(t) for t in all_thresholds))
    return {k: sum(t[k] for t in all_thresholds) / len(all_thresholds) for k in sorted(keys)}


def map_labels(other: Dataset, schema: LabelSchema | None, labels: Mapping[str, str]) -> Dataset:
    """The other dataset with its classes in the order and under the names of the run's.

    Raises:
        DataError: If a class has no counterpart.
    """
    theirs = other.labels.get("class")
    if schema is None or theirs is None:
        return other
    unknown = [name for name in theirs.names if labels.get(name, name) not in schema.names]
    if unknown:
        raise DataError(
            f"classes without a counterpart in the run: {', '.join(unknown)}",
            where=other.name,
            todo=f"map each to one of {', '.join(schema.names)}, as in --labels {unknown[0]}={schema.names[0]}",
        )
    position = [schema.index(labels.get(name, name)) for name in theirs.names]

    def convert(label: ClassLabel) -> ClassLabel:
        states: list[int | None] = [None if label.missing else 0] * len(schema.classes)
        for index, state in zip(position, label.states, strict=True):
            states[index] = max(states[index] or 0, state) if state is not None else states[index]
        return ClassLabel(tuple(states))

    cases = tuple(
        replace(c, targets=tuple(convert(t) if isinstance(t, ClassLabel) else t for t in c.targets))
        for c in other.cases
    )
    return replace(other, cases=cases, labels={**other.labels, "class": schema})


def check_overlap(run: Run, cases: Sequence[Case], pixels: Mapping[str, str], progress: Progress) -> list[str]:
    """Refuse an external set that holds images or studies which the networks were trained on.

    Returns:
        A sentence on the patient ids that both have: the same patients, or the same ids by chance.
    """
    prepared = reopen(run, progress)
    trained = {i for fold in run.fold_numbers for i in run.split.part(fold, "training")}
    own_pixels = {f.case: f.digest for f in prepared.cache.facts if f.case in trained}
    found = overlap([run.cases[i] for i in sorted(trained)], own_pixels, cases, pixels)
    if found.certain:
        raise DataError(
            f"{len(found.certain)} cases of the other dataset were trained on (same study or pixels), "
            f"the first is {found.certain[0]}",
            where=run.folder.name,
            todo="leave them out: what a network was trained on says nothing about new cases",
        )
    notes = list(found.notes())
    for note in notes:
        progress.say(note)
    return notes


def recipe_data(recipe: Recipe, name: str | None, options: Mapping[str, Any], root: Path | None) -> DataSection:
    """A data section for another dataset, with the rules of a recipe's own."""
    return DataSection(
        dataset=name,
        catalog=recipe.data.catalog,
        options=dict(options),
        root=str(root) if root else None,
        stack=recipe.data.stack,
        on_error=recipe.data.on_error,
        max_unusable=recipe.data.max_unusable,
    )
