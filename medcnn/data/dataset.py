"""A recipe's data section as a dataset: the catalog's entry, its folder and its adapter."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

from medcnn import registry
from medcnn.data.catalog import CatalogEntry, LabelsEntry, find_entry
from medcnn.data.grouping import plural
from medcnn.errors import DataError
from medcnn.progress import Progress, Silent
from medcnn.recipe.options import check_options
from medcnn.recipe.schema import DataSection
from medcnn.types import Case, Dataset, LabelClass, LabelSchema


def data_root() -> Path:
    """``$MEDCNN_DATA``, else ``~/.cache/medcnn/data``."""
    place = os.environ.get("MEDCNN_DATA")
    return Path(place).expanduser() if place else Path.home() / ".cache" / "medcnn" / "data"


def load_dataset(data: DataSection, progress: Progress | None = None) -> Dataset:
    """The cases of a data section: paths and labels, no pixels.

    Args:
        data: What to load.
        progress: Handed to an adapter that takes an argument ``progress``, such as one that makes its images. So is
            the rule of ``data.stack`` as ``stack``; of other adapters' DICOM images the stack is picked here.

    Raises:
        DataError: If the dataset is unknown, absent or unusable, or two cases have one id.
    """
    if data.adapter is not None:
        if data.root is None:
            raise DataError("an adapter needs data.root: the folder of the data", where="data.root")
        options = {**data.adapter.options, **data.options}
        dataset = _adapt(data.adapter.name, Path(data.root).expanduser(), options, data, progress)
    elif data.dataset is not None:
        dataset = _from_catalog(data, find_entry(data.dataset, data.catalog), progress)
    else:
        raise DataError("neither data.dataset nor data.adapter is given", where="data")
    repeated = [name for name, count in Counter(c.id for c in dataset.cases).items() if count > 1]
    if repeated:
        raise DataError(f"{len(repeated)} case ids stand twice, the first is {repeated[0]}", where=dataset.name)
    if not dataset.cases:
        first = next((e for e in sorted(dataset.exclusions, key=lambda e: e.aside)), None)
        count = plural(len(dataset.exclusions), "was", "were")
        why = f"; {count} left out, the first: {first.reason} ({first.path})" if first else ""
        raise DataError(f"the dataset has no usable case{why}", where=dataset.name)
    if data.limit is not None:
        dataset = _limited(dataset, data.limit)
    if data.derive is None:
        return dataset
    from medcnn.data.labels.derive import with_derived

    wanted = data.derive
    return with_derived(
        dataset, wanted.targets, resample=wanted.resample, consensus=wanted.consensus, progress=progress
    )


def _adapt(name: str, root: Path, options: Mapping[str, Any], data: DataSection, progress: Progress | None) -> Dataset:
    adapter = registry.load("adapters", name)
    rule = None
    if data.stack is not None:
        from medcnn.data.images import StackRule

        rule = StackRule.of(data.stack.model_dump())
    known = {"progress": progress or Silent(), "stack": rule}
    supplied = {k: v for k, v in known.items() if k in signature(adapter).parameters}
    found: Dataset = adapter(root, **check_options("adapters", name, options), **supplied)
    if rule is None or "stack" in supplied:
        return found
    from medcnn.data.stack_choice import with_stacks

    return with_stacks(found, rule, root, progress or Silent())


def _from_catalog(data: DataSection, entry: CatalogEntry, progress: Progress | None) -> Dataset:
    assert data.dataset is not None
    root = Path(data.root).expanduser() if data.root else data_root() / entry.folder
    if not root.is_dir() and entry.source is not None:
        raise _absent(data.dataset, entry, root, given=data.root is not None)
    found = _adapt(entry.adapter.name, root, {**entry.adapter.options, **data.options}, data, progress)
    facts = {
        "title": entry.title,
        "modality": entry.modality,
        "source": entry.source,
        "licence": entry.licence,
        "citation": entry.citation,
        "patient": entry.patient,
        "unit": entry.unit,
    }
    known = {k: v for k, v in facts.items() if v is not None}
    labels = _labels(found, entry, keep_positive="positive" in data.options)
    return replace(found, name=data.dataset, labels=labels, facts={**found.facts, **known})


def _absent(name: str, entry: CatalogEntry, root: Path, *, given: bool) -> DataError:
    """The error for a dataset that is not where it is looked for."""
    if root.exists():
        return DataError(
            "the root of the dataset is a file, not a folder",
            where=str(root),
            todo="unpack it, and set data.root to the folder",
        )
    archives = [root.with_name(root.name + end) for end in (".tar.gz", ".tgz", ".tar", ".zip")]
    packed = next((a for a in archives if a.is_file()), None)
    if packed is not None:
        todo = f"unpack it: medcnn data get {name} --from {shlex.quote(str(packed))}"
    elif given:
        todo = f"set data.root to the folder that holds it; it is published at {entry.source}"
    else:
        from_there = f" (from {entry.source})" if entry.source else ""
        fetch = f"medcnn data get {name}" if entry.source and entry.terms is None else None
        todo = (
            f"get it{from_there}: {fetch or f'medcnn data get {name} --from FILE'}; or, where you have it, "
            f"set data.root=FOLDER, or the environment variable MEDCNN_DATA to the folder that holds {entry.folder}"
        )
    return DataError(f"the dataset {name!r} is not there", where=str(root), todo=todo)


def _labels(found: Dataset, entry: CatalogEntry, *, keep_positive: bool) -> Mapping[str, LabelSchema]:
    """The adapter's schemas with what the catalog adds: stored values, colours, codes, the positive class."""
    labels = dict(found.labels)
    for kind, said in (("mask", entry.mask_labels), ("boxes", entry.box_labels)):
        if kind in labels and said is not None:
            labels[kind] = _coloured(labels[kind], said)
    schema = labels.get("class")
    if schema is None or entry.labels is None or not entry.labels.classes:
        return labels
    known = {c.name: c for c in entry.labels.classes}
    if tuple(known) != schema.names:
        # Options of the recipe changed the classes: the catalog no longer speaks of them.
        return labels
    classes = tuple(LabelClass(c.value, c.name, c.color, c.code) for c in known.values())
    positive = schema.positive if keep_positive else entry.labels.positive or schema.positive
    return {**labels, "class": LabelSchema(classes, schema.multilabel, positive)}


def _coloured(schema: LabelSchema, said: LabelsEntry) -> LabelSchema:
    """By name: labels that the recipe merged or renamed keep what the catalog says of them."""
    known = {c.name: c for c in said.classes}
    classes = (
        replace(c, color=known[c.name].color, code=known[c.name].code) if c.name in known else c for c in schema.classes
    )
    return replace(schema, classes=tuple(classes))


def _limited(dataset: Dataset, limit: int) -> Dataset:
    """At most ``limit`` cases: whole groups, taken at even distances from the list of all."""
    groups: dict[str, list[Case]] = {}
    for case in dataset.cases:
        groups.setdefault(case.group or case.patient or case.id, []).append(case)
    names = list(groups)
    # Bit reversal visits the list evenly at every length, without a random choice.
    bits = max(1, (len(names) - 1).bit_length())
    order = sorted(range(len(names)), key=lambda i: int(f"{i:0{bits}b}"[::-1], 2))
    chosen: set[str] = set()
    for index in order:
        members = groups[names[index]]
        if len(chosen) + len(members) <= limit:
            chosen.update(c.id for c in members)
    if not chosen:
        chosen.update(c.id for c in groups[names[0]][:limit])
    return replace(dataset, cases=tuple(c for c in dataset.cases if c.id in chosen))
