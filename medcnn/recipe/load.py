"""From a file, or the name of a shipped recipe, to a checked recipe: all problems at once, each with its place.

Nothing here imports torch: whatever can be refused before that is refused before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from medcnn import registry
from medcnn.errors import MedcnnError, RecipeError
from medcnn.recipe.document import Document, Key, read_document, write_yaml
from medcnn.recipe.options import check_options, find_problems
from medcnn.recipe.overrides import COMPONENT_PATHS, apply_overrides
from medcnn.recipe.problems import Problem, from_validation, raise_problems, second_look
from medcnn.recipe.schema import Component, Recipe, Suite
from medcnn.recipe.shelf import copy_recipe, recipe_file, recipe_names

__all__ = [
    "Check",
    "copy_recipe",
    "load_members",
    "load_recipe",
    "recipe_file",
    "recipe_names",
    "resolved",
]

_Model = TypeVar("_Model", bound=BaseModel)

# A check of another room (the catalog, say): what it objects to, by key.
Check = Callable[[Recipe], Iterable[Problem]]


def load_recipe(
    source: str | Path,
    overrides: Sequence[str] = (),
    *,
    allow_code: bool | Path | None = None,
    checks: Sequence[Check] = (),
) -> Recipe | Suite:
    """Read and check a recipe or a suite.

    Args:
        source: Name of a shipped recipe, path of a YAML file, or a run folder.
        overrides: ``key.path=value`` with the value in YAML; for a suite they hold for each of its recipes.
        allow_code: Import ``module:attribute`` from this folder too; ``True`` is the recipe's own folder.
        checks: Further checks of the recipe as a whole, whose problems are listed with the rest.

    Returns:
        The recipe with all defaults filled in, those of the components' options included. Of a suite the
        members are checked too, and those given by path hold it in full.

    Raises:
        MedcnnError: If there is no such recipe, or the file is not YAML.
        RecipeError: If anything in it is wrong; all problems at once.
    """
    path = recipe_file(source)
    document = read_document(path)
    if isinstance(document.data, dict) and "suite" in document.data:
        suite = _suite(document, path)
        _check_members(suite, overrides, allow_code, checks)
        return suite
    return _recipe(document, overrides, _code_folder(path, allow_code), checks)


def load_members(
    suite: Suite,
    overrides: Sequence[str] = (),
    *,
    allow_code: bool | Path | None = None,
    checks: Sequence[Check] = (),
) -> tuple[Recipe, ...]:
    """The recipes of a suite, each with the overrides; arguments and errors as :func:`load_recipe`."""
    loaded = [load_recipe(name, overrides, allow_code=allow_code, checks=checks) for name in suite.suite]
    return tuple(recipe for recipe in loaded if isinstance(recipe, Recipe))


def resolved(recipe: Recipe | Suite) -> str:
    """The recipe as YAML with every default written out; it loads back to an equal recipe."""
    return write_yaml(recipe.model_dump(mode="json"))


def _code_folder(path: Path, allow_code: bool | Path | None) -> Path | None:
    if isinstance(allow_code, Path):
        return allow_code
    return path.resolve().parent if allow_code else None


def _suite(document: Document, path: Path) -> Suite:
    problems: list[Problem] = []
    try:
        suite = Suite.model_validate(document.data)
    except ValidationError as error:
        problems = from_validation(error, document.data, Suite)
        raise_problems(problems, document)
        raise
    members = []
    for i, member in enumerate(suite.suite):
        beside = path.parent / member
        name = str(beside) if beside.is_file() else member
        try:
            inner = read_document(recipe_file(name)).data
        except MedcnnError as error:
            problems.append(Problem(("suite", i), str(error).replace("\n  ", "; ")))
            continue
        if isinstance(inner, dict) and "suite" in inner:
            problems.append(Problem(("suite", i), f"{member!r} is a suite itself: list its recipes here instead"))
        members.append(name)
    raise_problems(problems, document)
    return suite.model_copy(update={"suite": tuple(members)})


def _check_members(
    suite: Suite, overrides: Sequence[str], allow_code: bool | Path | None, checks: Sequence[Check]
) -> None:
    problems: list[str] = []
    for member in suite.suite:
        try:
            load_recipe(member, overrides, allow_code=allow_code, checks=checks)
        except RecipeError as error:
            problems.extend(error.problems)
    if problems:
        # An override that is wrong is wrong for each member, and said once.
        raise RecipeError(list(dict.fromkeys(problems)))


def _recipe(document: Document, overrides: Sequence[str], code: Path | None, checks: Sequence[Check]) -> Recipe:
    if not isinstance(document.data, dict):
        found = "nothing" if document.data is None else repr(document.data)[:40]
        raise RecipeError([f"{document.source}: a recipe is a mapping with the keys {_sections()}, found {found}"])
    problems = apply_overrides(document, overrides)
    recipe: Recipe | None
    try:
        recipe = Recipe.model_validate(document.data)
    except ValidationError as error:
        wrong = from_validation(error, document.data, Recipe)
        recipe, further = second_look(document.data, Recipe, wrong)
        problems += [*wrong, *further]
    problems += _option_problems(document.data, code)
    if recipe is not None:
        for check in checks:
            problems += check(recipe)
    raise_problems(problems, document)
    assert recipe is not None
    return _filled(recipe, code)


def _sections() -> str:
    return ", ".join(Recipe.model_fields)


def _option_problems(data: dict[str, Any], code: Path | None) -> list[Problem]:
    """Problems of all components that stand in the data, whatever else is wrong with them."""
    problems: list[Problem] = []
    task = None
    for path, kind in COMPONENT_PATHS.items():
        name, options = _component(_at(data, path))
        if name is None:
            continue
        task = name if path == ("task",) else task
        problems += find_problems(kind, name, options, path=path, allow_code=code)
    evaluation = data.get("evaluation")
    if task is not None and isinstance(evaluation, dict) and task in registry.names("evaluators"):
        problems += find_problems(
            "evaluators", task, evaluation, path=("evaluation",), name_path=("task",), allow_code=code
        )
    return problems


def _component(value: Any) -> tuple[str | None, dict[str, Any]]:
    if isinstance(value, dict):
        name = value.get("name")
        return (name if isinstance(name, str) else None), {str(k): v for k, v in value.items() if k != "name"}
    return (value if isinstance(value, str) else None), {}


def _at(data: Any, path: Key) -> Any:
    for step in path:
        data = data.get(step) if isinstance(data, dict) else None
    return data


def _filled(recipe: Recipe, code: Path | None) -> Recipe:
    """The recipe with the defaults of the components' options."""
    for path, kind in COMPONENT_PATHS.items():
        component: Any = recipe
        for step in path:
            component = getattr(component, str(step))
        if isinstance(component, Component):
            options = check_options(kind, component.name, component.options, allow_code=code)
            recipe = _replaced(recipe, path, Component(name=component.name, **options))
    if recipe.task.name in registry.names("evaluators"):
        options = check_options("evaluators", recipe.task.name, recipe.evaluation, allow_code=code)
        recipe = _replaced(recipe, ("evaluation",), options)
    return recipe


def _replaced(model: _Model, path: Key, value: Any) -> _Model:
    head, *rest = path
    inner = _replaced(getattr(model, str(head)), tuple(rest), value) if rest else value
    return model.model_copy(update={str(head): inner})
