"""``medcnn run`` and its steps, each alone: ``train``, ``evaluate``, ``predict``, ``report``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from medcnn.cli.progress import RichProgress, is_main_process
from medcnn.cli.recipes import AllowCode, OverridesArgument, RecipeArgument
from medcnn.errors import MedcnnError

OutFolder = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="The run folder; default: runs/NAME, numbered where taken."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run, to the same result.")]
OtherData = Annotated[
    str | None,
    typer.Option("--data", metavar="NAME", help="Test the frozen run on this other dataset of the catalog."),
]
OtherOptions = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="An option of that dataset's adapter, as in seed=1."),
]
OtherLabels = Annotated[
    list[str] | None,
    typer.Option(
        "--labels",
        metavar="THEIRS=OURS",
        help="A class of that dataset under the run's name for it; of masks a value and its name, as in 1=liver.",
    ),
]
Predictions = Annotated[
    Path | None,
    typer.Option(
        "--predictions", metavar="FILE|DIR", help="Predictions of any program: CSV, results of COCO, a folder of masks."
    ),
]
References = Annotated[
    Path | None,
    typer.Option(
        "--references", metavar="FILE|DIR", help="The truth for them: CSV, annotations of COCO, a folder of masks."
    ),
]


class SegKinds(StrEnum):
    """How a DICOM segmentation is stored; ``none``: not at all."""

    binary = "binary"
    fractional = "fractional"
    labelmap = "labelmap"
    none = "none"


RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]


def run(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    out: OutFolder = None,
    resume: Resume = False,
    allow_code: AllowCode = False,
) -> None:
    """Train, evaluate and report, as a recipe says.

    For example: medcnn run quickstart, or medcnn run body_part_binary training.epochs=5 --out runs/trial
    """
    _refuse_early(recipe, overrides, allow_code)
    from medcnn import api
    from medcnn.cli.show import run_summary

    with RichProgress() as progress:
        done = api.run(
            recipe, out=out, overrides=overrides or (), resume=resume, allow_code=allow_code, progress=progress
        )
    if is_main_process():
        for one in done if isinstance(done, list) else [done]:
            run_summary(one.folder)


def train(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE|RUN", help="A recipe's name or file, or the folder of a run.")
    ],
    overrides: OverridesArgument = None,
    out: OutFolder = None,
    resume: Resume = False,
    allow_code: AllowCode = False,
) -> None:
    """Train alone: find the cases, split, train; medcnn evaluate RUN goes on from there."""
    _refuse_early(recipe, overrides, allow_code)
    from medcnn import api

    with RichProgress() as progress:
        done = api.train(
            recipe, out=out, overrides=overrides or (), resume=resume, allow_code=allow_code, progress=progress
        )
    if is_main_process():
        print(f"run folder: {done.folder}\nnext: medcnn evaluate {done.folder}")


def _refuse_early(recipe: str, overrides: list[str] | None, allow_code: bool) -> None:
    """Whatever is wrong with a recipe is said before torch is imported."""
    from medcnn.cli.checks import known_dataset, plannable
    from medcnn.recipe.load import load_recipe

    load_recipe(recipe, overrides or (), allow_code=allow_code, checks=(known_dataset, plannable))


def evaluate(
    run_folder: Annotated[Path | None, typer.Argument(metavar="RUN", help="The folder of a run.")] = None,
    data: OtherData = None,
    root: Annotated[Path | None, typer.Option("--root", metavar="DIR", help="Folder of that dataset.")] = None,
    options: OtherOptions = None,
    labels: OtherLabels = None,
    predictions: Predictions = None,
    references: References = None,
    task: Annotated[str, typer.Option("--task", help="The task of such predictions.")] = "classification",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where the evaluation of such predictions is written.")
    ] = None,
    allow_code: AllowCode = False,
) -> None:
    """Evaluate a run on its test part or on another dataset, or the predictions of any other program."""
    if (run_folder is None) == (predictions is None):
        raise typer.BadParameter("give either the folder of a run, or --predictions FILE|DIR")
    if predictions is not None:
        _evaluate_table(predictions, references, task, out, labels or [], mixed=bool(data or root or options))
        return
    if references is not None or out is not None:
        raise typer.BadParameter("--references and --out belong to --predictions")
    if data is None and (root is not None or labels or options):
        raise typer.BadParameter("--root, --option and --labels belong to --data")
    from medcnn import api
    from medcnn.cli.advice import root_option
    from medcnn.cli.show import figures, unused_sentence
    from medcnn.workflow.folder import Run

    assert run_folder is not None
    with root_option(), RichProgress() as progress:
        found = api.evaluate(
            run_folder,
            data=data,
            root=root,
            options=option_map(options or []),
            labels=label_map(labels or []),
            allow_code=allow_code,
            progress=progress,
        )
    if is_main_process():
        print(found.title)
        figures(found.to_json())
        unused = unused_sentence(Run(run_folder).external(data)) if data else ""
        if unused:
            print(f"  {unused}")
        print(f"next: medcnn report {run_folder}")


def _evaluate_table(
    predictions: Path, references: Path | None, task: str, out: Path | None, labels: list[str], *, mixed: bool
) -> None:
    if mixed:
        raise typer.BadParameter("--data, --root and --option belong to a run, not to --predictions")
    from medcnn import api
    from medcnn.cli.show import figures

    folder = out or predictions.with_suffix("").with_name(f"{predictions.stem}-evaluation")
    with RichProgress() as progress:
        found = api.evaluate_table(
            predictions, references, out=folder, task=task, labels=label_map(labels), progress=progress
        )
    print(found.title)
    figures(found.to_json())
    print(f"report: {folder / 'report.html'}")


def option_map(pairs: list[str]) -> dict[str, Any] | None:
    """``["seed=1"]`` as a mapping to values as YAML reads them; ``None`` where nothing is given.

    Raises:
        MedcnnError: If a pair has no ``=``, or its value is not YAML.
    """
    from medcnn.recipe.document import parse_value

    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not (sign and key.strip()):
            raise MedcnnError(f"{pair!r} is not KEY=VALUE", where="--option", todo="write e.g. --option seed=1")
        try:
            found[key.strip()] = parse_value(text)
        except ValueError as error:
            raise MedcnnError(f"the value of {key} is not valid YAML: {error}", where="--option") from error
    return found or None


def label_map(pairs: list[str]) -> dict[str, str] | None:
    """``["abdominal=AbdomenCT"]`` as a mapping; ``None`` where nothing is given.

    Raises:
        MedcnnError: If a pair has no ``=``, or a class is mapped twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        theirs, sign, ours = pair.partition("=")
        if not (sign and theirs.strip() and ours.strip()):
            raise MedcnnError(f"{pair!r} is not THEIRS=OURS", where="--labels", todo="write e.g. --labels ct=CT")
        if theirs.strip() in found:
            raise MedcnnError(f"the class {theirs.strip()!r} is mapped twice", where="--labels")
        found[theirs.strip()] = ours.strip()
    return found or None


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL|RUN", help="A model file, or the folder of a run.")],
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATHS", help="Images, folders (of DICOM files too), or CSV tables.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE.csv|DIR", help="Write a CSV file instead of printing; of masks and boxes a folder."
        ),
    ] = None,
    seg: Annotated[
        SegKinds, typer.Option("--seg", help="How masks of DICOM images are written as DICOM segmentations too.")
    ] = SegKinds.binary,
    sr: Annotated[
        bool, typer.Option("--sr/--no-sr", help="Write findings in DICOM images as DICOM measurement reports too.")
    ] = True,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Write a picture of each image with its contours or boxes.")
    ] = False,
    annotations: Annotated[
        Path | None,
        typer.Option("--annotations", metavar="FILE", help="A COCO file whose ids the results in COCO's form take."),
    ] = None,
    allow_code: AllowCode = False,
) -> None:
    """Predict images with a trained model: probabilities and class, masks or boxes, and what could not be read."""
    from medcnn import api

    with RichProgress() as progress:
        found: Any = api.predict(
            model,
            paths,
            out=out,
            seg=seg.value,
            sr=sr,
            overlays=overlays,
            annotations=annotations,
            allow_code=allow_code,
            progress=progress,
        )
    if out is None:
        print(found.to_csv(index=False, lineterminator="\n"), end="")
        return
    failed = int(found["error"].fillna("").astype(bool).sum()) if "error" in found else 0
    unread = f"; {failed:,} could not be read, see the column error" if failed else ""
    print(f"{out}: {len(found) - failed:,} predictions{unread}")


def report(run_folder: RunArgument) -> None:
    """Write report.html and report.md of a run anew."""
    from medcnn import api

    print(f"report: {api.report(run_folder)}")
