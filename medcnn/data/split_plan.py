"""What a rule of the split needs to know, and what it says of the parts that it made."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medcnn.data.grouping import Component, Grouping, plural
from medcnn.data.split_assign import Lot, divide
from medcnn.errors import DataError
from medcnn.recipe.schema import SplitSection
from medcnn.types import PARTS, Case, Part

Fold = dict[str, Part]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rule needs to know.

    Attributes:
        section: The recipe's section.
        cases: By id, in the order of the ids.
        labels: Case id -> class, ``None`` where missing.
        grouping: The components.
        seed: The split's seed.
        notes: Where a rule says what it did.
    """

    section: SplitSection
    cases: Mapping[str, Case]
    labels: Mapping[str, str | None]
    grouping: Grouping
    seed: int
    notes: list[str] = field(default_factory=list)

    def divide(
        self, components: Sequence[Component], shares: Sequence[float], name: str, parts: Sequence[str]
    ) -> list[int]:
        """Balanced division of components; raises where there are fewer than parts."""
        if len(components) < len(shares):
            raise DataError(
                f"{plural(len(components), 'group', 'groups')} cannot be divided into {len(shares)} parts "
                f"({', '.join(parts)})",
                where="data.split",
                todo="ask for fewer parts (set data.split.validation or data.split.test to 0, or fewer folds), "
                "or use more data; a group (patient, study, identical images) is never divided",
            )
        classes = sorted({label for c in components for case in c.cases if (label := self.labels[case]) is not None})
        position: dict[str | None, int] = {label: i for i, label in enumerate(classes)}
        stratify = self.section.stratify and bool(classes)
        # A missing label is a column of its own: it balances like a class.
        position[None] = len(classes)
        columns = len(classes) + any(self.labels[case] is None for c in components for case in c.cases)
        lots = []
        for component in components:
            found = [position[self.labels[case]] for case in component.cases] if stratify else []
            counts = ((found[0], 1),) if len(found) == 1 else tuple(sorted(Counter(found).items()))
            lots.append(Lot(component.name, len(component.cases), counts))
        return divide(lots, shares, columns if stratify else 0, f"{self.seed}/{name}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The folds of a rule, in order, and what it adds to ``split.json``."""

    folds: list[Fold]
    facts: dict[str, Any] = field(default_factory=dict)


def share_notes(plan: Plan, folds: Sequence[Fold], asked: Mapping[Part, float], *, whole: bool = False) -> None:
    """Say where whole groups made a part much smaller or larger than asked for."""
    for part, share in asked.items():
        reached = []
        for fold in folds:
            base = sum(whole or p != "test" for p in fold.values())
            reached.append(sum(p == part for p in fold.values()) / base)
        if share > 0 and max(abs(r - share) for r in reached) > max(0.03, 0.2 * share):
            low, high = min(reached), max(reached)
            span = (
                f"{100 * low:.0f}" if round(100 * low) == round(100 * high) else f"{100 * low:.0f} to {100 * high:.0f}"
            )
            plan.notes.append(
                f"the {part} part holds {span} % of the cases{'' if whole else ' outside the test part'}, "
                f"where {100 * share:.0f} % was asked for: groups are not divided"
                + (", and each class is in every part" if plan.section.stratify else "")
            )


def class_notes(plan: Plan, folds: Sequence[Fold], names: Sequence[str]) -> list[str]:
    """Classes with too few groups for the parts, and classes that a part lacks."""
    labels = sorted({label for label in plan.labels.values() if label is not None})
    groups = Counter(
        label
        for c in plan.grouping.components
        for label in {plan.labels[case] for case in c.cases}
        if label is not None
    )
    parts = plan.section.folds if plan.section.by == "folds" and plan.section.folds else len(set(folds[0].values()))
    few = [f"{label!r} ({groups[label]})" for label in labels if groups[label] < parts]
    notes = [f"classes with fewer groups than there are parts ({parts}): {', '.join(few)}"] if few else []
    lacking: dict[tuple[str, Part], list[str]] = defaultdict(list)
    for fold, name in zip(folds, names, strict=True):
        held: dict[Part, set[str | None]] = defaultdict(set)
        for case, part in fold.items():
            held[part].add(plan.labels[case])
        for part in held:
            for label in labels:
                if label not in held[part]:
                    lacking[label, part].append(name)
    return notes + [
        f"class {label!r} is missing from the {part} part" + _of(where, folds)
        for (label, part), where in sorted(lacking.items(), key=lambda kv: (PARTS.index(kv[0][1]), kv[0][0]))
    ]


def _of(names: Sequence[str], folds: Sequence[Fold]) -> str:
    return "" if len(folds) == 1 else f" of {', '.join(names)}"
