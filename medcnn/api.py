"""The Python API, in the words of the command line: run, train, evaluate, predict, report, audit, convert.

Every function takes names, paths or recipes and leaves files; nothing is printed unless a
:class:`~medcnn.progress.Progress` is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcnn.errors import RecipeError
from medcnn.progress import Progress, Silent
from medcnn.recipe.load import load_recipe
from medcnn.recipe.schema import DataSection, Suite
from medcnn.types import Dataset
from medcnn.workflow import processes, steps
from medcnn.workflow.folder import Run, open_run
from medcnn.workflow.steps import Source

if TYPE_CHECKING:
    import pandas as pd

    from medcnn.data.audit import Audit
    from medcnn.data.getting import Got
    from medcnn.evaluation.results import Evaluation
    from medcnn.models.describe import LayerInfo
    from medcnn.workflow.convert import Converted

__all__ = [
    "Run",
    "audit",
    "convert",
    "describe",
    "evaluate",
    "evaluate_table",
    "get_dataset",
    "load_dataset",
    "load_recipe",
    "make_phantom",
    "predict",
    "report",
    "run",
    "train",
]


def load_dataset(
    name: str, *, root: str | Path | None = None, catalog: str | Path | None = None, **options: Any
) -> Dataset:
    """The cases of a dataset of the catalog: paths and labels, no pixels.

    Args:
        name: A name of the catalog (``medcnn data list``).
        root: Folder of the data; default: ``$MEDCNN_DATA`` or the user's cache, and the dataset's own folder.
        catalog: A catalog file of your own.
        **options: Options of the dataset's adapter.

    Returns:
        The dataset; iterating over it gives its cases.

    Raises:
        DataError: If the name is unknown, the data are absent or unusable.
        RecipeError: If an option is unknown or of the wrong type.
    """
    from medcnn.data.dataset import load_dataset as load

    section = DataSection(
        dataset=name, root=str(root) if root else None, catalog=str(catalog) if catalog else None, options=options
    )
    return load(section)


def get_dataset(
    name: str,
    *,
    archive: str | Path | None = None,
    root: str | Path | None = None,
    catalog: str | Path | None = None,
    any_checksum: bool = False,
    progress: Progress | None = None,
) -> Got:
    """Fetch a dataset of the catalog into the folder where it is looked for; one that is there is left alone.

    Args:
        name: A name of the catalog.
        archive: A file that you have, instead of a download.
        root: Folder of the data; default: ``$MEDCNN_DATA`` or the user's cache, and the dataset's own folder.
        catalog: A catalog file of your own.
        any_checksum: Take ``archive`` though it is not the published file.
        progress: Receives the display.

    Returns:
        Where it is, how many cases it has, and whether it is new.

    Raises:
        DataError: If the server, the archive or what is already in the folder stands against it.
    """
    from medcnn.data.getting import get_dataset as get

    return get(name, archive=archive, root=root, catalog=catalog, any_checksum=any_checksum, progress=progress)


def audit(
    dataset: str | Path | Dataset,
    *,
    out: str | Path | None = None,
    root: str | Path | None = None,
    catalog: str | Path | None = None,
    near_duplicates: bool = True,
    progress: Progress | None = None,
) -> Audit:
    """Read every image of a dataset once and list what a reviewer would ask about.

    Args:
        dataset: A name of the catalog, a recipe, a folder of images, or a dataset.
        out: A new folder for ``audit.json``, ``audit.csv`` and ``audit.html``; without it nothing is written.
        root: Folder of the data of a catalog entry.
        catalog: A catalog file of your own.
        near_duplicates: Look for turned, cropped, rescaled, re-encoded and re-windowed copies.
        progress: Receives the display.

    Returns:
        The findings. An image that cannot be read is one of them.

    Raises:
        DataError: If the dataset is absent or unusable, or more of it than the recipe allows (5 %).
        RunError: If ``out`` is not empty, or cannot be written to.
    """
    from medcnn.workflow.audit import audit_folder, run_audit
    from medcnn.workflow.audit_source import Source as AuditSource
    from medcnn.workflow.audit_source import find_source

    progress = progress or Silent()
    if isinstance(dataset, Dataset):
        found = AuditSource(dataset, DataSection(dataset=dataset.name))
    else:
        found = find_source(dataset, catalog, root, progress)
    folder = audit_folder("", Path(out)) if out is not None else None
    return run_audit(found, folder, progress, near=near_duplicates)


@processes.together()
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

    Returns:
        The run; of a suite a list of runs, in the suite's order.

    Raises:
        MedcnnError: Whatever stops the run, with what to do.
    """
    return steps.run(_order(recipe, out, overrides, resume, allow_code, progress))


