"""Prediction on images of any origin, as a table."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcnn.data.mask_files import short_stems
from medcnn.data.stack_choice import choose_stacks, rule_of
from medcnn.errors import ModelError, RunError
from medcnn.files import explain, open_atomic
from medcnn.inference.hardware import choose_hardware
from medcnn.inference.inputs import find_inputs
from medcnn.inference.model_file import Model, load_model
from medcnn.inference.predictor import predict_cases
from medcnn.progress import Progress
from medcnn.tasks.base import Placement, Task
from medcnn.types import Case, Exclusion, Prediction
from medcnn.workflow.companions import Kept, Wishes, extras_of, remarks
from medcnn.workflow.evaluate import load_run_models, mean_thresholds
from medcnn.workflow.folder import Run, open_run

if TYPE_CHECKING:
    import pandas as pd


def load_models(source: Run | str | Path, allow_code: Path | None) -> list[Model]:
    """The models of a run folder, or the one in a file.

    Raises:
        RunError: If the run has none, or one of another run.
        ModelError: If there is none, or it cannot be loaded.
    """
    if isinstance(source, Run) or Path(source).is_dir():
        return load_run_models(open_run(source, allow_code=allow_code))
    if not Path(source).exists():
        todo = "give the model.pt of a run, or the folder of a run"
        raise ModelError("there is no such model file or run folder", where=str(source), todo=todo)
    return [load_model(Path(source), allow_code=allow_code)]


def check_writable(out: Path) -> None:
    """Refuse a table that cannot be written, before the work is done; what is there stays as it is."""
    if out.is_dir():
        raise RunError("the table to write is a folder", where=str(out), todo="give a file as --out FILE.csv")
    if out.is_file() and out.suffix.lower() not in (".csv", ".tsv"):
        # An image that slipped behind --out must not be replaced by a table.
        raise RunError("a file that is no table has this name", where=str(out), todo="give --out FILE.csv")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise explain(error, out) from error


def table_of(out: Path | None, task: Task) -> Path | None:
    """The table to write: the file that was asked for, or ``predictions.csv`` beside the files of a task.

    Raises:
        RunError: If the task writes files and no folder is given, or a file has its name.
    """
    if not task.keeps_files:
        return out
    if out is None or out.is_file() or out.suffix.lower() in (".csv", ".tsv"):
        raise RunError(
            f"{task.name} writes a file for each image, which need a folder",
            where="--out" if out is None else str(out),
            todo="give a folder as --out DIR; its predictions.csv is the table",
        )
    return out / "predictions.csv"


def picked(
    cases: Sequence[Case], rule: Mapping[str, Any] | None, progress: Progress
) -> tuple[list[Case], list[Exclusion]]:
    """The cases with the stacks of DICOM that the model's recipe picked for training, and those without one."""
    wanted = rule_of(rule)
    # Series that were found in folders are stacks already.
    undecided = [case for case in cases if case.images[0].reader == "auto"]
    if wanted is None or not undecided:
        return list(cases), []
    base = os.path.commonpath([os.path.abspath(case.images[0].paths[0]) for case in undecided])
    kept, unfit = choose_stacks(
        undecided, wanted, Path(base if os.path.isdir(base) else os.path.dirname(base)), progress
    )
    chosen, without = {case.id: case for case in kept}, {e.case for e in unfit}
    return [chosen.get(case.id, case) for case in cases if case.id not in without], unfit


def predict_paths(
    source: Run | str | Path,
    paths: Sequence[str | Path],
    out: Path | None,
    allow_code: Path | None,
    progress: Progress,
    wishes: Wishes,
) -> pd.DataFrame:
    """Predictions of files, folders and tables; what cannot be read has its reason in the column ``error``."""
    models = load_models(source, allow_code)
    task, thresholds = models[0].task, mean_thresholds([m.thresholds for m in models])
    extras = extras_of(models, wishes)
    table_file = table_of(out, task)
    if table_file is not None:
        check_writable(table_file)

    volumes = models[0].description["network"]["spatial_dims"] == 3
    rule = models[0].description.get("stack")
    inputs = find_inputs(paths, volumes=volumes, rule=rule_of(rule), progress=progress)
    readable, unfit = picked(inputs.cases, rule, progress)
    ids = [case.id for case in inputs.cases]
    stems = dict(zip(ids, short_stems(ids), strict=True))

    def keep(case: Case, prediction: Prediction, placement: Placement) -> Prediction:
        if out is None:
            return prediction
        return task.keep(out, replace(case, id=stems[case.id]), prediction, placement, thresholds, extras.companions)

    progress.start("predicting", len(readable), "images")
    found, unreadable = predict_cases(models, readable, choose_hardware(), progress=progress, keep=keep)
    progress.finish()
    errors = [*inputs.unusable, *unfit, *unreadable]
    table = _table(task, [*ids, *(e.case for e in inputs.unusable)], found, errors, thresholds)
    more = extras.finish(out, Kept(readable, found, thresholds)) if out is not None else ()
    for sentence in (*_left_out(errors, len(table), inputs.passed_over), *remarks(task, found.values()), *more):
        progress.say(sentence)
    if table_file is not None:
        with open_atomic(table_file) as file:
            table.to_csv(file, index=False, lineterminator="\n")
    return table


def _table(
    task: Task,
    cases: Sequence[str],
    found: Mapping[str, Prediction],
    errors: Sequence[Exclusion],
    thresholds: Mapping[str, float],
) -> pd.DataFrame:
    import pandas as pd

    reasons = {e.case: e.reason for e in errors}
    rows: list[dict[str, Any]] = []
    for case in cases:
        columns = task.decide(found[case], thresholds) if case in found else {}
        rows.append({"case": case, **columns, "error": reasons.get(case, "")})
    table = pd.DataFrame(rows)
    # Counts stay whole numbers beside what could not be read.
    counts = {c for row in rows for c, v in row.items() if type(v) is int}
    table = table.astype(dict.fromkeys(counts, "Int64"))
    # The reasons stand last, also where the first case could not be read.
    return table[[c for c in table.columns if c != "error"] + ["error"]]


def _left_out(errors: Sequence[Exclusion], total: int, passed_over: Sequence[Exclusion]) -> Iterator[str]:
    if errors:
        yield f"{len(errors)} of {total} images could not be read or written; see the column error"
    for reason, count in Counter(e.reason for e in passed_over).items():
        first = next(e.path for e in passed_over if e.reason == reason)
        yield f"{count} {'was' if count == 1 else 'were'} passed over: {reason}, such as {first}"
