"""The run folder: what each step leaves there, by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from medcnn.data.cases_csv import read_cases
from medcnn.data.split import SEAL, TABLE, Split, read_split
from medcnn.errors import RunError
from medcnn.files import explain, read_json
from medcnn.recipe.auto import same_but_for_plan
from medcnn.recipe.document import read_document
from medcnn.recipe.load import load_recipe
from medcnn.recipe.schema import IntensitySection, Recipe
from medcnn.types import Case, Dataset

MODEL = "model.pt"
# What a run that was stopped while it was prepared may have left; its recipe comes last.
_PREPARED = {"cases.csv", "cases.json", "exclusions.csv", "audit.json", "split.csv", "split.json", "provenance.json"}


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
        _require_run(self.folder)
        found = load_recipe(self.folder / "recipe.yaml", allow_code=self.allow_code)
        assert isinstance(found, Recipe)
        return found

    @property
    def window(self) -> tuple[float | None, float | None]:
        """The recipe's window of intensities, as given or planned, read without the code of its network."""
        document = read_document(self.folder / "recipe.yaml").data
        planned = next((one["input"].get("intensity") for one in document.get("plan") or ()), None)
        section = IntensitySection.model_validate(planned or document["input"]["intensity"])
        return section.low, section.high

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

    def require_sealed(self) -> None:
        """Raise :class:`~medcnn.errors.RunError` where a split is there that was changed or is broken."""
        if any((self.folder / name).exists() for name in (TABLE, SEAL)):
            _ = self.split

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

    def external(self, dataset: str) -> Path:
        """Where the evaluation on another dataset is."""
        return self.folder / "evaluation" / f"external-{dataset}"

    @property
    def report(self) -> Path:
        """Where the report is."""
        return self.folder / "report.html"

    @property
    def metrics(self) -> dict[str, Any]:
        """``evaluation/metrics.json``."""
        found: dict[str, Any] = read_json(self.folder / "evaluation" / "metrics.json")
        return found


def open_run(folder: Path | str | Run, *, allow_code: Path | None = None) -> Run:
    """A run folder that exists; raises :class:`~medcnn.errors.RunError` otherwise.

    Args:
        folder: The folder, or a run, which is given back as it is.
        allow_code: A folder whose modules the recipe's network may come from.
    """
    if isinstance(folder, Run):
        return folder
    path = Path(folder)
    if not path.is_dir():
        raise RunError("there is no such run folder", where=str(path), todo="give the folder that medcnn run printed")
    _require_run(path)
    return Run(path, allow_code)


def _require_run(folder: Path) -> None:
    if not (folder / "recipe.yaml").is_file():
        raise RunError(
            "this is not a run folder: it has no recipe.yaml",
            where=str(folder),
            todo="give the folder that medcnn run printed; a run that was stopped before goes on with --resume",
        )


def check_belongs(run: Run, path: Path, description: Mapping[str, Any]) -> None:
    """Refuse a checkpoint or model file that was made by another run: with another recipe, or on another split.

    Args:
        run: The run whose folder holds the file.
        path: The file.
        description: What it says of itself.

    Raises:
        RunError: If it is not of this run.
    """
    own = run.provenance.get("digests", {})
    for key, name in (("recipe", "recipe"), ("split", "split")):
        if description.get(f"{key}_digest") != own.get(key):
            raise RunError(
                f"the file was made with another {name} than this run's",
                where=str(path),
                todo="put the run's own file back, or train again in another folder; "
                "a model of any origin is used by itself with medcnn predict FILE",
            )


def is_prepared(run: Run, recipe: Recipe) -> bool:
    """Whether a folder to go on in was prepared for this recipe, or was left by a run that did not come so far.

    Raises:
        RunError: If it was prepared for another recipe, or holds something else, which is not to be overwritten.
    """
    names = {p.name for p in run.folder.iterdir() if not p.name.startswith(".")}
    if "recipe.yaml" in names:
        if same_but_for_plan(run.recipe, recipe):
            return True
        raise RunError(
            "the folder holds a run of another recipe",
            where=str(run.folder),
            todo="resume with the recipe and the overrides it was started with, or choose another --out",
        )
    if not names <= _PREPARED:
        raise RunError(
            "the folder holds no run to go on with; nothing was changed",
            where=str(run.folder),
            todo="give the folder of the run as --out, or leave --resume out to start in a new one",
        )
    return False


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


@contextmanager
def kept_if_used(folder: Path) -> Iterator[None]:
    """Take an empty folder away again where the block ends in an error, so that its name is not taken.

    It stays where the user interrupts, or the disk is full: ``--resume`` goes on in it.
    """
    try:
        yield
    except (RunError, OSError):
        raise
    except Exception:
        with suppress(OSError):
            folder.rmdir()
        raise


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
