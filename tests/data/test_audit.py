"""The audit: each finding on data made to have it, and none on data that have nothing to remark."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcnn.data.audit import Audit, Finding, audit, surplus, write_audit
from medcnn.data.facts import ImageFacts
from medcnn.data.split import make_split
from medcnn.recipe.schema import SplitSection
from medcnn.types import Boxes, Case, ClassLabel, Dataset, Exclusion, ImageRef, LabelClass, LabelSchema, Mask, Value

SCHEMA = LabelSchema((LabelClass(0, "a"), LabelClass(1, "b")))


def case(name: str, label: int | None = 0, **more: Any) -> Case:
    return Case(name, (ImageRef((f"{name}.png",)),), (ClassLabel.of(label, 2),), **more)


def fact(name: str, digest: str | None = None, **more: Any) -> ImageFacts:
    plain = {"shape": (1, 8, 8), "dtype": "uint8", "spacing": None, "low": 0.0, "high": 255.0}
    return ImageFacts(name, digest or f"d-{name}", **(plain | more))


def cohort(cases: Sequence[Case], **more: Any) -> Dataset:
    return Dataset("test", tuple(cases), {"class": SCHEMA}, **({"patients_known": True} | more))


def healthy(count: int = 40) -> list[Case]:
    return [
        case(f"c{i:02d}", i % 2, patient=f"P{i // 2:02d}", attributes={"sex": "FM"[i // 2 % 2], "age": 40 + i})
        for i in range(count)
    ]


def facts_of(cases: Sequence[Case], **digests: str) -> list[ImageFacts]:
    return [fact(c.id, digests.get(c.id)) for c in cases]


@functools.cache
def schema() -> jsonschema.Draft202012Validator:
    text = files("medcnn.data").joinpath("audit.schema.json").read_text("utf-8")
    jsonschema.Draft202012Validator.check_schema(json.loads(text))
    return jsonschema.Draft202012Validator(json.loads(text))


@pytest.fixture(autouse=True)
def _every_audit_follows_the_schema(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test of this file makes is checked."""
    made: list[dict[str, Any]] = []
    plain = Audit.__init__

    def keep(self: Audit, *args: Any, **more: Any) -> None:
        plain(self, *args, **more)
        made.append(self.to_json())

    monkeypatch.setattr(Audit, "__init__", keep)
    yield
    for audit_json in made:
        schema().validate(audit_json)


def finding(found: Audit, name: str) -> Finding:
    (only,) = [f for f in found.findings if f.id == name]
    return only


def ids(found: Audit) -> set[str]:
    return {f.id for f in found.findings}


def test_a_healthy_dataset_has_nothing_to_remark() -> None:
    cases = healthy()
    found = audit(cohort(cases), facts_of(cases), [])
    assert found.findings == ()
    assert found.headline() == ["test: 40 cases, 20 patients (a 20, b 20)"]


def test_what_the_adapter_has_to_say_is_passed_on() -> None:
    dataset = replace(cohort(healthy()), facts={"notes": ("3 of the labels were made by a program",)})
    found = audit(dataset, facts_of(healthy())).findings
    assert Finding("dataset-note", "info", "3 of the labels were made by a program", 1) in found


def test_identical_images_are_counted_within_and_across_labels_patients_and_parts() -> None:
    cases = healthy()
    # c00 = c02 = c04 are of class a, c06 = c07 of both classes and one patient, c08 = c08 alone.
    same = {"c00": "x", "c02": "x", "c04": "x", "c06": "y", "c07": "y"}
    dataset, facts = cohort(cases), facts_of(cases, **same)
    found = audit(dataset, facts, [])
    table = found.tables["identical"]
    assert (table["sets"], table["images"], table["surplus"]) == (2, 5, 2)
    assert table["surplus_by_class"] == {"a": 2}
    assert (table["sets_within_one_label"], table["sets_across_labels"], table["sets_across_patients"]) == (1, 1, 1)
    assert finding(found, "identical-images").cases == ("c02", "c04")
    assert finding(found, "identical-images").severity == "info"
    labels = finding(found, "identical-across-labels")
    assert (labels.severity, labels.count, labels.cases) == ("caution", 1, ("c06", "c07"))
    assert finding(found, "identical-across-patients").count == 1
    assert "identical-across-parts" not in ids(found)
    assert "2 surplus copies of identical images with the same label, in 2 sets of identical images" in found.headline()


