"""The tables of docs/recipes.md are in step with the schema.

``python tests/recipe/test_recipe_docs.py`` writes the tables anew.
"""

from __future__ import annotations

import re
import types
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from medcnn.recipe.schema import Component, Recipe

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
MARK = "<!-- The tables below are made from the schema: python tests/recipe/test_recipe_docs.py -->\n"


def tables() -> str:
    """A table of the keys of each section."""
    parts: list[str] = []
    _section(Recipe, "", parts)
    return "\n".join(parts)


def _section(model: type[BaseModel], path: str, parts: list[str]) -> None:
    heading = f"`{path}`" if path else "The recipe itself"
    rows, inner = [], []
    for name, field in model.model_fields.items():
        below = _below(field.annotation)
        if below is not None:
            inner.append((below, f"{path}.{name}".strip(".")))
        text = field.description or (below.__doc__ if below else "") or ""
        missing = [c for c in _choices(field.annotation) if not re.search(rf"\b{c}\b", text)]
        text += f" One of: {', '.join(_choices(field.annotation))}." if missing else ""
        rows.append(f"| `{name}` | {_default(field)} | {' '.join(text.split())} |")
    doc = " ".join((model.__doc__ or "").split())
    parts.append(
        "\n".join([f"### {heading}", "", doc, "", "| key | default | what it is |", "|---|---|---|", *rows, ""])
    )
    for each, where in inner:
        _section(each, where, parts)


def _below(annotation: Any) -> type[BaseModel] | None:
    """The section that a key holds, if it holds one."""
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    for option in options:
        if isinstance(option, type) and issubclass(option, BaseModel) and option is not Component:
            return option
    return None


def _choices(annotation: Any) -> list[str]:
    """The words that a key may hold."""
    if typing.get_origin(annotation) is typing.Literal:
        return [str(value) for value in typing.get_args(annotation)]
    return [choice for inner in typing.get_args(annotation) for choice in _choices(inner)]


def _default(field: Any) -> str:
    if field.default is PydanticUndefined and field.default_factory is None:
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Component):
        return f"`{value.name}`"
    if isinstance(value, BaseModel):
        return "see below"
    if value is None:
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f"`{value}`" if value != "" else "empty"


def test_the_tables_are_those_of_the_schema() -> None:
    _, mark, after = PAGE.read_text(encoding="utf-8").partition(MARK)
    assert mark
    assert after.strip() == tables().strip(), "run python tests/recipe/test_recipe_docs.py"


if __name__ == "__main__":
    head, mark, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    PAGE.write_text(f"{head}{mark}\n{tables()}", encoding="utf-8")
