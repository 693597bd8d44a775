"""The sealed split: groups are never divided, and a file that was changed afterwards is refused.

A group is a connected component of cases that share an explicit group, a patient, a study or identical pixels.
``docs/splits.md`` describes the rules.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medcnn.data.grouping import DUMMY_IDS, dummy_ids, group_cases, listing, plural
from medcnn.data.split_plan import Outcome, Plan, class_notes
from medcnn.data.split_rules import RULES
from medcnn.errors import DataError, RunError
from medcnn.files import digest, explain, read_json, write_bytes, write_json
from medcnn.recipe.schema import SplitSection
from medcnn.types import PARTS, Case, Part

TABLE, SEAL = "split.csv", "split.json"
_PART_OF = {part: part for part in PARTS}
_RESTORE = (
    "restore split.csv from a copy, or start a new run in another folder; to divide the cases by hand, "
    "put the parts into a column of the dataset's own table and use data.split.by: column"
)


@dataclass(frozen=True, slots=True)
class Split:
    """Which case is in which part, in each fold.

    Attributes:
        groups: Case id -> name of the group that is not divided, in the order of the case ids.
        folds: One mapping a fold: case id -> part, in the order of the case ids. All folds of the rule are here,
            so that the file is the same whichever of them are trained. A case that a fold uses nowhere
            (leave-one-out alone has such) is absent from its mapping.
        facts: ``by``, ``seed``, ``folds``, ``only`` (the folds to train), ``near_duplicates_joined``, ``notes``,
            ``counts``, ``components``, ``digest`` and what the rule adds: plain values, as ``split.json`` holds them.
    """

    groups: Mapping[str, str]
    folds: tuple[Mapping[str, Part], ...]
    facts: Mapping[str, Any]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of this split, one sentence each."""
        return tuple(self.facts.get("notes", ()))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the part columns in ``split.csv``: ``part``, or ``part_0``, ``part_1``, ..."""
        return ("part",) if len(self.folds) == 1 else tuple(f"part_{k}" for k in range(len(self.folds)))

    def part(self, fold: int, part: Part) -> tuple[str, ...]:
        """Ids of the cases in one part of the fold at a position of ``folds``, sorted."""
        return tuple(case for case, p in self.folds[fold].items() if p == part)

    def counts(self, stratum: Mapping[str, str | None]) -> tuple[dict[Part, dict[str | None, int]], ...]:
        """Cases by part and class, one entry a fold; ``None`` counts the cases without a label.

        Args:
            stratum: Case id -> class.
        """
        found: list[dict[Part, dict[str | None, int]]] = []
        for fold in self.folds:
            counter = Counter((part, stratum.get(case)) for case, part in fold.items())
            labels = sorted({label for _, label in counter}, key=lambda s: (s is None, s or ""))
            found.append({part: {label: counter[part, label] for label in labels} for part in PARTS})
        return tuple(found)

    def table(self) -> bytes:
        """``split.csv`` as bytes: ``case, group`` and a column a fold, in the order of the case ids."""
        text = io.StringIO()
        # Older versions of csv do not quote a lone carriage return, which file names may hold.
        bare = not any("\r" in text for pair in self.groups.items() for text in pair)
        writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_MINIMAL if bare else csv.QUOTE_ALL)
        writer.writerow(["case", "group", *self.columns])
        writer.writerows([case, group, *(f.get(case, "") for f in self.folds)] for case, group in self.groups.items())
        return text.getvalue().encode("utf-8", "surrogateescape")


def make_split(
    cases: Sequence[Case],
    section: SplitSection,
    *,
    stratum: Callable[[Case], str | None],
    identical: Mapping[str, str],
    seed: int,
    joined_by: Sequence[Case] = (),
    dummies: Collection[str] = DUMMY_IDS,
    near: Mapping[str, str] | None = None,
) -> Split:
    """Divide cases by the rule of the recipe. The result depends on the seed, never on the order of the cases.

    Args:
        cases: What is to be divided.
        section: The rule.
        stratum: The class by which parts are balanced; ``None`` where the label is missing.
        identical: Case id -> digest of the decoded pixels; the same digest joins cases.
        seed: The recipe's seed; the section's own comes first.
        joined_by: Cases left out as surplus copies, whose ids still join those that remain: without them two ids
            of one patient would fall apart again.
        dummies: Patient and study ids, in lower case, that never join.
        near: Case id -> name of its group of verified near-duplicates, which join too; a column that is given is
            never regrouped by them, they are then a finding of the audit.

    Raises:
        DataError: If there are no cases, fewer groups than parts, ids that occur twice, or the rule's own
            conditions are not met (an undivided given column, readable dates, a known attribute).
    """
    if not cases:
        raise DataError("there are no cases to divide", where="data.split", todo="check the dataset and its exclusions")
    seed = seed if section.seed is None else section.seed
    near = None if section.by == "column" else near
    grouping = group_cases(cases, identical, joined_by=joined_by, dummies=dummies, near=near)
    by_id = {case.id: case for case in cases}
    plan = Plan(
        section,
        {case: by_id[case] for case in grouping.groups},
        {case: stratum(by_id[case]) for case in grouping.groups},
        grouping,
        seed,
        list(grouping.notes),
    )
    outcome = RULES[section.by](plan)
    folds = tuple({case: p for case in grouping.groups if (p := fold.get(case))} for fold in outcome.folds)
    return _with_facts(Split(grouping.groups, folds, {}), plan, outcome, joined=near is not None)


def _with_facts(split: Split, plan: Plan, outcome: Outcome, *, joined: bool) -> Split:
    values = outcome.facts.get("values")
    names = [f"fold {n}" + (f" ({values[n]})" if values else "") for n in range(len(split.folds))]
    facts = {
        "by": plan.section.by,
        "seed": plan.seed,
        "stratified": plan.section.stratify,
        "near_duplicates_joined": joined,
        "folds": len(split.folds),
        "only": _selected(plan.section, len(split.folds)),
        "cases": len(split.groups),
        "groups": len(plan.grouping.components),
        "notes": [*plan.notes, *class_notes(plan, outcome.folds, names)],
        "components": plan.grouping.facts(),
        **outcome.facts,
        "counts": _described(split, plan.labels),
        "digest": digest(split.table()),
    }
    return replace(split, facts=facts)


def _selected(section: SplitSection, count: int) -> list[int]:
    """The folds that the recipe trains; how many values an attribute has is known here alone."""
    wrong = [n for n in section.only or () if n >= count]
    if wrong:
        raise DataError(
            f"there is no fold {wrong[0]}",
            where="data.split.only",
            todo=f"folds are counted from 0 to {count - 1}",
        )
    return sorted(section.only or range(count))


def _described(split: Split, labels: Mapping[str, str | None]) -> dict[str, Any]:
    """Cases, groups and classes by column and part, for ``split.json``."""
    found: dict[str, Any] = {}
    for column, fold, counts in zip(split.columns, split.folds, split.counts(labels), strict=True):
        groups: dict[Part, set[str]] = {part: set() for part in PARTS}
        for case, part in fold.items():
            groups[part].add(split.groups[case])
        found[column] = {
            part: {
                "cases": sum(counts[part].values()),
                "groups": len(groups[part]),
                "classes": {label: n for label, n in counts[part].items() if label is not None},
                "unlabelled": counts[part].get(None, 0),
            }
            for part in PARTS
        }
    return found


def write_split(folder: Path | str, split: Split) -> Split:
    """Write ``split.csv`` and ``split.json``, sealed with a digest; returns the split with the digest in its facts.

    Raises:
        RunError: If the folder cannot be written to.
    """
    table = split.table()
    split = replace(split, facts={**split.facts, "folds": len(split.folds), "digest": digest(table)})
    # The seal comes last: a run killed in between has a table without a seal, which is refused, never a false one.
    try:
        (Path(folder) / SEAL).unlink(missing_ok=True)
    except OSError as error:
        raise explain(error, Path(folder) / SEAL) from error
    write_bytes(Path(folder) / TABLE, table)
    write_json(Path(folder) / SEAL, split.facts)
    return split


def read_split(folder: Path | str) -> Split:
    """Read a sealed split.

    Raises:
        RunError: If a file is missing or broken, ``split.csv`` is not what was sealed, or a group is divided.
    """
    path = Path(folder) / TABLE
    try:
        facts = read_json(Path(folder) / SEAL)
    except RunError as error:
        raise RunError(f"the split's seal cannot be used: {error.what}", where=error.where, todo=_RESTORE) from error
    if not isinstance(facts, dict) or not isinstance(facts.get("digest"), str):
        raise RunError("the seal is broken: it holds no digest", where=str(Path(folder) / SEAL), todo=_RESTORE)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"the split cannot be read: {error.strerror}", where=str(path), todo=_RESTORE) from error
    if digest(data) != facts["digest"]:
        raise RunError("the split was changed after it was sealed", where=str(path), todo=_RESTORE)
    split = _parse(data, facts, path)
    _require_whole_groups(split, path)
    return split


def _parse(data: bytes, facts: Mapping[str, Any], path: Path) -> Split:
    def broken(what: str) -> RunError:
        return RunError(f"the split is broken: {what}", where=str(path), todo=_RESTORE)

    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline=""), strict=True))
    except csv.Error as error:
        raise broken(str(error)) from error
    groups: dict[str, str] = {}
    count = facts.get("folds")
    if not isinstance(count, int) or count < 1:
        raise broken(f"{SEAL} does not say how many folds it has")
    split = Split(groups, tuple({} for _ in range(count)), facts)
    if not rows or rows[0] != ["case", "group", *split.columns]:
        raise broken(f"the columns are {rows[0] if rows else []}, not {['case', 'group', *split.columns]}")
    parts: list[dict[str, Part]] = [{} for _ in split.columns]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]):
            raise broken(f"row {number} has {len(row)} fields, not {len(rows[0])}")
        case, group, *values = row
        if case in groups:
            raise broken(f"row {number}: case {case!r} occurs twice")
        groups[case] = group
        for fold, value in zip(parts, values, strict=True):
            if value in _PART_OF:
                fold[case] = _PART_OF[value]
            elif value:
                raise broken(f"row {number}: {value!r} is not one of {', '.join(PARTS)}")
    return replace(split, folds=tuple(parts))


def _require_whole_groups(split: Split, path: Path) -> None:
    for column, fold in zip(split.columns, split.folds, strict=True):
        first: dict[str, Part] = {}
        divided = {
            split.groups[case] for case, part in fold.items() if first.setdefault(split.groups[case], part) != part
        }
        if divided:
            raise RunError(
                f"column {column}: {plural(len(divided), 'group is', 'groups are')} in more than one part: "
                f"{listing(sorted(divided))}",
                where=str(path),
                todo=_RESTORE,
            )
        if "training" not in fold.values():
            raise RunError(f"column {column}: no case is in the training part", where=str(path), todo=_RESTORE)


@dataclass(frozen=True, slots=True)
class Overlap:
    """Cases of other data that a network has met: ids of the other data's cases, sorted.

    Attributes:
        identical: Their pixels are those of a case that the network met.
        patients: They bear a patient id that occurs there. Ids of different hospitals may agree by chance.
        studies: They bear a study id that occurs there; UIDs do not agree by chance.
        cases: How many other cases were compared.
    """

    identical: tuple[str, ...]
    patients: tuple[str, ...]
    studies: tuple[str, ...]
    cases: int

    @property
    def certain(self) -> tuple[str, ...]:
        """What should not be part of an external evaluation: identical images and shared studies."""
        return tuple(sorted({*self.identical, *self.studies}))

    def notes(self) -> list[str]:
        """One sentence for each kind that occurs."""
        kinds = {
            "the same pixels as an image": self.identical,
            "a patient id": self.patients,
            "a study id": self.studies,
        }
        return [
            f"{len(found):,} of {self.cases:,} cases have {what} that the network was trained on: {listing(found)}"
            for what, found in kinds.items()
            if found
        ]


def overlap(
    cases: Sequence[Case],
    digests: Mapping[str, str],
    other_cases: Sequence[Case],
    other_digests: Mapping[str, str],
    *,
    dummies: Collection[str] = DUMMY_IDS,
) -> Overlap:
    """Which cases of other data a network has met.

    Args:
        cases: What it met: the training parts of its folds, and the validation parts if these count too.
        digests: Case id -> pixel digest of these cases.
        other_cases: The other data's cases.
        other_digests: Case id -> pixel digest of the other data's cases, read in the same way.
        dummies: Patient and study ids, in lower case, that mean nothing.
    """
    pixels = {digests[case.id] for case in cases if case.id in digests}
    patients = _ids([case.patient for case in cases], [case.patient for case in other_cases], dummies)
    studies = _ids([case.study for case in cases], [case.study for case in other_cases], dummies)
    return Overlap(
        tuple(sorted(case.id for case in other_cases if other_digests.get(case.id) in pixels)),
        tuple(sorted(case.id for case in other_cases if case.patient is not None and case.patient.strip() in patients)),
        tuple(sorted(case.id for case in other_cases if case.study is not None and case.study.strip() in studies)),
        len(other_cases),
    )


def _ids(own: Sequence[str | None], other: Sequence[str | None], dummies: Collection[str]) -> set[str]:
    empty = {value.strip() for value in dummy_ids([*own, *other], dummies)}
    return {value.strip() for value in own if value is not None} - empty