def test_identical_images_in_two_parts_of_a_split_are_an_error() -> None:
    cases = healthy()
    blind = make_split(cases, SplitSection(), stratum=lambda c: None, identical={}, seed=0)
    same = {blind.part(0, "training")[0]: "x", blind.part(0, "test")[0]: "x"}
    found = audit(cohort(cases), facts_of(cases, **same), [], blind)
    assert found.of("error") == (finding(found, "identical-across-parts"),)
    assert found.findings[0].severity == "error"
    assert any(line.startswith("error: 1 set of identical images in more than one part") for line in found.headline())
    seeing = make_split(cases, SplitSection(), stratum=lambda c: None, identical=same, seed=0)
    assert audit(cohort(cases), facts_of(cases, **same), [], seeing).of("error") == ()
    assert found.tables["parts"]["part"]["test"]["cases"] == 6


def test_identical_images_in_two_parts_of_the_datasets_own_division_are_a_caution() -> None:
    cases = [replace(c, part="training" if i < 20 else "test") for i, c in enumerate(healthy())]
    found = audit(cohort(cases), facts_of(cases, c00="x", c30="x"), [])
    assert finding(found, "identical-across-parts").severity == "caution"


def test_surplus_keeps_the_first_of_each_label() -> None:
    cases = [case("z", 0), case("a", 0), case("m", 1), case("n", 1), case("q", None), case("r", None), case("s", 0)]
    facts = [fact(c.id, "same" if c.id != "s" else "other") for c in cases]
    assert surplus(cases, facts) == {"a", "n", "r"}
    assert surplus(cases, facts, lambda c: "one label") == {"a", "m", "n", "q", "r"}
    assert surplus(cases, []) == set()


def test_surplus_compares_values_and_boxes() -> None:
    box = Boxes(np.array([[0, 0, 2, 2]], np.float32), np.array([0]))
    moved = Boxes(np.array([[0, 0, 2, 3]], np.float32), np.array([0]))
    values = [Case(f"v{i}", (), (Value(v),)) for i, v in enumerate([1.5, 1.5, 2.0])]
    boxes = [Case(f"b{i}", (), (b,)) for i, b in enumerate([box, moved, box])]
    assert surplus(values, [fact(c.id, "same") for c in values]) == {"v1"}
    assert surplus(boxes, [fact(c.id, "same") for c in boxes]) == {"b2"}


def test_masks_of_identical_images_are_compared_by_what_they_hold(tmp_path: Path) -> None:
    from PIL import Image

    drawn = np.zeros((8, 8), np.uint8)
    drawn[2:4, 2:4] = 1
    for name, values in {"a": drawn, "b": drawn, "c": drawn.T * 0}.items():
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    # The last two cannot be read: nobody knows whether they are equal.
    masks = {name: Mask(ImageRef((str(tmp_path / f"{name}.png"),))) for name in "abcde"}
    cases = [Case(name, (), (mask,), patient=name) for name, mask in masks.items()]
    facts = [fact(c.id, "same") for c in cases]
    assert surplus(cases, facts) == {"b"}
    found = audit(Dataset("masks", tuple(cases), {}, patients_known=True), facts)
    assert found.tables["identical"]["sets_across_labels"] == 1
    assert surplus(cases[:2], facts[:2]) == {"b"}
    assert audit(Dataset("masks", tuple(cases[:2]), {}), facts[:2]).tables["identical"]["sets_across_labels"] == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1)), max_size=40))
def test_after_the_surplus_is_gone_no_pair_of_pixels_and_label_occurs_twice(table: list[tuple[int, int]]) -> None:
    cases = [case(f"c{i}", label) for i, (_, label) in enumerate(table)]
    facts = [fact(f"c{i}", f"d{digest}") for i, (digest, _) in enumerate(table)]
    copies = surplus(cases, facts)
    left = [row for i, row in enumerate(table) if f"c{i}" not in copies]
    assert Counter(left) == Counter(set(table))


def test_what_was_left_out_is_counted_by_reason() -> None:
    cases = healthy()
    left = [Exclusion(f"x{i}", f"truncated at byte {i * 100}", f"/data/x{i}.png") for i in range(3)]
    left += [Exclusion("y", "no label"), Exclusion("copy", "identical to c00")]
    dataset = cohort(cases, exclusions=(left[0],))
    found = audit(dataset, facts_of(cases), left)
    assert [(row["reason"], row["count"]) for row in found.tables["exclusions"]] == [
        ("truncated at byte …", 3),
        ("identical to c00", 1),
        ("no label", 1),
    ]
    assert finding(found, "excluded").what == "4 cases or files not usable: 3 truncated at byte …; 1 no label"
    assert finding(found, "excluded").cases == ("x0", "x1", "x2", "y")


