"""What may be shown: pseudonyms for identifiers, no UIDs, dates, paths, hosts or users, ages pooled above 89."""

from __future__ import annotations

import getpass
import json
import re
import socket
from collections.abc import Iterable, Mapping
from typing import Any

from medcnn.report.pseudonyms import Kind, Pseudonyms

OLDEST = 89
POOLED = "90+"

# DICOM PS3.5 9.1: components of digits joined by dots; five and more tell a UID from a version or an address.
_UID = re.compile(r"(?<![\w.])\d+(?:\.\d+){4,}(?!\w)")
_DATE = re.compile(
    r"(?<![\w.])(?:"
    r"(?:19|20)\d\d[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?"
    r"(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[T ]?\d{6}(?:\.\d+)?)?"
    r"|(?:0?[1-9]|[12]\d|3[01])[./](?:0?[1-9]|1[0-2])[./](?:19|20)\d\d"
    r"|(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01])/(?:19|20)\d\d"
    r")(?!\w|\.\d)"
)
_POSIX = re.compile(r"(?:(?<=^)|(?<=[\s\"'=(\[,;:<]))(?:~|file:/)?/(?!/)[^\s\"'<>|,;:)\]]+")
_WINDOWS = re.compile(r"(?:(?<=^)|(?<=[\s\"'=(\[,;:<]))(?:[A-Za-z]:[\\/]|\\\\)[^\s\"'<>|,;:)\]]+")
_HOMES = {"home", "Users", "users"}
_SPAN = r"\d{2,3}(?:\.\d+)?(?:\s*(?:-|–|to)\s*\d{2,3}(?:\.\d+)?)?"
_AGE = re.compile(rf"(\bage[ds]?\b\D{{0,12}}?)({_SPAN})(?![\d.%])", re.IGNORECASE)
_YEARS = re.compile(rf"\b({_SPAN})(?=[ -]?(?:years?|y/?o|yrs?)\b)", re.IGNORECASE)
_DICOM_AGE = re.compile(r"\b(\d{3})Y\b")
_WORDS = re.compile(r"([^\s'\"(),;\[\]<>=]+)")
_NUMBERS = re.compile(r"(\d+(?:\.\d+)?)(?:(\s*(?:-|–|to)\s*)(\d+(?:\.\d+)?))?\+?")
_NAMES_AGE = re.compile(r"(?:^|[_\W])age(?:$|[_\W])", re.IGNORECASE)

_LOCAL_KEYS = re.compile(
    r"(?:^|[._\- ])(?:host|hostname|node|fqdn|ip|mac|user|username|uid|login|email|owner|cwd|home|path|paths|dir|"
    r"directory|folder|root|file|filename|executable|prefix|date|datetime|started|ended|finished|created|timestamp|"
    r"time_stamp)$",
    re.IGNORECASE,
)


def names_age(column: str) -> bool:
    """Whether a column or attribute is an age."""
    return bool(_NAMES_AGE.search(column))


def pool_age(value: float) -> str:
    """An age as it may be shown: ``90+`` above 89."""
    return POOLED if value > OLDEST else f"{value:g}"


def pool_ages(text: str) -> str:
    """A text that is known to be about an age, with numbers above 89 and ranges that end there pooled."""

    def pooled(match: re.Match[str]) -> str:
        first, joint, second = match.groups()
        if float(first) > OLDEST:
            return POOLED
        return f"{first}{joint}{POOLED}" if second and float(second) > OLDEST else match.group()

    return _NUMBERS.sub(pooled, text)


def basename(path: str) -> str:
    """The last part of a path of either kind of system; ``~`` for somebody's home folder."""
    parts = [p for p in re.split(r"[\\/]+", path) if p]
    if len(parts) >= 2 and parts[-2] in _HOMES:
        return "~"
    return parts[-1] if parts else "/"


def mask(text: str) -> str:
    """A text without paths (their last part stays), UIDs and dates, and with ages above 89 pooled."""
    text = _WINDOWS.sub(lambda m: basename(m.group()), text)
    text = _POSIX.sub(lambda m: basename(m.group()), text)
    text = _UID.sub("[UID]", text)
    text = _DATE.sub("[date]", text)
    text = _AGE.sub(lambda m: m.group(1) + pool_ages(m.group(2)), text)
    text = _YEARS.sub(lambda m: pool_ages(m.group(1)), text)
    return _DICOM_AGE.sub(lambda m: POOLED if int(m.group(1)) > OLDEST else m.group(), text)


