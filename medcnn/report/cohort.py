"""Whose images these are: the flow of cases, the split and its balance, the attributes by part."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medcnn.report.charts import pen
from medcnn.report.document import (
    Bar,
    BarsBlock,
    Block,
    Cell,
    FlowBlock,
    FlowStep,
    LegendEntry,
    LinesBlock,
    Section,
    Segment,
    TableBlock,
)
from medcnn.report.formatting import UNDEFINED, as_number, number, percent, plain, plural
from medcnn.report.privacy import OLDEST, POOLED, Shown, is_local, names_age
from medcnn.report.runfiles import Row, RunFiles
from medcnn.types import PARTS

MOST_REASONS = 8
MOST_LEVELS = 12
MOST_BARS = 8
_MULTILABEL = "label_"
_ATTRIBUTE = "attr_"


@dataclass(frozen=True, slots=True)
class Fold:
    """One way to divide the cases: rows of ``cases.csv`` by part."""

    name: str
    parts: Mapping[str, Sequence[Row]]


def folds(run: RunFiles) -> list[Fold]:
    """The divisions that ``split.csv`` holds; a case without a row in ``cases.csv`` has the split's columns alone."""
    if not run.split:
        return []
    known = {row["case"]: row for row in run.cases or () if "case" in row}
    columns = [c for c in run.split[0] if c == "part" or c.startswith("part_")]
    numbers = run.split_facts.get("numbers")
    if not isinstance(numbers, list) or len(numbers) != len(columns):
        numbers = [c.removeprefix("part_") for c in columns]
    found = []
    for column, number_ in zip(columns, numbers, strict=True):
        names = list(PARTS) + sorted({row[column] for row in run.split} - set(PARTS) - {""})
        parts: dict[str, Sequence[Row]] = {
            part: [{**known.get(r["case"], {}), **r} for r in run.split if r[column] == part] for part in names
        }
        found.append(Fold(str(number_), {k: v for k, v in parts.items() if v}))
    return found


def patients(rows: Sequence[Row]) -> int:
    """Number of patients that are known."""
    return len({row["patient"] for row in rows if row.get("patient")})


def groups(rows: Sequence[Row]) -> int:
    """Number of groups that a split may not divide."""
    return len({row.get("group") or row.get("patient") or row.get("case", "") for row in rows})


def people(rows: Sequence[Row]) -> str:
    """``41 patients``, or the groups where patients are unknown."""
    known = patients(rows)
    return plural(known, "patient", "patients") if known else plural(groups(rows), "group", "groups")


def flow_section(run: RunFiles, shown: Shown) -> Section | None:
    """From found to analysed, with the reasons of what was left out."""
    if run.cases is None:
        return None
    excluded = {_key(row) for row in run.exclusions or ()}
    listed = {row.get("case", ""): row for row in run.cases}
    divided = {row["case"] for row in run.split} if run.split is not None else set(listed) - excluded
    unexplained = set(listed) - divided - excluded
    found = len(set(listed) | excluded)
    analysed = [row for case, row in listed.items() if case in divided]
    reasons = exclusion_reasons(run.exclusions or (), shown)
    steps = [FlowStep("Found", plural(found, "case", "cases"))]
    aside = [(reason, f"{count:,}") for reason, count in reasons]
    if unexplained:
        aside.append(("in no part of the split, without a recorded reason", f"{len(unexplained):,}"))
    left = len(excluded - divided) + len(unexplained)
    steps[0] = FlowStep("Found", plural(found, "case", "cases"), "", f"Left out: {left:,}", aside or [("none", "0")])
    steps.append(FlowStep("Analysed", plural(len(analysed), "case", "cases"), people(analysed)))
    parts = _flow_parts(folds(run))
    lead = ""
    if run.evaluated is not None:
        lead = f"{plural(run.evaluated, 'case has', 'cases have')} a row in the table of evaluated cases."
    return Section("flow", "Flow of cases", [FlowBlock(steps, parts)], lead)


