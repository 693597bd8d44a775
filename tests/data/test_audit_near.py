"""What the audit says of near-duplicates: within and across labels, patients and parts, and of chains."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jsonschema
import numpy as np

from medcnn.data.audit import Audit, audit
from medcnn.data.near_duplicates import NearDuplicates, NearPair
from medcnn.data.split import make_split
from medcnn.recipe.schema import SplitSection
from medcnn.types import Boxes, Case, ClassLabel, Dataset, ImageRef, LabelClass, LabelSchema, Mask

SCHEMA = LabelSchema((LabelClass(0, "a"), LabelClass(1, "b")))


def case(name: str, label: int | None = 0, **more: Any) -> Case:
    return Case(name, (), (ClassLabel.of(label, 2),), **more)


def near(*pairs: tuple[str, str], turn: int = 0, **more: Any) -> NearDuplicates:
    found = tuple(NearPair(first, second, 0.9, turn) for first, second in pairs)
    groups = {name: first for first, second in pairs for name in (first, second)}
    return NearDuplicates(found, **({"groups": groups, "components": (2,) * len(pairs), "compared": 9} | more))


def audited(cases: list[Case], found: NearDuplicates, **more: Any) -> Audit:
    return audit(Dataset("test", tuple(cases), {"class": SCHEMA}, patients_known=True), [], near=found, **more)


def said(found: Audit) -> dict[str, tuple[str, str]]:
    return {f.id: (f.severity, f.what) for f in found.findings if f.id.startswith("near")}


def test_pairs_are_counted_within_and_across_labels_and_patients() -> None:
    cases = [
        case("a", 0, patient="P"),
        case("b", 0, patient="P"),
        case("c", 0, patient="P"),
        case("d", 1, patient="Q"),
        case("e", 1, patient="unknown"),
        case("f", None, patient="R"),
    ]
    found = audited(cases, near(("a", "b"), ("c", "d"), ("e", "f"), turn=5))
    table = found.tables["near_duplicates"]
    assert (table["pairs"], table["groups"], table["cases_in_groups"], table["compared"]) == (3, 3, 6, 9)
    assert (table["pairs_within_one_label"], table["pairs_across_labels"], table["pairs_across_patients"]) == (2, 1, 1)
    assert table["turned"] == {"turned by a quarter": 3}
    assert said(found) == {
        "near-duplicates": ("info", "3 pairs of near-duplicates, verified by their pixels: 6 cases in 3 groups"),
        "near-across-labels": ("caution", "1 pair of near-duplicates has different labels"),
        "near-across-patients": ("caution", "1 pair of near-duplicates has different patient ids"),
    }
    text = files("medcnn.data").joinpath("audit.schema.json").read_text("utf-8")
    jsonschema.validate(json.loads(json.dumps(found.to_json(), allow_nan=False)), json.loads(text))


def test_masks_and_boxes_of_turned_copies_are_no_other_label() -> None:
    box = Boxes(np.array([[0, 0, 2, 2]], np.float32), np.array([0]))
    moved = Boxes(np.array([[6, 6, 8, 8]], np.float32), np.array([0]))
    cases = [Case(n, (), (t, ClassLabel.of(0, 2))) for n, t in {"a": box, "b": moved}.items()]
    cases += [Case(n, (), (Mask(ImageRef((f"{n}.png",))),)) for n in "cd"]
    assert audited(cases, near(("a", "b"), ("c", "d"))).tables["near_duplicates"]["pairs_across_labels"] == 0


def test_a_pair_in_two_parts_of_a_split_is_a_caution_and_of_a_given_column_too() -> None:
    cases = [case(f"c{i}", part="training" if i < 6 else "test", patient=f"P{i}") for i in range(10)]
    dataset_own = audited(cases, near(("c0", "c9")))
    assert said(dataset_own)["near-across-parts"] == (
        "caution",
        "1 pair of near-duplicates lies in more than one part of the dataset's own division",
    )
    section = SplitSection(by="column", validation=0)
    split = make_split(cases, section, stratum=lambda c: None, identical={}, seed=0, near={"c0": "c0", "c9": "c0"})
    assert split.part(0, "test") == ("c6", "c7", "c8", "c9")
    given = audited(cases, near(("c0", "c9"), ("c1", "c2")), split=split)
    assert given.tables["near_duplicates"]["pairs_across_parts"] == 1
    assert said(given)["near-across-parts"] == (
        "caution",
        "1 pair of near-duplicates lies in more than one part",
    )
    plain = [replace(c, part=None) for c in cases]
    section = SplitSection(validation=0, test=0.5)
    joined = make_split(
        plain, section, stratum=lambda c: None, identical={}, seed=0, near={f"c{i}": "x" for i in (0, 9)}
    )
    assert audited(plain, near(("c0", "c9")), split=joined).tables["near_duplicates"]["pairs_across_parts"] == 0


def test_chains_and_plain_images_are_named() -> None:
    cases = [case(f"c{i:03d}", patient=f"P{i}") for i in range(100)]
    found = audited(cases, near(("c000", "c001"), components=(40, 2), plain=("c099",)))
    assert said(found)["near-chains"][1].startswith(
        "1 chain of near-duplicates would join over 2 % of the cases (up to 40)"
    )
    assert said(found)["near-plain"] == ("info", "1 image shows too little to be compared with others")
    assert found.tables["near_duplicates"]["largest_chain"] == 40
    quiet = audited(cases, NearDuplicates(compared=100))
    assert said(quiet) == {}
    assert quiet.tables["near_duplicates"]["pairs"] == 0
    assert "near_duplicates" not in audit(Dataset("test", tuple(cases), {}), []).tables


def test_pairs_of_cases_that_are_gone_are_not_counted() -> None:
    found = audited([case("a", patient="P"), case("b", patient="P")], near(("a", "b"), ("a", "gone")))
    assert found.tables["near_duplicates"]["pairs"] == 1
