"""Which elements of a DICOM header tell who the patient is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

DATES: Final = ("PatientBirthDate", "PatientBirthTime", "PatientBirthDateInAlternativeCalendar")
CONTACT: Final = (
    "PatientAddress", "PatientTelephoneNumbers", "PatientTelecomInformation", "PersonAddress",
    "PersonTelephoneNumbers", "PersonTelecomInformation", "ReferringPhysicianAddress",
    "ReferringPhysicianTelephoneNumbers", "InstitutionAddress",
)  # fmt: skip
IDS: Final = (
    "OtherPatientIDs", "OtherPatientIDsSequence", "AccessionNumber", "AdmissionID", "ServiceEpisodeID",
    "MedicalRecordLocator",
)  # fmt: skip
"""Further ids beside PatientID, by which a hospital finds the person; PatientID itself is in every file."""
MARKS: Final = ("BurnedInAnnotation", "RecognizableVisualFeatures")
"""Elements that say YES where the pixels themselves tell who it is."""

_TELLING: Final = frozenset((*DATES, *CONTACT, *IDS))
# Names, what may hold names, and what does not say what it is (implicit files, elements of unknown kind).
_MAY_TELL: Final = ("PN", "SQ", "UN", None)
# One item a frame: long, and about geometry alone.
_FRAMES = "PerFrameFunctionalGroupsSequence"


def identifying_headers(dataset: Dataset) -> tuple[str, ...]:
    """Keywords of the elements that name, date, number or show a person, in the order of the header.

    Every name of a person (value representation PN, of physicians and operators too), birth dates, addresses, further
    ids (of PS3.15's table E.1-1 those that lead to a person), and the marks that the pixels show it
    (BurnedInAnnotation, RecognizableVisualFeatures: YES). Empty elements tell nothing; items of sequences are looked
    at. A private element of a name is ``(gggg,eeee)``.

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
        elif value and (element.VR == "PN" or keyword in _TELLING):
            found[keyword] = None
    return tuple(found)


@cache
def _tags() -> frozenset[int]:
    from pydicom.tag import Tag

    return frozenset(Tag(keyword) for keyword in (*_TELLING, *MARKS))


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    for tag in sorted(dataset.keys()):
        # Most elements are passed over by their representation alone: to decode them all takes the most time.
        if tag not in _tags() and dataset.get_item(tag).VR not in _MAY_TELL:
            continue
        try:
            element = dataset[tag]
        except Exception:
            # Elements are decoded when they are touched, and broken ones fail in many ways: they tell nothing.
            continue
        if element.VR != "SQ" or element.keyword in IDS:
            yield element
        elif element.keyword != _FRAMES:
            for item in element.value or ():
                yield from _elements(item)