def test_sizes_types_spacings_and_intensities() -> None:
    cases = healthy(6)
    facts = [
        fact("c00", shape=(1, 8, 9), spacing=(0.5, 0.5)),
        fact("c01", shape=(3, 8, 8), spacing=(0.50001, 0.5)),
        fact("c02", dtype="int16", low=-1000, high=3000, spacing=(1.0, 2.0)),
        fact("c03", dtype="int16", low=-900, high=2000),
        fact("c04", low=7, high=7),
        fact("c05", low=float("nan"), high=float("nan"), dtype="float32"),
    ]
    found = audit(cohort(cases), facts, [])
    images = found.tables["images"]
    assert images["sizes"]["distinct"] == 3
    assert images["sizes"]["values"][0] == {"value": [1, 8, 8], "cases": 4}
    assert images["spacings"]["values"][:2] == [{"value": None, "cases": 3}, {"value": [0.5, 0.5], "cases": 2}]
    ranges = {row["dtype"]: row for row in images["intensities"]}
    assert (ranges["int16"]["low"], ranges["int16"]["high"], ranges["int16"]["median_low"]) == (-1000, 3000, -950)
    assert ranges["float32"]["low"] is None
    assert finding(found, "constant-images").cases == ("c04",)
    assert finding(found, "no-finite-values").cases == ("c05",)
    assert finding(found, "spacing-missing").count == 3
    assert finding(found, "several-dtypes").count == 3
    assert finding(found, "several-layouts").cases == ("c01",)
    assert json.dumps(found.to_json(), allow_nan=False)


def test_labels_missing_classes_empty_and_rare() -> None:
    cases = [
        *(case(f"a{i:03d}", 0, patient=f"P{i}") for i in range(100)),
        case("b", 1, patient="Q"),
        case("m", None, patient="R"),
    ]
    found = audit(cohort(cases), facts_of(cases), [])
    assert finding(found, "labels-missing").cases == ("m",)
    assert finding(found, "class-rare").what == "1 class has fewer than 10 cases: b (1)"
    assert finding(found, "class-imbalance").what.startswith("100 times as many cases in 'a' as in 'b'")
    rows = {row["class"]: row for row in found.tables["labels"]["classes"]}
    assert rows["a"] == {"class": "a", "present": 100, "absent": 1, "missing": 1, "share": 100 / 101, "patients": 100}
    only = audit(cohort(cases[:100]), facts_of(cases[:100]), [])
    assert finding(only, "class-empty").what == "1 class has no case: 'b'"


def test_values_are_described() -> None:
    cases = [Case(f"c{i}", (), (Value(v),), patient=f"P{i}") for i, v in enumerate([1.0, 2.0, 6.0, None])]
    dataset = Dataset("ages", tuple(cases), {}, patients_known=True)
    found = audit(dataset, facts_of(cases), [])
    assert found.tables["labels"]["value"] == {
        "n": 3,
        "low": 1.0,
        "median": 2.0,
        "high": 6.0,
        "mean": 3.0,
        "std": pytest.approx(np.std([1, 2, 6], ddof=1)),
    }
    assert finding(found, "labels-missing").cases == ("c3",)


def test_patient_ids_that_say_nothing_hold_too_much_or_contradict_themselves() -> None:
    cases = healthy(60)
    cases += [case(f"blank{i}", i % 2, patient=" ") for i in range(2)]
    cases += [case(f"dummy{i}", i % 2, patient="Anonymous") for i in range(3)]
    cases += [case(f"large{i:02d}", i % 2, patient="HOSPITAL") for i in range(12)]
    cases += [case("he", 0, patient="P00", attributes={"sex": "male"})]
    found = audit(cohort(cases), facts_of(cases), [])
    assert finding(found, "patient-blank").count == 2
    assert finding(found, "patient-dummy").cases == ("dummy0", "dummy1", "dummy2")
    assert finding(found, "patient-large").cases == ("large00",)
    assert "up to 15 %" in finding(found, "patient-large").what
    assert finding(found, "patient-two-sexes").cases == ("c00",)
    table = found.tables["patients"]
    assert (table["patients"], table["cases_without_id"], table["cases_with_dummy_id"]) == (31, 2, 3)
    unknown = audit(cohort(healthy(), patients_known=False), facts_of(healthy()), [])
    assert finding(unknown, "patients-unknown").severity == "caution"
    assert unknown.headline()[0] == "test: 40 cases (a 20, b 20)"


def test_where_some_patients_are_known_the_others_are_named() -> None:
    cases = [Case(f"c{k}", (), patient=f"p{k}" if k else None) for k in range(5)]
    some = finding(audit(Dataset("d", tuple(cases), {}), []), "patients-unknown")
    assert some.what.startswith("the patients of 1 of 5 cases are not known")
    assert (some.count, some.cases) == (1, ("c0",))
    nobody = finding(audit(Dataset("d", tuple(replace(c, patient=None) for c in cases), {}), []), "patients-unknown")
    assert nobody.what.startswith("the patients of 5 cases are not known")
    assert (nobody.count, nobody.cases) == (5, ())


