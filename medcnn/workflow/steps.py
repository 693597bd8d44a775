"""The way from a recipe to a report: what ``run`` and ``train`` do, for the public API above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcnn.errors import RecipeError
from medcnn.progress import Progress
from medcnn.recipe.auto import planned_keys
from medcnn.recipe.load import load_recipe
from medcnn.recipe.schema import Recipe, Suite, TrainingSection
from medcnn.workflow import processes
from medcnn.workflow.folder import Run, is_prepared, kept_if_used, new_folder, resumable_folder

if TYPE_CHECKING:
    from medcnn.inference.hardware import Hardware

Source = str | Path | Recipe | Suite


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for.

    Attributes:
        recipe: A shipped recipe's name, a path, or a recipe.
        out: The run folder; ``None``: ``runs/<name>``, numbered where it is taken.
        overrides: Changes such as ``training.epochs=5``.
        resume: Go on with an interrupted run.
        allow_code: The recipe may name a network in code that lies beside it.
        progress: Receives the display.
    """

    recipe: Source
    out: Path | None
    overrides: Sequence[str]
    resume: bool
    allow_code: bool
    progress: Progress

    @property
    def name(self) -> str:
        """Of the run folder."""
        return Path(self.recipe).stem if isinstance(self.recipe, str | Path) else "run"

    @property
    def code(self) -> Path | None:
        """The folder that code may come from."""
        return code_folder(self.recipe) if self.allow_code else None

    def load(self) -> Recipe | Suite:
        """The recipe, checked; of one that is no file the overrides have no place."""
        if isinstance(self.recipe, Recipe | Suite):
            return self.recipe
        return load_recipe(self.recipe, self.overrides, allow_code=self.code)

    def folder(self) -> Path:
        """The run folder, made or found."""
        return resumable_folder(self.out, self.name) if self.resume else new_folder(self.out, self.name)


def code_folder(recipe: Source) -> Path:
    """Where the code of a recipe's network may lie: beside its file, else in the working folder."""
    if isinstance(recipe, str | Path) and Path(recipe).is_file():
        return Path(recipe).resolve().parent
    return Path.cwd()


def run(order: Order) -> Run | list[Run]:
    """Train, evaluate and report; of a suite each recipe."""
    loaded = order.load()
    if isinstance(loaded, Suite):
        return _run_suite(order, loaded)
    done = train(order, loaded)
    if processes.is_main():
        from medcnn.workflow.evaluate import evaluate_run

        evaluate_run(done, order.progress, hardware_of(loaded.training))
        report(done)
    processes.barrier()
    return done


def _run_suite(order: Order, suite: Suite) -> list[Run]:
    from medcnn.report import write_index

    folder = order.folder()
    runs: list[Run] = []
    for number, member in enumerate(suite.suite, 1):
        order.progress.say(f"recipe {number} of {len(suite.suite)}: {member}")
        target = folder / Path(member).stem
        go_on = order.resume and target.is_dir()
        if go_on and Run(target).report.is_file():
            runs.append(Run(target))
            continue
        with kept_if_used(folder):
            done = run(replace(order, recipe=member, out=target, resume=go_on))
        assert isinstance(done, Run)
        runs.append(done)
    write_index([(r.folder.name, r.report) for r in runs], folder / "index.html")
    return runs


def train(order: Order, loaded: Recipe | Suite, callbacks: Sequence[Any] = ()) -> Run:
    """Find the cases, split, train and predict; no evaluation."""
    if isinstance(loaded, Suite):
        raise RecipeError(["a suite cannot be trained as one; use medcnn run"], where=str(order.recipe))
    from medcnn.workflow.folds import train_folds
    from medcnn.workflow.outputs import check_weights
    from medcnn.workflow.planning import check_plannable
    from medcnn.workflow.prepare import prepare, reopen

    hardware = hardware_of(loaded.training)
    check_plannable(loaded)
    check_weights(loaded)
    processes.start(hardware.device)
    folder, code, progress = None, order.code, order.progress
    if processes.is_main():
        folder = order.folder()
        if not (order.resume and is_prepared(Run(folder, code), loaded)):
            command = ["medcnn", "run", order.name, *order.overrides]
            with kept_if_used(folder):
                prepare(loaded, folder, hardware, progress, command=command)
    made = Run(processes.share(folder), code)
    prepared = reopen(made, progress)
    # The run's own recipe holds what was planned.
    loaded = made.recipe if planned_keys(loaded) else loaded
    train_folds(prepared, loaded, hardware, progress, resume=order.resume, allow_code=code, callbacks=callbacks)
    return made


def hardware_of(section: TrainingSection) -> Hardware:
    """What a recipe's section of training computes on."""
    from medcnn.inference.hardware import choose_hardware

    return choose_hardware(section.device, section.precision, section.threads)


def report(run: Run) -> Path:
    """Write the report of a run whose split is as it was sealed."""
    from medcnn.report import write_report
    from medcnn.workflow.pictures import pictures_of

    run.require_sealed()
    return write_report(run.folder, pictures=pictures_of(run))
