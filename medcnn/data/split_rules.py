"""The rules by which groups become parts: fractions, folds, a given column, a date, leave-one-out over an attribute."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from medcnn.data.dates import parse_date
from medcnn.data.grouping import KINDS, Component, listing, natural_key, plural
from medcnn.data.split_assign import draw
from medcnn.data.split_plan import Fold, Outcome, Plan, share_notes
from medcnn.errors import DataError
from medcnn.registry import suggest
from medcnn.types import PARTS, Attribute, Part


def by_fractions(plan: Plan) -> Outcome:
    """Random shares of the cases: training, validation, test."""
    asked = {"training": 1.0 - plan.section.validation - plan.section.test}
    asked |= {"validation": plan.section.validation, "test": plan.section.test}
    parts = [p for p in PARTS if asked[p] > 0]
    components = plan.grouping.components
    where = plan.divide(components, [asked[p] for p in parts], "fractions", parts)
    fold: Fold = {case: parts[j] for c, j in zip(components, where, strict=True) for case in c.cases}
    share_notes(plan, [fold], {p: asked[p] for p in parts if p != "training"}, whole=True)
    return Outcome([fold])


def by_folds(plan: Plan) -> Outcome:
    """Each group is in the test part of one of k folds; validation comes from the fold's own training part."""
    count = plan.section.folds or 0
    components = plan.grouping.components
    if len(components) < count:
        raise DataError(
            f"there are fewer groups ({len(components)}) than folds ({count})",
            where="data.split.folds",
            todo=f"use at most {len(components)} folds; a group (patient, study, identical images) is never divided",
        )
    where = _named_folds(plan, count)
    if where is None:
        where = plan.divide(components, [1 / count] * count, "folds", [f"fold {k}" for k in range(count)])
    folds = []
    for k in range(count):
        rest = [c for c, j in zip(components, where, strict=True) if j != k]
        fold: Fold = {case: "test" for c, j in zip(components, where, strict=True) if j == k for case in c.cases}
        folds.append(fold | with_validation(plan, rest, f"fold {k}"))
    share_notes(plan, folds, {"validation": plan.section.validation})
    return Outcome(folds)


def _named_folds(plan: Plan, count: int) -> list[int] | None:
    """Where each class has exactly k groups, all pure: fold k tests the k-th of each, in the order of their names."""
    if not plan.section.stratify:
        return None
    by_class: dict[str | None, list[int]] = defaultdict(list)
    for i, component in enumerate(plan.grouping.components):
        labels = {plan.labels[case] for case in component.cases}
        if len(labels) > 1:
            return None
        by_class[labels.pop()].append(i)
    if any(len(members) != count for members in by_class.values()):
        return None
    where = [0] * len(plan.grouping.components)
    for members in by_class.values():
        for k, i in enumerate(sorted(members, key=lambda i: natural_key(plan.grouping.components[i].name))):
            where[i] = k
    return where


def with_validation(plan: Plan, components: Sequence[Component], name: str, share: float | None = None) -> Fold:
    """Training and validation parts of some components."""
    share = plan.section.validation if share is None else share
    if share >= 1:
        raise DataError(
            f"a validation share of {share:g} leaves nothing for training",
            where="data.split.validation",
            todo="it must be below 1",
        )
    if not components:
        raise DataError(f"{name}: nothing is left to train on", where="data.split", todo="use more groups")
    if share <= 0:
        return {case: "training" for c in components for case in c.cases}
    if len(components) < 2:
        raise DataError(
            f"{name}: one group is left besides the test part, so that none can be taken for validation",
            where="data.split.validation",
            todo="set data.split.validation: 0 (and training.select: last), or use more groups",
        )
    where = plan.divide(components, [1 - share, share], f"validation of {name}", ["training", "validation"])
    return {case: PARTS[j] for c, j in zip(components, where, strict=True) for case in c.cases}