def is_local(key: str) -> bool:
    """Whether a key of ``provenance.json`` names something that stays there: a host, a user, a path, a date."""
    return bool(_LOCAL_KEYS.search(key))


class Shown:
    """Turns what stands in local files into what may be shown.

    Args:
        pseudonyms: Where the pseudonyms come from.
        cases: Rows of ``cases.csv``.
        exclusions: Rows of ``exclusions.csv``.
        keep: Words that are no identifiers even where a case is called so (names of classes).
    """

    def __init__(
        self,
        pseudonyms: Pseudonyms,
        cases: Iterable[Mapping[str, str]] = (),
        exclusions: Iterable[Mapping[str, str]] = (),
        keep: Iterable[str] = (),
    ) -> None:
        self._pseudonyms = pseudonyms
        self._known: dict[str, tuple[Kind, str]] = {}
        cases = list(cases)
        for row in (*cases, *exclusions):
            self._learn_files(row)
        for column in ("cluster", "group", "study", "patient"):
            for row in cases:
                self._learn("patient", row.get(column, ""))
        for row in (*cases, *exclusions):
            self._learn("case", row.get("case", ""))
        for word in ("", *keep):
            self._known.pop(word, None)
        self._spaced = sorted((k for k in self._known if re.search(r"\s", k)), key=len, reverse=True)

    def _learn(self, kind: Kind, identifier: str) -> None:
        if identifier:
            self._known[identifier] = (kind, identifier)

    def _learn_files(self, row: Mapping[str, str]) -> None:
        case = row.get("case", "")
        for path in (p for column in ("paths", "path") for p in _paths(row.get(column, ""))):
            entry: tuple[Kind, str] = ("case", case) if case else ("file", path)
            self._known[path] = entry
            self._known.setdefault(path.replace("\\", "/").rsplit("/", 1)[-1], entry)

    def case(self, identifier: str) -> str:
        """The pseudonym of a case."""
        return self._pseudonyms.name("case", identifier)

    def identifier(self, text: str) -> str:
        """The pseudonym of anything that identifies: a known case, patient or file, or an unknown one."""
        entry = self._known.get(text)
        return self._pseudonyms.name(*(entry or ("file", text)))

    def text(self, text: str) -> str:
        """A sentence with identifiers replaced and :func:`mask` applied."""
        for name in self._spaced:
            if name in text:
                text = text.replace(name, self.identifier(name))
        return mask(_WORDS.sub(self._word, text))

    def _word(self, match: re.Match[str]) -> str:
        word = match.group()
        stem = word.rstrip(".:!?")
        # A short number is far more often a count or a position than a case that is called so.
        if stem not in self._known or (stem.isdecimal() and len(stem) < 5):
            return word
        return self.identifier(stem) + word[len(stem) :]


def _paths(text: str) -> list[str]:
    """Paths of a cell: joined by ``|``, or the texts of a JSON value."""
    if text.startswith("["):
        try:
            return [t for t in _texts(json.loads(text)) if len(t) > 1]
        except ValueError:
            pass
    return [p for p in text.split("|") if p]


def _texts(value: Any) -> list[str]:
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) and re.search(r"[\\/.]", value) else []


class Machine:
    """Removes what names this machine and its user from texts of ``provenance.json``."""

    def __init__(self) -> None:
        self._words = {w for w in (socket.gethostname(), _user()) if len(w) > 3 and w not in _HOMES}

    def text(self, text: str) -> str:
        """The text without host and user name, paths, UIDs and dates."""
        for word in self._words:
            text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "[machine]", text)
        return mask(text)


def _user() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        return ""
    return "" if name == "root" else name


def reduce_paths(value: Any) -> Any:
    """A nested plain value whose texts have lost what :func:`mask` takes; a whole path keeps its last part."""
    if isinstance(value, dict):
        return {k: reduce_paths(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [reduce_paths(v) for v in value]
    if not isinstance(value, str):
        return value
    absolute = value.startswith(("/", "~/")) or re.match(r"[A-Za-z]:[\\/]|\\\\", value)
    return mask(basename(value)) if absolute and "\n" not in value else mask(value)