@processes.together()
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

    Returns:
        The run. Its folder holds the cases, the split, the model of each fold and their predictions.

    Raises:
        MedcnnError: Whatever stops the run, with what to do.
    """
    order = _order(recipe, out, overrides, resume, allow_code, progress)
    return steps.train(order, order.load(), callbacks)


def _order(
    recipe: Source,
    out: str | Path | None,
    overrides: Sequence[str],
    resume: bool,
    allow_code: bool,
    progress: Progress | None,
) -> steps.Order:
    return steps.Order(recipe, Path(out) if out else None, overrides, resume, allow_code, progress or Silent())


def evaluate(
    run: Run | str | Path,
    *,
    data: str | None = None,
    root: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    allow_code: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a run on its test part, or, frozen, on another dataset.

    Args:
        run: A run or its folder.
        data: Another dataset of the catalog.
        root: Folder of that dataset.
        options: Options of that dataset's adapter.
        labels: Its class names to those of the run, where they differ.
        allow_code: Let the run name a network in code that lies in the working folder.
        progress: Receives the display.

    Returns:
        The figures, as ``evaluation/metrics.json`` of the run holds them (of another dataset
        ``evaluation/external-<name>/metrics.json``).

    Raises:
        MedcnnError: If nothing is trained, the split was changed, or the other dataset overlaps the training part.
    """
    from medcnn.workflow.evaluate import evaluate_external, evaluate_run, recipe_data

    opened = open_run(run, allow_code=Path.cwd() if allow_code else None)
    hardware, progress = steps.hardware_of(opened.recipe.training), progress or Silent()
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
    labels: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate predictions of any program from a table, or masks in a folder, and write metrics and report.

    Args:
        predictions: CSV with ``case`` and a column of probabilities a class (``p_<class>``),
            or of predicted classes or values. For segmentation a folder of masks.
        references: CSV with ``case``, ``label`` (or ``value``) and, if known, ``patient`` and attributes;
            absent: the predictions' own table holds them. For segmentation the folder of the true masks, named as
            the predicted ones.
        out: The folder that receives ``evaluation/metrics.json`` and the report.
        task: The task whose evaluator judges.
        options: Options of the evaluator, as in a recipe's ``evaluation`` section.
        title: Heading of the report.
        labels: Names of the values in masks, as in ``{"1": "liver"}``; absent: those of a ``dataset.json`` beside
            the references.
        progress: Receives the display.

    Returns:
        The figures.

    Raises:
        DataError: If the tables or masks do not fit each other.
        RunError: If the folder exists and is not empty.
    """
    from medcnn.workflow.tables import evaluate_files

    return evaluate_files(
        Path(predictions),
        Path(references) if references else None,
        Path(out),
        task,
        options or {},
        title,
        labels=labels,
        progress=progress,
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
    """Write ``report.html`` and ``report.md`` of a run from the files in its folder.

    Args:
        run: A run or its folder.

    Returns:
        The HTML file.

    Raises:
        RunError: If the folder is not a run, or its split was changed.
    """
    return steps.report(open_run(run))


def describe(recipe: Source, overrides: Sequence[str] = (), *, allow_code: bool = False) -> list[LayerInfo]:
    """The layers of a recipe's network: output shape, parameters, stride and receptive field.

    The classes are counted from the dataset where it is at hand, else two are assumed.

    Args:
        recipe: A shipped recipe's name, a path, or a recipe.
        overrides: Changes such as ``model.kernel_size=5``.
        allow_code: Let the recipe name a network in code that lies beside it.

    Returns:
        The layers in the order in which they run.

    Raises:
        RecipeError: If the recipe is wrong, or is a suite.
        ModelError: If the network does not work on images of that size.
    """
    order = _order(recipe, None, overrides, False, allow_code, None)
    loaded = order.load()
    if isinstance(loaded, Suite):
        raise RecipeError(["a suite has several networks; name one of its recipes"], where=str(recipe))
    from medcnn.workflow.outputs import describe_network

    return describe_network(loaded, allow_code=order.code)


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

    Returns:
        The folder. A complete cohort of the same parameters is left as it is.

    Raises:
        DataError: If a parameter makes no sense, or the folder holds something else.
        RunError: If the cohort cannot be written.
    """
    from medcnn.data.phantom import make_phantom as make

    return make(Path(folder), patients=patients, seed=seed, size=size, progress=progress or Silent())  # type: ignore[arg-type]


def convert(
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    rule: Mapping[str, Any] | None = None,
    pseudonymise: bool = False,
    private: str | Path | None = None,
    allow_burned_in: bool = False,
    straighten: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Convert DICOM to NIfTI: every stack to one file, with a JSON side file in the names of BIDS.

    Args:
        sources: Folders, archives, DICOMDIRs or files.
        out: Folder of the NIfTI files.
        rule: Which stacks, as ``data.stack`` of a recipe says it; default: every image.
        pseudonymise: Write nothing that tells who the patient is.
        private: Folder of the key and the map of pseudonyms; default: beside ``out``.
        allow_burned_in: Take images too that say that text is burned into them.
        straighten: Resample stacks of a tilted gantry to right angles.
        overwrite: Replace files that are there.
        progress: Receives the display.

    Returns:
        The files, and what could not be converted with its reason.

    Raises:
        DataError: If a source is not there, none holds DICOM, or the rule makes no sense.
        RunError: If files are there already, or cannot be written.
    """
    from medcnn.data.images.stack_rule import StackRule
    from medcnn.workflow.convert import convert as run
    from medcnn.workflow.convert_plan import ConvertOptions

    options = ConvertOptions(
        rule=None if rule is None else StackRule.of(rule),
        straighten=straighten,
        pseudonymise=pseudonymise,
        private=None if private is None else Path(private),
        allow_burned_in=allow_burned_in,
        overwrite=overwrite,
    )
    places = [sources] if isinstance(sources, (str, Path)) else sources
    return run([Path(place) for place in places], Path(out), options, progress or Silent())
