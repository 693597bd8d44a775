"""What ``medcnn data series`` prints and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

if TYPE_CHECKING:
    from medcnn.workflow.series import SeriesList

_HEADINGS = (
    "",
    "patient",
    "modality",
    "plane",
    "matrix",
    "slices",
    "spacing in mm",
    "kind",
    "description",
    "first file",
)


def list_and_write(
    folder: Path, rule: Sequence[str], one_per: str, out: Path | None, csv: Path | None, *, all_pictures: bool
) -> None:
    """List the stacks of a folder on the terminal, and write the page and the table where they are asked for."""
    from medcnn.cli.progress import RichProgress
    from medcnn.data.series_index import Unit, cores
    from medcnn.errors import MedcnnError
    from medcnn.registry import suggest
    from medcnn.workflow.series import list_series, rule_of, write_list, write_sheet

    if one_per not in get_args(Unit):
        raise MedcnnError(f"{one_per!r} is no unit", where="--one-per", todo=suggest(one_per, get_args(Unit)))
    for option, place, ends in (("--out", out, (".html", ".htm")), ("--csv", csv, (".csv",))):
        # What lies there is replaced: an image among the arguments must not be.
        if place is not None and place.suffix.lower() not in ends:
            raise MedcnnError(f"{place.name!r} does not end in {ends[0]}", where=option, todo=f"write NAME{ends[0]}")
    wanted = rule_of(rule)
    with RichProgress() as progress:
        found = list_series(folder, wanted, cast("Unit", one_per), progress)
        if csv is not None:
            write_list(csv, found)
        if out is not None:
            write_sheet(out, found, rule, progress, workers=cores(), all_pictures=all_pictures)
    show(found)
    for what, place in (("table", csv), ("contact sheet", out)):
        if place is not None:
            print(f"{what}: {place}")


def show(found: SeriesList) -> None:
    """Print the stacks as a table, and below it what else a user should know."""
    from medcnn.cli.show import table
    from medcnn.report.series_sheet import WORDS

    marked = any(s.mark for s in found.stacks)
    rows = [
        [
            str(s.number), str(s.patient), s.modality, s.plane, s.matrix, f"{s.slices:,}", s.spacing, s.kind,
            ", ".join(p for p in (s.description, s.differing) if p), s.path, *([WORDS[s.mark]] if marked else []),
        ]
        for s in found.stacks
    ]  # fmt: skip
    table((*_HEADINGS, *(["remark"] if marked else [])), rows, right=(0, 1, 5))
    for line in remarks(found):
        print(line)


def remarks(found: SeriesList) -> list[str]:
    """Sentences on the whole folder."""
    patients, studies = ({getattr(s, what) for s in found.stacks} for what in ("patient", "study"))
    lines = [
        f"{_plural(len(found.stacks), 'stack')} in {_plural(found.files, 'DICOM file')}, of "
        f"{_plural(len(patients), 'patient')} in {_plural(len(studies), 'study', 'studies')}"
    ]
    lines += [f"  stack {s.number}: {s.problem}" for s in found.stacks if s.problem]
    if found.rule is not None:
        lines.append(f"the rule picks {_plural(found.marked('picked'), 'stack')}")
        if several := found.marked("several"):
            lines.append(
                f"  {several:,} fit as others of the same {found.one_per} do, and are an error of their case: make the "
                "rule narrower"
            )
    if found.identifying:
        lines.append(f"headers that name or show a person: {_counted(found.identifying, 'file')}")
    if found.silent:
        verb = "does" if found.silent == 1 else "do"
        lines.append(f"{_plural(found.silent, 'file')} with pixels {verb} not say whether an annotation is burned in")
    if found.left_aside:
        lines.append(f"passed over: {_counted(found.left_aside, '')}")
    if found.unread:
        lines.append(f"not readable: {_counted(found.unread, '')}")
    return lines


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _counted(counts: Mapping[str, int], unit: str) -> str:
    ordered = sorted(counts.items(), key=lambda c: (-c[1], c[0]))
    return "; ".join(f"{what} ({_plural(n, unit) if unit else f'{n:,}'})" for what, n in ordered)
