"""``medcnn convert``: DICOM to NIfTI."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

if TYPE_CHECKING:
    from medcnn.types import Exclusion
    from medcnn.workflow.convert import Converted

_SHOWN = 10


Sources = Annotated[
    list[Path],
    typer.Argument(metavar="FOLDER|FILE", readable=False, help="Folders, archives, DICOMDIRs or files of DICOM."),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the NIfTI files.")]
Rule = Annotated[
    list[str] | None,
    typer.Option("--rule", metavar="KEY=VALUE", help="Which stacks, as in a recipe's data.stack; repeatable."),
]
OnePer = Annotated[
    str, typer.Option("--one-per", metavar="UNIT", help="Of what prefer=... picks one: series, study or patient.")
]
Straighten = Annotated[bool, typer.Option("--straighten", help="Resample stacks of a tilted gantry to right angles.")]
Pseudonymise = Annotated[
    bool, typer.Option("--pseudonymise", help="Write no name, date, id or UID, and no text that somebody typed.")
]
PrivateFolder = Annotated[
    Path | None,
    typer.Option("--private", metavar="DIR", help="Folder of the key and the map of pseudonyms; default: DIR-private."),
]
BurnedIn = Annotated[
    bool, typer.Option("--allow-burned-in", help="Take images too that say that text is burned into them.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted conversion.")]
OnError = Annotated[
    str, typer.Option("--on-error", metavar="report|stop", help="Go on and list what failed, or end there.")
]
MaxUnusable = Annotated[
    float, typer.Option("--max-unusable", min=0, max=1, help="Above this share of failures the exit code is 2.")
]


def convert(
    sources: Sources,
    out: Out,
    rule: Rule = None,
    one_per: OnePer = "series",
    straighten: Straighten = False,
    pseudonymise: Pseudonymise = False,
    private: PrivateFolder = None,
    allow_burned_in: BurnedIn = False,
    overwrite: Overwrite = False,
    resume: Resume = False,
    on_error: OnError = "report",
    max_unusable: MaxUnusable = 0.05,
) -> None:
    """Convert DICOM to NIfTI: every stack to one file, with a JSON side file in the names of BIDS.

    For example: medcnn convert study --out nifti --rule modality=MR --rule plane=axial
    """
    from medcnn.cli.progress import RichProgress
    from medcnn.data.series_index import Unit
    from medcnn.errors import MedcnnError
    from medcnn.workflow.convert import convert as run
    from medcnn.workflow.convert_plan import ConvertOptions
    from medcnn.workflow.series import rule_of

    _check_choice("--one-per", one_per, get_args(Unit))
    _check_choice("--on-error", on_error, ("report", "stop"))
    if not pseudonymise and (private is not None or allow_burned_in):
        raise MedcnnError("--private and --allow-burned-in go with --pseudonymise alone")
    options = ConvertOptions(
        rule=rule_of(rule or ()),
        one_per=cast("Unit", one_per),
        straighten=straighten,
        pseudonymise=pseudonymise,
        private=private,
        allow_burned_in=allow_burned_in,
        overwrite=overwrite,
        resume=resume,
        stop=on_error == "stop",
    )
    with RichProgress() as progress:
        done = run(sources, out, options, progress)
    for line in summary(done):
        print(line)
    done.require_few_failures(max_unusable)


def _check_choice(option: str, value: str, known: Sequence[str]) -> None:
    from medcnn.errors import MedcnnError
    from medcnn.registry import suggest

    if value not in known:
        raise MedcnnError(f"{value!r} is no choice", where=option, todo=suggest(value, known))


def summary(done: Converted) -> list[str]:
    """What was done, in lines."""
    there = f", of which {done.kept:,} were there already" if done.kept else ""
    lines = [f"{done.out}: {_plural(len(done.files), 'image')}{there}"]
    if done.left:
        ordered = sorted(done.left.items(), key=lambda kv: (-kv[1], kv[0]))
        lines.append("left aside: " + "; ".join(f"{reason} ({count:,})" for reason, count in ordered))
    if done.failed:
        lines.append(f"not converted: {len(done.failed):,}")
        lines += _grouped(done.failed)
    lines += done.notes
    lines.append(f"table: {done.table}")
    if done.private is not None:
        lines.append(f"key and map of the pseudonyms, to be kept apart from the images: {done.private}")
    return lines


def _grouped(failed: Sequence[Exclusion]) -> list[str]:
    """One line a reason, the commonest first."""
    places: dict[str, list[str]] = defaultdict(list)
    for one in failed:
        places[one.reason].append(one.case)
    ordered = sorted(places.items(), key=lambda kv: -len(kv[1]))
    lines = [
        f"  {names[0]}{f' and {len(names) - 1:,} more' if len(names) > 1 else ''}: {reason}"
        for reason, names in ordered[:_SHOWN]
    ]
    return lines + [f"  and {len(ordered) - _SHOWN:,} more reasons"] * (len(ordered) > _SHOWN)


def _plural(count: int, one: str) -> str:
    return f"{count:,} {one}{'' if count == 1 else 's'}"
