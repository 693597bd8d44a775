"""The Python API, in the words of the command line: run, train, evaluate, predict, report, audit.

Every function takes names, paths or recipes and leaves files; nothing is printed unless a
:class:`~medcnn.progress.Progress` is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcnn.errors import RecipeError, RunError
from medcnn.progress import Progress, Silent
from medcnn.recipe.load import load_recipe
from medcnn.recipe.schema import DataSection, Recipe, Suite
from medcnn.types import Dataset
from medcnn.workflow.folder import Run, new_folder, open_run, resumable_folder

if TYPE_CHECKING:
    import pandas as pd

    from medcnn.data.audit import Audit
    from medcnn.evaluation.results import Evaluation
    from medcnn.models.describe import LayerInfo

__all__ = [
    "Run",
    "audit",
    "describe",
    "evaluate",
    "evaluate_table",
    "load_dataset",
    "load_recipe",
    "make_phantom",
    "predict",
    "report",
    "run",
    "train",
]

Source = str | Path | Recipe | Suite


def load_dataset(
    name: str, *, root: str | Path | None = None, catalog: str | Path | None = None, **options: Any
) -> Dataset:
    """The cases of a dataset of the catalog: paths and labels, no pixels.

    Args:
        name: A name of the catalog (``medcnn data list``).
        root: Folder of the data; default: ``$MEDCNN_DATA`` or the user's cache, and the dataset's own folder.
        catalog: A catalog file of your own.
        **options: Options of the dataset's adapter.

    Raises:
        DataError: If the name is unknown, the data are absent or unusable.
    """
    from medcnn.data.dataset import load_dataset as load

    section = DataSection(
        dataset=name, root=str(root) if root else None, catalog=str(catalog) if catalog else None, options=options
    )
    return load(section)


def audit(dataset: str | Dataset, *, size: tuple[int, ...] = (64, 64), progress: Progress | None = None) -> Audit:
    """Read every image of a dataset once and list what a reviewer would ask about.

    Args:
        dataset: A name of the catalog, or a dataset.
        size: Size at which images are cached, two or three axes as the images have.
        progress: Receives the display.
    """
    from medcnn.data.audit import audit as look
    from medcnn.data.cache import build_cache, default_cache_folder
    from medcnn.data.preprocess import Preprocessor
    from medcnn.inference.hardware import available_cores
    from medcnn.recipe.schema import InputSection

    progress = progress or Silent()
    found = load_dataset(dataset) if isinstance(dataset, str) else dataset
    progress.start("reading images", len(found.cases), "images")
    cache = build_cache(
        found.cases,
        Preprocessor(InputSection(size=size)),
        default_cache_folder(),
        workers=available_cores(),
        progress=progress,
    )
    progress.finish()
    return look(found, cache.facts, [*found.exclusions, *cache.exclusions])


def run(
    recipe: Source,
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    allow_code: bool = False,
    progress: Progress | None = None,
) -> Run | list[Run]:
    """Train, evaluate and report, as a recipe says; a suite gives a list of runs.

    Args:
        recipe: A shipped recipe's name, a path, or a recipe.
        out: The run folder; default ``runs/<name>``, numbered where it is taken.
        overrides: Changes such as ``training.epochs=5``.
        resume: Go on with an interrupted run.
        allow_code: Let the recipe name a network in code that lies beside it.
        progress: Receives the display.

    Raises:
        MedcnnError: Whatever stops the run, with what to do.
    """
    progress = progress or Silent()
    code = _code_folder(recipe) if allow_code else None
    loaded = recipe if isinstance(recipe, Recipe | Suite) else load_recipe(recipe, overrides, allow_code=code)
    if isinstance(loaded, Suite):
        return _run_suite(loaded, recipe, out, overrides, resume, allow_code, progress)
    done = train(recipe, out=out, overrides=overrides, resume=resume, allow_code=allow_code, progress=progress)
    from medcnn.workflow import processes

    if processes.is_main():
        evaluate(done, progress=progress)
        report(done)
    processes.barrier()
    return done


def _run_suite(
    suite: Suite,
    source: Source,
    out: str | Path | None,
    overrides: Sequence[str],
    resume: bool,
    allow_code: bool,
    progress: Progress,
) -> list[Run]:
    from medcnn.report import write_index

    name = _name(source)
    wanted = Path(out) if out else None
    folder = resumable_folder(wanted, name) if resume else new_folder(wanted, name)
    runs: list[Run] = []
    beside = Path(source).parent if isinstance(source, str | Path) and Path(source).is_file() else None
    for number, member in enumerate(suite.suite, 1):
        path = beside / member if beside is not None and (beside / member).is_file() else None
        progress.say(f"recipe {number} of {len(suite.suite)}: {member}")
        target = folder / Path(member).stem
        go_on = resume and target.is_dir()
        if go_on and Run(target).report.is_file():
            runs.append(Run(target))
            continue
        done = run(
            path or member, out=target, overrides=overrides, resume=go_on, allow_code=allow_code, progress=progress
        )
        assert isinstance(done, Run)
        runs.append(done)
    write_index([(r.folder.name, r.report) for r in runs], folder / "index.html")
    return runs


def train(
    recipe: Source,
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    allow_code: bool = False,
    progress: Progress | None = None,
    callbacks: Sequence[Any] = (),
) -> Run:
    """The first steps of :func:`run`: cases, cache, audit, split, training, predictions; no evaluation.

    Args:
        recipe: A shipped recipe's name, a path, or a recipe.
        out: The run folder; default ``runs/<name>``, numbered where it is taken.
        overrides: Changes such as ``training.epochs=5``.
        resume: Go on with an interrupted run.
        allow_code: Let the recipe name a network in code that lies beside it.
        progress: Receives the display.
        callbacks: More Lightning callbacks.

    Raises:
        MedcnnError: Whatever stops the run, with what to do.
    """
    code = _code_folder(recipe) if allow_code else None
    loaded = recipe if isinstance(recipe, Recipe) else load_recipe(_source(recipe), overrides, allow_code=code)
    if isinstance(loaded, Suite):
        raise RecipeError(["a suite cannot be trained as one; use medcnn run"], where=str(recipe))
    wanted = Path(out) if out else None
    from medcnn.inference.hardware import choose_hardware
    from medcnn.workflow import processes
    from medcnn.workflow.folds import train_folds
    from medcnn.workflow.prepare import prepare, reopen

    progress = progress or Silent()
    section = loaded.training
    hardware = choose_hardware(section.device, section.precision, section.threads)
    processes.start(hardware.device)
    name = _name(recipe)
    folder = None
    if processes.is_main():
        folder = resumable_folder(wanted, name) if resume else new_folder(wanted, name)
        if not (resume and _same_recipe(Run(folder, code), loaded)):
            prepare(loaded, folder, hardware, progress, command=["medcnn", "run", name, *overrides])
    made = Run(processes.share(folder), code)
    prepared = reopen(made, progress)
    train_folds(prepared, loaded, hardware, progress, resume=resume, allow_code=code, callbacks=callbacks)
    return made


def _same_recipe(run: Run, recipe: Recipe) -> bool:
    """Whether a folder was prepared for this recipe; raises where it was prepared for another."""
    if not (run.folder / "recipe.yaml").is_file():
        return False
    if run.recipe != recipe:
        raise RunError(
            "the folder holds a run of another recipe",
            where=str(run.folder),
            todo="resume with the recipe and the overrides it was started with, or choose another --out",
        )
    return True


def _source(recipe: Source) -> str | Path:
    assert isinstance(recipe, str | Path)
    return recipe


def _name(recipe: Source) -> str:
    return Path(recipe).stem if isinstance(recipe, str | Path) else "run"


def _code_folder(recipe: Source) -> Path | None:
    if isinstance(recipe, str | Path) and Path(recipe).is_file():
        return Path(recipe).resolve().parent
    return Path.cwd()


def evaluate(
    run: Run | str | Path,
    *,
    data: str | None = None,
    root: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a run on its test part, or, frozen, on another dataset.

    Args:
        run: A run or its folder.
        data: Another dataset of the catalog.
        root: Folder of that dataset.
        options: Options of that dataset's adapter.
        labels: Its class names to those of the run, where they differ.
        progress: Receives the display.

    Raises:
        MedcnnError: If nothing is trained, the split was changed, or the other dataset overlaps the training part.
    """
    from medcnn.inference.hardware import choose_hardware
    from medcnn.workflow.evaluate import evaluate_external, evaluate_run, recipe_data

    opened = open_run(run)
    section = opened.recipe.training
    hardware = choose_hardware(section.device, section.precision, section.threads)
    progress = progress or Silent()
    if data is None:
        return evaluate_run(opened, progress, hardware)
    other = recipe_data(opened.recipe, data, options or {}, Path(root) if root else None)
    return evaluate_external(opened, other, progress, hardware, labels=labels)


