"""What is audited: a dataset of the catalog, that of a recipe, or a folder by its layout."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medcnn.data.catalog import load_catalog
from medcnn.data.dataset import load_dataset
from medcnn.data.dicom_sources import relative
from medcnn.data.grouping import printable
from medcnn.data.images.sniff import KINDS, has_image_suffix, sniff
from medcnn.errors import DataError, ImageError, MedcnnError
from medcnn.progress import Progress
from medcnn.recipe.load import load_recipe
from medcnn.recipe.schema import DataSection, Suite
from medcnn.recipe.shelf import recipe_names
from medcnn.registry import suggest
from medcnn.types import Case, Dataset, Exclusion, ImageRef

_NOT_DATA = "not an image by its name"
_IGNORED = {".csv", ".tsv", ".txt", ".json", ".md", ".html", ".xml", ".yaml", ".yml", ".log", ".zip", ".tar", ".pdf"}
_ARCHIVES = {".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz"}
# So many files of a folder, from its beginning to its end, tell whether it holds DICOM.
_LOOKS = 16


@dataclass(frozen=True)
class Source:
    """What is audited.

    Attributes:
        dataset: The cases.
        section: How a recipe treats what cannot be used; the defaults where it is no recipe.
    """

    dataset: Dataset
    section: DataSection


def find_source(text: str | Path, catalog: Path | str | None, root: Path | str | None, progress: Progress) -> Source:
    """A dataset by the name of the catalog, a recipe, or a folder of images.

    Args:
        text: What the user gave. A name of the catalog comes before a recipe, and that before a folder; a path with
            a separator in it is a path.
        catalog: A catalog of one's own, searched first.
        root: Folder of the data of a catalog entry.
        progress: Handed to adapters that make their images.

    Raises:
        DataError: If there is none of these, or the dataset is unusable.
    """
    name = str(text)
    if is_catalog_name(text, catalog):
        section = DataSection(
            dataset=name, catalog=str(catalog) if catalog else None, root=str(root) if root is not None else None
        )
        return Source(load_dataset(section, progress), section)
    if root is not None:
        raise DataError("--root goes with a name of the catalog alone", where=name)
    path, is_path = Path(text).expanduser(), _is_path(text)
    if path.is_file() and (path.suffix.lower() in _ARCHIVES or path.name == "DICOMDIR"):
        section = DataSection(adapter={"name": "dicom_tree"}, root=str(path))
        return Source(load_dataset(section, progress), section)
    if path.is_file() and (kind := _kind(str(path))):
        what = "a DICOM file" if kind == "dicom" else KINDS[kind]
        raise DataError(f"this is {what}, and no dataset", where=name, todo="name the folder that holds the images")
    if path.is_file() or (not is_path and name in recipe_names()):
        recipe = load_recipe(path if path.is_file() else name)
        if isinstance(recipe, Suite):
            raise DataError("a suite has several datasets", where=name, todo=f"name one of {', '.join(recipe.suite)}")
        return Source(load_dataset(recipe.data, progress), recipe.data)
    if path.is_dir():
        return _folder(path, progress)
    if is_path:
        raise DataError("there is no such file or folder", where=name)
    raise DataError(
        f"{name!r} is no dataset of the catalog, no recipe and no folder",
        todo=suggest(name, [*_names(catalog), *recipe_names()]),
    )


def is_catalog_name(text: str | Path, catalog: Path | str | None = None) -> bool:
    """Whether this names a dataset of the catalog, and no path.

    Raises:
        DataError: If the catalog cannot be read.
    """
    return not _is_path(text) and str(text) in _names(catalog)


def _is_path(text: str | Path) -> bool:
    return isinstance(text, Path) or os.sep in text or text.startswith(".")


def _names(catalog: Path | str | None) -> set[str]:
    return {*load_catalog(), *(load_catalog(catalog) if catalog else ())}


def _folder(path: Path, progress: Progress) -> Source:
    """A folder by its layout: ``dataset.json``, a tree of DICOM, a folder a class; else all images below it.

    Folders that cannot be listed are exclusions; links to folders are not followed. Where a layout does not fit after
    all, the images can be looked at all the same.
    """
    unlisted: list[Exclusion] = []
    found = list(_images(path, unlisted))
    images = [p for p in found if not isinstance(p, Exclusion)]
    if not images:
        why = f"; {unlisted[0].path}: {unlisted[0].reason}" if unlisted else ""
        raise DataError(f"no image was found in the folder{why}", where=str(path), todo="name the folder of the images")
    for layout in _layouts(path, images):
        section = DataSection(adapter={"name": layout}, root=str(path))
        try:
            dataset = load_dataset(section, progress)
        except MedcnnError as error:
            if layout == "dicom_tree":
                # Its files are what they are: as single images they would hide that a series has a fault.
                raise
            progress.say(f"the folder is not read as {layout}: {error.what}")
            continue
        progress.say(f"the folder is read as {layout}")
        known = {e.path for e in dataset.exclusions}
        more = tuple(e for e in unlisted if e.path not in known)
        return Source(replace(dataset, exclusions=(*dataset.exclusions, *more)), section)
    cases = [Case(relative(p, path), (ImageRef((p,)),)) for p in images]
    left_out = [p for p in found if isinstance(p, Exclusion)]
    strange = list(_strange(images, path))
    names = {e.case for e in strange}
    usable = tuple(c for c in cases if c.id not in names)
    if not usable:
        raise DataError(f"no image was found in the folder; {strange[0].path}: {strange[0].reason}", where=str(path))
    dataset = Dataset(path.resolve().name, usable, {}, (*left_out, *strange, *unlisted))
    return Source(dataset, DataSection(adapter={"name": "image_folder"}, root=str(path)))


def _layouts(path: Path, images: Sequence[str]) -> Iterator[str]:
    """Adapters that may read a folder, the most telling first."""
    if (path / "dataset.json").is_file():
        yield from ("decathlon", "nnunet")
    kinds = [kind for i in range(_LOOKS) if (kind := _kind(images[i * len(images) // _LOOKS]))]
    # Hospitals' discs also hold reports, a viewer and its pictures.
    if 2 * kinds.count("dicom") > len(kinds):
        yield "dicom_tree"
    inside = {Path(os.path.relpath(p, path)).parts[0] for p in images if Path(p).parent != path}
    if inside == {"images", "masks"}:
        yield "pairs"
    if len(inside) > 1 and all(Path(p).parent != path for p in images):
        yield "image_folder"


def _strange(images: Sequence[str], base: Path) -> Iterator[Exclusion]:
    """Files that neither by name nor by content are images."""
    for path in images:
        if has_image_suffix(path):
            continue
        try:
            sniff(path)
        except ImageError as error:
            if error.what.startswith("not an image"):
                yield Exclusion(printable(relative(path, base)), error.what, printable(path), aside=True)


def _kind(path: str) -> str:
    """The reader of a file by its content; empty where it is no image."""
    try:
        return sniff(path)
    except ImageError:
        return ""


def _images(path: Path, unlisted: list[Exclusion]) -> Iterator[str | Exclusion]:
    def refused(error: OSError) -> None:
        place = str(error.filename)
        unlisted.append(Exclusion(printable(place), f"the folder cannot be listed: {error.strerror}", printable(place)))

    for place, below, names in os.walk(path, onerror=refused):
        below[:] = sorted(b for b in below if not b.startswith(".") and b != "__MACOSX")
        for name in sorted(names):
            file = os.path.join(place, name)
            if name.startswith(".") or name == "DICOMDIR":
                continue
            suffix = Path(name).suffix.lower()
            if suffix in _IGNORED and not has_image_suffix(name):
                yield Exclusion(printable(relative(file, path)), _NOT_DATA, printable(file), aside=True)
            else:
                yield file
