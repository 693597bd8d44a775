"""The layout of the Medical Segmentation Decathlon: ``dataset.json`` beside folders of NIfTI files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medcnn.data.adapters.dataset_json import FILE, choose_channels, numbered, read_about
from medcnn.data.adapters.mask_labels import BACKGROUND, Names, choose_labels
from medcnn.errors import DataError
from medcnn.types import Case, Dataset, Exclusion, ImageRef, Mask, Part

_LISTS: tuple[tuple[str, Part | None], ...] = (("training", None), ("validation", "validation"))
_SUFFIXES = (".nii.gz", ".nii")


def decathlon(
    root: Path,
    *,
    channels: tuple[str | int, ...] | None = None,
    mask_labels: Mapping[str, int | str | tuple[int | str, ...]] | None = None,
    overlapping: bool = False,
) -> Dataset:
    """Cases of one task of the Medical Segmentation Decathlon, or of data in its layout.

    Args:
        root: Folder that holds ``dataset.json``.
        channels: The modalities to use, by name or number, of images that hold several; absent: all.
        mask_labels: Labels chosen, merged or renamed: each with the label, or labels, of ``dataset.json`` that it
            takes, by name or value, as in ``{hippocampus: [Anterior, Posterior]}``; labels that are not named become
            background. Absent: as ``dataset.json`` has them.
        overlapping: A voxel may have several labels (a channel each), as in ``{whole: [1, 2], core: 2}``.

    Raises:
        DataError: If ``dataset.json`` is missing or lists nothing, or labels or channels do not fit it.
    """
    path = root / FILE
    about = read_about(root)
    if "channel_names" in about or "file_ending" in about:
        raise DataError("this is a dataset of nnU-Net", where=str(path), todo="use the adapter nnunet")
    known = _labels(about, path)
    schema, names = choose_labels(mask_labels, known, overlapping=overlapping, where=str(path))
    modalities = numbered(about, "modality", root) if about.get("modality") else ("",)
    wanted = choose_channels(channels, modalities, root)
    cases: list[Case] = []
    exclusions: list[Exclusion] = []
    for key, part in _LISTS:
        published: Part | None = "training" if part is None and about.get("validation") else part
        for place, entry in enumerate(_list(about, key, path), 1):
            found = _case(root, entry, f"{path}: {key} {place}", wanted, len(modalities), names, published)
            (cases if isinstance(found, Case) else exclusions).append(found)  # type: ignore[arg-type]
    repeated = [name for name, count in Counter(c.id for c in cases).items() if count > 1]
    if repeated:
        raise DataError(f"{repeated[0]} is listed twice", where=str(path), todo="list each image once")
    exclusions += [*_unlisted(root, about, path), *_tests(root, about)]
    notes = tuple(_notes(about))
    facts = {"notes": notes} if notes else {}
    return Dataset(str(about.get("name") or root.name), tuple(cases), {"mask": schema}, tuple(exclusions), facts=facts)


def _labels(about: Mapping[str, Any], path: Path) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for text, name in about["labels"].items():
        if not str(text).isdigit():
            raise DataError(
                f"the label {text!r} is no whole number", where=str(path), todo='write "labels": {"1": "liver", ...}'
            )
        if int(text) == 0:
            continue
        if str(name) in found or str(name) == BACKGROUND:
            raise DataError(f"two labels are called {name!r}", where=str(path), todo="give each a name of its own")
        found[str(name)] = (int(text),)
    return found


def _list(about: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    found = about.get(key, [])
    if not isinstance(found, list) or (key == "training" and not found):
        raise DataError(f"{key} lists no images", where=str(path), todo="mend the file")
    return found


def _case(
    root: Path,
    entry: Any,
    where: str,
    wanted: tuple[int, ...] | None,
    count: int,
    names: Names,
    part: Part | None,
) -> Case | Exclusion:
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
        raise DataError("the entry names no image", where=where, todo='write {"image": ..., "label": ...}')
    image, label = entry["image"], entry.get("label")
    name = case_name(image)
    place = os.path.normpath(root / image)
    if not os.path.isfile(place):
        return Exclusion(name, "the file does not exist", place)
    if not label:
        return Exclusion(name, "the image has no mask", place)
    drawn = os.path.normpath(root / str(label))
    if not os.path.isfile(drawn):
        return Exclusion(name, "the mask does not exist", drawn)
    if count == 1:
        images: tuple[ImageRef, ...] = (ImageRef((place,)),)
    elif wanted is None:
        images = (ImageRef((place,), key="channels"),)
    else:
        images = tuple(ImageRef((place,), index=k) for k in wanted)
    return Case(name, images, (Mask(ImageRef((drawn,)), names),), part=part)


def case_name(path: str) -> str:
    """The name of a file without folder and ending."""
    name = path.replace("\\", "/").rpartition("/")[2]
    return next((name[: -len(s)] for s in _SUFFIXES if name.lower().endswith(s)), name)


def _unlisted(root: Path, about: Mapping[str, Any], path: Path) -> Iterator[Exclusion]:
    """Images and masks of the training folders that the file does not list."""
    entries = [e for key, _ in _LISTS for e in _list(about, key, path) if isinstance(e, dict)]
    for field, kind in (("image", "the image"), ("label", "the mask")):
        listed = {os.path.normpath(root / e[field]) for e in entries if isinstance(e.get(field), str)}
        for folder in sorted({os.path.dirname(p) for p in listed}):
            for file in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
                place = os.path.join(folder, file)
                if not file.startswith(".") and file.endswith(_SUFFIXES) and place not in listed:
                    yield Exclusion(case_name(file), f"{kind} is not listed in {FILE}", place)


def _tests(root: Path, about: Mapping[str, Any]) -> Iterator[Exclusion]:
    """The published test images, which have no masks."""
    for entry in about.get("test") or []:
        place = os.path.normpath(root / entry) if isinstance(entry, str) else ""
        if os.path.isfile(place):
            yield Exclusion(case_name(place), "a test image that is published without a mask", place, aside=True)


def _notes(about: Mapping[str, Any]) -> Iterator[str]:
    for key, count in (("training", about.get("numTraining")), ("test", about.get("numTest"))):
        listed = len(about.get(key) or [])
        if isinstance(count, int) and count != listed:
            yield f"{FILE} announces {count} {key} images and lists {listed}"
