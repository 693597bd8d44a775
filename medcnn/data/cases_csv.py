"""``cases.csv``: the cases of a run as a table, with their schema in ``cases.json``; both are local files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.errors import RunError
from medcnn.files import open_atomic, read_json, write_json
from medcnn.types import (
    Attribute,
    Boxes,
    Case,
    ClassLabel,
    Dataset,
    Exclusion,
    ImageRef,
    LabelClass,
    LabelSchema,
    Mask,
    Target,
    Value,
)

FIXED = ("case", "patient", "group", "cluster", "part", "study", "reader", "paths", "key", "index")
TARGETS = ("label", "value", "mask", "boxes")


def write_cases(path: Path, dataset: Dataset) -> None:
    """Write the cases, and beside them the schema, the facts and what was left out."""
    schema = dataset.labels.get("class")
    labels = [f"label_{n}" for n in schema.names] if schema is not None and schema.multilabel else []
    names = sorted({name for case in dataset.cases for name in case.attributes})
    with open_atomic(path) as file:
        # Python before 3.13 quotes a carriage return only where it is part of the line's end.
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow([*FIXED, *TARGETS, *labels, *(f"attr_{n}" for n in names)])
        for case in dataset.cases:
            writer.writerow(_row(case, schema, bool(labels), names))
    write_json(
        path.with_suffix(".json"),
        {
            "name": dataset.name,
            "labels": {kind: asdict(s) for kind, s in dataset.labels.items()},
            "patients_known": dataset.patients_known,
            "facts": dict(dataset.facts),
            "exclusions": [asdict(e) for e in dataset.exclusions],
        },
    )


def write_exclusions(path: Path, exclusions: Iterable[Exclusion]) -> None:
    """Write what was not used, a row each, with its reason; ``aside`` is 1 for what was never meant as a case."""
    with open_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", "path", "reason", "aside"])
        writer.writerows([e.case, e.path, e.reason, "1" if e.aside else ""] for e in exclusions)


def _row(case: Case, schema: LabelSchema | None, several: bool, names: list[str]) -> list[Any]:
    label, value = case.target(ClassLabel), case.target(Value)
    mask, boxes = case.target(Mask), case.target(Boxes)
    text = ""
    if label is not None and schema is not None and not several and label.index is not None:
        text = schema.names[label.index]
    row = [case.id, case.patient, case.group, case.cluster, case.part, case.study]
    # JSON, since a path may hold any character that could separate them.
    refs = [_ref_list(r) for r in case.images]
    first = case.images[0] if case.images else ImageRef(())
    # A path that begins as JSON does is written as JSON, so that it cannot be taken for it.
    simple = len(refs) == 1 and len(first.paths) == 1 and not first.paths[0].startswith("[")
    row += [
        first.reader,
        first.paths[0] if simple else json.dumps(refs, ensure_ascii=False),
        first.key if simple else None,
        str(first.index) if simple and first.index is not None else None,
    ]
    row += [
        text,
        None if value is None or value.value is None else repr(float(value.value)),
        None if mask is None else _mask_text(mask),
        None if boxes is None else _boxes_text(boxes),
    ]
    if several:
        states = label.states if label is not None else (None,) * len(schema.names if schema else ())
        row += ["" if s is None else str(s) for s in states]
    return [*("" if v is None else v for v in row), *(_attribute_text(case.attributes.get(n)) for n in names)]


def _ref_list(ref: ImageRef) -> list[Any]:
    return [ref.reader, list(ref.paths), ref.key, ref.index]


def _ref(found: Sequence[Any]) -> ImageRef:
    reader, paths, key, index = found
    return ImageRef(tuple(paths), reader, key, index)


def _mask_text(mask: Mask) -> str:
    found = _ref_list(mask.image)
    if mask.names or mask.readers:
        # Most masks have neither: their files stay as those of earlier versions.
        found.append({"names": [list(n) for n in mask.names], "readers": [_ref_list(r) for r in mask.readers]})
    return json.dumps(found, ensure_ascii=False)


def _mask(text: str) -> Mask:
    reader, paths, key, index, *more = json.loads(text)
    rest = more[0] if more else {}
    names = tuple((str(stored), str(label)) for stored, label in rest.get("names", ()))
    return Mask(_ref([reader, paths, key, index]), names, tuple(_ref(r) for r in rest.get("readers", ())))


def _boxes_text(boxes: Boxes) -> str:
    # The shape too: a list of no boxes does not say of how many axes they would be.
    corners, labels = boxes.corners, boxes.labels
    found = {"shape": list(corners.shape), "corners": corners.ravel().tolist(), "labels": labels.tolist()}
    if boxes.crowd is not None:
        found["crowd"] = boxes.crowd.astype(int).tolist()
    return json.dumps(found)


def _attribute_text(value: Attribute) -> str:
    if value is None:
        return ""
    # Texts that would read as something else are quoted as JSON.
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if _attribute(value) != value else value
    return repr(float(value)) if isinstance(value, float) else str(int(value))


def _attribute(text: str) -> Attribute:
    if text == "":
        return None
    if text.startswith('"'):
        try:
            found = json.loads(text)
            return found if isinstance(found, str) else text
        except ValueError:
            return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@contextmanager
def _long_fields() -> Iterator[None]:
    """The paths of a long series are one field, longer than the csv module reads by default."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def read_cases(path: Path) -> Dataset:
    """The dataset that :func:`write_cases` wrote.

    Raises:
        RunError: If a file is missing or broken.
    """
    about = read_json(path.with_suffix(".json"))
    try:
        labels = {kind: _schema(value) for kind, value in about["labels"].items()}
        with _long_fields(), open(path, encoding="utf-8", newline="") as file:
            cases = tuple(_case(row, labels.get("class")) for row in csv.DictReader(file))
        return Dataset(
            about["name"],
            cases,
            labels,
            tuple(Exclusion(**e) for e in about["exclusions"]),
            about["patients_known"],
            about["facts"],
        )
    except FileNotFoundError as error:
        raise RunError("the file is missing", where=str(path), todo="run the step that writes it first") from error
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        todo = "restore the file from a copy, or run again in another folder"
        raise RunError(f"the cases cannot be read: {error}", where=str(path), todo=todo) from error


