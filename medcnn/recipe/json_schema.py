"""The recipe language as JSON Schema (draft 2020-12), with the options of every known component by name."""

from __future__ import annotations

from typing import Any

from medcnn import registry
from medcnn.errors import MedcnnError
from medcnn.recipe.options import options_model
from medcnn.recipe.overrides import COMPONENT_PATHS
from medcnn.recipe.parts import AUTO
from medcnn.recipe.schema import Recipe, Suite

_TEMPLATE = "#/$defs/{model}"
# ``module:Class`` of a package that is installed.
_OUTSIDE = {"type": "string", "pattern": "^[A-Za-z_][\\w.]*:[A-Za-z_][\\w.]*$"}
_EXTENSIBLE = frozenset({"networks", "losses"})


def json_schema() -> dict[str, Any]:
    """The schema of a recipe file (or a suite), for editors and other programs.

    The options of a component stand under ``if`` its name ``then`` its options, so that an editor
    completes them and shows their descriptions.
    """
    recipe = Recipe.model_json_schema(ref_template=_TEMPLATE)
    suite = Suite.model_json_schema(ref_template=_TEMPLATE)
    definitions: dict[str, Any] = recipe.pop("$defs", {})
    definitions.pop("Component", None)
    for path, kind in COMPONENT_PATHS.items():
        definitions.setdefault(f"any_{kind}", _component(kind, definitions))
        section = recipe if len(path) == 1 else definitions[_section_name(recipe, str(path[0]))]
        key = str(path[-1])
        section["properties"][key] = _named(section["properties"][key], kind)
    seen = recipe["properties"]["input"]
    recipe["properties"]["input"] = {"anyOf": [{"const": AUTO}, seen]}
    recipe["allOf"] = _evaluations(definitions)
    definitions["Recipe"], definitions["Suite"] = recipe, suite
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "medcnn recipe",
        "if": {"type": "object", "required": ["suite"]},
        "then": {"$ref": "#/$defs/Suite"},
        "else": {"$ref": "#/$defs/Recipe"},
        "$defs": definitions,
    }


def _section_name(recipe: dict[str, Any], key: str) -> str:
    return str(recipe["properties"][key]["$ref"]).rpartition("/")[2]


def _named(field: dict[str, Any], kind: str) -> dict[str, Any]:
    """The field with its component's schema; ``null`` stays possible where it was."""
    kept = {key: value for key, value in field.items() if key not in ("$ref", "anyOf", "allOf")}
    reference = {"$ref": f"#/$defs/any_{kind}"}
    optional = any(option.get("type") == "null" for option in field.get("anyOf", []))
    return {**kept, "anyOf": [reference, {"type": "null"}]} if optional else {**kept, **reference}


def _component(kind: registry.Kind, definitions: dict[str, Any]) -> dict[str, Any]:
    """A name alone, or a mapping with the name and the options of the component it names."""
    names = registry.names(kind)
    name: dict[str, Any] = {"enum": list(names)}
    if kind in _EXTENSIBLE:
        name = {"anyOf": [name, _OUTSIDE]}
    conditions = []
    for each in names:
        definitions[f"{kind}.{each}"] = _options(kind, each, definitions, named=True)
        condition = {"properties": {"name": {"const": each}}, "required": ["name"]}
        conditions.append({"if": condition, "then": {"$ref": f"#/$defs/{kind}.{each}"}})
    return {
        "if": {"type": "string"},
        "then": name,
        "else": {"type": "object", "required": ["name"], "properties": {"name": name}, "allOf": conditions},
    }


def _options(kind: registry.Kind, name: str, definitions: dict[str, Any], *, named: bool) -> dict[str, Any]:
    try:
        model = options_model(kind, name)
        schema = model.model_json_schema(by_alias=True, ref_template=_TEMPLATE)
    except (MedcnnError, ValueError) as error:
        # A plug-in that does not import, or a type without a JSON form: the rest of the schema still serves.
        return {"description": f"the options of {name} are not known here: {error}"}
    definitions.update(schema.pop("$defs", {}))
    if named:
        schema.setdefault("properties", {})["name"] = {"const": name}
    return schema


def _evaluations(definitions: dict[str, Any]) -> list[dict[str, Any]]:
    conditions = []
    for name in registry.names("evaluators"):
        definitions[f"evaluators.{name}"] = _options("evaluators", name, definitions, named=False)
        named = {"type": "object", "properties": {"name": {"const": name}}, "required": ["name"]}
        task = {"anyOf": [{"const": name}, named]}
        then = {"properties": {"evaluation": {"$ref": f"#/$defs/evaluators.{name}"}}}
        conditions.append({"if": {"properties": {"task": task}}, "then": then})
    return conditions
