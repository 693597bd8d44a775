"""Cases divided by their attributes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from medcnn.evaluation.subgroups import find_subgroups, floor_note, is_age


def test_values_divide_the_cases_and_unknown_ones_are_shown() -> None:
    groups, _ = find_subgroups({"sex": ["F", "M", None, "F", " "]})
    assert {g.value: int(g.rows.sum()) for g in groups} == {"F": 2, "M": 1, "not known": 2}
    assert sum(g.rows for g in groups).tolist() == [1] * 5  # type: ignore[attr-defined]


def test_no_age_above_89_can_be_told() -> None:
    groups, _ = find_subgroups({"age": [17, 18, 45, 79, 80, 95, "101", None]})
    assert [g.value for g in groups] == ["under 18", "18–39", "40–59", "60–79", "80 and over", "not known"]
    assert [int(g.rows.sum()) for g in groups] == [1, 1, 1, 1, 3, 1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("age", True),
        ("patient_age", True),
        ("PatientAge", True),
        ("Age (years)", True),
        ("image", False),
        ("stage", False),
    ],
)
def test_an_age_is_known_by_its_name(name: str, expected: bool) -> None:
    assert is_age(name) is expected


def test_many_numbers_are_divided_at_their_quartiles() -> None:
    numbers = np.random.default_rng(0).normal(size=100).tolist()
    groups, _ = find_subgroups({"dose": numbers})
    assert [int(g.rows.sum()) for g in groups] == [25, 25, 25, 25]


def test_few_numbers_are_values() -> None:
    groups, _ = find_subgroups({"field": [1.5, 3, 1.5, 10]})
    assert [g.value for g in groups] == ["1.5", "3", "10"]


@pytest.mark.parametrize(
    "make", [lambda y, k: f"{y}-0{k}-11", lambda y, k: f"{y}0{k}11", lambda y, k: int(f"{y}0{k}11")]
)
def test_dates_are_divided_by_their_years(make: Callable[[int, int], str | int]) -> None:
    dates = [make(year, month) for year in (2019, 2020) for month in range(1, 10)]
    groups, notes = find_subgroups({"taken": [*dates, None]})
    assert [(g.value, int(g.rows.sum())) for g in groups] == [("2019", 9), ("2020", 9), ("not known", 1)]
    assert notes == []
    assert len(find_subgroups({"taken": [*dates, "2020-99-99"]})[0]) == 0


def test_values_that_hardly_repeat_divide_nothing() -> None:
    groups, notes = find_subgroups({"run": [f"r{i % 12}" for i in range(30)]})
    assert groups == []
    assert notes == ["No subgroups by run: its 12 values hardly repeat."]
    assert len(find_subgroups({"run": [f"r{i % 12}" for i in range(36)]})[0]) == 12


def test_what_cannot_be_divided_is_said() -> None:
    attributes = {"id": [f"s{i}" for i in range(50)], "same": ["x"] * 50}
    groups, notes = find_subgroups(attributes, ("id", "same", "scanner"))
    assert groups == []
    assert "50 values" in notes[0]
    assert "same value" in notes[1]
    assert "no such attribute" in notes[2]
    assert find_subgroups(attributes)[1] == notes[:1]


def test_cells_under_the_floor_are_marked() -> None:
    assert floor_note(20, 5) == ""
    assert "20 cases" in floor_note(19, 5)
    assert "5 positive" in floor_note(20, 4)
    assert floor_note(20, None) == ""
