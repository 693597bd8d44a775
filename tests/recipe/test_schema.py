"""What does not fit together in a recipe is refused at the key concerned."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from medcnn.recipe.schema import (
    DataSection,
    InputSection,
    IntensitySection,
    Recipe,
    Section,
    SplitSection,
    TrainingSection,
)


def objections(section: type[Section], **values: Any) -> set[str]:
    """The keys objected to."""
    try:
        section.model_validate(values)
    except ValidationError as error:
        keys: set[str] = set()
        for details in error.errors():
            found = details.get("ctx", {}).get("problems")
            keys |= {key for key, _ in found} if found else {".".join(str(p) for p in details["loc"])}
        return keys
    return set()


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({}, set()),
        ({"validation": 0.5, "test": 0.5}, {"test"}),
        ({"by": "date", "attribute": "day", "validation": 0.7, "test": 0.3}, {"test"}),
        ({"by": "folds", "folds": 5, "test": 0.9}, set()),
        ({"by": "folds"}, {"folds"}),
        ({"by": "folds", "folds": 1}, {"folds"}),
        ({"folds": 4}, {"folds"}),
        ({"by": "folds", "folds": 4, "only": [0, 3]}, set()),
        ({"by": "folds", "folds": 4, "only": [4]}, {"only"}),
        ({"by": "folds", "folds": 4, "only": [1, 1]}, {"only"}),
        ({"by": "folds", "folds": 4, "only": []}, {"only"}),
        ({"only": [0]}, {"only"}),
        ({"by": "attribute"}, {"attribute"}),
        ({"by": "attribute", "attribute": "site", "value": 3}, set()),
        ({"by": "column", "attribute": "site", "value": "A"}, {"attribute", "value"}),
        ({"by": "date", "attribute": "day"}, set()),
        ({"by": "date"}, {"attribute"}),
        ({"validation": 1.2}, {"validation"}),
    ],
)
def test_splits(values: dict[str, Any], keys: set[str]) -> None:
    assert objections(SplitSection, **values) == keys


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({"dataset": "mednist"}, set()),
        ({"dataset": "mednist", "options": {"a": 1}}, set()),
        ({"adapter": "image_folder", "root": "x"}, set()),
        ({}, {"dataset"}),
        ({"dataset": "mednist", "adapter": "table", "root": "x"}, {"adapter"}),
        ({"adapter": "table"}, {"root"}),
        ({"adapter": "table", "root": "x", "options": {"a": 1}}, {"options"}),
    ],
)
def test_data(values: dict[str, Any], keys: set[str]) -> None:
    assert objections(DataSection, **values) == keys


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({"method": "window", "low": -160, "high": 240}, set()),
        ({"low": -160, "high": 240}, set()),
        ({"method": "window"}, {"low"}),
        ({"method": "window", "low": 0}, {"high"}),
        ({"low": 0}, {"high"}),
        ({"method": "window", "low": 10, "high": 10}, {"high"}),
        ({"method": "zscore", "low": 0, "high": 1}, {"low", "high"}),
        ({"percentiles": [5, 5]}, {"percentiles"}),
        ({"percentiles": [-1, 99]}, {"percentiles"}),
    ],
)
def test_intensities(values: dict[str, Any], keys: set[str]) -> None:
    assert objections(IntensitySection, **values) == keys


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({"size": [64, 64]}, set()),
        ({"size": [64, 64, 32], "symmetric_axes": [0, 2], "spacing": [1, 1, 2], "orientation": "RAS"}, set()),
        ({"size": [64]}, {"size"}),
        ({"size": [64] * 4}, {"size"}),
        ({"size": [64, 0]}, {"size.1"}),
        ({"size": [64, 64], "symmetric_axes": [2]}, {"symmetric_axes"}),
        ({"size": [64, 64], "symmetric_axes": [-1]}, {"symmetric_axes"}),
        ({"size": [64, 64], "symmetric_axes": [1, 1]}, {"symmetric_axes"}),
        ({"size": [64, 64], "spacing": [1, 1, 1]}, {"spacing"}),
        ({"size": [64, 64], "spacing": [1, 0]}, {"spacing.1"}),
        ({"size": [64, 64, 64], "orientation": "RAX"}, {"orientation"}),
        ({"size": [64, 64, 64], "orientation": "RLS"}, {"orientation"}),
    ],
)
def test_input(values: dict[str, Any], keys: set[str]) -> None:
    assert objections(InputSection, **values) == keys


@pytest.mark.parametrize("given", ["auto", "32", 32, "bf16", "16", 16])
def test_precision_may_be_written_as_a_number(given: object) -> None:
    assert TrainingSection.model_validate({"precision": given}).precision == str(given)


@pytest.mark.parametrize(
    ("training", "keys"),
    [
        ({}, {"data.split.validation"}),
        ({"select": "last"}, set()),
        ({"select": "last", "early_stopping": {}}, {"data.split.validation"}),
    ],
)
def test_choosing_a_checkpoint_needs_a_validation_part(training: dict[str, Any], keys: set[str]) -> None:
    found = objections(
        Recipe,
        task="classification",
        data={"dataset": "x", "split": {"validation": 0}},
        input={"size": [8, 8]},
        model="basic_cnn",
        training=training,
    )
    assert found == keys


def test_values_do_not_change() -> None:
    with pytest.raises(ValidationError):
        SplitSection().folds = 3  # type: ignore[misc]
