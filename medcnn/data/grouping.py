"""What may not be divided between the parts of a split: cases joined by group, patient, study and pixels."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medcnn.errors import DataError
from medcnn.types import Case

DUMMY_IDS = frozenset(
    {
        "anon", "anonym", "anonymous", "anonymized", "anonymised", "blank", "default", "dummy", "empty", "missing",
        "n.a.", "n/a", "na", "nan", "nil", "no id", "no name", "noid", "noname", "none", "not available", "null",
        "patient", "patient id", "patientid", "pseudonym", "redacted", "removed", "test", "unidentified", "unknown",
        "unnamed", "unspecified",
    }
)  # fmt: skip
"""Ids that anonymisers and consoles write where there is none, in lower case; blank ones need no entry."""

KINDS = {
    "group": ("group", "groups"),
    "patient": ("patient id", "patient ids"),
    "study": ("study", "studies"),
    "identical": ("set of identical images", "sets of identical images"),
    "near": ("group of near-duplicates", "groups of near-duplicates"),
}
"""What can join cases, in words for one and for many."""

LARGE_SHARE = 0.02
"""Components above this share of the cases are named."""

SHOWN = 10
_EMPTY = re.compile(r"[0x\W_]*")
_DIGITS = re.compile(r"(\d+)")


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Key that sorts ``site 2`` before ``site 10``."""
    return tuple((0, int(t), "") if t.isdecimal() else (1, 0, t) for t in _DIGITS.split(text))


def listing(names: Iterable[str], shown: int = SHOWN) -> str:
    """The first names in quotes, and how many more there are."""
    names = list(names)
    text = ", ".join(repr(n) for n in names[:shown])
    return f"{text} and {len(names) - shown:,} more" if len(names) > shown else text


def plural(count: int, one: str, many: str) -> str:
    """``1 case`` or ``2,000 cases``."""
    return f"{count:,} {one if count == 1 else many}"


def is_dummy(value: str | None, dummies: Collection[str] = DUMMY_IDS) -> bool:
    """Whether an id says nothing: blank, on the list (in any case), or of zeros, x and punctuation alone."""
    if value is None:
        return True
    text = value.strip().casefold()
    return text in dummies or _EMPTY.fullmatch(text) is not None


def dummy_ids(values: Iterable[str | None], dummies: Collection[str] = DUMMY_IDS) -> frozenset[str]:
    """Which of the ids in use say nothing.

    An id of zeros counts as a real one where the ids go on from it (``0`` and ``1``, or ``000`` and ``001``):
    such a table numbers its patients from 0, and not to join the first of them would be a leak.
    """
    found = {v for v in values if v is not None}
    return frozenset(v for v in found if is_dummy(v, dummies) and not _counted_from(v.strip(), found))


def _counted_from(text: str, found: set[str]) -> bool:
    return bool(text) and set(text) == {"0"} and "1".zfill(len(text)) in found


@dataclass(frozen=True, slots=True)
class Component:
    """Cases that one part of a split must hold together.

    Attributes:
        name: Unique among the components; the explicit group or the patient where there is just one.
        cases: Ids, sorted.
        ids: What joined them: ``group``, ``patient``, ``study``, ``identical`` (and ``near``, where there are any)
            -> the ids, pixel digests or centres of groups of near-duplicates.
        own: Whether it is exactly one group that the dataset itself names.
        single: Whether one id alone holds all its cases.
    """

    name: str
    cases: tuple[str, ...]
    ids: Mapping[str, tuple[str, ...]]
    own: bool
    single: bool

    def reason(self) -> str:
        """What joined the cases, in words and without the ids themselves."""
        return ", ".join(plural(len(v), *KINDS[k]) for k, v in self.ids.items() if v)


@dataclass(frozen=True, slots=True)
class Grouping:
    """The components of a set of cases.

    Attributes:
        components: In the order of their first case's id.
        groups: Case id -> name of its component, in the order of the case ids.
        notes: What a user should know of the ids.
        large: Components above 2 % of the cases that the dataset did not name as a group itself.
        keys: Case id -> the ids that joined it, as (kind, value).
    """

    components: tuple[Component, ...]
    groups: Mapping[str, str]
    notes: tuple[str, ...] = ()
    large: tuple[Component, ...] = ()
    keys: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    def facts(self) -> list[dict[str, Any]]:
        """The large components, for ``split.json``."""
        return [
            {
                "group": printable(c.name),
                "cases": len(c.cases),
                "share": round(len(c.cases) / len(self.groups), 4),
                "ids": {k: [printable(i) for i in v] for k, v in c.ids.items()},
            }
            for c in self.large
        ]


