"""What the audit says of masks."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from medcnn.data.audit import Audit, audit
from medcnn.data.audit_targets import MaskFacts, read_masks
from medcnn.types import Case, Dataset, ImageRef, LabelClass, LabelSchema, Mask

SCHEMA = LabelSchema((LabelClass(1, "liver"), LabelClass(2, "lesion"), LabelClass(3, "stent")))


def drawn(folder: Path, name: str, values: np.ndarray, size: int = 8) -> Case:
    Image.fromarray(np.full((size, size), 7, np.uint8)).save(folder / f"{name}.png")
    Image.fromarray(values.astype(np.uint8)).save(folder / f"{name}_mask.png")
    refs = [ImageRef((str(folder / f"{name}{end}.png"),)) for end in ("", "_mask")]
    return Case(name, (refs[0],), (Mask(refs[1]),))


def said(found: Audit, start: str) -> dict[str, tuple[str, str]]:
    return {f.id: (f.severity, f.what) for f in found.findings if f.id.startswith(start)}


@pytest.mark.parametrize("threads", [1, 3])
def test_masks_are_counted_by_label_and_what_does_not_fit_is_named(tmp_path: Path, threads: int) -> None:
    organ = np.zeros((8, 8))
    organ[:4] = 1
    lesion = organ.copy()
    lesion[:2, :2] = 2
    cases = [
        drawn(tmp_path, "a", organ),
        drawn(tmp_path, "b", lesion),
        drawn(tmp_path, "c", organ * 0),
        drawn(tmp_path, "d", organ * 9),
        drawn(tmp_path, "e", np.ones((5, 8))),
        Case("f", (), ()),
    ]
    dataset = Dataset("test", tuple(cases), {"mask": SCHEMA}, patients_known=True)
    masks = read_masks(dataset, cases, threads=threads)
    assert [(m.case, m.voxels, m.size) for m in masks[:3]] == [
        ("a", (32, 0, 0), 64),
        ("b", (28, 4, 0), 64),
        ("c", (0, 0, 0), 64),
    ]
    found = audit(dataset, [], masks=masks)
    table = found.tables["masks"]
    assert (table["read"], table["unusable"], table["empty"], table["partly_not_annotated"]) == (3, 2, 1, 0)
    assert table["labels"][0] == {
        "label": "liver",
        "cases": 2,
        "low": 28 / 64,
        "median": 30 / 64,
        "high": 32 / 64,
    }
    assert table["labels"][2] == {"label": "stent", "cases": 0, "low": None, "median": None, "high": None}
    findings = said(found, "mask")
    assert findings["mask-label-absent"] == ("caution", "1 label is in no mask: 'stent'")
    assert findings["mask-empty"] == ("info", "1 mask is empty: nothing is labelled")
    assert findings["mask-unusable"][1].startswith("2 masks cannot be used: 1 ")
    text = files("medcnn.data").joinpath("audit.schema.json").read_text("utf-8")
    jsonschema.validate(json.loads(json.dumps(found.to_json(), allow_nan=False)), json.loads(text))


def test_labels_that_may_overlap_are_counted_each_for_itself(tmp_path: Path) -> None:
    values = np.zeros((8, 8))
    values[:2] = 1
    schema = LabelSchema((LabelClass(1, "whole"), LabelClass(2, "core")), multilabel=True)
    case = drawn(tmp_path, "a", values)
    (facts,) = read_masks(Dataset("test", (case,), {"mask": schema}), [case])
    assert facts.voxels == (16, 0)
    assert facts.size == 64


def test_without_masks_nothing_is_said(tmp_path: Path) -> None:
    case = drawn(tmp_path, "a", np.zeros((8, 8)))
    assert read_masks(Dataset("test", (case,), {}), [case]) == []
    dataset = Dataset("test", (Case("a", ()),), {"mask": SCHEMA})
    assert read_masks(dataset, dataset.cases) == []
    assert "masks" not in audit(dataset, [], masks=[]).tables
    facts = [MaskFacts("a", (1, 1, 1), 5, 64)]
    assert audit(dataset, [], masks=facts).tables["masks"]["partly_not_annotated"] == 1