def test_few_patients_of_equal_size_are_not_suspicious() -> None:
    cases = [case(f"c{i:02d}", i % 2, patient=f"P{i % 4}") for i in range(40)]
    found = finding(audit(cohort(cases), facts_of(cases), []), "patient-large")
    assert found.severity == "info"
    assert found.what == "4 patient ids hold over 10 % of the cases (up to 25 %): there are 4 patients only"
    assert "patient-large" not in ids(audit(cohort(healthy()), facts_of(healthy()), []))


def test_one_id_for_all_cases_is_suspicious() -> None:
    cases = [case(f"c{i:02d}", i % 2, patient="4711") for i in range(40)]
    found = finding(audit(cohort(cases), facts_of(cases), []), "patient-large")
    assert (found.severity, found.count) == ("caution", 1)
    assert "up to 100 %" in found.what


def test_attributes_show_what_is_available_and_nothing_private() -> None:
    cases = [
        case(
            f"c{i:02d}",
            i % 2,
            patient=f"P{i}",
            attributes={
                "age": 60 + i,
                "site": "AB"[i % 2] if i else None,
                "study_date": f"2020-01-{i + 1:02d}",
                "name": "X",
            },
        )
        for i in range(40)
    ]
    found = audit(cohort(cases), facts_of(cases), [])
    rows = {row["attribute"]: row for row in found.tables["attributes"]}
    assert rows["site"]["available"] == 39
    assert rows["site"]["missing"] == 1
    assert rows["site"]["values"] == [{"value": "B", "cases": 20}, {"value": "A", "cases": 19}]
    assert rows["age"]["high"] == 90
    assert set(rows["study_date"]) == set(rows["name"]) == {"attribute", "available", "missing", "distinct"}
    assert finding(found, "attributes-missing").what == "1 attribute not known for all 40 cases: site (39)"


def test_cases_that_nobody_read_are_named() -> None:
    cases = healthy()
    found = audit(cohort(cases), facts_of(cases[:30]), [Exclusion("c39", "truncated")])
    assert finding(found, "not-read").count == 9


def test_examples_are_at_most_ten_and_errors_come_first() -> None:
    cases = healthy()
    found = audit(cohort(cases, patients_known=False), [fact(c.id, "same") for c in cases], [])
    assert all(len(f.cases) <= 10 for f in found.findings)
    order = [("error", "caution", "info").index(f.severity) for f in found.findings]
    assert order == sorted(order)


def test_the_audit_is_written_as_json(tmp_path: Path) -> None:
    cases = [
        *healthy(),
        Case(b"caf\xe9".decode("utf-8", "surrogateescape"), (), (ClassLabel.of(None, 2),), patient="P9"),
    ]
    found = audit(cohort(cases), facts_of(cases), [])
    stored = json.loads(write_audit(tmp_path, found).read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(found.to_json()))
    assert {"schema_version", "dataset", "cases", "headline", "findings", "identical", "patients"} <= set(stored)
    assert stored["findings"][0]["cases"] == ["caf\\udce9"]


@pytest.mark.realdata
def test_the_surplus_copies_of_mednist(realdata: Any) -> None:
    from PIL import Image

    root = realdata("MedNIST")
    names = sorted(p.name for p in root.iterdir() if p.is_dir())
    schema = LabelSchema(tuple(LabelClass(i, name) for i, name in enumerate(names)))
    cases, facts = [], []
    for label, name in enumerate(names):
        for path in sorted((root / name).iterdir()):
            with Image.open(path) as picture:
                pixels = np.asarray(picture)
            digest = hashlib.sha256(pixels.tobytes() + str((pixels.shape, pixels.dtype)).encode()).hexdigest()
            key = f"{name}/{path.name}"
            cases.append(Case(key, (ImageRef((str(path),)),), (ClassLabel.of(label, len(names)),)))
            facts.append(
                ImageFacts(key, digest, (1, *pixels.shape), str(pixels.dtype), None, pixels.min(), pixels.max())
            )
    found = audit(Dataset("mednist", tuple(cases), {"class": schema}), facts, [])
    assert found.tables["identical"]["surplus"] == 354
    assert found.tables["identical"]["sets"] == 273
    assert found.tables["identical"]["surplus_by_class"] == {"AbdomenCT": 271, "CXR": 1, "HeadCT": 82}
    assert len(surplus(cases, facts)) == 354
    assert json.dumps(found.to_json(), allow_nan=False)
