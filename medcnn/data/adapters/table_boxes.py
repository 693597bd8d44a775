"""Boxes of a table's images, from a COCO file beside the table."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medcnn.data.adapters.box_labels import BoxLabels, Wanted
from medcnn.data.grouping import plural
from medcnn.data.labels.boxes_coco import CocoImage, read_coco
from medcnn.errors import DataError
from medcnn.types import Boxes, Case, Exclusion, LabelSchema


@dataclass(frozen=True, slots=True)
class BoxFile:
    """The boxes of the images that a table names.

    Attributes:
        path: The COCO file.
        labels: What becomes of its categories.
        images: What the file says of an image, by the image's name in the table; an image that is not among them is
            not annotated.
        unused: Names in the file that stand for no image of the table.
    """

    path: Path
    labels: BoxLabels
    images: Mapping[str, CocoImage]
    unused: tuple[str, ...] = ()

    @classmethod
    def of(cls, root: Path, file: str | None, wanted: Wanted | None, names: Iterable[str]) -> BoxFile | None:
        """From the options of the adapter; ``None`` where there are no boxes.

        Args:
            root: Folder of the file.
            file: The option ``boxes``.
            wanted: The option ``box_labels``.
            names: The images of the table.

        Raises:
            DataError: If the file is missing or broken, its categories do not fit, it names no image of the table, or
                it is not clear which image it means.
        """
        if file is None:
            if wanted is not None:
                todo = "name the COCO file with the option boxes, or leave box_labels out"
                raise DataError("labels of boxes are named, but no boxes", where="box_labels", todo=todo)
            return None
        path = root / file
        found = read_coco(path, option="boxes")
        labels = BoxLabels(wanted, found.names, str(path))
        matched = _match(list(dict.fromkeys(names)), found.images, path)
        if not matched:
            raise DataError(
                f"the file names no image of the table; its first is {next(iter(found.images))!r}",
                where=str(path),
                todo="file_name is the image as the table has it, or its last part",
            )
        used = {image.name for image in matched.values()}
        return cls(path, labels, matched, tuple(name for name in found.images if name not in used))

    @property
    def schema(self) -> LabelSchema:
        """The labels of the boxes."""
        return self.labels.schema

    def read(self, case: str, image: str) -> Boxes | Exclusion | None:
        """The boxes of an image; ``None`` where the file does not name it: not annotated."""
        found = self.images.get(image)
        if found is None:
            return None
        if found.problem:
            return Exclusion(case, f"the boxes cannot be used: {found.problem}", str(self.path))
        return self.labels.boxes(found.boxes)

    def exclusions(self) -> list[Exclusion]:
        """Images of the file that the table does not name: the table says what the cases are."""
        reason, place = "the table does not name the image", str(self.path)
        return [Exclusion(name, reason, place, aside=True) for name in self.unused]

    def notes(self, cases: Sequence[Case]) -> tuple[str, ...]:
        """How many cases are not annotated, and what labels were left out, in sentences."""
        count = sum(case.target(Boxes) is None for case in cases)
        if not count:
            return self.labels.notes()
        text = plural(count, "image is", "images are")
        said = f"{text} not named in {self.path.name}, of {len(cases):,}: their boxes are not annotated"
        return (said, *self.labels.notes())


def _match(names: Sequence[str], images: Mapping[str, CocoImage], path: Path) -> dict[str, CocoImage]:
    """What the file says of each image of the table: by the whole name, else by its last part where that is clear."""
    by_path = {_plain(name): image for name, image in images.items()}
    matched = {name: by_path[_plain(name)] for name in names if _plain(name) in by_path}
    taken = {image.name for image in matched.values()}
    ours, theirs = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for name in names:
        if name not in matched:
            ours[_last(name)].append(name)
    for name in images:
        if name not in taken:
            theirs[_last(name)].append(name)
    for base, candidates in ours.items():
        named = theirs.get(base)
        if not named:
            continue
        if len(candidates) > 1 or len(named) > 1:
            both = f"{_listed(named)} of the file may be {_listed(candidates)} of the table"
            raise DataError(
                f"which image is meant is not clear: {both}",
                where=str(path),
                todo="write file_name as the table names the image",
            )
        matched[candidates[0]] = images[named[0]]
    return matched


def _plain(name: str) -> str:
    return os.path.normpath(name.replace("\\", "/"))


def _last(name: str) -> str:
    return _plain(name).rpartition("/")[2]


def _listed(names: Sequence[str]) -> str:
    return " or ".join(map(repr, names[:3])) + (" and others" if len(names) > 3 else "")
