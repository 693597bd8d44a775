"""Which elements of a DICOM header tell who the patient is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

DATES: Final = ("PatientBirthDate", "PatientBirthTime", "PatientBirthDateInAlternativeCalendar")
CONTACT: Final = ("PatientAddress", "PatientTelephoneNumbers", "PatientTelecomInformation")
MARKS: Final = ("BurnedInAnnotation", "RecognizableVisualFeatures")
"""Elements that say YES where the pixels themselves tell who it is."""

# One item a frame: long, and about geometry alone.
_FRAMES = "PerFrameFunctionalGroupsSequence"


def identifying_headers(dataset: Dataset) -> tuple[str, ...]:
    """Keywords of the elements that name, date or show a person, in the order of the header.

    Every name of a person (value representation PN, of physicians and operators too), birth dates, addresses,
    and the marks that the pixels show it (BurnedInAnnotation, RecognizableVisualFeatures: YES). Empty elements
    tell nothing; items of sequences are looked at. A private element of a name is ``(gggg,eeee)``.

    Args:
        dataset: A header; pixels are not needed.
    """
    found: dict[str, None] = {}
    for element in _elements(dataset):
        keyword = element.keyword or str(element.tag)
        value = str(element.value if element.value is not None else "").strip("^=\\ []'")
        if keyword in MARKS:
            if value.upper() == "YES":
                found[keyword] = None
        elif value and (element.VR == "PN" or keyword in DATES or keyword in CONTACT):
            found[keyword] = None
    return tuple(found)


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    for tag in sorted(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:
            # Elements are decoded when they are touched, and broken ones fail in many ways: they tell nothing.
            continue
        if element.VR != "SQ":
            yield element
        elif element.keyword != _FRAMES:
            for item in element.value or ():
                yield from _elements(item)
