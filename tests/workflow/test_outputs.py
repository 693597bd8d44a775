"""How many outputs a recipe's network has, before its data are at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import medcnn
from medcnn.errors import DataError
from medcnn.recipe.schema import Recipe
from medcnn.workflow.outputs import count_outputs


@pytest.fixture(autouse=True)
def _no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCNN_DATA", str(tmp_path / "nothing"))


def recipe(task: str, dataset: str, model: str = "small_unet", size: tuple[int, ...] = (32, 32), **data: Any) -> Recipe:
    return Recipe.model_validate(
        {"task": task, "data": {"dataset": dataset, **data}, "input": {"size": size}, "model": model}
    )


@pytest.mark.parametrize(
    ("task", "dataset", "outputs"),
    [
        ("segmentation", "msd_hippocampus", 3),  # anterior, posterior and the background
        ("segmentation", "brain_tumor_mri", 2),
        ("classification", "brain_tumor_mri", 3),
        ("classification", "mednist", 6),
    ],
)
def test_the_task_counts_what_the_catalog_lists(task: str, dataset: str, outputs: int) -> None:
    assert count_outputs(recipe(task, dataset)) == outputs


def test_the_network_that_is_described_ends_with_the_labels_and_the_background() -> None:
    layers = medcnn.describe(recipe("segmentation", "msd_hippocampus", size=(16, 16, 16)))
    assert [layer.output_shape[0] for layer in layers if layer.output_shape][-1] == 3


def test_labels_that_the_recipe_changes_are_counted_from_the_data(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / "a.png")
    (root / "cases.csv").write_text("image,mask,label,block,run\na.png,a.png,glioma,b,r\n", encoding="utf-8")
    alone = {"boxes": None}
    changed = {"root": str(root), "options": {**alone, "mask_labels": {"rim": 1, "core": 2, "oedema": 3}}}
    assert count_outputs(recipe("segmentation", "brain_tumor_mri", **changed)) == 4
    assert count_outputs(recipe("segmentation", "brain_tumor_mri", root=str(root), options=alone)) == 2


def test_classes_of_boxes_are_the_catalogs() -> None:
    assert count_outputs(recipe("detection", "brain_tumor_mri", root="nowhere")) == 3


def test_without_labels_anywhere_nothing_is_counted() -> None:
    with pytest.raises(DataError, match="is not there"):
        count_outputs(recipe("segmentation", "msd_heart", size=(16, 16, 16)))