def _key(row: Mapping[str, str]) -> str:
    return row.get("case") or row.get("path", "")


def _flow_parts(divisions: Sequence[Fold]) -> list[FlowStep]:
    if len(divisions) == 1:
        named = divisions[0].parts.items()
        return [FlowStep(part.capitalize(), plural(len(rows), "case", "cases"), people(rows)) for part, rows in named]
    return [
        FlowStep(f"Fold {fold.name}: test", plural(len(rows), "case", "cases"), people(rows))
        for fold in divisions
        for rows in [fold.parts.get("test", ())]
    ]


def exclusion_reasons(exclusions: Sequence[Row], shown: Shown) -> list[tuple[str, int]]:
    """Reasons with their counts, most frequent first; the rarest are joined beyond :data:`MOST_REASONS`."""
    counts: Counter[str] = Counter()
    for row in exclusions:
        reason = row.get("reason", "")
        for identifier in (row.get("path", ""), row.get("case", "")):
            if len(identifier) > 4:
                reason = reason.replace(identifier, "the file")
        # Which other case it is does not make another reason.
        reason = re.sub(r"\b[CPF]-[a-z2-7]{7,}", "another one", shown.text(reason))
        counts[reason.strip(" :") or "no reason recorded"] += 1
    if len(counts) > MOST_REASONS:
        alike: Counter[str] = Counter()
        for text, count in counts.items():
            alike[re.sub(r"\d+(?:\.\d+)?", "…", text)] += count
        counts = alike
    ordered = counts.most_common()
    if len(ordered) > MOST_REASONS:
        rest = ordered[MOST_REASONS - 1 :]
        others = (f"{len(rest)} other reasons (exclusions.csv lists them)", sum(n for _, n in rest))
        ordered = [*ordered[: MOST_REASONS - 1], others]
    return ordered


def split_section(run: RunFiles, shown: Shown) -> Section | None:
    """How the cases were divided, and whether the parts resemble each other."""
    divisions = folds(run)
    if not divisions:
        return None
    facts = run.split_facts
    names = list(divisions[0].parts)
    several = len(divisions) > 1
    columns = [f"Fold {d.name}" for d in divisions] if several else [n.capitalize() for n in names]
    shares = [d.parts.get("test", ()) for d in divisions] if several else [divisions[0].parts[n] for n in names]
    blocks: list[Block] = [
        _sizes(divisions),
        *_labels(shares, columns, several),
        *_attributes(shares, columns, several),
    ]
    lines = [_leak_line(divisions), *(shown.text(str(n)) for n in facts.get("notes", ()))]
    blocks.append(LinesBlock(lines, "What was checked and noted"))
    said = [f"by {facts['by']}" if facts.get("by") else "", f"seed {facts['seed']}" if "seed" in facts else ""]
    lead = ", ".join(s for s in said if s)
    if several:
        lead += f"{', ' if lead else ''}{len(divisions)} folds{_tested(run.split or (), divisions)}"
    return Section("split", "The split and its balance", blocks, f"Divided {lead}." if lead else "")


def _tested(rows: Sequence[Row], divisions: Sequence[Fold]) -> str:
    times = Counter(row["case"] for fold in divisions for row in fold.parts.get("test", ()))
    untested, repeated = len(rows) - len(times), sum(n > 1 for n in times.values())
    if not untested and not repeated:
        return "; each case is in the test part of one fold"
    return f"; {untested:,} of {len(rows):,} cases are in no test part, {repeated:,} in several"


