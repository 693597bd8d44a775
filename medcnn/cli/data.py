"""``medcnn data``: the catalog of datasets, getting and auditing them, and the generated cohort."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medcnn.data.catalog import CatalogEntry

app = typer.Typer(help="Datasets: the catalog, getting and auditing them, the generated cohort.", no_args_is_help=True)

Catalog = Annotated[
    Path | None, typer.Option("--catalog", metavar="FILE", help="A catalog of your own, searched first.")
]


@app.command("list")
def list_datasets(catalog: Catalog = None) -> None:
    """List the datasets that a recipe can name, and whether they are here."""
    from medcnn.cli.show import table
    from medcnn.data.catalog import load_catalog
    from medcnn.data.dataset import data_root

    entries = {**load_catalog(), **(load_catalog(catalog) if catalog else {})}
    rows = [
        (name, ", ".join(e.tasks), e.title, "here" if (data_root() / e.folder).is_dir() else "")
        for name, e in entries.items()
    ]
    table(("name", "tasks", "title", ""), rows)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of the catalog.")], catalog: Catalog = None
) -> None:
    """Show what is known of a dataset: classes, patients, source, licence, and where it is looked for."""
    from medcnn.cli.show import facts
    from medcnn.data.catalog import find_entry
    from medcnn.data.dataset import data_root

    entry = find_entry(name, catalog)
    place = data_root() / entry.folder
    # Without a source there is nothing to fetch: the cohort is generated on first use.
    absent = "not there" if entry.source else "generated on first use"
    labels = entry.labels
    names = [c.name + (" (positive)" if c.name == labels.positive else "") for c in labels.classes] if labels else []
    kind = "any of " if labels and labels.multilabel else ""
    options = ", ".join(f"{key}={value}" for key, value in entry.adapter.options.items())
    facts(
        [
            ("name", name),
            ("title", entry.title),
            ("description", entry.description),
            ("tasks", ", ".join(entry.tasks)),
            ("modality", entry.modality),
            *([("unit", entry.unit)] if entry.unit else [("classes", kind + ", ".join(names))] if names else []),
            *([("mask labels", _mask_labels(entry))] if entry.mask_labels else []),
            ("patients", entry.patient),
            ("adapter", f"{entry.adapter.name}{': ' + options if options else ''}"),
            ("source", entry.source),
            ("size", size(entry.size) if entry.size is not None else None),
            ("checksum", entry.checksum),
            ("licence", entry.licence),
            ("citation", entry.citation),
            ("verified", entry.verified),
            ("folder", f"{place} ({'there' if place.is_dir() else absent})"),
        ]
    )


def _mask_labels(entry: CatalogEntry) -> str:
    labels = entry.mask_labels
    if labels is None:
        return ""
    text = ", ".join(f"{c.name} ({c.value})" for c in labels.classes)
    return f"{text}; they may overlap" if labels.multilabel else text


def size(count: int) -> str:
    """Bytes as a person reads them: ``512 B``, ``58.9 MB``, ``1.2 GB`` (powers of 1000)."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} B" if unit == "B" else f"{value:,.1f} {unit}"


@app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of the catalog.")],
    archive: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="An archive that you have, instead of a download.")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="DIR", help="Folder of the data; default: where a recipe looks for it."),
    ] = None,
    any_checksum: Annotated[
        bool, typer.Option("--any-checksum", help="Take a file though it is not the published one (with --from).")
    ] = False,
    catalog: Catalog = None,
) -> None:
    """Download a dataset, or take an archive of it: checked, unpacked, and left alone where it is there already."""
    from medcnn import api
    from medcnn.cli.progress import RichProgress
    from medcnn.errors import MedcnnError

    if any_checksum and archive is None:
        raise MedcnnError("--any-checksum goes with --from alone", todo="a download is always checked")
    with RichProgress() as progress:
        got = api.get_dataset(
            name, archive=archive, root=root, catalog=catalog, any_checksum=any_checksum, progress=progress
        )
    print(f"{name}: {got.cases:,} cases in {got.folder}")
    if root is not None:
        print(f"  a recipe finds it there with data.root={got.folder}")


@app.command()
def audit(
    source: Annotated[
        str,
        typer.Argument(metavar="NAME|RECIPE|FOLDER", help="A name of the catalog, a recipe, or a folder of images."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="A new folder; default: audits/NAME, numbered.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="DIR", help="Folder of the data, for a name of the catalog.")
    ] = None,
    near: Annotated[bool, typer.Option("--near/--no-near", help="Look for near-duplicates.")] = True,
    catalog: Catalog = None,
) -> None:
    """Look at a dataset before anything is trained on it: copies, labels, patients, sizes, headers.

    Writes audit.json, a table (audit.csv) and a page with a contact sheet (audit.html).
    """
    from medcnn.cli.progress import RichProgress
    from medcnn.workflow.audit import audit_folder, run_audit
    from medcnn.workflow.audit_source import find_source

    with RichProgress() as progress:
        found = find_source(source, catalog, root, progress)
        folder = audit_folder(source, out)
        progress.say(f"audit: {folder}")
        result = run_audit(found, folder, progress, near=near)
    for line in result.headline():
        print(line)
    print(f"audit: {folder / 'audit.html'}")


@app.command()
def series(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder of DICOM, a zip or tar archive, or a DICOMDIR.")
    ],
    rule: Annotated[
        list[str] | None,
        typer.Option("--rule", metavar="KEY=VALUE", help="A part of data.stack, such as plane=axial; may be repeated."),
    ] = None,
    one_per: Annotated[
        str, typer.Option("--one-per", metavar="UNIT", help="What the rule picks one of: series, study or patient.")
    ] = "series",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="Write a contact sheet, one page without names.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the list with ids and paths, for you alone.")
    ] = None,
    all_pictures: Annotated[
        bool, typer.Option("--all-pictures", help="Show pictures too that may have a name burned in.")
    ] = False,
) -> None:
    """List every stack in a folder of DICOM, which ones a rule picks, and which headers name a person."""
    from medcnn.cli.series import list_and_write

    list_and_write(folder, rule or [], one_per, out, csv, all_pictures=all_pictures)


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    patients: Annotated[int, typer.Option("--patients", min=1, help="Number of patients.")] = 60,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The cohort is a function of it.")] = 0,
    image_size: Annotated[str, typer.Option("--size", metavar="SIZE", help="small, medium or large.")] = "small",
) -> None:
    """Generate the phantom cohort: CT series and radiographs as DICOM, with masks and lesion boxes."""
    from medcnn import api
    from medcnn.cli.progress import RichProgress

    with RichProgress() as progress:
        made = api.make_phantom(folder, patients=patients, seed=seed, size=image_size, progress=progress)
    print(f"phantom cohort: {made}")
