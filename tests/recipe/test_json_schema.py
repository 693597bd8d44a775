"""The JSON Schema accepts what the loader accepts, and knows the options of components."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from medcnn.recipe.document import parse_document, read_document
from medcnn.recipe.json_schema import json_schema
from medcnn.recipe.load import load_recipe, recipe_file, recipe_names, resolved


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_are_valid_as_written_and_resolved(
    name: str, validator: jsonschema.Draft202012Validator
) -> None:
    validator.validate(read_document(recipe_file(name)).data)
    validator.validate(parse_document(resolved(load_recipe(name)), "resolved").data)


@pytest.mark.parametrize(
    "extra",
    [
        "sed: 3",
        "training: {epochs: 0}",
        "training: {optimizer: adamx}",
        "training: {optimizer: {name: sgd, momntum: 0.9}}",
        "training: {schedule: {name: step, every: often}}",
        "evaluation: {resamples: many}",
        "evaluation: {resample: 3}",
        "report: 3",
    ],
)
def test_mistakes_are_found(
    extra: str, validator: jsonschema.Draft202012Validator, write: Callable[..., Path], recipe_text: str
) -> None:
    assert not validator.is_valid(read_document(write(f"{recipe_text}{extra}\n")).data)


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "training: {loss: null}",
        "training: {loss: {name: focal, gamma: 1.5}}",
        "training: {optimizer: {name: sgd, momentum: 0.9}}",
    ],
)
def test_valid_changes_are_accepted(
    extra: str, validator: jsonschema.Draft202012Validator, write: Callable[..., Path], recipe_text: str
) -> None:
    validator.validate(read_document(write(f"{recipe_text}{extra}\n")).data)


@pytest.mark.parametrize("task", ["detection", {"name": "detection"}])
def test_the_keys_of_an_evaluation_are_those_of_its_task(task: Any, validator: jsonschema.Draft202012Validator) -> None:
    data: dict[str, Any] = {"data": {"dataset": "x"}, "input": {"size": [8, 8]}, "model": "retinanet"}
    assert validator.is_valid({**data, "task": task, "evaluation": {"match_iou": 0.5}})
    assert not validator.is_valid({**data, "task": task, "evaluation": {"tolerance": 2.0}})
    assert not validator.is_valid({**data, "task": "classification", "evaluation": {"match_iou": 0.5}})


def test_a_network_of_ones_own_package_is_accepted(validator: jsonschema.Draft202012Validator) -> None:
    data: dict[str, Any] = {"task": "classification", "data": {"dataset": "x"}, "input": {"size": [8, 8]}}
    assert validator.is_valid({**data, "model": "my_package.nets:Net"})
    assert validator.is_valid({**data, "model": {"name": "my_package.nets:Net", "anything": 3}})
    assert not validator.is_valid({**data, "model": "my_package"})


def test_options_carry_their_descriptions() -> None:
    options = json_schema()["$defs"]["networks.basic_cnn"]["properties"]
    assert options["filters"]["description"].startswith("Filters of each block")
    assert options["activation"]["default"] == "relu"