def by_column(plan: Plan) -> Outcome:
    """The parts that the dataset's own table gives, as they are."""
    parts = {case.id: case.part for case in plan.cases.values()}
    blank = [case for case, part in parts.items() if part is None]
    if blank:
        raise DataError(
            f"{len(blank):,} of {len(parts):,} cases have no part: {listing(blank)}",
            where="data.split.by: column",
            todo="give every case one of training, validation, test in the part column, or choose another rule",
        )
    fold: Fold = {case: part for case, part in parts.items() if part is not None}
    _require_undivided(plan, fold)
    present = set(fold.values())
    for needed in ("training", "test"):
        if needed not in present:
            raise DataError(
                f"no case is in the {needed} part of the given split",
                where="data.split.by: column",
                todo=f"mark the {needed} cases in the part column, or choose another rule (data.split.by)",
            )
    if "validation" not in present and plan.section.validation > 0:
        training = [c for c in plan.grouping.components if fold[c.cases[0]] == "training"]
        fold |= with_validation(plan, training, "the given split")
        count = sum(part == "validation" for part in fold.values())
        plan.notes.append(
            "the given split has no validation part; taken for it, by group: "
            f"{plural(count, 'case', 'cases')} of its training part"
        )
    return Outcome([fold])


def _require_undivided(plan: Plan, fold: Fold) -> None:
    """A given column is never regrouped: what lies in two parts is an error that names it."""
    divided = [c for c in plan.grouping.components if len({fold[case] for case in c.cases}) > 1]
    if not divided:
        return
    crossing: dict[str, list[str]] = defaultdict(list)
    for component in divided:
        members: dict[tuple[str, str], list[str]] = defaultdict(list)
        for case in component.cases:
            for key in plan.grouping.keys[case]:
                members[key].append(case)
        for (kind, value), cases in members.items():
            if len({fold[case] for case in cases}) > 1:
                text = " and ".join(f"{_first(cases, fold, p)!r} ({p})" for p in PARTS if _first(cases, fold, p))
                crossing[kind].append(text if kind == "identical" else f"{value!r}: {text}")
    lines = [
        f"{plural(len(found), *KINDS[kind])} in more than one part: "
        + "; ".join(found[:5]) + ("; ..." if len(found) > 5 else "")
        for kind, found in sorted(crossing.items())
    ]  # fmt: skip
    if not crossing:
        first = listing(c.cases[0] for c in divided)
        lines = [f"{plural(len(divided), 'group', 'groups')} joined by images that were left out: {first}"]
    raise DataError(
        "the given split has " + "\n  and ".join(lines),
        where="data.split.by: column",
        todo="mend the part column (each patient, group and image in one part), or choose data.split.by: fractions",
    )


def _first(cases: Sequence[str], fold: Fold, part: Part) -> str | None:
    return next((case for case in cases if fold[case] == part), None)


def by_date(plan: Plan) -> Outcome:
    """The latest groups are the test part; a group's date is that of its latest case."""
    if plan.section.test <= 0:
        raise DataError("a split by date needs a test share above 0", where="data.split.test", todo="give one")
    attribute = _require_attribute(plan, plan.section.attribute)
    dates = {case.id: parse_date(case.attributes.get(attribute)) for case in plan.cases.values()}
    bad = [case for case, date in dates.items() if date is None]
    if bad:
        shown = [f"{case!r} ({plan.cases[case].attributes.get(attribute)!r})" for case in bad[:10]]
        raise DataError(
            f"{len(bad):,} of {len(dates):,} cases have no date that can be read in {attribute!r}: "
            + ", ".join(shown) + (f" and {len(bad) - 10:,} more" if len(bad) > 10 else ""),
            where="data.split.attribute",
            todo="write dates as 2024-05-31, 20240531, 2024-05 or 2024, or choose another rule",
        )  # fmt: skip
    latest = {c.name: max(d for case in c.cases if (d := dates[case]) is not None) for c in plan.grouping.components}
    order = sorted(plan.grouping.components, key=lambda c: (latest[c.name], draw(f"{plan.seed}/date", c.name)))
    if len(order) < 2:
        raise DataError("one group cannot be divided by date", where="data.split", todo="use more groups")
    goal, taken, cut = plan.section.test * len(plan.cases), 0, len(order)
    while cut > 1 and (taken == 0 or abs(taken + len(order[cut - 1].cases) - goal) <= abs(taken - goal)):
        cut -= 1
        taken += len(order[cut].cases)
    fold: Fold = {case: "test" for c in order[cut:] for case in c.cases}
    # The share is one of all cases, as with fractions; here it is taken from what the test part left.
    share = plan.section.validation * len(plan.cases) / (len(plan.cases) - taken)
    if share >= 1:
        raise DataError(
            f"the latest groups hold {taken:,} of {len(plan.cases):,} cases, so that a validation share of "
            f"{plan.section.validation:g} leaves nothing for training",
            where="data.split.validation",
            todo="lower it, or choose another rule",
        )
    earlier = sorted(order[:cut], key=lambda c: c.cases[0])
    fold |= with_validation(plan, earlier, "the earlier cases", share)
    share_notes(plan, [fold], {"validation": plan.section.validation, "test": plan.section.test}, whole=True)
    return Outcome([fold], {"attribute": attribute, "test_from": latest[order[cut].name].isoformat()})


