"""Two folders of masks, matched by the names of their files, and the names of the labels in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcnn.errors import DataError, MedcnnError
from medcnn.types import LabelClass, LabelSchema

# Endings of files that can hold a mask, longest first, so that a name loses all of them.
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".png", ".tif", ".tiff", ".bmp", ".dcm")
DESCRIPTION = "dataset.json"
_BACKGROUND, _IGNORED = "background", "ignore"


@dataclass(frozen=True, slots=True)
class Pairs:
    """References with their predictions.

    Attributes:
        references: The file of each case, by name without its ending, sorted.
        predictions: The file of each case that has a prediction.
        surplus: Names of predictions without a reference.
    """

    references: Mapping[str, Path]
    predictions: Mapping[str, Path]
    surplus: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Cases without a prediction."""
        return tuple(case for case in self.references if case not in self.predictions)


@dataclass(frozen=True, slots=True)
class Labels:
    """What the values of masks stand for.

    Attributes:
        names: The name of each value above 0.
        ignored: Values that mean "not annotated".
        origin: Where the names come from; empty where they are made from the values.
        overlapping: Whether a voxel may have several labels.
        codes: Codes of labels by name, as ``SCHEME:VALUE``.
    """

    names: Mapping[int, str]
    ignored: tuple[int, ...] = ()
    origin: str = ""
    overlapping: bool = False
    codes: Mapping[str, str] = field(default_factory=dict)

    @property
    def schema(self) -> LabelSchema:
        """The labels, by value."""
        classes = (LabelClass(v, name, code=self.codes.get(name)) for v, name in sorted(self.names.items()))
        return LabelSchema(tuple(classes), multilabel=self.overlapping)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Values with their labels, as :class:`~medcnn.types.Mask` has them; none where no value is ignored."""
        if not self.ignored:
            return ()
        named = [(str(value), name) for value, name in sorted(self.names.items())]
        return (*named, *((str(value), _IGNORED) for value in self.ignored))


def match_folders(predictions: Path, references: Path) -> Pairs:
    """Match the masks of two folders by the names of their files, whatever their endings.

    Raises:
        DataError: If a folder is missing or holds no mask, two masks have one name, or no name is in both.
    """
    wanted, made = _masks(references, "references"), _masks(predictions, "predictions")
    common = sorted(set(wanted) & set(made))
    if not common:
        first, second = next(iter(wanted)), next(iter(made))
        raise DataError(
            f"no file of {predictions} has the name of one of {references} ({second!r} and {first!r}, say)",
            todo="give the masks of one case the same name in both folders, apart from the ending",
        )
    surplus = tuple(case for case in made if case not in wanted)
    return Pairs(wanted, {case: made[case] for case in common}, surplus)


def _masks(folder: Path, what: str) -> dict[str, Path]:
    if not folder.is_dir():
        problem = "is a file, not a folder of masks" if folder.exists() else "is not there"
        raise DataError(f"the folder of {what} {problem}", where=str(folder), todo="check the path")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        ending = next((e for e in ENDINGS if path.name.lower().endswith(e)), None)
        if ending is None or path.name.startswith(".") or not path.is_file():
            continue
        case = path.name[: -len(ending)]
        if case in found:
            raise DataError(
                f"two masks of {case!r}: {found[case].name} and {path.name}",
                where=str(folder),
                todo="keep one of them there",
            )
        found[case] = path
    if not found:
        raise DataError(
            f"the folder of {what} holds no mask",
            where=str(folder),
            todo=f"masks are files that end in {', '.join(ENDINGS)}",
        )
    return found


def given_labels(names: Mapping[str, str]) -> Labels | None:
    """Labels as the user names them, a value to a name; ``None`` where there are none.

    Raises:
        MedcnnError: If a value is no whole number above 0, or a name stands twice.
    """
    if not names:
        return None
    found: dict[int, str] = {}
    for text, name in names.items():
        if not text.isdecimal() or int(text) < 1:
            raise MedcnnError(
                f"{text!r} is no value of a label", where="--labels", todo="write VALUE=NAME, as in --labels 1=liver"
            )
        found[int(text)] = name
    return _checked(found, (), "--labels")


def described_labels(folder: Path) -> Labels | None:
    """Labels from the ``dataset.json`` of nnU-Net or of the Decathlon, in the folder or above it.

    ``None`` where there is none, or where it names regions, whose values overlap.
    """
    for path in (folder / DESCRIPTION, folder.parent / DESCRIPTION):
        if path.is_file():
            return _described(path)
    return None


def _described(path: Path) -> Labels | None:
    try:
        labels: Any = json.loads(path.read_text(encoding="utf-8"))["labels"]
        pairs = [(k, v) if str(k).isdecimal() else (v, k) for k, v in labels.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not all(str(value).isdecimal() for value, _ in pairs):
        return None
    values = {int(value): str(name) for value, name in pairs}
    ignored = tuple(sorted(value for value, name in values.items() if name == _IGNORED))
    kept = {value: name for value, name in values.items() if value > 0 and name not in (_BACKGROUND, _IGNORED)}
    return _checked(kept, ignored, path.name) if kept else None


def plain_labels(values: set[int]) -> Labels:
    """Labels that are called after their values: ``label 1``, ``label 2``.

    Raises:
        DataError: If there is none above 0.
    """
    found = sorted(value for value in values if value > 0)
    if not found:
        raise DataError("no reference holds a label: all voxels are 0", todo="check that these are the masks")
    return Labels({value: f"label {value}" for value in found})


def listed_labels(found: Iterable[tuple[int, str, str]]) -> Labels:
    """Labels that segmentations list: segments of one name are one label, whatever their numbers.

    Args:
        found: Number, name and code of the segments of all references, in their order.

    Raises:
        DataError: If there is none.
    """
    names: dict[int, str] = {}
    codes: dict[str, str] = {}
    known: dict[str, str] = {}
    for number, label, code in found:
        name = label.strip() or f"segment {number}"
        if name.casefold() in known:
            continue
        known[name.casefold()] = name
        # A number that stands for another name already says nothing: one that no segment has takes its place.
        names[number if number not in names else max(2**16, *names) + 1] = name
        if code:
            codes[name] = code
    # What carries the code of several names is told apart by the names alone.
    single = {n: c for n, c in codes.items() if list(codes.values()).count(c) == 1}
    if not names:
        raise DataError("no reference lists a segment", todo="check that these are the masks")
    return Labels(names, (), "those of the references' segments", codes=single)


def _checked(names: Mapping[int, str], ignored: tuple[int, ...], origin: str) -> Labels:
    repeated = sorted({n for n in names.values() if list(names.values()).count(n) > 1})
    if repeated:
        raise MedcnnError(f"two labels are called {repeated[0]!r}", where=origin)
    return Labels(dict(names), ignored, origin)
