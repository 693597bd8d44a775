"""What the audit says of near-duplicates: within and across labels, patients and parts."""

from __future__ import annotations

from typing import Any

from medcnn.data.audit_images import class_key, part_count
from medcnn.data.finding import Finding, examples
from medcnn.data.grouping import LARGE_SHARE, is_dummy, plural, printable
from medcnn.data.near_duplicates import TURNS, NearDuplicates, NearPair
from medcnn.data.split import Split
from medcnn.types import Case, Dataset


def near_table(dataset: Dataset, near: NearDuplicates, split: Split | None) -> tuple[dict[str, Any], list[Finding]]:
    """Counts of verified pairs and groups, and the findings on them."""
    by_id = {case.id: case for case in dataset.cases}
    pairs = [p for p in near.pairs if p.first in by_id and p.second in by_id]
    members = [(by_id[p.first], by_id[p.second]) for p in pairs]
    across = {
        "labels": [p for p, m in zip(pairs, members, strict=True) if other_label(*m)],
        "patients": [p for p, m in zip(pairs, members, strict=True) if _other_patient(*m)],
        "parts": [p for p, m in zip(pairs, members, strict=True) if part_count(m, split) > 1],
    }
    groups = {case: centre for case, centre in near.groups.items() if case in by_id}
    total = len(dataset.cases)
    table = {
        "compared": near.compared,
        "too_plain_to_compare": len(near.plain),
        "pairs": len(pairs),
        "pairs_within_one_label": len(pairs) - len(across["labels"]),
        **{f"pairs_across_{kind}": len(found) for kind, found in across.items()},
        "pairs_between_groups": near.divided,
        "groups": len(set(groups.values())),
        "cases_in_groups": len(groups),
        "largest_chain": near.components[0] if near.components else 0,
        "turned": {TURNS[t]: n for t in range(8) if (n := sum(p.turn == t for p in pairs))},
        "examples": [
            {"cases": [printable(p.first), printable(p.second)], "score": p.score, "turn": TURNS[p.turn]}
            for p in sorted(pairs, key=lambda p: (-p.score, p.first, p.second))[:10]
        ],
    }
    return table, [*_pair_findings(pairs, groups, across, split), *_chain_findings(near, total)]


def other_label(first: Case, second: Case) -> bool:
    """Whether both have a class (or a value) and not the same; boxes and masks of turned copies differ anyway."""
    one, two = class_key(first), class_key(second)
    return one is not None and two is not None and one != two


def _other_patient(first: Case, second: Case) -> bool:
    return not is_dummy(first.patient) and not is_dummy(second.patient) and first.patient != second.patient


def _pair_findings(
    pairs: list[NearPair], groups: dict[str, str], across: dict[str, list[NearPair]], split: Split | None
) -> list[Finding]:
    if not pairs:
        return []
    text = f"{plural(len(pairs), 'pair', 'pairs')} of near-duplicates, verified by their pixels: "
    text += f"{plural(len(groups), 'case', 'cases')} in {plural(len(set(groups.values())), 'group', 'groups')}"
    found = [Finding("near-duplicates", "info", text, len(pairs), _named(pairs))]
    words = {
        "labels": "have different labels",
        "patients": "have different patient ids",
        "parts": "lie in more than one part" + ("" if split else " of the dataset's own division"),
    }
    for kind, divided in across.items():
        if divided:
            text = f"{plural(len(divided), 'pair', 'pairs')} of near-duplicates {words[kind]}"
            if len(divided) == 1:
                text = text.replace("duplicates have", "duplicates has").replace("duplicates lie", "duplicates lies")
            if kind == "parts" and split is not None and not _kept(split):
                text += "; data.near_duplicates: group keeps them together"
            found.append(Finding(f"near-across-{kind}", "caution", text, len(divided), _named(divided)))
    return found


def _kept(split: Split) -> bool:
    """Whether the split joined near-duplicates, or may not: a given column is never regrouped."""
    return bool(split.facts.get("near_duplicates_joined")) or split.facts.get("by") == "column"


def _named(pairs: list[NearPair]) -> tuple[str, ...]:
    return examples(dict.fromkeys(case for p in pairs[:10] for case in (p.first, p.second)))


def _chain_findings(near: NearDuplicates, total: int) -> list[Finding]:
    found = []
    large = [size for size in near.components if size > max(2, LARGE_SHARE * total)]
    if large:
        text = f"{plural(len(large), 'chain', 'chains')} of near-duplicates would join over {100 * LARGE_SHARE:.0f} % "
        text += (
            f"of the cases (up to {large[0]:,}); a chain is not followed: only what is like a group's centre is in it"
        )
        found.append(Finding("near-chains", "info", text, len(large)))
    if near.plain:
        text = plural(len(near.plain), "image shows", "images show") + " too little to be compared with others"
        found.append(Finding("near-plain", "info", text, len(near.plain), examples(near.plain)))
    return found
