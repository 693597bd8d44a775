"""Splits: hand-worked cases of each rule, and what must hold for any data."""

from __future__ import annotations

import csv
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcnn.data.split import Split, make_split, overlap
from medcnn.errors import DataError
from medcnn.recipe.schema import SplitSection
from medcnn.types import PARTS, Case, ClassLabel, ImageRef

CLASSES = "abcdefgh"


def case(name: str, label: str | None = "a", **more: Any) -> Case:
    index = None if label is None else CLASSES.index(label)
    return Case(name, (ImageRef((f"{name}.png",)),), (ClassLabel.of(index, len(CLASSES)),), **more)


def stratum(c: Case) -> str | None:
    label = c.target(ClassLabel)
    return None if label is None or label.index is None else CLASSES[label.index]


def split_of(
    cases: Sequence[Case],
    identical: Mapping[str, str] | None = None,
    seed: int = 0,
    joined_by: Sequence[Case] = (),
    **options: Any,
) -> Split:
    return make_split(
        cases, SplitSection(**options), stratum=stratum, identical=identical or {}, seed=seed, joined_by=joined_by
    )


def singles(**counts: int) -> list[Case]:
    return [case(f"{label}{i:04d}", label) for label, n in counts.items() for i in range(n)]


def deviation(split: Split, cases: Sequence[Case], shares: Mapping[str, float]) -> float:
    """Largest difference between a part's share of a class and the share asked for."""
    labels = {c.id: stratum(c) for c in cases}
    totals = Counter(labels.values())
    counts = split.counts(labels)[0]
    return max(abs(counts[p][label] / n - shares[p]) for p in PARTS for label, n in totals.items() if n)


# ---------------------------------------------------------------- fractions


def test_fractions_of_single_cases_are_met_to_the_case_in_each_class() -> None:
    cases = singles(a=100, b=40, c=20)
    split = split_of(cases, validation=0.15, test=0.25)
    counts = split.counts({c.id: stratum(c) for c in cases})[0]
    assert counts["training"] == {"a": 60, "b": 24, "c": 12}
    assert counts["validation"] == {"a": 15, "b": 6, "c": 3}
    assert counts["test"] == {"a": 25, "b": 10, "c": 5}
    assert split.notes == ()


def test_rounding_does_not_pile_up_over_many_small_classes() -> None:
    cases = [case(f"{label}{i}", label) for label in CLASSES for i in range(7)]
    split = split_of(cases, validation=0.2, test=0.2)
    assert sorted(len(split.part(0, p)) for p in PARTS) == pytest.approx([11, 11, 34], abs=1)


def test_each_class_of_three_groups_is_in_every_part() -> None:
    cases = [case(f"p{p}-{i}", "abc"[p % 3], patient=f"P{p:02d}") for p in range(9) for i in range(5 + p)]
    split = split_of(cases, validation=0.1, test=0.1)
    counts = split.counts({c.id: stratum(c) for c in cases})[0]
    assert all(counts[part][label] > 0 for part in PARTS for label in "abc")


def test_another_seed_gives_another_split_and_the_sections_own_seed_comes_first() -> None:
    cases = singles(a=40, b=40)
    assert split_of(cases, seed=1).folds != split_of(cases, seed=2).folds
    own = make_split(cases, SplitSection(seed=1), stratum=stratum, identical={}, seed=2)
    assert own.folds == split_of(cases, seed=1).folds
    assert own.facts["seed"] == 1


def test_patients_of_unequal_size_still_differ_between_seeds() -> None:
    cases = [case(f"p{p}-{i}", "ab"[p % 2], patient=f"P{p}") for p in range(30) for i in range(p + 1)]
    assert len({tuple(sorted(split_of(cases, seed=s).part(0, "test"))) for s in range(5)}) > 1


