"""What DICOM headers say of persons: names, birth dates, burned-in annotation; and ids with two birth dates or sexes.

What is found is counted. The values themselves stay in memory: no name and no date enters the audit.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medcnn.data.finding import Finding, examples
from medcnn.data.grouping import dummy_ids, is_dummy, plural
from medcnn.progress import Progress, Silent
from medcnn.types import Case, Dataset

SEX_NAMES = frozenset({"sex", "gender", "patient_sex", "patientsex"})
SEXES = {"m": "male", "male": "male", "man": "male", "f": "female", "female": "female", "woman": "female"}
_BIRTH = re.compile(r"birth|(^|_)dob($|_)", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")
_NO_DICOM = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".npz", ".nii", ".nii.gz")
_TAGS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "BurnedInAnnotation",
    "PatientIdentityRemoved",
)


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """What the headers of one case say.

    Attributes:
        case: Its id.
        files: DICOM files looked at.
        named: Files with a patient's name in them.
        dated: Files with a birth date.
        burned: Files that say that an annotation is burned into the pixels.
        silent: Files that do not say whether one is.
        patient: The patient id that stands there.
        sexes: Sexes that stand there.
        births: Birth dates that stand there; never shown.
    """

    case: str
    files: int
    named: int = 0
    dated: int = 0
    burned: int = 0
    silent: int = 0
    patient: str | None = None
    sexes: frozenset[str] = frozenset()
    births: frozenset[str] = frozenset()


def read_headers(cases: Sequence[Case], progress: Progress | None = None) -> list[HeaderFacts]:
    """The headers of all DICOM files of the cases; of cases without any nothing.

    A file that cannot be read here is left to the reading of the pixels, which names it.

    Args:
        cases: What to look at.
        progress: Advanced by one a case.
    """
    progress = progress or Silent()
    found = []
    for case in cases:
        headers = [h for path in _paths(case) if (h := _header(path)) is not None]
        if headers:
            found.append(_facts(case.id, headers))
        progress.advance(1)
    return found


def _paths(case: Case) -> Iterator[str]:
    for ref in case.images:
        if ref.reader in ("auto", "dicom"):
            yield from (p for p in dict.fromkeys(ref.paths) if not p.lower().endswith(_NO_DICOM))


def _header(path: str) -> dict[str, str] | None:
    from medcnn.data.images import sniff
    from medcnn.errors import ImageError

    try:
        if sniff(path) != "dicom":
            return None
    except ImageError:
        return None
    import warnings

    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=list(_TAGS))
            return {tag: str(header.get(tag, "") or "").strip() for tag in _TAGS}
        except Exception:
            # pydicom fails in many ways on a broken header; the reading of the pixels says which it was.
            return None


def _facts(case: str, headers: Sequence[dict[str, str]]) -> HeaderFacts:
    patient = next((h["PatientID"] for h in headers if not is_dummy(h["PatientID"])), None)
    return HeaderFacts(
        case,
        len(headers),
        sum(_is_name(h["PatientName"], h["PatientID"]) for h in headers),
        sum(bool(_DIGITS.search(h["PatientBirthDate"])) for h in headers),
        sum(h["BurnedInAnnotation"].upper() == "YES" for h in headers),
        sum(h["BurnedInAnnotation"].upper() not in ("YES", "NO") for h in headers),
        patient,
        frozenset(_sex(h["PatientSex"]) for h in headers) - {""},
        frozenset(_date(h["PatientBirthDate"]) for h in headers) - {""},
    )


def _is_name(name: str, patient: str) -> bool:
    """Whether a name is there that is neither a filler nor the pseudonym that the id is too."""
    text = name.replace("^", " ").strip()
    return not is_dummy(text) and text != patient


def _sex(value: object) -> str:
    return SEXES.get(str(value).strip().casefold(), "")


def _date(value: object) -> str:
    """A date without its punctuation, so that ``1950-02-01`` is ``19500201``; empty where it says nothing."""
    text = "".join(_DIGITS.findall(str(value)))
    return text[:8] if text.strip("0") else ""


def header_table(headers: Sequence[HeaderFacts]) -> tuple[dict[str, Any], list[Finding]]:
    """How many files name persons, as a table and its findings."""
    table = {
        "cases": len(headers),
        "files": sum(h.files for h in headers),
        "files_with_a_name": sum(h.named for h in headers),
        "files_with_a_birth_date": sum(h.dated for h in headers),
        "files_with_burned_in_annotation": sum(h.burned for h in headers),
        "files_silent_on_burned_in_annotation": sum(h.silent for h in headers),
    }
    kinds: tuple[tuple[str, str, Callable[[HeaderFacts], int]], ...] = (
        ("header-names", "a patient's name", lambda h: h.named),
        ("header-birth-dates", "a birth date", lambda h: h.dated),
        ("header-burned-in", "the mark that an annotation is burned into the pixels", lambda h: h.burned),
    )
    found = []
    for name, what, count in kinds:
        cases = [h.case for h in headers if count(h)]
        total = sum(count(h) for h in headers)
        if total:
            text = f"{plural(total, 'DICOM header carries', 'DICOM headers carry')} {what}, in "
            text += plural(len(cases), "case", "cases")
            found.append(Finding(name, "caution", text, total, examples(cases)))
    return table, found


def identity_findings(dataset: Dataset, headers: Sequence[HeaderFacts]) -> list[Finding]:
    """Patient ids whose cases have two sexes or two birth dates, by their attributes and headers."""
    by_case = {h.case: h for h in headers}
    empty = dummy_ids(c.patient for c in dataset.cases)
    sexes: dict[str, set[str]] = defaultdict(set)
    births: dict[str, set[str]] = defaultdict(set)
    first: dict[str, str] = {}
    for case in dataset.cases:
        header = by_case.get(case.id)
        known = case.patient is not None and case.patient not in empty
        patient = case.patient.strip() if known and case.patient else header.patient if header else None
        if patient is None:
            continue
        first.setdefault(patient, case.id)
        for name, value in case.attributes.items():
            if name.casefold() in SEX_NAMES:
                sexes[patient] |= {_sex(value)} - {""}
            elif _BIRTH.search(name) and value is not None:
                births[patient] |= {_date(value)} - {""}
        if header is not None:
            sexes[patient] |= header.sexes
            births[patient] |= header.births
    found = []
    for name, values, what in (
        ("patient-two-sexes", sexes, "cases of both sexes"),
        ("patient-two-birth-dates", births, "cases with different birth dates"),
    ):
        two = [patient for patient, held in values.items() if len(held) > 1]
        if two:
            text = f"{plural(len(two), 'patient id has', 'patient ids have')} {what}: an id for many?"
            found.append(Finding(name, "caution", text, len(two), examples(first[p] for p in two)))
    return found