def _sizes(divisions: Sequence[Fold]) -> TableBlock:
    names: list[str] = [p for p in PARTS if any(p in d.parts for d in divisions)]
    names += sorted({p for d in divisions for p in d.parts} - set(names))
    rows = []
    for fold in divisions:
        for part in names:
            members = fold.parts.get(part, ())
            known = patients(members)
            title = f"Fold {fold.name}: {part}" if len(divisions) > 1 else part.capitalize()
            cells = (f"{len(members):,}", f"{groups(members):,}", f"{known:,}" if known else UNDEFINED)
            rows.append([Cell(title), *(Cell(c, numeric=True) for c in cells)])
    unknown = any(row[-1].text == UNDEFINED for row in rows)
    if unknown:
        rows = [[*r[:-1], Cell(r[-1].text, marks="a" * (r[-1].text == UNDEFINED), numeric=True)] for r in rows]
    note = [("a", "The patients of these cases are not known.")] if unknown else []
    return TableBlock("Size of the parts", ["Part", "Cases", "Groups", "Patients"], rows, footnotes=note)


def _leak_line(divisions: Sequence[Fold]) -> str:
    crossing = {"group": 0, "patient": 0}
    for fold in divisions:
        for column in crossing:
            parts: dict[str, set[str]] = {}
            for part, rows in fold.parts.items():
                for row in rows:
                    if row.get(column):
                        parts.setdefault(row[column], set()).add(part)
            crossing[column] += sum(len(p) > 1 for p in parts.values())
    where = " of the same fold" if len(divisions) > 1 else ""
    return (
        f"Groups found in more than one part{where}: {crossing['group']:,}. "
        f"Known patients found in more than one part{where}: {crossing['patient']:,}."
    )


def _labels(shares: Sequence[Sequence[Row]], columns: Sequence[str], several: bool) -> list[Block]:
    rows = [r for share in shares for r in share]
    suffix = " of the test part by fold" if several else " by part"
    blocks: list[Block] = []
    if any(r.get("label") for r in rows):
        classes = _levels(r.get("label", "") for r in rows)
        blocks.append(_counts(f"Classes{suffix}", "Class", classes, shares, columns, lambda r: r.get("label", "")))
        if len(classes) <= MOST_BARS and any(classes):
            blocks.append(_bars(f"Class balance{suffix}", classes, shares, columns))
    several_labels = [c for c in rows[0] if c.startswith(_MULTILABEL)] if rows else []
    if several_labels:
        blocks.append(_multilabel(f"Findings{suffix}", several_labels, shares, columns))
    if any(as_number(r.get("value", "")) is not None for r in rows):
        cells = [_spread(share, "value", False) for share in shares]
        blocks.append(TableBlock(f"Label values{suffix}", ["", *columns], [[Cell("Median (quartiles)"), *cells]]))
    return blocks


def _levels(values: Iterable[str]) -> list[str]:
    return sorted(set(values), key=lambda v: (v == "", v))


def _counts(
    title: str,
    head: str,
    levels: Sequence[str],
    shares: Sequence[Sequence[Row]],
    columns: Sequence[str],
    of: Callable[[Row], str],
) -> TableBlock:
    counters = [Counter(of(r) for r in share) for share in shares]
    table = [
        [Cell(level or "missing"), *(_count_cell(c[level], len(s)) for c, s in zip(counters, shares, strict=True))]
        for level in levels
    ]
    return TableBlock(title, [head, *columns], table)


def _count_cell(count: int, total: int) -> Cell:
    return Cell(f"{count:,}", (percent(count, total),), numeric=True)


def _multilabel(
    title: str, labels: Sequence[str], shares: Sequence[Sequence[Row]], columns: Sequence[str]
) -> TableBlock:
    rows = []
    for column in labels:
        cells = []
        for share in shares:
            states = [as_number(r.get(column, "")) for r in share]
            known = [s for s in states if s in (0, 1)]
            subs = (percent(known.count(1), len(known)), f"of {len(known):,} known")
            cells.append(Cell(f"{known.count(1):,}", subs, numeric=True))
        rows.append([Cell(column.removeprefix(_MULTILABEL)), *cells])
    return TableBlock(title, ["Present", *columns], rows)


