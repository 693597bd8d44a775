"""Raw folders of nnU-Net v2: a file a channel (``_0000``), masks beside them, ``dataset.json`` for the labels."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcnn.data.adapters.dataset_json import FILE, choose_channels, numbered, read_about
from medcnn.data.adapters.mask_labels import BACKGROUND, Names, choose_labels
from medcnn.data.images.sniff import RASTER_SUFFIXES
from medcnn.errors import DataError
from medcnn.types import Case, Dataset, Exclusion, ImageRef, Mask, Part

_CHANNEL = re.compile(r"(.+)_(\d{4})")


def nnunet(
    root: Path,
    *,
    channels: tuple[str | int, ...] | None = None,
    mask_labels: Mapping[str, int | str | tuple[int | str, ...]] | None = None,
    overlapping: bool | None = None,
) -> Dataset:
    """Cases of a raw dataset of nnU-Net v2.

    Args:
        root: Folder that holds ``dataset.json``, ``imagesTr`` and ``labelsTr``. ``imagesTs`` is the test part where
            ``labelsTs`` is there too.
        channels: The channels to use, by name or number; absent: all.
        mask_labels: Labels chosen, merged or renamed: each with the label, or labels, of ``dataset.json`` that it
            takes, by name or value; labels that are not named become background. Absent: as ``dataset.json`` has them.
        overlapping: A voxel may have several labels (a channel each). Absent: where ``dataset.json`` has regions.

    Raises:
        DataError: If ``dataset.json`` or the folders are missing, or labels or channels do not fit.
    """
    about = read_about(root)
    path = root / FILE
    known, regions = _labels(about, path)
    overlap = (regions and mask_labels is None) if overlapping is None else overlapping
    schema, names = choose_labels(mask_labels, known, overlapping=overlap, where=str(path))
    layout = _Layout.of(root, about, channels, names)
    tested = (root / "labelsTs").is_dir()
    found = list(layout.cases("Tr", "training" if tested else None))
    if tested:
        found += layout.cases("Ts", "test")
    elif (root / "imagesTs").is_dir():
        why = "a test image that is published without a mask"
        for name, files in layout.grouped(root / "imagesTs")[0].items():
            found.append(Exclusion(name, why, next(iter(files.values())), aside=True))
    return Dataset(
        str(about.get("name") or root.name),
        tuple(c for c in found if isinstance(c, Case)),
        {"mask": schema},
        tuple(e for e in found if isinstance(e, Exclusion)),
    )


def _labels(about: Mapping[str, Any], path: Path) -> tuple[dict[str, tuple[int, ...]], bool]:
    """Stored values by label, and whether there are regions."""
    found: dict[str, tuple[int, ...]] = {}
    regions = False
    for name, given in about["labels"].items():
        values = given if isinstance(given, list) else [given]
        if not values or not all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in values):
            older = "this is the older form, with values before names: use the adapter decathlon, or convert it"
            todo = older if str(name).isdigit() else "give a whole number, or a list of them for a region"
            raise DataError(f"the label {name!r} has the value {given!r}", where=str(path), todo=todo)
        if name == BACKGROUND:
            continue
        regions = regions or isinstance(given, list)
        found[str(name)] = tuple(values)
    return found, regions


@dataclass(frozen=True, slots=True)
class _Layout:
    """How files are called.

    Attributes:
        root: The folder of the dataset.
        names: What masks call the labels.
        ending: Of all files.
        channels: Names by number.
        wanted: Numbers of the channels in use.
        listed: Images and mask of each case, where ``dataset.json`` lists them.
    """

    root: Path
    names: Names
    ending: str
    channels: tuple[str, ...]
    wanted: tuple[int, ...]
    listed: Mapping[str, Any] | None

    @classmethod
    def of(cls, root: Path, about: Mapping[str, Any], wanted: tuple[str | int, ...] | None, names: Names) -> _Layout:
        ending = about.get("file_ending")
        if "channel_names" not in about or not isinstance(ending, str):
            raise DataError(
                "the file names no channel_names or no file_ending",
                where=str(root / FILE),
                todo="it is no dataset.json of nnU-Net v2; the adapter decathlon reads those of the Decathlon",
            )
        channels = numbered(about, "channel_names", root)
        chosen = choose_channels(wanted, channels, root) or tuple(range(len(channels)))
        return cls(root, names, ending, channels, chosen, about.get("dataset"))

    def cases(self, part: str, published: Part | None) -> Iterator[Case | Exclusion]:
        """The cases of ``imagesTr`` or ``imagesTs``, what is wrong with others, and masks without images."""
        if self.listed and part == "Tr":
            for name, entry in self.listed.items():
                images = {k: self._place(p) for k, p in enumerate(entry["images"])}
                yield self._case(name, images, self._place(entry["label"]), published)
            return
        images_folder, labels_folder = self.root / f"images{part}", self.root / f"labels{part}"
        for folder in (images_folder, labels_folder):
            if not folder.is_dir():
                raise DataError("the folder is not there", where=str(folder), todo="set data.root=FOLDER")
        groups, strange = self.grouped(images_folder)
        for name, files in groups.items():
            yield self._case(name, files, str(labels_folder / f"{name}{self.ending}"), published)
        for file in strange:
            yield Exclusion(file, f"not named CASE_0000{self.ending}", str(images_folder / file))
        for file in sorted(os.listdir(labels_folder)):
            name = file.removesuffix(self.ending)
            if file.endswith(self.ending) and not file.startswith(".") and name not in groups:
                yield Exclusion(name, "the mask has no image", str(labels_folder / file))

    def grouped(self, folder: Path) -> tuple[dict[str, dict[int, str]], list[str]]:
        """Files by case and channel, and those that are not named so."""
        groups: dict[str, dict[int, str]] = {}
        strange: list[str] = []
        for file in sorted(os.listdir(folder)):
            if file.startswith(".") or not file.endswith(self.ending):
                continue
            match = _CHANNEL.fullmatch(file.removesuffix(self.ending))
            if match is None:
                strange.append(file)
                continue
            groups.setdefault(match[1], {})[int(match[2])] = str(folder / file)
        return groups, strange

    def _place(self, given: Any) -> str:
        return os.path.normpath(os.path.join(self.root, str(given)))

    def _case(self, name: str, files: Mapping[int, str], label: str, part: Part | None) -> Case | Exclusion:
        count, first = len(self.channels), next(iter(files.values()))
        # A colour picture holds its three channels in one file.
        whole = sorted(files) == [0] and count == 3 and self.ending.lower() in RASTER_SUFFIXES
        if not whole and sorted(files) != list(range(count)):
            lacking = [f"{self.channels[k]} (_{k:04d})" for k in range(count) if k not in files]
            more = [f"_{k:04d}" for k in files if k >= count]
            text = f"lacks the channel {', '.join(lacking)}" if lacking else f"has the channel {', '.join(more)} too"
            return Exclusion(name, f"the image {text}", first)
        missing = next((p for p in files.values() if not os.path.isfile(p)), None)
        if missing is not None:
            return Exclusion(name, "the file does not exist", missing)
        if not os.path.isfile(label):
            return Exclusion(name, "the image has no mask", label)
        paths = [first] if whole else [files[k] for k in self.wanted]
        return Case(name, tuple(ImageRef((p,)) for p in paths), (Mask(ImageRef((label,)), self.names),), part=part)