def by_attribute(plan: Plan) -> Outcome:
    """Leave-one-out: each value of an attribute is the test part of one fold, and its cases are never trained on.

    In the fold of a value, its cases are the test part. A group that also has cases of other values lends none
    of those to that fold's training; cases without a value, which may belong to any, are in no fold at all.
    """
    attribute = _require_attribute(plan, plan.section.attribute)
    texts = {case.id: value_text(case.attributes.get(attribute)) for case in plan.cases.values()}
    values = sorted({t for t in texts.values() if t is not None}, key=lambda t: (natural_key(t), t))
    if len(values) < 2:
        raise DataError(
            f"{attribute!r} has {plural(len(values), 'value', 'values')}; leave-one-out needs two",
            where="data.split.attribute",
            todo="choose an attribute that differs between cases, or another rule",
        )
    wanted = plan.section.value
    if wanted is not None and wanted not in values:
        raise DataError(
            f"no case has {wanted!r} in {attribute!r}", where="data.split.value", todo=suggest(wanted, values)
        )
    missing = [case for case, text in texts.items() if text is None]
    if missing:
        plan.notes.append(
            f"{plural(len(missing), 'case has', 'cases have')} no value in {attribute!r}, "
            f"in no part: {listing(missing)}"
        )
    chosen = values if wanted is None else [wanted]
    folds = [_leave_out(plan, texts, value) for value in chosen]
    share_notes(plan, folds, {"validation": plan.section.validation})
    return Outcome(folds, {"attribute": attribute, "values": chosen, "left_out": [len(texts) - len(f) for f in folds]})


def _leave_out(plan: Plan, texts: Mapping[str, str | None], value: str) -> Fold:
    test = {case for case, text in texts.items() if text == value}
    rest: list[Component] = []
    aside: list[str] = []
    for component in plan.grouping.components:
        others = tuple(case for case in component.cases if texts[case] not in (None, value))
        if not others:
            continue
        if any(case in test for case in component.cases):
            aside.extend(others)
        else:
            rest.append(Component(component.name, others, component.ids, component.own, component.single))
    if aside:
        plan.notes.append(
            f"fold of {value!r}: {plural(len(aside), 'case', 'cases')} of other values in no part, because the same "
            f"patient or group has cases in the test part: {listing(aside)}"
        )
    fold: Fold = dict.fromkeys(sorted(test), "test")
    return fold | with_validation(plan, rest, f"fold of {value!r}")


def value_text(value: Attribute) -> str | None:
    """An attribute as text; ``None`` where it is missing. Whole numbers lose the point that a table gave them."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() or None


def _require_attribute(plan: Plan, name: str | None) -> str:
    known = sorted({key for case in plan.cases.values() for key in case.attributes})
    if name is None or name not in known:
        raise DataError(
            f"no case has an attribute {name!r}",
            where="data.split.attribute",
            todo=suggest(name or "", known) if known else "the cases of this dataset have no attributes",
        )
    return name


RULES: Mapping[str, Callable[[Plan], Outcome]] = {
    "fractions": by_fractions,
    "folds": by_folds,
    "column": by_column,
    "date": by_date,
    "attribute": by_attribute,
}
