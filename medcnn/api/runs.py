"""From a recipe to a report, and what a trained network is used for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medcnn.errors import RecipeError
from medcnn.progress import Progress, Silent
from medcnn.recipe.schema import Suite
from medcnn.workflow import processes, steps
from medcnn.workflow.folder import Run, open_run
from medcnn.workflow.steps import Source

if TYPE_CHECKING:
    import pandas as pd

    from medcnn.evaluation.results import Evaluation
    from medcnn.models.describe import LayerInfo


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
    """Evaluate predictions of any program from a table, boxes or masks in a folder, and write metrics and report.

    Args:
        predictions: CSV with ``case`` and a column of probabilities a class (``p_<class>``),
            or of predicted classes or values. For segmentation a folder of masks. For detection CSV with a row a box
            (``case``, ``label``, ``score``, ``x1, y1, x2, y2``) or a JSON file of COCO's results.
        references: CSV with ``case``, ``label`` (or ``value``) and, if known, ``patient`` and attributes;
            absent: the predictions' own table holds them. For segmentation the folder of the true masks, named as
            the predicted ones. For detection CSV as of the predictions, or a JSON file of COCO's annotations.
        out: The folder that receives ``evaluation/metrics.json`` and the report.
        task: The task whose evaluator judges.
        options: Options of the evaluator, as in a recipe's ``evaluation`` section.
        title: Heading of the report.
        labels: Names of the values in masks, as in ``{"1": "liver"}``; absent: those of a ``dataset.json`` beside
            the references. Of boxes, classes of the predictions under the references' names for them.
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
    seg: Literal["binary", "fractional", "labelmap", "none"] = "binary",
    sr: bool = True,
    overlays: bool = False,
    annotations: str | Path | None = None,
    allow_code: bool = False,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Predict images of any origin with a trained model.

    Args:
        model: A run, its folder, a ``model.pt`` or a checkpoint. The folds of a run are combined.
        paths: Image files, folders (of DICOM files too) and CSV tables with a column ``image``.
        out: A CSV file to write; for segmentation a folder of masks, for detection one of boxes, with
            ``predictions.csv``.
        seg: How the masks of DICOM images are stored as DICOM segmentations too: a bit or a probability of each
            label, or one number a voxel; ``none`` writes none.
        sr: Write the findings in DICOM images as DICOM measurement reports too.
        overlays: Write a picture of each image with the contours of its mask, or its boxes.
        annotations: A COCO file whose ids of images and categories the results in COCO's form take; absent: ids of
            their own.
        allow_code: Let the model name a network in code that lies in the working folder.
        progress: Receives the display.

    Returns:
        A row a case: ``case``, the outputs, the decision at the stored threshold, and ``error`` with the
        reason where an image could not be read.

    Raises:
        MedcnnError: If the model cannot be loaded or a path does not exist.
    """
    from medcnn.workflow.companions import Wishes
    from medcnn.workflow.predict import predict_paths

    return predict_paths(
        model,
        paths,
        Path(out) if out else None,
        Path.cwd() if allow_code else None,
        progress or Silent(),
        Wishes(seg, sr, overlays, Path(annotations) if annotations else None),
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
