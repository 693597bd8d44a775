"""Names of converted files: from numbers and descriptions that may hold anything to what every system can store."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from medcnn.data.images.dicom_tags import FIRM, LOOSE
from medcnn.data.images.side_codes import IMAGE_TYPE, MODALITY
from medcnn.data.images.stacks import Stack

_LONGEST = 60
# Names that Windows keeps for devices, whatever follows the first dot.
_DEVICES = re.compile(r"(?i:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)")
_LARGEST = 9999
_SHORT: Final[Mapping[str, str]] = {
    "EchoNumbers": "e", "TemporalPositionIdentifier": "t", "DiffusionBValue": "b", "ReferencedSegmentNumber": "seg",
    "StackID": "stack", "EchoTime": "te", "InversionTime": "ti", "TriggerTime": "tt", "AcquisitionNumber": "a",
    "FlipAngle": "fa", "RepetitionTime": "tr", "FrameReferenceTime": "frame",
    "NominalPercentageOfCardiacPhase": "phase", "ContrastBolusAgent": "", "ConvolutionKernel": "", "ImageType": "",
    "matrix": "", "colour": "", "kind": "",
}  # fmt: skip
"""What stands before the value of something that tells stacks apart."""
_ELEMENTS = (*FIRM, *LOOSE)


@dataclass(frozen=True, slots=True)
class Named:
    """A stack on the way to its name.

    Attributes:
        owner: What stands for the patient: equal for stacks of one patient alone.
        owner_name: The folder of the patient, where there are several.
        study: What stands for the study.
        study_name: The folder of the study, where a patient has several; empty: they are numbered by date.
        date: StudyDate, for the order of studies.
        stem: Name of the file without its end.
    """

    owner: str
    owner_name: str
    study: str
    study_name: str
    date: str
    stem: str


def safe(text: str, longest: int = _LONGEST) -> str:
    """Letters without accents, digits, dots and hyphens; empty where nothing of a text is left.

    Two texts may give one name: :func:`name_files` numbers them.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    # Letters that have no accents to lose (Japanese, Cyrillic) are gone: a rest of punctuation says nothing.
    found = re.sub(r"[^A-Za-z0-9.]+", "-", plain).strip("-.")[:longest].strip("-.")
    return f"x-{found}" if _DEVICES.match(found) else found


def stem_of(stack: Stack, *, private: bool) -> str:
    """Series number, description, and what tells the stack from others of its series.

    Args:
        stack: Of which a file will be made.
        private: Only what may be told of anybody: the modality instead of the description, and of what tells stacks
            apart numbers and values of the standard.
    """
    header = stack.header
    number = header.series_number if header.series_number is not None and header.series_number >= 0 else None
    if private and number is not None and number > _LARGEST:
        number = None
    modality = safe(header.modality)
    if private:
        modality = header.modality if header.modality in MODALITY else ""
    modality = modality or "image"
    told = "" if private else safe(header.description) or safe(header.protocol)
    parts = [f"{number:03d}"] if number is not None else [modality] if told else []
    parts.append(told or modality)
    parts += _suffixes(stack, private=private)
    return "_".join(parts)


def _suffixes(stack: Stack, *, private: bool) -> list[str]:
    found = []
    for name, value in stack.differing:
        if name == "orientation":
            told = stack.plane
        elif name == "derived":
            told = "derived"
        elif name == "spacing":
            told = ""
        elif name == "ImageType":
            words = [w.strip(" '[]") for w in value.split(",")]
            # The first two say ORIGINAL or DERIVED, PRIMARY or SECONDARY; what it shows comes after them.
            told = "-".join(w for w in words[2:] or words if w in IMAGE_TYPE or not private)
        elif re.fullmatch(r"-?\d{1,5}(\.\d*)?", value):
            told = f"{_SHORT.get(name, name)}{float(value):g}"
        else:
            told = "" if private and name in _ELEMENTS else _SHORT.get(name, name) + value
        found.append(safe(told, 24))
    return [part for part in found if part]


def name_files(stacks: Sequence[Named]) -> list[PurePosixPath]:
    """Names without their end, each once, also where a system does not tell capitals from small letters.

    Files lie in folders of patients where there are several patients, and in folders of studies where a patient has
    several studies.
    """
    owners = _unique({s.owner: s.owner_name for s in stacks})
    studies: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for s in stacks:
        studies[s.owner][s.date, s.study] = s.study_name
    folders: dict[tuple[str, str], str] = {}
    for owner, found in studies.items():
        names = {study: name or f"study-{i}" for i, ((_, study), name) in enumerate(sorted(found.items()), 1)}
        several = len(names) > 1
        folders |= {(owner, study): name if several else "" for study, name in _unique(names).items()}
    taken: set[str] = set()
    named = []
    for s in stacks:
        owner = owners[s.owner] if len(owners) > 1 else ""
        place = PurePosixPath(owner, folders[s.owner, s.study])
        named.append(_free(place / s.stem, taken))
    return named


def _unique(names: Mapping[str, str]) -> dict[str, str]:
    taken: set[str] = set()
    return {key: str(_free(PurePosixPath(name), taken)) for key, name in names.items()}


def _free(path: PurePosixPath, taken: set[str]) -> PurePosixPath:
    """The path, or with a number the next that is not taken yet; it is taken then."""
    found = path
    for number in _counting():
        if str(found).casefold() not in taken:
            break
        found = path.with_name(f"{path.name}-{number}")
    taken.add(str(found).casefold())
    return found


def _counting() -> Iterable[int]:
    number = 1
    while True:
        number += 1
        yield number
