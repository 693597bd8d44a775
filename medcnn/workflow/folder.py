"""The run folder: what each step leaves there, by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from medcnn.data.cases_csv import read_cases
from medcnn.data.split import Split, read_split
from medcnn.errors import RunError
from medcnn.files import explain, read_json
from medcnn.recipe.load import load_recipe
from medcnn.recipe.schema import Recipe
from medcnn.types import Case, Dataset

MODEL = "model.pt"


@dataclass(frozen=True)
class Run:
    """A run on disk.

    Attributes:
        folder: The run folder.
        allow_code: A folder whose modules the recipe's network may come from.
    """

    folder: Path
    allow_code: Path | None = None

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe.

        Raises:
            RunError: If the folder is not a run.
        """
        path = self.folder / "recipe.yaml"
        if not path.is_file():
            raise RunError("this is not a run folder: it has no recipe.yaml", where=str(self.folder))
        found = load_recipe(path, allow_code=self.allow_code)
        assert isinstance(found, Recipe)
        return found

    @cached_property
    def dataset(self) -> Dataset:
        """The cases that the run uses."""
        return read_cases(self.folder / "cases.csv")

    @cached_property
    def cases(self) -> Mapping[str, Case]:
        """The cases by id."""
        return {case.id: case for case in self.dataset.cases}

    @cached_property
    def split(self) -> Split:
        """The sealed split; raises :class:`~medcnn.errors.RunError` where it was changed."""
        return read_split(self.folder)

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions, hardware and digests."""
        found: dict[str, Any] = read_json(self.folder / "provenance.json")
        return found

    @property
    def folds(self) -> tuple[Path, ...]:
        """One folder a fold that the recipe trains: ``training``, or ``fold-0``, ``fold-1``, ..."""
        count = len(self.split.folds)
        if count == 1:
            return (self.folder / "training",)
        wanted = self.recipe.data.split.only or range(count)
        return tuple(self.folder / f"fold-{k}" for k in wanted)

    @property
    def fold_numbers(self) -> tuple[int, ...]:
        """The folds of the split that :attr:`folds` belong to."""
        count = len(self.split.folds)
        return tuple(self.recipe.data.split.only or range(count)) if count > 1 else (0,)

    @property
    def models(self) -> tuple[Path, ...]:
        """The model file of each trained fold."""
        return tuple(f / MODEL for f in self.folds if (f / MODEL).is_file())

    @property
    def report(self) -> Path:
        """Where the report is."""
        return self.folder / "report.html"

    @property
    def metrics(self) -> dict[str, Any]:
        """``evaluation/metrics.json``."""
        found: dict[str, Any] = read_json(self.folder / "evaluation" / "metrics.json")
        return found


def open_run(folder: Path | str | Run) -> Run:
    """A run folder that exists; raises :class:`~medcnn.errors.RunError` otherwise."""
    if isinstance(folder, Run):
        return folder
    path = Path(folder)
    if not path.is_dir():
        raise RunError("there is no such run folder", where=str(path), todo="give the folder that medcnn run printed")
    if not (path / "recipe.yaml").is_file():
        raise RunError("this is not a run folder: it has no recipe.yaml", where=str(path))
    return Run(path)


def new_folder(wanted: Path | None, name: str) -> Path:
    """Make the folder of a new run: the wanted one, else ``runs/<name>``, numbered where it is taken.

    Raises:
        RunError: If the wanted folder exists and is not empty, or cannot be written to.
    """
    folder = wanted
    if folder is None:
        folder, count = Path("runs") / name, 1
        while folder.exists():
            count += 1
            folder = Path("runs") / f"{name}-{count}"
    elif folder.is_file():
        raise RunError("the output folder is a file", where=str(folder), todo="give another --out")
    elif folder.is_dir() and any(folder.iterdir()):
        raise RunError(
            "the output folder exists and is not empty; nothing was changed",
            where=str(folder),
            todo="give another --out, or --resume to go on with the run in it",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise explain(error, folder) from error
    return folder


def resumable_folder(wanted: Path | None, name: str) -> Path:
    """The folder to go on with: the wanted one, else the newest ``runs/<name>`` of that name.

    Raises:
        RunError: If there is none.
    """
    if wanted is not None:
        if not wanted.is_dir():
            raise RunError("there is no run to resume", where=str(wanted), todo="leave --resume out to start it")
        return wanted
    pattern = [p for p in Path("runs").glob(f"{name}*") if p.name == name or p.name[len(name) :].lstrip("-").isdigit()]
    candidates = sorted((p for p in pattern if p.is_dir()), key=lambda p: p.stat().st_mtime)
    if not candidates:
        raise RunError(f"there is no run of {name!r} to resume", where="runs", todo="leave --resume out to start one")
    return candidates[-1]
