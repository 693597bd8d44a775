"""The catalog: what is known of each dataset, and how its files become cases."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medcnn.errors import DataError, MedcnnError, RecipeError
from medcnn.recipe.document import read_document
from medcnn.recipe.problems import Problem, from_validation, raise_problems
from medcnn.registry import suggest
from medcnn.resources import catalog_file
from medcnn.types import LabelClass, LabelSchema


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AdapterEntry(_Part):
    """Which adapter reads the files, with its options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class ClassEntry(_Part):
    """A class or mask label: the value that stands for it, and its name.

    Attributes:
        value: As stored.
        name: Its name.
        color: ``#rrggbb`` for pictures.
        code: ``SCHEME:VALUE:MEANING`` for DICOM, such as ``SCT:10200004:Liver``.
    """

    value: int
    name: str
    color: str | None = Field(None, pattern="^#[0-9A-Fa-f]{6}$")
    code: str | None = Field(None, pattern="^[^:]+:[^:]+(:.+)?$")


class LabelsEntry(_Part):
    """The classes, so that they are known before the data are there."""

    classes: tuple[ClassEntry, ...] = ()
    multilabel: bool = False
    positive: str | None = None

    def known(self) -> LabelSchema:
        """The classes as the rest of the program knows them."""
        classes = tuple(LabelClass(c.value, c.name, c.color, c.code) for c in self.classes)
        return LabelSchema(classes, self.multilabel, self.positive)


class CatalogEntry(_Part):
    """One dataset of the catalog; ``null`` means not verified.

    Attributes:
        title: Its name in full.
        tasks: Tasks that its labels serve.
        modality: Kinds of images.
        adapter: How files become cases.
        labels: The classes.
        mask_labels: The labels of masks, without background.
        box_labels: The labels of boxes.
        patient: A sentence: what stands for the patient.
        folder: Default folder below the data root.
        source: Where it is published.
        size: Bytes of the download.
        checksum: ``md5:...`` or ``sha256:...`` of the download.
        licence: As its source names it.
        citation: Whom to cite.
        description: A sentence or two.
        verified: Where these facts were read.
        unit: Unit of a continuous label.
        terms: What a user has to do before the data may be had; such a dataset is not downloaded by the program.
    """

    title: str
    tasks: tuple[str, ...]
    modality: str | None = None
    adapter: AdapterEntry
    labels: LabelsEntry | None = None
    mask_labels: LabelsEntry | None = None
    box_labels: LabelsEntry | None = None
    patient: str
    folder: str
    source: str | None = None
    size: int | None = None
    checksum: str | None = None
    licence: str | None = None
    citation: str | None = None
    description: str = ""
    verified: str | None = None
    unit: str | None = None
    terms: str | None = None


def load_catalog(path: Path | str | None = None) -> dict[str, CatalogEntry]:
    """The entries of a catalog file, or of the built-in one.

    Raises:
        DataError: If the file is missing or wrong, with all its mistakes.
    """
    place = Path(path) if path is not None else catalog_file()
    changed = place.stat().st_mtime_ns if place.is_file() else 0
    return dict(_load(place, changed))


@lru_cache(maxsize=8)
def _load(path: Path, _changed: int) -> dict[str, CatalogEntry]:
    if not path.is_file():
        raise DataError("there is no such catalog", where=str(path))
    try:
        document = read_document(path)
    except MedcnnError as error:
        raise DataError(f"the catalog cannot be read: {error.what}", where=error.where, todo=error.todo) from error
    if not isinstance(document.data, dict):
        raise DataError("a catalog is a mapping from names to entries", where=str(path))
    entries: dict[str, CatalogEntry] = {}
    problems: list[Problem] = []
    for name, value in document.data.items():
        try:
            entries[str(name)] = CatalogEntry.model_validate(value)
        except ValidationError as error:
            problems += from_validation(error, value, CatalogEntry, (name,))
    try:
        raise_problems(problems, document)
    except RecipeError as error:
        raise DataError("\n  ".join(["mistakes in the catalog:", *error.problems]), where=str(path)) from error
    return entries


def find_entry(name: str, catalog: Path | str | None = None) -> CatalogEntry:
    """The entry of a dataset: from a catalog of one's own first, then from the built-in one.

    Raises:
        DataError: If there is none; the nearest known name is given.
    """
    entries = load_catalog()
    if catalog is not None:
        entries = {**entries, **load_catalog(catalog)}
    if name not in entries:
        raise DataError(f"there is no dataset {name!r} in the catalog", todo=suggest(name, entries))
    return entries[name]
