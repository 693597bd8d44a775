"""What the audit says of pixels: identical images, sizes, types, spacings, intensities, and what was left out."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from medcnn.data.facts import ImageFacts
from medcnn.data.finding import Finding, Severity, examples
from medcnn.data.grouping import KINDS, is_dummy, plural, printable
from medcnn.data.split import Split
from medcnn.errors import ImageError
from medcnn.types import Boxes, Case, ClassLabel, Dataset, Exclusion, ImageRef, Mask, Value

_SPECIFIC = re.compile(r"'[^']*'|\"[^\"]*\"|\d+(?:[.,]\d+)*|/\S+")
_IDENTICAL = "identical to "
_COPY = "identical to another case"
_SHOWN = 20


def target_key(case: Case) -> Hashable:
    """All targets of a case as one value that is equal exactly for equal targets.

    Masks are read and compared by what they hold: copies of an image have copies of its mask, in files of their own.
    """
    keys: list[Hashable] = []
    for target in case.targets:
        if isinstance(target, Boxes):
            crowd = None if target.crowd is None else target.crowd.tobytes()
            keys.append((target.corners.tobytes(), target.labels.tobytes(), crowd))
        elif isinstance(target, Mask):
            keys.append((target.names, *map(_stored_values, (target.image, *target.readers))))
        else:
            keys.append(target)
    return tuple(keys)


def _stored_values(ref: ImageRef) -> Hashable:
    """A digest of the decoded values; the place of what cannot be read, which is then equal to itself alone."""
    from medcnn.data.images import read_image

    try:
        array = np.ascontiguousarray(read_image(ref).array)
    except ImageError:
        return ref
    return array.shape, array.dtype.str, hashlib.blake2b(array.data, digest_size=16).digest()


def class_key(case: Case) -> Hashable:
    """The class and the value of a case; ``None`` where neither is known. What lies where is not in it."""
    label, value = case.target(ClassLabel), case.target(Value)
    known = (label is not None and not label.missing) or (value is not None and value.value is not None)
    return (label, value) if known else None


def missing_label(case: Case) -> bool:
    """Whether no target says anything."""
    return all(
        (isinstance(t, ClassLabel) and t.missing) or (isinstance(t, Value) and t.value is None) for t in case.targets
    )


def identical_sets(cases: Sequence[Case], facts: Sequence[ImageFacts]) -> list[list[Case]]:
    """Sets of two or more cases with the same pixels, in the order of the cases."""
    digests = {f.case: f.digest for f in facts}
    sets: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if case.id in digests:
            sets[digests[case.id]].append(case)
    return [members for members in sets.values() if len(members) > 1]


def surplus(
    cases: Sequence[Case], facts: Sequence[ImageFacts], labels: Callable[[Case], Hashable] = target_key
) -> set[str]:
    """Ids of the surplus copies: cases with the pixels and the label of an earlier case.

    Copies with another label are no surplus: which of the labels is right is not for a program to say.
    A case without a label is no copy of one with a label.

    Args:
        cases: In the order in which the first of a set is kept.
        facts: With the digests of the pixels; cases that have none are kept.
        labels: What must be equal, beside the pixels; all targets by default.
    """
    found: set[str] = set()
    for members in identical_sets(cases, facts):
        seen: set[Hashable] = set()
        for case in members:
            label = labels(case)
            if label in seen:
                found.add(case.id)
            seen.add(label)
    return found


def class_names(dataset: Dataset, case: Case) -> tuple[str, ...]:
    """Names of the classes that are present in a case."""
    schema, label = dataset.labels.get("class"), case.target(ClassLabel)
    if schema is None or label is None:
        return ()
    return tuple(c.name for c, state in zip(schema.classes, label.states, strict=True) if state == 1)


def identical_images(
    dataset: Dataset, facts: Sequence[ImageFacts], split: Split | None
) -> tuple[dict[str, Any], list[Finding]]:
    """Identical images within and across classes, patients and parts: a table and its findings."""
    sets = identical_sets(dataset.cases, facts)
    copies = surplus(dataset.cases, facts)
    by_class: Counter[str] = Counter()
    for members in sets:
        for case in members:
            if case.id in copies:
                by_class[", ".join(class_names(dataset, case)) or "(no class)"] += 1
    across = {
        "labels": [m for m in sets if len({target_key(c) for c in m if not missing_label(c)}) > 1],
        "patients": [m for m in sets if len({c.patient for c in m if not is_dummy(c.patient)}) > 1],
        "parts": [m for m in sets if part_count(m, split) > 1],
    }
    table = {
        "sets": len(sets),
        "images": sum(map(len, sets)),
        "surplus": len(copies),
        "surplus_by_class": dict(sorted(by_class.items())),
        "sets_within_one_label": len(sets) - len(across["labels"]),
        **{f"sets_across_{kind}": len(found) for kind, found in across.items()},
        "examples": [[printable(c.id) for c in members[:10]] for members in sets[:10]],
    }
    return table, _identical_findings(dataset, sets, copies, across, split)


def part_count(members: Sequence[Case], split: Split | None) -> int:
    """In how many parts a set is, in the fold where it is most divided (the dataset's own parts without a split)."""
    if split is None:
        return len({c.part for c in members if c.part is not None})
    return max(len({fold[c.id] for c in members if c.id in fold}) for fold in split.folds)


def _identical_findings(
    dataset: Dataset,
    sets: Sequence[Sequence[Case]],
    copies: set[str],
    across: Mapping[str, Sequence[Sequence[Case]]],
    split: Split | None,
) -> list[Finding]:
    found = []
    if copies:
        text = (
            plural(len(copies), "surplus copy of an identical image", "surplus copies of identical images")
            + f" with the same label, in {plural(len(sets), 'set', 'sets')} of identical images"
        )
        ids = examples(c.id for c in dataset.cases if c.id in copies)
        found.append(Finding("identical-images", "info", text, len(copies), ids))
    words = {
        "labels": "under different labels; they stay together in one part",
        "patients": "under different patient ids; a split joins these patients",
        "parts": "in more than one part" + ("" if split else " of the dataset's own division"),
    }
    for kind, divided in across.items():
        if divided:
            severity: Severity = "error" if kind == "parts" and split is not None else "caution"
            text = f"{plural(len(divided), *KINDS['identical'])} {words[kind]}"
            ids = examples(c.id for members in divided for c in members)
            found.append(Finding(f"identical-across-{kind}", severity, text, len(divided), ids))
    return found


def image_tables(facts: Sequence[ImageFacts]) -> tuple[dict[str, Any], list[Finding]]:
    """Sizes, types, spacings and intensities, each distinct value with its count."""
    shapes = Counter(f.shape for f in facts)
    spacings = Counter(None if f.spacing is None else tuple(round(s, 3) for s in f.spacing) for f in facts)
    tables = {
        "read": len(facts),
        "sizes": _counted(shapes, list) | _extent([f.shape for f in facts]),
        "dtypes": _counted(Counter(f.dtype for f in facts), str),
        "spacings": _counted(spacings, lambda s: None if s is None else list(s))
        | _extent([f.spacing for f in facts if f.spacing is not None]),
        "intensities": [_range(dtype, facts) for dtype in sorted({f.dtype for f in facts})],
    }
    return tables, _image_findings(facts)


def _counted(counter: Counter[Any], plain: Callable[[Any], Any]) -> dict[str, Any]:
    common = sorted(counter.items(), key=lambda kv: (-kv[1], str(kv[0])))
    return {"distinct": len(counter), "values": [{"value": plain(v), "cases": n} for v, n in common[:_SHOWN]]}


def _extent(values: Sequence[tuple[float, ...]]) -> dict[str, list[float]]:
    """Smallest, middle and largest along each axis, of the images that have as many axes as most."""
    if not values:
        return {}
    axes = Counter(map(len, values)).most_common(1)[0][0]
    table = np.array([v for v in values if len(v) == axes], np.float64)
    rows = {"low": table.min(0), "median": np.median(table, axis=0), "high": table.max(0)}
    return {name: [round(float(v), 4) for v in row] for name, row in rows.items()}


def _range(dtype: str, facts: Sequence[ImageFacts]) -> dict[str, Any]:
    """Extremes over the images of one type, and the middle of the images' own extremes; undefined is ``None``."""
    pairs = np.array([(f.low, f.high) for f in facts if f.dtype == dtype], dtype=np.float64)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if not len(pairs):
        return {"dtype": dtype, "images": 0, "low": None, "high": None, "median_low": None, "median_high": None}
    low, high = np.median(pairs, axis=0)
    return {
        "dtype": dtype,
        "images": len(pairs),
        "low": float(pairs[:, 0].min()),
        "high": float(pairs[:, 1].max()),
        "median_low": float(low),
        "median_high": float(high),
    }


def _image_findings(facts: Sequence[ImageFacts]) -> list[Finding]:
    found = []
    constant = [f.case for f in facts if f.low == f.high]
    empty = [f.case for f in facts if not np.isfinite([f.low, f.high]).all()]
    bare = [f.case for f in facts if f.spacing is None]
    if constant:
        text = plural(len(constant), "image is constant", "images are constant") + ": every pixel has the same value"
        found.append(Finding("constant-images", "caution", text, len(constant), examples(constant)))
    if empty:
        text = plural(len(empty), "image has no finite value", "images have no finite value")
        found.append(Finding("no-finite-values", "caution", text, len(empty), examples(empty)))
    if bare and len(bare) < len(facts):
        text = plural(len(bare), "image has no spacing", "images have no spacing") + ", while others have one"
        found.append(Finding("spacing-missing", "caution", text, len(bare), examples(bare)))
    found += _odd_ones("several-dtypes", "stored as another type", {f.case: f.dtype for f in facts})
    channels = {f.case: f"{plural(f.shape[0], 'channel', 'channels')}, {len(f.shape) - 1}D" for f in facts}
    return found + _odd_ones("several-layouts", "of another number of channels or axes", channels)


def _odd_ones(name: str, how: str, values: Mapping[str, str]) -> list[Finding]:
    common = Counter(values.values()).most_common(1)
    others = [case for case, value in values.items() if value != common[0][0]]
    if not others:
        return []
    text = f"{plural(len(others), 'image', 'images')} {how} than most ({common[0][0]})"
    return [Finding(name, "info", text, len(others), examples(others))]


def exclusion_table(
    exclusions: Sequence[Exclusion], cases: Collection[str]
) -> tuple[list[dict[str, Any]], list[Finding]]:
    """What was left out, by reason: numbers, names and paths inside a reason do not make it another one.

    Copies of another case are in the table; the finding on identical images speaks of them.
    """
    groups: dict[tuple[str, bool], list[Exclusion]] = defaultdict(list)
    for exclusion in exclusions:
        groups[_general(exclusion.reason, cases), exclusion.aside].append(exclusion)
    ordered = sorted(groups.items(), key=lambda kv: (-len(kv[1]), kv[0]))
    table = [
        {
            "reason": printable(members[0].reason if len(members) == 1 else reason),
            "aside": aside,
            "count": len(members),
            "examples": [{"case": printable(e.case), "path": printable(e.path)} for e in members[:10]],
        }
        for (reason, aside), members in ordered
    ]
    unusable = {reason: members for (reason, aside), members in ordered if not aside and reason != _COPY}
    left = {reason: members for (reason, aside), members in ordered if aside}
    return table, [
        *_left_out("excluded", "caution", ("case or file not usable", "cases or files not usable"), unusable),
        *_left_out("left-aside", "info", ("file left aside, no case", "files left aside, no cases"), left),
    ]


def _left_out(
    name: str, severity: Severity, words: tuple[str, str], groups: Mapping[str, Sequence[Exclusion]]
) -> list[Finding]:
    found = [exclusion for members in groups.values() for exclusion in members]
    if not found:
        return []
    text = f"{plural(len(found), *words)}: "
    text += "; ".join(f"{len(members):,} {reason}" for reason, members in list(groups.items())[:3])
    text += f"; {plural(len(groups) - 3, 'more reason', 'more reasons')}" if len(groups) > 3 else ""
    return [Finding(name, severity, text, len(found), examples(e.case for e in found))]


def _general(reason: str, cases: Collection[str]) -> str:
    """The reason without what is particular to one case."""
    if reason.startswith(_IDENTICAL) and reason.removeprefix(_IDENTICAL) in cases:
        return _COPY
    return _SPECIFIC.sub("…", reason)
