"""Options of a component: the typed arguments of its builder, as a pydantic model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PydanticSchemaGenerationError,
    PydanticUserError,
    ValidationError,
    create_model,
)

from medcnn import registry
from medcnn.errors import MedcnnError, RecipeError
from medcnn.recipe.document import Key
from medcnn.recipe.problems import Problem, from_validation
from medcnn.recipe.signatures import REQUIRED, Argument, Wanted, read_signature

# Arguments that medcnn gives itself: they are no options.
_SUPPLIED: dict[registry.Kind, frozenset[str]] = {
    "tasks": frozenset({"dataset"}),
    "adapters": frozenset({"root", "progress", "stack"}),
    "readers": frozenset({"ref"}),
    "networks": frozenset({"spatial_dims", "in_channels", "outputs", "size"}),
    "losses": frozenset({"class_weights"}),
    "optimizers": frozenset({"params", "learning_rate"}),
    "schedules": frozenset({"optimizer", "learning_rate", "steps_per_epoch", "epochs"}),
    "evaluators": frozenset({"title"}),
}

# Evaluators receive tables and labels by position: what has no default is never an option there.
_SUPPLIED_WITHOUT_DEFAULT: frozenset[registry.Kind] = frozenset({"evaluators", "readers"})

# What every network knows beside its builder's arguments: medcnn does it after the network is built.
COMMON: dict[registry.Kind, tuple[Argument, ...]] = {
    "networks": (
        Argument("weights", str | None, None, "A local file of weights to start from; absent: random weights."),
        Argument("strict_weights", bool, True, "Whether each weight must fit; else those that fit are taken."),
    ),
}

_METHODS: dict[registry.Kind, str] = {"tasks": "create"}


def options_model(kind: registry.Kind, name: str, *, allow_code: Path | None = None) -> type[BaseModel]:
    """The options of a component as a model: its fields are the builder's arguments by alias.

    Args:
        kind: Which table of the registry.
        name: A registered name, or ``module:attribute``.
        allow_code: A folder whose modules may be imported too.

    Raises:
        MedcnnError: If the name is unknown, or its builder cannot be read or imported.
    """
    target = registry.target(kind, name, allow_code=allow_code)
    try:
        return _model(kind, target)
    except (ImportError, AttributeError) as error:
        raise MedcnnError(
            f"{target!r}, registered as {name!r} among the {kind}, cannot be imported: {error}",
            todo="check that the package that provides it is installed and imports by itself",
        ) from error


def wanted_arguments(kind: registry.Kind) -> Wanted:
    """Which arguments of a builder of this kind are options."""
    return Wanted(_METHODS.get(kind), _SUPPLIED[kind], optional=kind in _SUPPLIED_WITHOUT_DEFAULT)


@cache
def _model(kind: registry.Kind, target: str) -> type[BaseModel]:
    signature = read_signature(target, wanted_arguments(kind))
    # A task's ``**options`` is the shape of the protocol, not a promise to take any key.
    is_open = signature.open and kind not in _METHODS
    config = ConfigDict(
        extra="allow" if is_open else "forbid",
        coerce_numbers_to_str=True,
        protected_namespaces=(),
        arbitrary_types_allowed=True,
    )
    fields: dict[str, Any] = {
        f"option_{a.name}": (a.annotation, Field(... if a.default is REQUIRED else a.default, **_words(a)))
        for a in (*signature.arguments, *COMMON.get(kind, ()))
    }
    title = target.rpartition(":")[2]
    try:
        return _create(title, config, signature.summary, fields)
    except (PydanticSchemaGenerationError, PydanticUserError, NameError):
        # An annotation that pydantic has no idea of: the names still count, the types cannot.
        untyped = {key: (Any, field) for key, (_, field) in fields.items()}
        return _create(title, config, signature.summary, untyped)


def _create(title: str, config: ConfigDict, summary: str, fields: dict[str, Any]) -> type[BaseModel]:
    made: type[BaseModel] = create_model(title, __config__=config, __doc__=summary or None, **fields)
    return made


def _words(argument: Argument) -> dict[str, Any]:
    return {"alias": argument.name, "description": argument.description or None, "title": argument.name}


def find_problems(
    kind: registry.Kind,
    name: str,
    options: Mapping[str, Any],
    *,
    path: Key,
    name_path: Key | None = None,
    allow_code: Path | None = None,
) -> list[Problem]:
    """What is wrong with the options of a component.

    Args:
        kind: Which table of the registry.
        name: The component.
        options: What the user gave.
        path: Where the options stand in the recipe.
        name_path: Where the name stands; ``name`` beside the options where it is absent.
        allow_code: A folder whose modules may be imported too.
    """
    try:
        model = options_model(kind, name, allow_code=allow_code)
    except MedcnnError as error:
        text = f"{error.what} ({error.todo})" if error.todo else error.what
        return [Problem(name_path or (*path, "name"), text)]
    try:
        model.model_validate(dict(options))
    except ValidationError as error:
        return from_validation(error, dict(options), model, path)
    return []


def check_options(
    kind: registry.Kind, name: str, options: Mapping[str, Any], *, allow_code: Path | None = None
) -> dict[str, Any]:
    """The options of a component, validated and with their defaults.

    Args:
        kind: Which table of the registry.
        name: A registered name, or ``module:attribute``.
        options: What the user gave.
        allow_code: A folder whose modules may be imported too.

    Raises:
        MedcnnError: If the name is unknown, or its builder cannot be read or imported.
        RecipeError: If an option is unknown, missing or of the wrong type; all of them at once.
    """
    model = options_model(kind, name, allow_code=allow_code)
    try:
        return dict(model.model_validate(dict(options)).model_dump(by_alias=True))
    except ValidationError as error:
        problems = from_validation(error, dict(options), model)
        texts = [f"{'.'.join(str(p) for p in q.path)}: {q.text}" for q in problems]
        raise RecipeError(texts, where=f"{name} ({kind})") from error