def test_small_and_large_patients_are_in_the_test_part() -> None:
    sizes = [1] * 60 + [20] * 30
    cases = [case(f"p{p}-{i}", "a", patient=f"P{p}") for p, n in enumerate(sizes) for i in range(n)]
    split = split_of(cases, validation=0.2, test=0.2)
    held = Counter(split.groups[c] for c in split.part(0, "test"))
    assert sum(n == 20 for n in held.values()) == pytest.approx(6, abs=1)
    assert sum(n == 1 for n in held.values()) == pytest.approx(12, abs=4)


def test_parts_of_share_zero_are_empty() -> None:
    split = split_of(singles(a=20), validation=0, test=0.2)
    assert split.part(0, "validation") == ()
    assert len(split.part(0, "test")) == 4


def test_a_part_is_never_empty_where_it_was_asked_for() -> None:
    split = split_of(singles(a=5), validation=0.01, test=0.01)
    assert [len(split.part(0, p)) for p in PARTS] == [3, 1, 1]
    assert any("was asked for" in note for note in split.notes)


def test_fewer_groups_than_parts_are_refused() -> None:
    with pytest.raises(DataError, match="2 groups cannot be divided into 3 parts"):
        split_of([case(f"c{i}", patient=f"P{i % 2}") for i in range(10)])
    with pytest.raises(DataError, match="no cases"):
        split_of([])


def test_case_ids_must_be_unique() -> None:
    with pytest.raises(DataError, match="more than once: 'a0000'"):
        split_of([*singles(a=9), case("a0000")])


def test_a_class_too_small_for_the_parts_is_noted() -> None:
    split = split_of([*singles(a=40), case("b0", "b")], validation=0.2, test=0.2)
    assert "classes with fewer groups than there are parts (3): 'b' (1)" in split.notes
    lacking = [note for note in split.notes if note.startswith("class 'b' is missing from the")]
    assert len(lacking) == 2


def test_cases_without_a_label_are_divided_and_counted_apart() -> None:
    cases = [*singles(a=50, b=50), *(case(f"x{i}", None) for i in range(20))]
    split = split_of(cases, validation=0.2, test=0.2)
    counts = split.counts({c.id: stratum(c) for c in cases})[0]
    assert counts["test"] == {"a": 10, "b": 10, None: 4}
    assert split.facts["counts"]["part"]["test"] == {
        "cases": 24,
        "groups": 24,
        "classes": {"a": 10, "b": 10},
        "unlabelled": 4,
    }


def test_without_stratification_only_sizes_are_balanced() -> None:
    cases = singles(a=100, b=100)
    split = split_of(cases, stratify=False, validation=0.2, test=0.2)
    assert [len(split.part(0, p)) for p in PARTS] == [120, 40, 40]
    counts = [
        split_of(cases, seed=s, stratify=False).counts({c.id: stratum(c) for c in cases})[0]["test"]["a"]
        for s in range(9)
    ]
    assert len(set(counts)) > 1


def test_surplus_copies_that_were_left_out_still_join_their_patients() -> None:
    cases = [case(f"{p}{i}", patient=p) for p in "ABCDEFGH" for i in range(3)]
    copy = case("copy-of-A0", patient="B")
    split = split_of(cases, {"A0": "d", "copy-of-A0": "d"}, joined_by=[copy])
    assert split.groups["A1"] == split.groups["B1"]
    assert "copy-of-A0" not in split.groups
    apart = split_of(cases, {"A0": "d"})
    assert apart.groups["A1"] != apart.groups["B1"]


# ---------------------------------------------------------------- folds


def blocks(per_class: int = 4, size: int = 6) -> list[Case]:
    return [
        case(f"{name}-{b}-{i}", label, group=f"{name}-{b}")
        for label, name in zip("abc", ("glioma", "meningioma", "pituitary"), strict=True)
        for b in range(1, per_class + 1)
        for i in range(size + b)
    ]