def _schema(value: Mapping[str, Any]) -> LabelSchema:
    return LabelSchema(tuple(LabelClass(**c) for c in value["classes"]), value["multilabel"], value["positive"])


def _case(row: Mapping[str, str], schema: LabelSchema | None) -> Case:
    attributes = {k.removeprefix("attr_"): _attribute(v) for k, v in row.items() if k.startswith("attr_")}
    return Case(
        row["case"],
        _images(row),
        tuple(_targets(row, schema)),
        patient=row["patient"] or None,
        group=row["group"] or None,
        cluster=row["cluster"] or None,
        part=row["part"] or None,  # type: ignore[arg-type]
        study=row["study"] or None,
        attributes=attributes,
    )


def _images(row: Mapping[str, str]) -> tuple[ImageRef, ...]:
    text = row["paths"]
    if text.startswith("["):
        return tuple(_ref(found) for found in json.loads(text))
    index = int(row["index"]) if row["index"] else None
    return (ImageRef((text,), row["reader"], row["key"] or None, index),)


def _targets(row: Mapping[str, str], schema: LabelSchema | None) -> list[Target]:
    found: list[Target] = []
    if schema is not None and schema.multilabel:
        states = [row[f"label_{name}"] for name in schema.names]
        found.append(ClassLabel(tuple(int(s) if s else None for s in states)))
    elif schema is not None:
        index = schema.index(row["label"]) if row["label"] else None
        found.append(ClassLabel.of(index, len(schema.classes)))
    if row["value"]:
        found.append(Value(float(row["value"])))
    if row["mask"]:
        found.append(_mask(row["mask"]))
    if row["boxes"]:
        boxes = json.loads(row["boxes"])
        corners = np.array(boxes["corners"], np.float32).reshape(boxes["shape"])
        crowd = np.array(boxes["crowd"], bool) if "crowd" in boxes else None
        found.append(Boxes(corners, np.array(boxes["labels"], np.int64), crowd))
    return found
