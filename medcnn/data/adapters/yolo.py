"""YOLO: ``data.yaml``, folders of images, and a text file of boxes for each image."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medcnn.data.adapters.box_labels import BoxLabels
from medcnn.data.adapters.common import PART_NAMES, elsewhere, folders_below
from medcnn.data.adapters.image_folder import compile_patient, patient_of
from medcnn.data.images.grid_only import read_grid
from medcnn.data.images.sniff import has_image_suffix
from medcnn.data.labels.boxes_yolo import read_yolo
from medcnn.errors import DataError, ImageError
from medcnn.types import Boxes, Case, Dataset, Exclusion, ImageRef, Part


def yolo(
    root: Path,
    *,
    file: str = "data.yaml",
    box_labels: Mapping[str, str | tuple[str, ...]] | None = None,
    unlabelled: bool = True,
    patient: str | None = None,
) -> Dataset:
    """Cases from a dataset in YOLO's layout: ``images/...`` beside ``labels/...``.

    ``data.yaml`` names the classes and, for ``train``, ``val`` and ``test``, a folder of images, a list of folders, or
    a text file of paths. The boxes of ``images/a/b.png`` stand in ``labels/a/b.txt``.

    Args:
        root: Folder that holds the file.
        file: The file that names classes and folders.
        box_labels: Labels chosen, merged or renamed, as in ``{lesion: [nodule, mass]}``; ``ignore`` takes what counts
            neither way; classes that are not named are left out. Absent: the classes as they are.
        unlabelled: An image without a label file shows nothing, as in YOLO; false: it is not annotated and left out.
        patient: Regular expression whose first group, in the image's path, is the patient.

    Raises:
        DataError: If the file is missing or broken, names no classes, or a folder is not there.
    """
    pattern = compile_patient(patient)
    path = root / file
    about = _load(path)
    names = _names(about, path)
    labels = BoxLabels(box_labels, names, str(path))
    base = root / str(about.get("path") or "")
    base = base if base.is_dir() else root
    cases: list[Case] = []
    exclusions: list[Exclusion] = []
    for place, part in _images(about, base, path, exclusions):
        shown = os.path.relpath(place, root).replace(os.sep, "/")
        found = _boxes(shown, place, names, labels, unlabelled)
        if isinstance(found, Exclusion):
            exclusions.append(found)
        else:
            patient_id = patient_of(pattern, shown)
            cases.append(Case(shown, (ImageRef((place,)),), (found,), patient=patient_id, part=part))
    return Dataset(
        root.name,
        tuple(cases),
        {"boxes": labels.schema},
        tuple(exclusions),
        patients_known=pattern is not None,
        facts={"notes": labels.notes()},
    )


def _load(path: Path) -> Mapping[str, Any]:
    import yaml

    if not path.is_file():
        todo = elsewhere(path.parent, (path.name,)) or "set data.root=FOLDER, or name it with the option file"
        raise DataError("the file is not there", where=str(path), todo=todo)
    try:
        about = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"the file cannot be read: {error}", where=str(path), todo="mend it") from error
    if not isinstance(about, dict):
        raise DataError("the file holds no keys", where=str(path), todo="it holds names: [...] and train: images/train")
    return about


def _names(about: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    given = about.get("names")
    if isinstance(given, dict) and set(given) == set(range(len(given))):
        given = [given[k] for k in range(len(given))]
    if not isinstance(given, list) or not given:
        raise DataError("names lists no classes", where=str(path), todo="it holds names: [nodule, mass], from class 0")
    names = tuple(str(name) for name in given)
    if len(set(names)) < len(names):
        raise DataError("two classes have one name", where=str(path), todo="give each a name of its own")
    return names


def _images(
    about: Mapping[str, Any], base: Path, path: Path, exclusions: list[Exclusion]
) -> Iterator[tuple[str, Part | None]]:
    listed = [(key, about[key]) for key in ("train", "val", "test") if about.get(key)]
    if not listed:
        raise DataError("no images are named", where=str(path), todo="it holds train: images/train, and val and test")
    # One folder for all is no division: the recipe's split makes one.
    parts = {key: PART_NAMES[key] if len(listed) > 1 else None for key, _ in listed}
    seen: dict[str, str] = {}
    for key, given in listed:
        for entry in given if isinstance(given, list) else [given]:
            for place in _below(base / str(entry), base, path, exclusions):
                other = seen.setdefault(place, key)
                if other != key:
                    raise DataError(
                        f"an image stands in {other} and in {key}", where=place, todo=f"mend the folders of {path.name}"
                    )
                yield place, parts[key]


def _below(place: Path, base: Path, path: Path, exclusions: list[Exclusion]) -> Iterator[str]:
    if place.is_dir():
        for folder, names in folders_below(place, base, exclusions):
            yield from (os.path.normpath(os.path.join(folder, n)) for n in names if has_image_suffix(n))
    elif place.is_file() and place.suffix == ".txt":
        for line in place.read_text(encoding="utf-8").splitlines():
            if line.strip():
                yield os.path.normpath(base / line.strip())
    else:
        raise DataError("the folder of images is not there", where=str(place), todo=f"mend {path}")


def _boxes(name: str, place: str, names: tuple[str, ...], labels: BoxLabels, unlabelled: bool) -> Boxes | Exclusion:
    if not os.path.isfile(place):
        return Exclusion(name, "the file does not exist", place)
    drawn = Path(_label_path(place))
    raw = []
    if drawn.is_file():
        try:
            if drawn.stat().st_size:
                width, height = read_grid(ImageRef((place,))).shape[:2]
                raw = read_yolo(drawn, names, (width, height))
        except ImageError as error:
            return Exclusion(name, error.what, error.where or str(drawn))
    elif not unlabelled:
        return Exclusion(name, "the image has no label file", place)
    return labels.boxes(raw)


def _label_path(image: str) -> str:
    """The last folder called ``images`` becomes ``labels``, the ending ``.txt``."""
    stem = re.sub(r"(\.nii\.gz|\.[^./\\]+)$", "", image)
    head, found, tail = stem.rpartition(f"{os.sep}images{os.sep}")
    return f"{head}{os.sep}labels{os.sep}{tail}.txt" if found else f"{stem}.txt"
