"""What a tree of DICOM keeps of each stack: where it is, whose it is, and its header's values as attributes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from medcnn.data.adapters.common import evenly
from medcnn.data.dicom_sources import relative
from medcnn.data.images.stacks import Stack
from medcnn.errors import DataError
from medcnn.registry import suggest
from medcnn.types import Attribute, ImageRef, Mask

HEADER: Final[Mapping[str, str]] = {
    "sex": "PatientSex",
    "age": "PatientAge",
    "scanner": "ManufacturerModelName",
    "site": "InstitutionName",
    "modality": "Modality",
}
"""Attributes that are kept where the recipe names none, with their elements."""

_DATES: Final = ("PatientBirthDate", "StudyDate")
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_PER_YEAR: Final = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
_NUMBERS: Final = ("DS", "FD", "FL", "IS", "SL", "SS", "UL", "US")


@dataclass(frozen=True, slots=True)
class Found:
    """A stack that was picked, without its headers: of a large tree there are many.

    Attributes:
        id: Its first file, as it counts from the folder.
        ref: What reads it.
        single: The slices that become cases of their own, each with its id; empty where the stack is one case.
        patient: PatientID, whatever stands there.
        study: StudyInstanceUID.
        series: SeriesInstanceUID.
        modality: DICOM's code.
        values: The values of the element that holds the label in all its files, blank ones left out.
        header: Elements that were asked for, by keyword.
        mask: What was drawn on it.
    """

    id: str
    ref: ImageRef
    single: tuple[tuple[str, ImageRef], ...]
    patient: str
    study: str
    series: str
    modality: str
    values: tuple[str, ...]
    header: Mapping[str, str]
    mask: Mask | None = None

    @classmethod
    def of(cls, stack: Stack, base: Path, slices: int | None, element: str | None, kept: Collection[str] = ()) -> Found:
        """From a stack; ``slices`` at even distances, the values of ``element``, and the elements in ``kept``."""
        header = stack.header
        values = {dict(h.extra).get(element, "") for h in stack.headers} - {""} if element is not None else set()
        single: tuple[tuple[str, ImageRef], ...] = ()
        if slices is not None and len(stack.slices) > 1:
            chosen = [stack.slices[k] for k in evenly(len(stack.slices), slices)]
            several = stack.header.frames > 1
            single = tuple(
                (
                    relative(s.path, base) + (f"#{s.frame}" if several else ""),
                    ImageRef((s.path,), "dicom", index=s.frame if several else None),
                )
                for s in chosen
            )
        return cls(
            name_of(stack, base), stack.ref(), single, header.patient, header.study, header.series, header.modality,
            tuple(sorted(values)), {k: v for k, v in header.extra if k in kept or k in _DATES},
        )  # fmt: skip

    def identifier(self, keyword: str) -> str:
        """PatientID, StudyInstanceUID or SeriesInstanceUID."""
        return {"PatientID": self.patient, "StudyInstanceUID": self.study, "SeriesInstanceUID": self.series}[keyword]


def name_of(stack: Stack, base: Path) -> str:
    """The id of a stack: its first file by name, which no other stack has, or which of the file's stacks it is."""
    ref = stack.ref()
    name = relative(min(ref.paths), base)
    return f"{name} [{ref.key}]" if ref.key else name


def checked_keyword(keyword: str, option: str) -> str:
    """The keyword of a DICOM element.

    Raises:
        DataError: If the standard has no such element.
    """
    from pydicom.datadict import keyword_dict

    if keyword not in keyword_dict:
        close = {k.lower(): k for k in keyword_dict}.get(keyword.replace(" ", "").lower())
        raise DataError(
            f"{keyword!r} is no keyword of a DICOM element",
            where=option,
            todo=f"did you mean {close!r}?" if close else suggest(keyword, keyword_dict)[:200],
        )
    return keyword


def attributes_of(found: Found, header: Mapping[str, str]) -> dict[str, Attribute]:
    """The attributes of a stack by name."""
    return {name: _value(found, keyword) for name, keyword in header.items()}


def _value(found: Found, keyword: str) -> Attribute:
    from pydicom.datadict import dictionary_VR

    text = found.header.get(keyword, "")
    if keyword == "PatientAge":
        return age_of(text, found.header.get("PatientBirthDate", ""), found.header.get("StudyDate", ""))
    if not text:
        return None
    if dictionary_VR(keyword) in _NUMBERS:
        try:
            number = float(text)
            return int(number) if number.is_integer() else number
        except (ValueError, OverflowError):
            return text
    return text


def age_of(age: str, born: str, day: str) -> Attribute:
    """Years, by PatientAge or else by the dates of birth and of the study; whole above one year."""
    match = _AGE.fullmatch(age.strip().upper())
    years: float | None = None
    if match is not None:
        years = int(match[1]) / _PER_YEAR[match[2]]
    else:
        first, second = _date(born), _date(day)
        if first is not None and second is not None and second >= first:
            years = (second - first).days / 365.25
    if years is None:
        return None
    return int(years) if years >= 1 else round(years, 2)


def _date(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])) if len(text) == 8 else None
    except ValueError:
        return None