def test_fold_k_tests_the_kth_block_of_each_class() -> None:
    cases = blocks(12, 3)
    split = split_of(cases, by="folds", folds=12, validation=0)
    for k in range(12):
        held = {split.groups[c] for c in split.part(k, "test")}
        assert held == {f"glioma-{k + 1}", f"meningioma-{k + 1}", f"pituitary-{k + 1}"}


@pytest.mark.realdata
def test_fold_k_tests_the_kth_block_of_each_tumor(realdata: Any) -> None:
    with (realdata("brain_tumor_mri") / "cases.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    letter = {name: CLASSES[i] for i, name in enumerate(sorted({row["label"] for row in table}))}
    cases = [case(row["image"], letter[row["label"]], group=row["block"], cluster=row["run"]) for row in table]
    split = split_of(cases, by="folds", folds=4)
    for k in range(4):
        held = {split.groups[c] for c in split.part(k, "test")}
        assert held == {f"{name}-{k + 1}" for name in ("glioma", "meningioma", "pituitary")}


def test_validation_within_folds_holds_each_class_and_no_block_of_the_test_part() -> None:
    cases = blocks()
    split = split_of(cases, by="folds", folds=4, validation=0.15)
    for k in range(4):
        validation = Counter(split.groups[c].split("-")[0] for c in split.part(k, "validation"))
        assert set(validation) == {"glioma", "meningioma", "pituitary"}
        assert {split.groups[c] for c in split.part(k, "validation")}.isdisjoint(
            split.groups[c] for c in split.part(k, "test")
        )
    assert any("15 % was asked for" in note for note in split.notes)


def test_every_case_is_tested_in_exactly_one_fold() -> None:
    cases = [case(f"p{p}-{i}", "abc"[p % 3], patient=f"P{p}") for p in range(31) for i in range(1 + p % 4)]
    split = split_of(cases, by="folds", folds=5)
    tested = [c for k in range(5) for c in split.part(k, "test")]
    assert sorted(tested) == sorted(c.id for c in cases)
    assert split.columns == tuple(f"part_{k}" for k in range(5))


def test_folds_of_single_cases_are_stratified_to_the_case() -> None:
    cases = singles(a=50, b=25)
    split = split_of(cases, by="folds", folds=5, validation=0.25)
    for counts in split.counts({c.id: stratum(c) for c in cases}):
        assert counts["test"] == {"a": 10, "b": 5}
        assert counts["validation"] == {"a": 10, "b": 5}


def test_only_says_which_folds_to_train_and_changes_none() -> None:
    cases = blocks()
    whole = split_of(cases, by="folds", folds=4)
    part = split_of(cases, by="folds", folds=4, only=(2, 0))
    assert part.table() == whole.table()
    assert whole.facts["only"] == [0, 1, 2, 3]
    assert part.facts["only"] == [0, 2]


def test_fewer_groups_than_folds_is_refused() -> None:
    cases = [case(f"c{i}", patient=f"P{i % 3}") for i in range(30)]
    with pytest.raises(DataError, match=r"fewer groups \(3\) than folds \(4\)") as error:
        split_of(cases, by="folds", folds=4)
    assert "at most 3 folds" in error.value.todo
    assert len(split_of(cases, by="folds", folds=3, validation=0).folds) == 3
    with pytest.raises(DataError, match="none can be taken for validation"):
        split_of([case(f"c{i}", patient=f"P{i % 2}") for i in range(9)], by="folds", folds=2)


# ---------------------------------------------------------------- column


def column_cases() -> list[Case]:
    return [case(f"c{i:02d}", "ab"[i % 2], patient=f"P{i // 2}", part=PARTS[i // 2 % 3]) for i in range(24)]


def test_a_given_column_is_taken_as_it_is() -> None:
    cases = column_cases()
    split = split_of(cases, by="column")
    assert split.folds[0] == {c.id: c.part for c in cases}
    assert split.columns == ("part",)


def test_a_given_column_without_validation_takes_it_from_training_by_group() -> None:
    cases = [
        case(f"c{i:02d}", "ab"[i % 2], patient=f"P{i // 4}", part="test" if i < 20 else "training") for i in range(60)
    ]
    split = split_of(cases, by="column", validation=0.2)
    assert split.part(0, "test") == tuple(c.id for c in cases if c.part == "test")
    assert len(split.part(0, "validation")) == 8
    assert any("by group: 8 cases of its training part" in note for note in split.notes)
    assert split_of(cases, by="column", validation=0).part(0, "validation") == ()


@pytest.mark.parametrize("part", ["test", "training"])
def test_a_given_column_without_a_test_or_training_part_is_refused(part: str) -> None:
    cases = [c for c in column_cases() if c.part != part]
    with pytest.raises(DataError, match=f"no case is in the {part} part"):
        split_of(cases, by="column")


def test_cases_without_a_part_are_named() -> None:
    with pytest.raises(DataError, match="1 of 25 cases have no part: 'odd'"):
        split_of([*column_cases(), case("odd")], by="column")


def test_identical_images_in_two_given_parts_are_an_error_that_names_them() -> None:
    with pytest.raises(
        DataError, match=r"1 set of identical images in more than one part: 'c00' \(training\) and 'c04' \(test\)"
    ):
        split_of(column_cases(), {"c00": "same", "c04": "same"}, by="column")
    split_of(column_cases(), {"c00": "same", "c01": "same"}, by="column")


def test_a_patient_or_group_in_two_given_parts_is_an_error_that_names_it() -> None:
    extra = case("odd", patient="P0", part="test")
    with pytest.raises(DataError, match="1 patient id in more than one part: 'P0'"):
        split_of([*column_cases(), extra], by="column")
    grouped = [case("g1", group="G", part="training"), case("g2", group="G", part="test")]
    with pytest.raises(DataError, match="1 group in more than one part: 'G'"):
        split_of([*column_cases(), *grouped], by="column")
    blank = [case("b1", patient="unknown", part="training"), case("b2", patient="unknown", part="test")]
    assert len(split_of([*column_cases(), *blank], by="column").groups) == 26


def test_a_given_column_that_lacks_a_class_in_training_is_noted() -> None:
    cases = [*column_cases(), case("x", "c", part="test")]
    notes = split_of(cases, by="column").notes
    assert "class 'c' is missing from the training part" in notes


# ---------------------------------------------------------------- date


def dated(*dates: Any) -> list[Case]:
    return [case(f"c{i:02d}", "ab"[i % 2], patient=f"P{i}", attributes={"study_date": d}) for i, d in enumerate(dates)]


def test_the_latest_cases_are_the_test_part() -> None:
    cases = dated(*(f"2020-{1 + i:02d}-15" for i in range(10)))
    split = split_of(cases[::-1], by="date", attribute="study_date", test=0.3, validation=0.2)
    assert split.part(0, "test") == ("c07", "c08", "c09")
    assert len(split.part(0, "validation")) == 2
    assert split.facts["test_from"].startswith("2020-08-15")


def test_dates_of_any_common_form_are_compared() -> None:
    cases = dated(
        "20190501", "2019-06-01T10:00:00", 20190701, 20190801.0, "2019.09.01", "2019-10", 2020, "20200601120000.5+0100"
    )
    assert split_of(cases, by="date", attribute="study_date", test=0.25, validation=0.2).part(0, "test") == (
        "c06",
        "c07",
    )


def test_a_patient_seen_early_and_late_is_in_one_part() -> None:
    cases = dated(*(f"2020-{1 + i:02d}-15" for i in range(10)))
    early = case("early", patient="P9", attributes={"study_date": "2001-01-01"})
    split = split_of([*cases, early], by="date", attribute="study_date", test=0.18, validation=0.1)
    assert split.part(0, "test") == ("c09", "early")


def test_dates_that_cannot_be_read_are_listed() -> None:
    cases = dated("2020-01-01", "05/06/2020", None, "2020-13-01", "2020-02-30", float("nan"))
    with pytest.raises(DataError, match=r"5 of 6 cases have no date.*'c01' \('05/06/2020'\), 'c02' \(None\)"):
        split_of(cases, by="date", attribute="study_date")


def test_an_unknown_attribute_is_answered_with_a_near_one() -> None:
    with pytest.raises(DataError, match="no case has an attribute 'studydate'") as error:
        split_of(dated("2020", "2021", "2022"), by="date", attribute="studydate")
    assert "did you mean 'study_date'?" in error.value.todo


# ---------------------------------------------------------------- attribute


def sites() -> list[Case]:
    return [
        case(f"{site}-{i:02d}", "ab"[i % 2], patient=f"{site}{i // 2}", attributes={"site": site})
        for site in ("A", "B", "C")
        for i in range(20)
    ]


def test_leave_one_site_out_tests_each_site_once() -> None:
    split = split_of(sites(), by="attribute", attribute="site", validation=0.2)
    assert len(split.folds) == 3
    assert split.facts["values"] == ["A", "B", "C"]
    for k, site in enumerate("ABC"):
        assert all(c.startswith(site) for c in split.part(k, "test"))
        assert len(split.part(k, "test")) == 20
        assert len(split.part(k, "validation")) == 8


def test_one_value_gives_one_fold() -> None:
    split = split_of(sites(), by="attribute", attribute="site", value="B")
    assert split.columns == ("part",)
    assert all(c.startswith("B") for c in split.part(0, "test"))
    with pytest.raises(DataError, match="no case has 'D'"):
        split_of(sites(), by="attribute", attribute="site", value="D")
    with pytest.raises(DataError, match="no fold 3") as error:
        split_of(sites(), by="attribute", attribute="site", only=(1, 3))
    assert "from 0 to 2" in error.value.todo


def test_a_patient_of_two_sites_is_neither_trained_on_nor_a_stranger_to_its_site() -> None:
    both = [
        case("A-both", patient="P-both", attributes={"site": "A"}),
        case("B-both", patient="P-both", attributes={"site": "B"}),
    ]
    split = split_of([*sites(), *both], by="attribute", attribute="site", validation=0.2)
    assert "A-both" in split.part(0, "test")
    assert "B-both" not in split.folds[0]
    assert "B-both" in split.part(1, "test")
    assert "A-both" not in split.folds[1]
    assert {split.folds[2]["A-both"], split.folds[2]["B-both"]} <= {"training", "validation"}
    assert any("'B-both'" in note and "fold of 'A'" in note for note in split.notes)


def test_cases_without_a_site_are_listed_and_in_no_part() -> None:
    odd = [case("odd1", attributes={"site": None}), case("odd2"), case("odd3", attributes={"site": " "})]
    split = split_of([*sites(), *odd], by="attribute", attribute="site")
    assert all("odd1" not in fold and "odd2" not in fold and "odd3" not in fold for fold in split.folds)
    assert "3 cases have no value in 'site', in no part: 'odd1', 'odd2', 'odd3'" in split.notes
    assert split.facts["left_out"] == [3, 3, 3]


def test_whole_numbers_that_a_table_made_floats_are_named_without_the_point() -> None:
    cases = [case(f"c{i}", patient=f"P{i}", attributes={"scanner": float(i % 2 + 1)}) for i in range(20)]
    split = split_of(cases, by="attribute", attribute="scanner", value="2")
    assert len(split.part(0, "test")) == 10
    with pytest.raises(DataError, match="1 value; leave-one-out needs two"):
        split_of([c for c in cases if c.attributes["scanner"] == 1.0], by="attribute", attribute="scanner")


# ---------------------------------------------------------------- overlap


def test_overlap_names_other_cases_that_were_trained_on() -> None:
    own = [case(f"c{i:02d}", patient=f"P{i}", study=f"1.2.{i}") for i in range(20)]
    digests = {c.id: f"d{c.id}" for c in own}
    trained, tested = own[:15], own[15:]
    others = [
        case("copy"),
        case("copy of a test image"),
        case("same patient", patient="P3"),
        case("same study", study="1.2.4"),
        case("new", patient="unknown"),
        case("c05", patient="another with the same case id"),
    ]
    seen = {"copy": digests["c07"], "copy of a test image": digests[tested[0].id], "c05": "different pixels"}
    found = overlap([*trained, case("blank", patient="unknown")], digests, others, seen)
    assert found.identical == ("copy",)
    assert found.patients == ("same patient",)
    assert found.studies == ("same study",)
    assert found.certain == ("copy", "same study")
    assert len(found.notes()) == 3


# ---------------------------------------------------------------- what holds for any data

some = st.none() | st.sampled_from(["", "unknown", "0", "P1", "P2", "P3", "P4", "P5", "P6"])
rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", None]), some, some, st.none() | st.sampled_from("xyz"), st.integers(0, 12)
    ),
    min_size=12,
    max_size=60,
)


def drawn(table: Sequence[Any]) -> tuple[list[Case], dict[str, str]]:
    cases = [
        case(
            f"c{i:03d}",
            label,
            patient=patient,
            study=None if study is None else f"s{study}",
            group=group if i % 5 == 0 else None,
        )
        for i, (label, patient, study, group, _) in enumerate(table)
    ]
    digests = {f"c{i:03d}": f"d{i}" if row[4] > 3 else f"same{row[4]}" for i, row in enumerate(table)}
    return cases, digests


def links(cases: Sequence[Case], digests: Mapping[str, str]) -> dict[Any, set[str]]:
    """Each id that means something -> its cases, worked out apart from the code under test."""
    found: dict[Any, set[str]] = defaultdict(set)
    for c in cases:
        if c.patient not in (None, "", "unknown", "0"):
            found["patient", c.patient].add(c.id)
        if c.study is not None:
            found["study", c.study].add(c.id)
        if c.group is not None:
            found["group", c.group].add(c.id)
        found["digest", digests[c.id]].add(c.id)
    return found


@settings(max_examples=60, deadline=None)
@given(rows, st.sampled_from(["fractions", "folds"]), st.integers(0, 3))
def test_no_id_is_in_two_parts_and_every_case_in_one(table: Sequence[Any], by: str, seed: int) -> None:
    cases, digests = drawn(table)
    try:
        split = split_of(cases, digests, seed, by=by, folds=3 if by == "folds" else None, validation=0.2, test=0.2)
    except DataError:
        assert len(make_groups(cases, digests)) < 4
        return
    for k, fold in enumerate(split.folds):
        assert list(fold) == sorted(c.id for c in cases)
        for ids in links(cases, digests).values():
            assert len({fold[i] for i in ids}) == 1
        assert sorted(c for p in PARTS for c in split.part(k, p)) == sorted(c.id for c in cases)
        assert split.part(k, "test")
        assert split.part(k, "validation")
        assert split.part(k, "training")


def make_groups(cases: Sequence[Case], digests: Mapping[str, str]) -> list[set[str]]:
    """Components by merging sets until nothing changes."""
    sets = [set(ids) for ids in links(cases, digests).values()]
    merged: list[set[str]] = []
    for ids in sets:
        touching = [m for m in merged if m & ids]
        merged = [m for m in merged if not m & ids] + [ids.union(*touching)]
    return merged


@settings(max_examples=60, deadline=None)
@given(rows)
def test_groups_are_the_connected_components(table: Sequence[Any]) -> None:
    cases, digests = drawn(table)
    split = split_of(cases, digests, validation=0, test=0)
    found: dict[str, set[str]] = defaultdict(set)
    for name, group in split.groups.items():
        found[group].add(name)
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, make_groups(cases, digests)))


