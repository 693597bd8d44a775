"""What adapters share: schemas from names, class labels, and messages about labels outside a schema."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from medcnn.data.grouping import printable
from medcnn.errors import DataError
from medcnn.registry import suggest
from medcnn.types import Exclusion, LabelClass, LabelSchema, Part

MISSING = ("", "-1", "-1.0", "nan", "NaN", "NA", "N/A", "n/a", "None", "null", "uncertain", "unknown", "?")

PART_NAMES: dict[str, Part] = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def make_schema(names: Sequence[str], *, multilabel: bool = False, positive: str | None = None) -> LabelSchema:
    """A schema of names in their order; of two exclusive classes the last is the positive one if none is named.

    Raises:
        DataError: If names repeat, or the positive class is none of them.
    """
    if len(set(names)) < len(names):
        raise DataError(f"class names repeat: {', '.join(names)}")
    if positive is not None and positive not in names:
        raise DataError(f"the positive class {positive!r} is no class", todo=suggest(positive, names))
    if positive is None and len(names) == 2 and not multilabel:
        positive = names[1]
    classes = tuple(LabelClass(value, name) for value, name in enumerate(names))
    return LabelSchema(classes, multilabel=multilabel, positive=positive)


def unknown_label(label: str, names: Sequence[str], where: str) -> DataError:
    """The error for a label that no schema knows."""
    return DataError(
        f"the label {label!r} is not in the schema",
        where=where,
        todo=f"{suggest(label, names)} (or name it among the classes; a label that is not known stays blank)",
    )


def evenly(count: int, wanted: int | None) -> list[int]:
    """Positions of ``wanted`` of ``count`` slices, in the middle of equal stretches."""
    if wanted is None or wanted >= count:
        return list(range(count))
    return [int((k + 0.5) * count / wanted) for k in range(wanted)]


def folders_below(
    folder: Path, root: Path, exclusions: list[Exclusion], *, recursive: bool = True
) -> Iterator[tuple[str, list[str]]]:
    """A folder and those below it, each with the names of its files; hidden ones and DICOMDIR are left out.

    Args:
        folder: Where to start.
        root: What names in messages count from.
        exclusions: Receives the folders that cannot be listed, and links to folders, which are not followed.
        recursive: Whether to look below.
    """

    def refuse(place: str, reason: str, *, aside: bool = False) -> None:
        shown = printable(os.path.relpath(place, root).replace(os.sep, "/"))
        exclusions.append(Exclusion(shown, reason, printable(place), aside))

    def unlisted(error: OSError) -> None:
        refuse(str(error.filename), f"the folder cannot be listed: {error.strerror}")

    for place, below, names in os.walk(folder, onerror=unlisted):
        below[:] = sorted(b for b in below if not b.startswith(".")) if recursive else []
        for name in below:
            if os.path.islink(os.path.join(place, name)):
                refuse(os.path.join(place, name), "a link to a folder, which is not followed", aside=True)
        yield place, sorted(n for n in names if not n.startswith(".") and n != "DICOMDIR")


def elsewhere(root: Path, names: Sequence[str]) -> str:
    """Advice where what is looked for lies one folder below the root, or above it; empty where it does not."""
    try:
        below = sorted(p for p in root.iterdir() if p.is_dir())
    except OSError:
        below = []
    for place in (*below, root.parent):
        if any(os.path.exists(place / name) for name in names):
            return f"did you mean data.root={place}?"
    return ""
