"""The shipped recipes by name, and copies of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcnn.errors import MedcnnError, RunError
from medcnn.recipe.shelf import copy_recipe, list_recipes, recipe_file, recipe_names


def test_a_copy_is_the_file_itself(tmp_path: Path) -> None:
    made = copy_recipe("quickstart_abdomen", tmp_path / "mine.yaml")
    assert made.read_bytes() == recipe_file("quickstart_abdomen").read_bytes()


def test_a_copy_into_a_folder_keeps_its_name(tmp_path: Path) -> None:
    assert copy_recipe("quickstart_abdomen", tmp_path) == tmp_path / "quickstart_abdomen.yaml"


def test_an_existing_file_is_replaced_by_force_alone(tmp_path: Path) -> None:
    goal = tmp_path / "mine.yaml"
    goal.write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="exists"):
        copy_recipe("quickstart_abdomen", goal)
    assert goal.read_text(encoding="utf-8") == "mine"
    copy_recipe("quickstart_abdomen", goal, force=True)
    assert goal.read_text(encoding="utf-8") != "mine"


def test_unknown_names_are_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(MedcnnError, match="did you mean 'quickstart_abdomen'"):
        copy_recipe("quickstart_abdomn", tmp_path / "x.yaml")


def test_a_file_in_the_working_folder_comes_before_a_shipped_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipe_file("quickstart").parent != tmp_path
    (tmp_path / "own.yaml").write_text("task: x\n", encoding="utf-8")
    assert recipe_file("own.yaml") == Path("own.yaml")


def test_the_list_tells_tasks_and_suites() -> None:
    rows = {row["name"]: row for row in list_recipes()}
    assert set(rows) == set(recipe_names())
    assert rows["quickstart_abdomen"]["task"] == "classification"
    assert rows["quickstart"]["task"] is None
    assert rows["quickstart"]["members"]
