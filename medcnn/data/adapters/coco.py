"""COCO: one annotation file of boxes beside a folder of images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from medcnn.data.adapters.box_labels import BoxLabels, by_part
from medcnn.data.adapters.common import elsewhere, folders_below
from medcnn.data.adapters.image_folder import compile_patient, patient_of
from medcnn.data.images.sniff import has_image_suffix
from medcnn.data.labels.boxes_coco import CocoFile, read_coco
from medcnn.errors import DataError
from medcnn.types import Case, Dataset, Exclusion, ImageRef, Part

Files = Mapping[Part | None, str]


def coco(
    root: Path,
    *,
    annotations: str | Mapping[str, str] = "annotations.json",
    images: str | Mapping[str, str] = "images",
    box_labels: Mapping[str, str | tuple[str, ...]] | None = None,
    patient: str | None = None,
) -> Dataset:
    """Cases from annotations in COCO's format; an image without boxes is a case with nothing in it.

    Args:
        root: Holds the annotation file and the folder of images.
        annotations: The annotation file; or one for each part, as in ``{training: train.json, test: test.json}``.
        images: The folder that ``file_name`` counts from; or one for each part.
        box_labels: Labels chosen, merged or renamed: each with the category, or categories, that it takes, as in
            ``{lesion: [nodule, mass]}``; ``ignore`` takes what counts neither way; categories that are not named are
            left out. Absent: the categories as they are.
        patient: Regular expression whose first group, in ``file_name``, is the patient.

    Raises:
        DataError: If a file is missing, broken or contradicts itself, or labels do not fit it.
    """
    pattern = compile_patient(patient)
    files, folders = by_part(annotations, "annotations"), by_part(images, "images")
    read = {part: read_coco(root / name) for part, name in files.items()}
    known = list(dict.fromkeys(name for found in read.values() for name in found.names))
    labels = BoxLabels(box_labels, known, str(root / next(iter(files.values()))))
    cases: list[Case] = []
    exclusions: list[Exclusion] = []
    for part, found in read.items():
        folder = folders.get(part, folders.get(None, ""))
        if not (root / folder).is_dir():
            todo = elsewhere(root, (folder,)) or "set data.root=FOLDER, or name the folder with the option images"
            raise DataError("the folder of images is not there", where=str(root / folder), todo=todo)
        for result in _cases(root / folder, found, labels, part, pattern):
            (cases if isinstance(result, Case) else exclusions).append(result)  # type: ignore[arg-type]
    _require_apart(cases, root)
    exclusions += _unlisted(root, folders, {case.images[0].paths[0] for case in cases}, exclusions)
    return Dataset(
        root.name,
        tuple(cases),
        {"boxes": labels.schema},
        tuple(exclusions),
        patients_known=pattern is not None,
        facts={"notes": labels.notes()},
    )


def _cases(
    folder: Path, found: CocoFile, labels: BoxLabels, part: Part | None, pattern: re.Pattern[str] | None
) -> Iterator[Case | Exclusion]:
    for name, image in found.images.items():
        place = os.path.normpath(folder / name)
        if not os.path.isfile(place):
            yield Exclusion(name, "the file does not exist", place)
        elif image.problem:
            yield Exclusion(name, image.problem, place)
        else:
            boxes = labels.boxes(image.boxes)
            yield Case(name, (ImageRef((place,)),), (boxes,), patient=patient_of(pattern, name), part=part)


def _require_apart(cases: list[Case], root: Path) -> None:
    seen: dict[str, Case] = {}
    for case in cases:
        other = seen.setdefault(case.id, case)
        if other is not case:
            raise DataError(
                f"the image {case.id!r} stands in two annotation files",
                where=str(root),
                todo="list each image in one part alone",
            )


def _unlisted(root: Path, folders: Files, used: set[str], exclusions: list[Exclusion]) -> list[Exclusion]:
    """Images of the folders that no annotation file names."""
    known = used | {e.path for e in exclusions}
    found: list[Exclusion] = []
    for folder in sorted(set(folders.values())):
        for place, names in folders_below(root / folder, root, found):
            for name in names:
                path = os.path.normpath(os.path.join(place, name))
                if has_image_suffix(name) and path not in known:
                    shown = os.path.relpath(path, root / folder).replace(os.sep, "/")
                    found.append(Exclusion(shown, "the annotations do not name the image", path))
    return found