def _bars(title: str, classes: Sequence[str], shares: Sequence[Sequence[Row]], columns: Sequence[str]) -> BarsBlock:
    bars = []
    for name, share in zip(columns, shares, strict=True):
        counts = Counter(r.get("label", "") for r in share)
        pieces = [
            Segment(c or "missing", 100 * counts[c] / len(share), pen(i).color, f"{counts[c]:,}")
            for i, c in enumerate(classes)
            if counts[c]
        ]
        bars.append(Bar(name, plural(len(share), "case", "cases"), pieces))
    legend = [LegendEntry(c or "missing", pen(i).color, shape="box") for i, c in enumerate(classes)]
    return BarsBlock(title, bars, legend)


def attribute_levels(cases: Sequence[Row]) -> dict[str, list[str]]:
    """Attributes that may be shown, each with its levels; an empty list where it is a number.

    Left out are attributes that are named like a date, a path or a person, and texts with more than
    :data:`MOST_LEVELS` levels, which identify rather than describe.
    """
    found: dict[str, list[str]] = {}
    for column in cases[0] if cases else ():
        name = column.removeprefix(_ATTRIBUTE)
        if not column.startswith(_ATTRIBUTE) or is_local(name) or _names_person(name):
            continue
        values = [r[column] for r in cases if r.get(column)]
        levels = sorted(set(values))
        if not values:
            continue
        if all(as_number(v) is not None for v in levels) and (len(levels) > MOST_LEVELS or names_age(name)):
            found[name] = []
        elif len(levels) <= MOST_LEVELS and len(levels) < max(2, len(values)):
            found[name] = levels
    return found


def _names_person(name: str) -> bool:
    words = name.lower().replace("-", "_").replace(".", "_").split("_")
    return bool({"id", "uid", "name", "mrn", "birth", "dob", "accession", "address", "phone", "physician"} & set(words))


def _attributes(shares: Sequence[Sequence[Row]], columns: Sequence[str], several: bool) -> list[Block]:
    rows = [r for share in shares for r in share]
    attributes = attribute_levels(rows)
    table: list[list[Cell]] = []
    for name, levels in attributes.items():
        column = _ATTRIBUTE + name
        title = name.replace("_", " ")
        if not levels:
            cells = [_spread(share, column, names_age(name)) for share in shares]
            table.append([Cell(f"{title}: median (quartiles)"), *cells])
            continue
        for level in [*levels, *([""] if any(not r.get(column) for r in rows) else [])]:
            counts = [sum(r.get(column, "") == level for r in share) for share in shares]
            cells = [_count_cell(c, len(s)) for c, s in zip(counts, shares, strict=True)]
            table.append([Cell(f"{title}: {level or 'not known'}"), *cells])
    hidden = sum(c.startswith(_ATTRIBUTE) for c in (rows[0] if rows else ())) - len(attributes)
    notes = []
    if any(names_age(a) for a in attributes):
        notes.append(f"Ages above {OLDEST} are pooled as {POOLED}.")
    if hidden:
        notes.append(
            f"{plural(hidden, 'attribute is', 'attributes are')} not shown: a date, a name, an identifier, "
            f"or a text with more than {MOST_LEVELS} values."
        )
    if not table:
        return [LinesBlock(notes)] if notes else []
    head = "Attributes of the test part by fold" if several else "Attributes by part"
    return [TableBlock(head, ["Attribute", *columns], table, " ".join(notes))]


def _spread(rows: Sequence[Row], column: str, is_age: bool) -> Cell:
    values = np.array([v for r in rows if (v := as_number(r.get(column, ""))) is not None])
    if not len(values):
        return Cell(UNDEFINED, ("n = 0",), tip="no value is known", numeric=True)

    def shown(value: float) -> str:
        if is_age:
            return POOLED if value > OLDEST else plain(round(value))
        return number(value) if value % 1 else plain(int(value))

    low, middle, high = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    return Cell(f"{shown(middle)} ({shown(low)}–{shown(high)})", (f"n = {len(values):,}",), numeric=True)