def printable(text: str) -> str:
    """The text with what UTF-8 cannot hold (broken file names) replaced."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def group_cases(
    cases: Sequence[Case],
    identical: Mapping[str, str],
    *,
    joined_by: Sequence[Case] = (),
    dummies: Collection[str] = DUMMY_IDS,
    near: Mapping[str, str] | None = None,
) -> Grouping:
    """Connected components of cases that share a group, a patient, a study or their pixels.

    Args:
        cases: In any order; the result does not depend on it.
        identical: Case id -> digest of the pixels; cases without one are joined by their ids alone.
        joined_by: Cases that take no part themselves (left out as surplus copies) but whose ids still join.
        dummies: Ids, in lower case, that never mean "the same patient" (or study).
        near: Case id -> name of its group of verified near-duplicates.

    Raises:
        DataError: If two cases have the same id.
    """
    ordered = sorted(cases, key=lambda c: c.id)
    _require_unique(ordered)
    known = {c.id for c in ordered}
    everyone = [*ordered, *sorted((c for c in joined_by if c.id not in known), key=lambda c: c.id)]
    empty = dummy_ids((c.patient for c in everyone), dummies) | dummy_ids((c.study for c in everyone), dummies)
    keys = {c.id: _keys(c, identical, empty, near or {}) for c in everyone}
    components = _components(ordered, _roots(everyone, keys), keys, everyone)
    groups = {case: component.name for component in components for case in component.cases}
    large = tuple(_large(components, len(ordered)))
    return Grouping(
        components,
        {c.id: groups[c.id] for c in ordered},
        (*_id_notes(ordered, empty), *_size_notes(large, len(ordered))),
        large,
        keys,
    )


def _require_unique(ordered: Sequence[Case]) -> None:
    twice = [case for case, count in Counter(c.id for c in ordered).items() if count > 1]
    if twice:
        raise DataError(
            f"{plural(len(twice), 'case id occurs', 'case ids occur')} more than once: {listing(twice)}",
            where="data",
            todo="give every case an id of its own",
        )


def _keys(
    case: Case, identical: Mapping[str, str], empty: frozenset[str], near: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    if case.group is not None and case.group.strip():
        found.append(("group", case.group))
    if case.patient is not None and case.patient not in empty:
        found.append(("patient", case.patient.strip()))
    if case.study is not None and case.study not in empty:
        found.append(("study", case.study.strip()))
    if case.id in identical:
        found.append(("identical", identical[case.id]))
    if case.id in near:
        found.append(("near", near[case.id]))
    return tuple(found)


def _roots(everyone: Sequence[Case], keys: Mapping[str, tuple[tuple[str, str], ...]]) -> list[int]:
    """Union-find over positions; the root of a component is its first position."""
    parent = list(range(len(everyone)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, case in enumerate(everyone):
        for key in keys[case.id]:
            a, b = find(first.setdefault(key, i)), find(i)
            if a != b:
                parent[max(a, b)] = min(a, b)
    return [find(i) for i in range(len(everyone))]


def _components(
    ordered: Sequence[Case],
    roots: Sequence[int],
    keys: Mapping[str, tuple[tuple[str, str], ...]],
    everyone: Sequence[Case],
) -> tuple[Component, ...]:
    members: dict[int, list[int]] = defaultdict(list)
    for i, root in enumerate(roots):
        members[root].append(i)
    shared = Counter(v for case in everyone for k, v in keys[case.id] if k == "identical")
    taken: set[str] = set()
    found: list[Component] = []
    for positions in members.values():
        inside = [everyone[i].id for i in positions if i < len(ordered)]
        if not inside:
            continue
        ids: dict[str, dict[str, None]] = {kind: {} for kind in KINDS}
        for i in positions:
            for kind, value in keys[everyone[i].id]:
                if kind != "identical" or shared[value] > 1:
                    ids[kind][value] = None
        sorted_ids = {k: tuple(sorted(v, key=natural_key)) for k, v in ids.items() if v or k != "near"}
        held = [set(keys[everyone[i].id]) for i in positions]
        own = len(ids["group"]) == 1 and all(any(k == "group" for k, _ in h) for h in held)
        name = _name(sorted_ids, inside[0], taken)
        taken.add(name)
        found.append(Component(name, tuple(inside), sorted_ids, own, bool(set.intersection(*held)) and _one_owner(ids)))
    return tuple(found)


def _one_owner(ids: Mapping[str, Collection[str]]) -> bool:
    return len(ids["group"]) <= 1 and len(ids["patient"]) <= 1


def _name(ids: Mapping[str, tuple[str, ...]], first: str, taken: Collection[str]) -> str:
    """The most telling id; a patient and a group of other cases may bear the same one, so the case is added then."""
    name = next((ids[kind][0] for kind in ("group", "patient", "study") if ids[kind]), first)
    while name in taken:
        name = f"{name} ({first})"
    return name


def _large(components: Sequence[Component], total: int) -> list[Component]:
    """Above 2 % of the cases, and more than chance: joined over several ids, or one id far above the average."""
    mean = total / max(len(components), 1)
    found = [
        c
        for c in components
        if not c.own and len(c.cases) > max(1, LARGE_SHARE * total) and (not c.single or len(c.cases) > 2 * mean)
    ]
    return sorted(found, key=lambda c: (-len(c.cases), c.name))


def _id_notes(ordered: Sequence[Case], empty: frozenset[str]) -> list[str]:
    cases = [c for c in ordered if c.patient is not None and c.patient in empty]
    if not cases:
        return []
    values = sorted({c.patient or "" for c in cases})
    return [
        f"the patient id of {len(cases):,} of {len(ordered):,} cases says nothing ({listing(values)}) and joins none"
    ]


def _size_notes(large: Sequence[Component], total: int, shown: int = 5) -> list[str]:
    notes = [
        f"the group of case {c.cases[0]!r} holds {len(c.cases):,} of {total:,} cases "
        f"({100 * len(c.cases) / total:.1f} %), joined by {c.reason()}; split.json names them under components"
        for c in large[:shown]
    ]
    if len(large) > shown:
        more = plural(len(large) - shown, "more group holds", "more groups hold")
        notes.append(f"{more} over {100 * LARGE_SHARE:.0f} % of the cases each")
    return notes