@settings(max_examples=40, deadline=None)
@given(rows, st.randoms(use_true_random=False), st.sampled_from(["fractions", "folds"]))
def test_the_order_of_cases_changes_nothing(table: Sequence[Any], shuffler: random.Random, by: str) -> None:
    cases, digests = drawn(table)
    shuffled = shuffler.sample(cases, len(cases))
    options = {"by": by, "folds": 3 if by == "folds" else None, "validation": 0.1, "test": 0.1}
    try:
        first = split_of(cases, digests, **options)
    except DataError:
        return
    second = split_of(shuffled, digests, **options)
    assert first.table() == second.table()
    assert first.facts == second.facts


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), min_size=12, max_size=60), st.integers(0, 5))
def test_pure_groups_bring_each_class_of_three_groups_into_every_part(
    table: Sequence[tuple[str, int]], seed: int
) -> None:
    cases = [case(f"p{p}-{i}", label, patient=f"P{p}") for p, (label, n) in enumerate(table) for i in range(n)]
    groups = Counter(label for label, _ in table)
    counts = split_of(cases, seed=seed).counts({c.id: stratum(c) for c in cases})[0]
    assert all(counts[part][label] for part in PARTS for label, n in groups.items() if n >= 3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), min_size=30, max_size=80), st.integers(0, 5))
