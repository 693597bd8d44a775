"""The shipped recipes by name. Nothing here needs pydantic, so that listing them is quick."""

from __future__ import annotations

from pathlib import Path

from medcnn.errors import MedcnnError, RunError
from medcnn.files import write_text
from medcnn.recipe.document import read_document
from medcnn.registry import suggest
from medcnn.resources import recipes_folder

_SUFFIXES = (".yaml", ".yml")


def recipe_names() -> tuple[str, ...]:
    """Names of the shipped recipes, sorted."""
    return tuple(sorted(path.stem for path in recipes_folder().glob("*.yaml")))


def recipe_file(source: str | Path) -> Path:
    """The file behind the name of a shipped recipe, a path, or a run folder.

    Raises:
        MedcnnError: If there is no such recipe or file; the nearest known name is given.
    """
    path = Path(source)
    if (path / "recipe.yaml").is_file():
        return path / "recipe.yaml"
    if path.is_file():
        return path
    text = str(source)
    is_name = isinstance(source, str) and path.suffix not in _SUFFIXES and path.name == text
    if is_name:
        if text in recipe_names():
            return recipes_folder() / f"{text}.yaml"
        raise MedcnnError(
            f"there is no recipe {text!r}, and no such file", todo=suggest(text, recipe_names()) + " (medcnn recipes)"
        )
    if path.is_dir():
        raise MedcnnError("the folder holds no recipe.yaml", where=text, todo="name a recipe's file, or a run's folder")
    raise MedcnnError("the recipe file does not exist", where=text, todo="medcnn recipes lists the shipped ones")


def copy_recipe(name: str, file: str | Path, *, force: bool = False) -> Path:
    """Copy a shipped recipe to a file of the user's own; into a folder under its own name.

    Raises:
        MedcnnError: If there is no such recipe.
        RunError: If the file exists and ``force`` is off, or cannot be written.
    """
    if name not in recipe_names():
        raise MedcnnError(f"there is no shipped recipe {name!r}", todo=suggest(name, recipe_names()))
    source, goal = recipe_file(recipes_folder() / f"{name}.yaml"), Path(file)
    if goal.is_dir():
        goal = goal / source.name
    if goal.exists() and not force:
        raise RunError("the file exists", where=str(goal), todo="choose another name, or give --force to replace it")
    write_text(goal, source.read_text(encoding="utf-8"))
    return goal


def list_recipes() -> list[dict[str, object]]:
    """``name``, ``title``, ``task``, ``members`` (of a suite) and ``description`` of each shipped recipe."""
    rows: list[dict[str, object]] = []
    for name in recipe_names():
        data = read_document(recipes_folder() / f"{name}.yaml").data or {}
        task = data.get("task")
        rows.append(
            {
                "name": name,
                "title": data.get("title", ""),
                "task": task.get("name") if isinstance(task, dict) else task,
                "members": data.get("suite"),
                "description": data.get("description", ""),
            }
        )
    return rows