def evaluate_table(
    predictions: str | Path,
    references: str | Path | None = None,
    *,
    out: str | Path,
    task: str = "classification",
    options: Mapping[str, Any] | None = None,
    title: str = "",
) -> Evaluation:
    """Evaluate predictions of any program from a table, and write metrics and report into a folder.

    Args:
        predictions: CSV with ``case`` and a column of probabilities a class (``p_<class>``),
            or of predicted classes or values.
        references: CSV with ``case``, ``label`` (or ``value``) and, if known, ``patient`` and attributes;
            absent: the predictions' own table holds them.
        out: The folder that receives ``evaluation/metrics.json`` and the report.
        task: The task whose evaluator judges.
        options: Options of the evaluator, as in a recipe's ``evaluation`` section.
        title: Heading of the report.

    Raises:
        DataError: If the tables do not fit each other.
    """
    from medcnn.workflow.tables import evaluate_files

    return evaluate_files(
        Path(predictions), Path(references) if references else None, Path(out), task, options or {}, title
    )


def predict(
    model: Run | str | Path,
    paths: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    allow_code: bool = False,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Predict images of any origin with a trained model.

    Args:
        model: A run, its folder, a ``model.pt`` or a checkpoint. The folds of a run are combined.
        paths: Image files, folders (of DICOM files too) and CSV tables with a column ``image``.
        out: A CSV file to write.
        allow_code: Let the model name a network in code that lies in the working folder.
        progress: Receives the display.

    Returns:
        A row a case: ``case``, the outputs, the decision at the stored threshold, and ``error`` with the
        reason where an image could not be read.

    Raises:
        MedcnnError: If the model cannot be loaded or a path does not exist.
    """
    from medcnn.workflow.predict import predict_paths

    return predict_paths(
        model, paths, Path(out) if out else None, Path.cwd() if allow_code else None, progress or Silent()
    )


def report(run: Run | str | Path) -> Path:
    """Write ``report.html`` and ``report.md`` of a run; returns the HTML file."""
    from medcnn.report import write_report
    from medcnn.workflow.pictures import pictures_of

    opened = open_run(run)
    return write_report(opened.folder, pictures=pictures_of(opened))


def describe(recipe: Source, overrides: Sequence[str] = ()) -> list[LayerInfo]:
    """The layers of a recipe's network: output shape, parameters, stride and receptive field.

    The classes are counted from the dataset where it is at hand, else two are assumed.
    """
    from medcnn.errors import DataError
    from medcnn.models.build import build_network
    from medcnn.models.describe import describe as look

    loaded = recipe if isinstance(recipe, Recipe) else load_recipe(_source(recipe), overrides)
    if isinstance(loaded, Suite):
        raise RecipeError(["a suite has several networks; name one of its recipes"], where=str(recipe))
    from medcnn.workflow.outputs import count_outputs

    try:
        outputs = count_outputs(loaded)
    except DataError:
        outputs = 2
    network = build_network(
        loaded.model.name,
        loaded.model.options,
        spatial_dims=len(loaded.input.size),
        in_channels=loaded.input.channels,
        outputs=outputs,
        size=loaded.input.size,
    )
    return look(network, (loaded.input.channels, *loaded.input.size))


def make_phantom(
    folder: str | Path,
    *,
    patients: int = 60,
    seed: int = 0,
    size: str = "small",
    progress: Progress | None = None,
) -> Path:
    """Generate the phantom cohort: CT series and radiographs as DICOM, with masks and lesion boxes.

    Args:
        folder: A new folder.
        patients: Number of patients.
        seed: The cohort is a function of it.
        size: ``small``, ``medium`` or ``large``.
        progress: Receives the display.
    """
    from medcnn.data.phantom import make_phantom as make

    return make(Path(folder), patients=patients, seed=seed, size=size, progress=progress or Silent())  # type: ignore[arg-type]