def test_stratification_is_better_than_chance(table: Sequence[tuple[str, int]], seed: int) -> None:
    cases = [case(f"p{p}-{i}", label, patient=f"P{p}") for p, (label, n) in enumerate(table) for i in range(n)]
    shares = {"training": 0.7, "validation": 0.15, "test": 0.15}
    ours = deviation(split_of(cases, seed=seed), cases, shares)
    chance = []
    for s in range(15):
        draw = random.Random(s)
        parts = {f"P{p}": draw.choices(PARTS, weights=[0.7, 0.15, 0.15])[0] for p in range(len(table))}
        split = Split({c.id: c.patient or "" for c in cases}, ({c.id: parts[c.patient or ""] for c in cases},), {})
        chance.append(deviation(split, cases, shares))
    assert ours <= statistics.mean(chance) + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=60, max_size=150), st.integers(0, 5))
def test_fractions_are_met_nearly(sizes: Sequence[int], seed: int) -> None:
    cases = [case(f"p{p}-{i}", "ab"[p % 2], patient=f"P{p}") for p, n in enumerate(sizes) for i in range(n)]
    split = split_of(cases, seed=seed, validation=0.2, test=0.2)
    for part, share in {"training": 0.6, "validation": 0.2, "test": 0.2}.items():
        assert len(split.part(0, part)) / len(cases) == pytest.approx(share, abs=4 / len(cases) + 0.01)


