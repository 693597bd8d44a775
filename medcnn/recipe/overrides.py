"""``training.epochs=5``: values of a recipe given on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medcnn.recipe.document import Document, Key, parse_value
from medcnn.recipe.problems import Problem, is_open, known_keys, unknown_key
from medcnn.recipe.schema import Recipe
from medcnn.registry import Kind

# Components may be written as a bare name; an option of one needs the mapping.
COMPONENT_PATHS: dict[Key, Kind] = {
    ("task",): "tasks",
    ("data", "adapter"): "adapters",
    ("model",): "networks",
    ("training", "optimizer"): "optimizers",
    ("training", "schedule"): "schedules",
    ("training", "loss"): "losses",
}


def apply_overrides(document: Document, overrides: Sequence[str]) -> list[Problem]:
    """Set the values in the document; returns what cannot be set, with the nearest known key."""
    problems = []
    for override in overrides:
        dotted, sign, text = override.partition("=")
        path = tuple(dotted.strip().split("."))
        document.overridden.add(path)
        problem = _unfit(path, sign)
        if problem is None:
            try:
                value = parse_value(text)
            except ValueError as error:
                problem = f"the value is not valid YAML: {error}"
            else:
                problem = _set(document, path, value)
        if problem is not None:
            problems.append(Problem(path, problem))
    return problems


def _unfit(path: Key, sign: str) -> str | None:
    if not sign or not all(path):
        return "an override is written key=value, such as training.epochs=5"
    for end in range(1, len(path) + 1):
        if path[end - 1] not in known_keys(Recipe, path[: end - 1]) and not is_open(Recipe, path[: end - 1]):
            return unknown_key(path[:end], Recipe)
    return None


def _set(document: Document, path: Key, value: Any) -> str | None:
    data = document.data
    for end, step in enumerate(path[:-1], start=1):
        inner = data.get(step)
        if inner is None:
            inner = {}
        elif isinstance(inner, str) and path[:end] in COMPONENT_PATHS:
            inner = {"name": inner}
        elif not isinstance(inner, dict):
            return f"{'.'.join(str(p) for p in path[:end])} holds a value, not a section"
        # A copy: with YAML's aliases two sections may be one object.
        data[step] = dict(inner)
        data = data[step]
    data[path[-1]] = value
    for below in [key for key in document.lines if len(key) > len(path) and key[: len(path)] == path]:
        del document.lines[below]
    return None
