"""Datasets before any network: found, fetched, audited, converted, generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcnn.progress import Progress, Silent
from medcnn.recipe.schema import DataSection
from medcnn.types import Dataset

if TYPE_CHECKING:
    from medcnn.data.audit import Audit
    from medcnn.data.getting import Got
    from medcnn.workflow.convert import Converted


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
    from medcnn.workflow.audit import audit_folder, require_usable, run_audit
    from medcnn.workflow.audit_source import Source as AuditSource
    from medcnn.workflow.audit_source import find_source

    progress = progress or Silent()
    if isinstance(dataset, Dataset):
        found = AuditSource(dataset, DataSection(dataset=dataset.name))
    else:
        found = find_source(dataset, catalog, root, progress)
    folder = audit_folder("", Path(out)) if out is not None else None
    result = run_audit(found, folder, progress, near=near_duplicates)
    require_usable(result, found.section)
    return result


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
