"""What DICOM headers say of persons: names, birth dates, burned-in annotation; and ids with two birth dates or sexes.

What is found is counted. The values themselves stay in memory: no name and no date enters the audit.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medcnn.data.finding import Finding, examples
from medcnn.data.grouping import dummy_ids, is_dummy, plural
from medcnn.data.images.privacy import CONTACT, DATES, IDS, MARKS
from medcnn.progress import Progress, Silent
from medcnn.types import Case, Dataset

SEX_NAMES = frozenset({"sex", "gender", "patient_sex", "patientsex"})
SEXES = {"m": "male", "male": "male", "man": "male", "f": "female", "female": "female", "woman": "female"}
_BIRTH = re.compile(r"birth|(^|_)dob($|_)", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")
_NO_DICOM = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".npz", ".nii", ".nii.gz")


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """What the headers of one case say.

    Attributes:
        case: Its id.
        files: DICOM files looked at.
        keywords: Keyword of an element that tells who it is -> files in which it does.
        named: Files with a name of a person in them.
        dated: Files with a birth date.
        contact: Files with an address or a telephone number.
        numbered: Files with an id of the patient or the visit beside the patient id.
        burned: Files that say that the pixels themselves show who it is.
        silent: Files that do not say whether an annotation is burned in.
        patient: The patient id that stands there.
        sexes: Sexes that stand there.
        births: Birth dates that stand there; never shown.
    """

    case: str
    files: int
    keywords: Mapping[str, int] = field(default_factory=dict)
    named: int = 0
    dated: int = 0
    contact: int = 0
    numbered: int = 0
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
    paths = [p for ref in case.images if ref.reader in ("auto", "dicom") for p in ref.paths]
    yield from (p for p in dict.fromkeys(paths) if not p.lower().endswith(_NO_DICOM))


@dataclass(frozen=True, slots=True)
class _Header:
    """What one file says."""

    telling: tuple[str, ...]
    patient: str
    birth: str
    sex: str
    burned: str


def _header(path: str) -> _Header | None:
    from medcnn.data.images import sniff
    from medcnn.errors import ImageError

    try:
        if sniff(path) != "dicom":
            return None
    except ImageError:
        return None
    import warnings

    import pydicom

    from medcnn.data.images.privacy import identifying_headers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = pydicom.dcmread(path, force=True, stop_before_pixels=True)

            def text(keyword: str) -> str:
                return str(header.get(keyword, "") or "").strip()

            patient = text("PatientID")
            telling = [k for k in identifying_headers(header) if not _is_filler(text(k), patient)]
            return _Header(
                tuple(telling), patient, text("PatientBirthDate"), text("PatientSex"), text("BurnedInAnnotation")
            )
        except Exception:
            # pydicom fails in many ways on a broken header; the reading of the pixels says which it was.
            return None


def _is_filler(value: str, patient: str) -> bool:
    """Whether a value is what anonymisers write, or the pseudonym that the id is too.

    What stands in an item of a sequence alone is empty here, and none.
    """
    text = value.replace("^", " ").strip()
    return bool(text) and (is_dummy(text) or text == patient.strip())


def _facts(case: str, headers: Sequence[_Header]) -> HeaderFacts:
    patient = next((h.patient for h in headers if not is_dummy(h.patient)), None)
    return HeaderFacts(
        case,
        len(headers),
        dict(Counter(keyword for h in headers for keyword in h.telling)),
        sum(any(_is_name(k) for k in h.telling) for h in headers),
        sum(any(k in DATES for k in h.telling) for h in headers),
        sum(any(k in CONTACT for k in h.telling) for h in headers),
        sum(any(k in IDS for k in h.telling) for h in headers),
        sum(any(k in MARKS for k in h.telling) for h in headers),
        sum(h.burned.upper() not in ("YES", "NO") for h in headers),
        patient,
        frozenset(_sex(h.sex) for h in headers) - {""},
        frozenset(_date(h.birth) for h in headers) - {""},
    )


def _is_name(keyword: str) -> bool:
    return not any(keyword in others for others in (DATES, MARKS, CONTACT, IDS))


def _sex(value: object) -> str:
    return SEXES.get(str(value).strip().casefold(), "")


def _date(value: object) -> str:
    """A date without its punctuation, so that ``1950-02-01`` is ``19500201``; empty where it says nothing."""
    text = "".join(_DIGITS.findall(str(value)))
    return text[:8] if text.strip("0") else ""


_KINDS: tuple[tuple[str, str, Callable[[str], bool], Callable[[HeaderFacts], int]], ...] = (
    ("header-names", "the name of a person", _is_name, lambda h: h.named),
    ("header-birth-dates", "a birth date", DATES.__contains__, lambda h: h.dated),
    ("header-contact", "an address or a telephone number", CONTACT.__contains__, lambda h: h.contact),
    ("header-ids", "a further id of the patient or the visit", IDS.__contains__, lambda h: h.numbered),
    ("header-burned-in", "the mark that the pixels show who it is", MARKS.__contains__, lambda h: h.burned),
)


def header_table(headers: Sequence[HeaderFacts]) -> tuple[dict[str, Any], list[Finding]]:
    """How many files tell who it is, and by which elements, as a table and its findings."""
    keywords: Counter[str] = Counter()
    for header in headers:
        keywords.update(header.keywords)
    table = {
        "cases": len(headers),
        "files": sum(h.files for h in headers),
        "files_with_a_name": sum(h.named for h in headers),
        "files_with_a_birth_date": sum(h.dated for h in headers),
        "files_with_an_address": sum(h.contact for h in headers),
        "files_with_a_further_id": sum(h.numbered for h in headers),
        "files_with_burned_in_annotation": sum(h.burned for h in headers),
        "files_silent_on_burned_in_annotation": sum(h.silent for h in headers),
        "files_by_element": dict(sorted(keywords.items(), key=lambda kv: (-kv[1], kv[0]))),
    }
    found = []
    for name, what, of, count in _KINDS:
        cases = [h.case for h in headers if count(h)]
        total = sum(count(h) for h in headers)
        if total:
            text = f"{plural(total, 'DICOM header carries', 'DICOM headers carry')} {what}, in "
            text += f"{plural(len(cases), 'case', 'cases')} ({_listed([k for k in keywords if of(k)])})"
            found.append(Finding(name, "caution", text, total, examples(cases)))
    return table, found


def _listed(keywords: Sequence[str], shown: int = 5) -> str:
    more = len(keywords) - shown
    return ", ".join(keywords[:shown]) + (f" and {more} more" if more > 0 else "")


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
