"""From pydantic's errors to sentences that name the key, the value and the nearest known key."""

from __future__ import annotations

import copy
import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from medcnn.errors import RecipeError
from medcnn.recipe.document import Document, Key

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the key concerned, and what is wrong with it."""

    path: Key
    text: str


def raise_problems(problems: Sequence[Problem], document: Document) -> None:
    """Raise all problems as one error, each with its place, in the order of the file; nothing where there is none."""
    lines = [(line, f"{document.source}:{line}: {text}") for line, text in document.problems]
    for problem in problems:
        dotted = ".".join(str(p) for p in problem.path)
        text = f"{dotted}: {problem.text}" if dotted else problem.text
        lines.append((document.order(problem.path), f"{document.place(problem.path)}: {text}"))
    if lines:
        ordered = [text for _, text in sorted(lines, key=lambda item: item[0])]
        raise RecipeError(list(dict.fromkeys(ordered)))


def from_validation(error: ValidationError, data: Any, model: type[BaseModel], prefix: Key = ()) -> list[Problem]:
    """Problems from a failed validation.

    Args:
        error: What pydantic found.
        data: The data that were validated.
        model: The model, whose keys are suggested for unknown ones.
        prefix: Where ``data`` stands in the recipe.
    """
    grouped: dict[Key, list[str]] = {}
    for details in error.errors(include_url=False):
        path = _real_path(details["loc"], data)
        for key, text in _sentences(details, path, data, model):
            texts = grouped.setdefault((*path, *key), [])
            if text not in texts:
                texts.append(text)
    # Of a union (a number or a list of numbers) the member that came further knows better.
    kept = {p: t for p, t in grouped.items() if not any(q[: len(p)] == p and len(q) > len(p) for q in grouped)}
    return [Problem((*prefix, *path), _joined(texts)) for path, texts in kept.items()]


def second_look(
    data: dict[str, Any], model: type[ModelT], problems: Iterable[Problem]
) -> tuple[ModelT | None, list[Problem]]:
    """What a mistake further inside hid: a section is not looked at as a whole where one of its parts is wrong.

    Args:
        data: The data that were validated.
        model: The model.
        problems: What was found; it is taken out of a copy before the second look.

    Returns:
        The model with defaults where the data were wrong, ``None`` where it cannot be made, and the objections.
        A section whose own keys were wrong is left alone: with defaults in their place it would mislead.
    """
    paths = [p.path for p in problems]
    pruned = copy.deepcopy(data)
    for path in sorted(paths, key=len, reverse=True):
        _remove(pruned, path)
    wrong = {path[:-1] for path in paths} | {()}
    try:
        return model.model_validate(pruned), []
    except ValidationError as error:
        objections = [
            Problem((*section, *key.split(".")), text)
            for details in error.errors(include_url=False)
            if details["type"] == "problems" and (section := _real_path(details["loc"], pruned)) not in wrong
            for key, text in details["ctx"]["problems"]
        ]
        for details in error.errors(include_url=False):
            _remove(pruned, _real_path(details["loc"], pruned))
    try:
        return model.model_validate(pruned), objections
    except ValidationError:
        return None, objections


def _remove(data: Any, path: Key) -> None:
    for step in path[:-1]:
        data = data.get(step) if isinstance(data, dict) else None
    if isinstance(data, dict) and path:
        data.pop(path[-1], None)


def unknown_key(path: Key, model: type[BaseModel]) -> str:
    """``unknown key (did you mean 'epochs'?)``, also where the key belongs to another section."""
    *above, name = path
    here = known_keys(model, tuple(above))
    close = difflib.get_close_matches(str(name), here, n=1, cutoff=0.6)
    if close:
        return f"unknown key (did you mean {close[0]!r}?)"
    elsewhere = {p[-1]: ".".join(p) for p in _leaves(model)}
    match = difflib.get_close_matches(str(name), list(elsewhere), n=1, cutoff=0.8)
    if match:
        return f"unknown key (did you mean {elsewhere[match[0]]!r}?)"
    return f"unknown key (known here: {', '.join(here)})" if here else "unknown key (nothing can stand below this key)"


def known_keys(model: type[BaseModel], path: Key) -> list[str]:
    """The keys that may stand in the section at ``path``."""
    found: list[type[BaseModel]] = [model]
    for step in path:
        found = [inner for m in found for inner in _inner_models(m, str(step))]
    return [_shown_name(m, name) for m in found for name in m.model_fields]


def is_open(model: type[BaseModel], path: Key) -> bool:
    """Whether any key may stand below ``path``: options of a component, or a mapping without a schema."""
    found: list[type[BaseModel]] = [model]
    for i, step in enumerate(path):
        fields = [f for m in found if (f := m.model_fields.get(str(step))) is not None]
        if any(dict in (a, typing.get_origin(a)) for f in fields for a in _flat(f.annotation)):
            return True
        found = [inner for m in found for inner in _inner_models(m, str(step))]
        if any(m.model_config.get("extra") == "allow" for m in found):
            return i < len(path)
    return False


def _flat(annotation: Any) -> Iterator[Any]:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        for argument in typing.get_args(annotation):
            yield from _flat(argument)
    else:
        yield annotation


def _inner_models(model: type[BaseModel], name: str) -> list[type[BaseModel]]:
    field = model.model_fields.get(name)
    if field is None:
        return []
    return [a for a in _flat(field.annotation) if isinstance(a, type) and issubclass(a, BaseModel)]


def _leaves(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in model.model_fields:
        inner = _inner_models(model, name)
        yield (*above, _shown_name(model, name))
        for m in inner:
            if m.model_config.get("extra") != "allow":
                yield from _leaves(m, (*above, name))


def _shown_name(model: type[BaseModel], name: str) -> str:
    return model.model_fields[name].alias or name


def _real_path(loc: Iterable[str | int], data: Any) -> Key:
    """The part of pydantic's location that stands in the data: it also names the members of unions."""
    path: list[str | int] = []
    steps = list(loc)
    for i, step in enumerate(steps):
        if isinstance(data, dict):
            if step in data:
                data = data[step]
            elif i < len(steps) - 1:
                continue
            path.append(step)
        elif isinstance(data, (list, tuple)) and isinstance(step, int) and step < len(data):
            data = data[step]
            path.append(step)
    return tuple(path)


