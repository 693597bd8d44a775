"""A folder a class: the simplest layout there is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from medcnn.data.adapters.common import elsewhere, folders_below, make_schema
from medcnn.data.images.sniff import has_image_suffix, sniff
from medcnn.errors import DataError, ImageError
from medcnn.registry import suggest
from medcnn.types import Case, ClassLabel, Dataset, Exclusion, ImageRef


def image_folder(
    root: Path,
    *,
    classes: Mapping[str, str | tuple[str, ...]] | tuple[str, ...] | None = None,
    positive: str | None = None,
    rest: str | None = None,
    patient: str | None = None,
    recursive: bool = True,
    volumes: bool = False,
) -> Dataset:
    """Cases from folders named after their class.

    Args:
        root: Holds one folder a class.
        classes: The folders to use, in order; or class names with the folder, or folders, of each; absent: all
            folders, sorted by name.
        positive: The class that a binary problem is about (class 1). With ``rest``, its folder.
        rest: Name for all other folders together: makes the problem binary, 0 the rest and 1 ``positive``.
        patient: Regular expression whose first group, in the file's path below its class folder, is the patient.
        recursive: Look into folders below the class folders too.
        volumes: Take the DICOM files of one folder as one volume instead of an image each.

    Raises:
        DataError: If folders are missing, or hold no image.
    """
    if not root.is_dir():
        raise DataError("the folder of the dataset is not there", where=str(root), todo="set data.root=FOLDER")
    folders = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
    by_class = _classes(folders, classes, positive, rest, root)
    schema = make_schema(list(by_class), positive=positive)
    pattern = compile_patient(patient)
    cases, exclusions = list[Case](), list[Exclusion]()
    for number, name in enumerate(by_class):
        found = len(cases)
        label = ClassLabel.of(number, len(by_class))
        unlisted: list[Exclusion] = []
        files = [file for folder in by_class[name] for file in _files(root / folder, root, unlisted, recursive)]
        exclusions += unlisted
        series = _series(files) if volumes else {}
        cases += [_volume(place, slices, root, label, pattern) for place, slices in series.items()]
        taken = {path for slices in series.values() for path in slices}
        for path in (path for path in files if path not in taken):
            case = _case(path, root, label, pattern)
            if isinstance(case, Case):
                cases.append(case)
            else:
                exclusions.append(case)
        if len(cases) == found:
            raise _no_image(name, root / by_class[name][0], unlisted)
    return Dataset(root.name, tuple(cases), {"class": schema}, tuple(exclusions), patients_known=pattern is not None)


def _no_image(name: str, place: Path, unlisted: Sequence[Exclusion]) -> DataError:
    why = f": {unlisted[0].reason}" if unlisted else ""
    return DataError(
        f"there is no image of the class {name!r}{why}",
        where=str(place),
        todo="put its images there, or name the folders to use with the option classes",
    )


def _series(files: list[str]) -> dict[str, tuple[str, ...]]:
    """The DICOM files of each folder that has any."""
    found: dict[str, list[str]] = {}
    for path in files:
        try:
            if _is_text(path) and sniff(path) == "dicom":
                found.setdefault(os.path.dirname(path), []).append(path)
        except ImageError:
            # What is wrong with it is said where it is read as an image of its own.
            continue
    return {folder: tuple(paths) for folder, paths in found.items()}


def _volume(
    folder: str, slices: tuple[str, ...], root: Path, label: ClassLabel, pattern: re.Pattern[str] | None
) -> Case:
    relative = os.path.relpath(folder, root).replace(os.sep, "/")
    patient = patient_of(pattern, relative.partition("/")[2])
    return Case(relative, (ImageRef(slices, "dicom"),), (label,), patient=patient)


def _case(path: str, root: Path, label: ClassLabel, pattern: re.Pattern[str] | None) -> Case | Exclusion:
    relative = os.path.relpath(path, root).replace(os.sep, "/")
    if not _is_text(relative):
        shown = relative.encode(errors="backslashreplace").decode()
        return Exclusion(shown, "the file's name is not UTF-8 text", path.encode(errors="backslashreplace").decode())
    if not has_image_suffix(path) and "." in os.path.basename(path):
        return Exclusion(relative, "not an image by its name", path)
    return Case(relative, (ImageRef((path,)),), (label,), patient=patient_of(pattern, relative.partition("/")[2]))


def _classes(
    folders: list[str],
    classes: Mapping[str, str | tuple[str, ...]] | tuple[str, ...] | None,
    positive: str | None,
    rest: str | None,
    root: Path,
) -> dict[str, tuple[str, ...]]:
    if rest is not None:
        if positive is None:
            raise DataError("rest needs positive: the class that the problem is about", where="image_folder")
        _require([positive], folders, root)
        others = tuple(f for f in folders if f != positive)
        if not others or rest == positive:
            raise DataError(
                "there is no other class folder for the rest" if not others else "rest and positive have one name",
                where=str(root),
            )
        return {rest: others, positive: (positive,)}
    if isinstance(classes, Mapping):
        chosen = {name: (given,) if isinstance(given, str) else tuple(given) for name, given in classes.items()}
    else:
        chosen = {name: (name,) for name in (classes or folders)}
        if classes is None and positive in chosen and len(chosen) == 2:
            # The positive class is class 1, whatever its name.
            chosen[positive] = chosen.pop(positive)
    if len(chosen) < 2:
        raise DataError(
            f"found {len(chosen)} class folders, at least two are needed",
            where=str(root),
            todo=_deeper(root, folders)
            or "put the images of each class into a folder of its own, or use the adapter table",
        )
    _require([f for given in chosen.values() for f in given], folders, root)
    return chosen


def _require(wanted: list[str], folders: list[str], root: Path) -> None:
    for name in wanted:
        if name not in folders:
            todo = elsewhere(root, wanted) or suggest(name, folders)
            raise DataError(f"there is no class folder {name!r}", where=str(root), todo=todo)


def _deeper(root: Path, folders: list[str]) -> str:
    """Advice where the only folder holds the folders of the classes, as an unpacked archive has it."""
    if len(folders) == 1 and sum(p.is_dir() for p in (root / folders[0]).iterdir()) > 1:
        return f"did you mean data.root={root / folders[0]}?"
    return ""


def _files(folder: Path, root: Path, unlisted: list[Exclusion], recursive: bool) -> list[str]:
    below = folders_below(folder, root, unlisted, recursive=recursive)
    return [os.path.join(place, name) for place, names in below for name in names]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def compile_patient(patient: str | None) -> re.Pattern[str] | None:
    """The option ``patient`` of adapters that read it from names; raises where it has no group, or is broken."""
    if patient is None:
        return None
    try:
        pattern = re.compile(patient)
    except re.error as error:
        raise DataError(f"patient is not a regular expression: {error}", where=patient) from error
    if pattern.groups < 1:
        raise DataError("patient needs a group in parentheses that holds the id", where=patient)
    return pattern


def patient_of(pattern: re.Pattern[str] | None, name: str) -> str | None:
    """The first group of the pattern in a name; ``None`` where it is not found."""
    match = pattern.search(name) if pattern is not None else None
    return match.group(1) if match else None
