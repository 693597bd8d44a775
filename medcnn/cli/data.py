"""``medcnn data``: the catalog of datasets, and the generated cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The catalog of datasets, and the generated cohort.", no_args_is_help=True)

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
            *([("unit", entry.unit)] if entry.unit else [("classes", kind + ", ".join(names))]),
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


def size(count: int) -> str:
    """Bytes as a person reads them: ``512 B``, ``58.9 MB``, ``1.2 GB`` (powers of 1000)."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} B" if unit == "B" else f"{value:,.1f} {unit}"


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