def _sentences(details: ErrorDetails, path: Key, data: Any, model: type[BaseModel]) -> list[tuple[Key, str]]:
    """What is wrong, each with the keys to add to the path."""
    kind, given = details["type"], details["input"]
    if kind == "problems":
        return [(tuple(key.split(".")), text) for key, text in details["ctx"]["problems"]]
    if kind == "extra_forbidden":
        return [((), unknown_key(path, model))]
    if kind == "missing":
        return [((), "is missing")]
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        keys = known_keys(model, path)
        if "name" in keys:
            return [((), f"should be a name, or a mapping with a name and its options, not {_shown(given)}")]
        return [((), f"should be a mapping{' with keys ' + ', '.join(keys) if keys else ''}, not {_shown(given)}")]
    if kind == "literal_error":
        return [((), _choices(str(details["ctx"]["expected"]), given))]
    message = details["msg"].replace("Input should", "should", 1).replace("Value error, ", "", 1)
    message = message.partition(", unable to parse")[0].replace("a valid ", "a ").replace("a integer", "a whole number")
    message = message.replace("be a tuple", "be a list").replace("be a dictionary", "be a mapping")
    return [((), f"{message}, not {_shown(given)}" if message.startswith("should") else message)]


def _choices(expected: str, given: Any) -> str:
    choices = [c.strip(" '") for c in expected.replace(" or ", ", ").split(",")]
    close = difflib.get_close_matches(str(given), choices, n=1, cutoff=0.6)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"should be {expected}, not {_shown(given)}{hint}"


def _joined(texts: Sequence[str]) -> str:
    """Several objections to one value, as the members of a union raise them, in one sentence."""
    if len(texts) == 1:
        return texts[0]
    heads = [t.rpartition(", not ")[0] for t in texts]
    if all(h.startswith("should be ") for h in heads):
        longest = max(texts, key=lambda t: len(t.rpartition(", not ")[2]))
        rest = longest.rpartition(", not ")[2]
        return " or ".join([heads[0], *(h.removeprefix("should be ") for h in heads[1:])]) + f", not {rest}"
    return "; ".join(texts)


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
