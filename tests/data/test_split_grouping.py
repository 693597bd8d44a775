"""What joins cases into a group, and what does not."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from medcnn.data.dates import parse_date
from medcnn.data.grouping import Grouping, dummy_ids, group_cases, is_dummy, natural_key
from medcnn.types import Case


def case(name: str, **more: Any) -> Case:
    return Case(name, (), **more)


def members(grouping: Grouping) -> list[list[str]]:
    return sorted(list(c.cases) for c in grouping.components)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "  ",
        "0",
        "000",
        "xxx",
        "X-X",
        "---",
        "?",
        "Unknown",
        "ANONYMOUS",
        "anonymized",
        "None",
        "n/a",
        "N/A",
        "TEST",
        " test ",
    ],
)
def test_ids_that_say_nothing(value: str) -> None:
    assert is_dummy(value)


@pytest.mark.parametrize("value", ["1", "P0", "tester", "x1", "00012", "Nona", "Ünknöwn"])
def test_ids_that_say_something(value: str) -> None:
    assert not is_dummy(value)


def test_zeros_are_an_id_where_a_table_counts_on_from_them() -> None:
    assert dummy_ids(["0", "7", "unknown"]) == {"0", "unknown"}
    assert dummy_ids(["0", "1", "7"]) == set()
    assert dummy_ids(["000", "1"]) == {"000"}
    assert dummy_ids(["000", "001"]) == set()


def test_blank_and_dummy_patients_are_not_one_patient() -> None:
    cases = [
        case(f"c{i}", patient=p, study=s)
        for i, (p, s) in enumerate([("", ""), ("", " "), ("Unknown", "0"), ("Unknown", "0"), (None, None)])
    ]
    grouping = group_cases(cases, {})
    assert len(grouping.components) == 5
    assert grouping.notes == ("the patient id of 4 of 5 cases says nothing ('', 'Unknown') and joins none",)


def test_the_list_of_dummies_can_be_changed() -> None:
    cases = [
        case("a", patient="KLINIK"),
        case("b", patient="Klinik"),
        case("c", patient="test"),
        case("d", patient="test"),
    ]
    assert members(group_cases(cases, {}, dummies={"klinik"})) == [["a"], ["b"], ["c", "d"]]


def test_ids_of_different_kinds_do_not_join() -> None:
    cases = [case("a", patient="7"), case("b", study="7"), case("c", group="7"), case("7")]
    assert len(group_cases(cases, {"7": "7", "d": "7"}).components) == 4


def test_joins_are_transitive_over_kinds() -> None:
    cases = [
        case("a", patient="P1"),
        case("b", patient="P1", study="S"),
        case("c", study="S"),
        case("d"),
        case("e", group="G"),
    ]
    grouping = group_cases(cases, {"c": "same", "d": "same", "e": "other"})
    assert members(grouping) == [["a", "b", "c", "d"], ["e"]]
    component = grouping.components[0]
    assert component.reason() == "1 patient id, 1 study, 1 set of identical images"
    assert component.name == "P1"


def test_names_are_unique_where_a_group_is_called_like_a_patient() -> None:
    cases = [case("a", group="X1"), case("b", patient="X1"), case("c", study="X1")]
    grouping = group_cases(cases, {})
    assert len({c.name for c in grouping.components}) == 3
    assert grouping.groups["a"] == "X1"


def test_a_large_component_that_arose_by_joining_is_named() -> None:
    cases = [case(f"c{i:03d}", patient=f"P{i // 2}") for i in range(100)]
    same = {"c000": "d", "c002": "d", "c010": "e", "c011": "e"}
    grouping = group_cases(cases, same)
    assert len(grouping.notes) == 1
    assert (
        "'c000' holds 4 of 100 cases (4.0 %), joined by 2 patient ids, 1 set of identical images" in grouping.notes[0]
    )
    assert grouping.facts() == [
        {
            "group": "P0",
            "cases": 4,
            "share": 0.04,
            "ids": {"group": [], "patient": ["P0", "P1"], "study": [], "identical": ["d"]},
        }
    ]


def test_a_single_patient_far_above_the_average_is_named() -> None:
    cases = [case(f"c{i:03d}", patient="PAT-DEFAULT" if i < 30 else f"P{i}") for i in range(200)]
    assert "30 of 200 cases (15.0 %), joined by 1 patient id" in group_cases(cases, {}).notes[0]


def test_a_group_that_the_dataset_names_and_few_equal_patients_are_nothing_to_remark() -> None:
    blocks = [case(f"c{i:03d}", group=f"block-{i // 50}", patient=f"P{i}") for i in range(200)]
    few = [case(f"c{i:03d}", patient=f"P{i % 10}") for i in range(200)]
    assert group_cases(blocks, {}).notes == ()
    assert group_cases(few, {}).notes == ()


def test_many_large_components_are_summed_up() -> None:
    cases = [case(f"c{i:03d}", patient=f"P{i // 2}", study=f"S{i // 10}") for i in range(200)]
    notes = group_cases(cases, {}).notes
    assert len(notes) == 6
    assert notes[-1] == "15 more groups hold over 2 % of the cases each"


def test_natural_order() -> None:
    assert sorted(["b10", "b9", "a10", "b1"], key=natural_key) == ["a10", "b1", "b9", "b10"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-05-31", datetime(2024, 5, 31)),
        ("2024-05-31T13:00:00+02:00", datetime(2024, 5, 31, 11)),
        ("2024-05-31 13:00:00", datetime(2024, 5, 31, 13)),
        ("20240531", datetime(2024, 5, 31)),
        (20240531, datetime(2024, 5, 31)),
        (20240531.0, datetime(2024, 5, 31)),
        ("20240531101112.123456+0100", datetime(2024, 5, 31)),
        ("2024.05.31", datetime(2024, 5, 31)),
        ("2024-05", datetime(2024, 5, 1)),
        (2024, datetime(2024, 1, 1)),
        ("31/05/2024", None),
        ("05/06/2024", None),
        ("20240231", None),
        ("", None),
        (None, None),
        (float("nan"), None),
        (12.5, None),
        ("yesterday", None),
    ],
)
def test_dates_are_read_in_one_way_only(value: Any, expected: datetime | None) -> None:
    assert parse_date(value) == expected