def test_a_latest_group_that_leaves_no_room_is_named() -> None:
    cases = [case(f"c{i:02d}", patient=f"P{max(0, i - 13)}", attributes={"year": 2001 - (i > 13)}) for i in range(16)]
    with pytest.raises(DataError, match=r"latest groups hold 14 of 16 cases.* share of 0\.2 leaves nothing"):
        split_of(cases, by="date", attribute="year", test=0.3, validation=0.2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(2000, 2030)), min_size=15, max_size=40))
def test_nothing_is_trained_on_that_is_later_than_every_case_of_a_tested_group(
    table: Sequence[tuple[int, int]],
) -> None:
    cases = [case(f"c{i:02d}", patient=f"P{p}", attributes={"year": y}) for i, (p, y) in enumerate(table)]
    try:
        split = split_of(cases, by="date", attribute="year", test=0.3, validation=0.2)
    except DataError:
        # Too few groups, or one so large that nothing is left beside it.
        sizes = Counter(p for p, _ in table)
        assert len(sizes) < 3 or max(sizes.values()) >= 0.4 * len(table)
        return
    years = {c.id: c.attributes["year"] for c in cases}
    latest: dict[str, Any] = defaultdict(int)
    for name, group in split.groups.items():
        latest[group] = max(latest[group], years[name])
    tested = {split.groups[c] for c in split.part(0, "test")}
    assert max(latest[g] for g in latest if g not in tested) <= min(latest[g] for g in tested)
