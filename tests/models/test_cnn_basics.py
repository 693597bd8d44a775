"""docs/cnn-basics.md and its recipe are in step with the code."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import nn

import medcnn
from medcnn import registry
from medcnn.models import build_network
from medcnn.models.describe import HEADINGS, LayerInfo, describe, total_parameters
from medcnn.recipe.options import check_options
from medcnn.recipe.schema import Recipe

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "cnn-basics.md").read_text(encoding="utf-8")
RECIPE: dict[str, Any] = yaml.safe_load((ROOT / "recipes" / "cnn_basics.yaml").read_text(encoding="utf-8"))


def network_and_layers() -> tuple[nn.Module, list[LayerInfo]]:
    recipe = Recipe.model_validate(RECIPE)
    options = check_options("networks", recipe.model.name, recipe.model.options)
    network = build_network(
        recipe.model.name, options, spatial_dims=2, in_channels=1, outputs=2, size=recipe.input.size
    )
    return network, describe(network, (1, *recipe.input.size))


def table(headings: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The rows of the table of the page that has these headings."""
    lines = TEXT.splitlines()
    start = lines.index("| " + " | ".join(headings) + " |") + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    return rows


def test_the_table_of_layers_is_what_describe_gives() -> None:
    _, layers = network_and_layers()
    assert table(HEADINGS) == [layer.cells() for layer in layers]


def test_the_worked_receptive_fields_are_those_of_the_table() -> None:
    _, layers = network_and_layers()
    found = {layer.name: layer.receptive_field for layer in layers}
    names = {"convolution": "conv", "pooling": "pool"}
    for step, sum_ in table(("layer", "receptive field")):
        block, kind = re.fullmatch(r"block (\d), (\w+)", step).groups()  # type: ignore[union-attr]
        left, right = sum_.replace("×", "*").split("=")
        value = sum(int(a) * int(b) for a, b in re.findall(r"(\d+)(?: \* (\d+))", left)) + int(left.split("+")[0])
        assert value == int(right)
        assert found[f"features.block{block}.{names[kind]}"] == (value, value)


def test_the_totals_stand_in_the_text() -> None:
    network, layers = network_and_layers()
    work = sum(layer.multiply_adds for layer in layers)
    assert f"{total_parameters(network):,} parameters and {work:,} multiply-adds" in TEXT


@pytest.mark.parametrize("section", ["input", "model", "training"])
def test_the_page_shows_the_recipe_as_it_is(section: str) -> None:
    blocks = [yaml.safe_load(b) for b in re.findall(r"^```yaml\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)]
    shown = [b for b in blocks if section in b]
    assert shown
    assert all(RECIPE[section] == s[section] for s in shown)


@pytest.mark.parametrize(
    "term",
    [
        "filter",
        "kernel size",
        "receptive field",
        "stride",
        "padding",
        "pooling",
        "feature map",
        "batch normalisation",
        "activation",
        "relu",
        "flatten",
        "dense",
        "forward pass",
        "backward pass",
        "epoch",
        "batch size",
        "learning rate",
        "loss",
        "cross-entropy",
        "mean squared error",
        "optimizer",
        "sgd",
        "adam",
        "u-net",
        "retinanet",
        "0 or 1, where 1 is abdomen",
    ],
)
def test_every_term_of_the_course_is_there(term: str) -> None:
    assert term in TEXT.lower()


def test_the_recipe_uses_the_documented_starting_point() -> None:
    recipe = Recipe.model_validate(RECIPE)
    assert recipe.model.name == "basic_cnn"
    assert (recipe.training.optimizer.name, recipe.training.learning_rate) == ("sgd", 0.01)


@pytest.mark.parametrize("kind", ["optimizers", "schedules"])
def test_the_page_names_what_there_is_to_choose(kind: registry.Kind) -> None:
    for name in registry.names(kind):
        assert f"`{name}`" in TEXT or f"*{name.upper()}*" in TEXT, name


def test_the_worked_pooling_and_padding_sizes_are_those_of_the_formula() -> None:
    def size(n: int, k: int, s: int, p: int) -> int:
        return (n + 2 * p - k) // s + 1

    assert "floor((64 + 2 × 1 − 3) / 1) + 1 = 64" in TEXT
    assert (size(64, 3, 1, 1), size(64, 3, 1, 0), size(64, 3, 2, 0)) == (64, 62, 31)
    assert "it would be 62, and with `stride: 2`\non top 31" in TEXT
    for padding, stride, expected in (("same", 1, 64), ("valid", 1, 62), ("valid", 2, 31)):
        options = {"filters": [2], "padding": padding, "stride": stride}
        network = build_network("basic_cnn", options, spatial_dims=2, in_channels=1, outputs=2, size=(64, 64))
        assert describe(network, (1, 64, 64))[0].output_shape == (2, expected, expected)


@pytest.mark.slow
def test_the_recipe_learns_what_the_page_says(tmp_path: Path) -> None:
    # Half the patients and a quarter of the epochs show it.
    shorter = ["training.precision=32", "training.epochs=8", "data.options={patients: 60, slices: 5}"]
    run = medcnn.train("cnn_basics", out=tmp_path / "run", overrides=shorter)
    with (run.folder / "training" / "log.csv").open(encoding="utf-8") as file:
        log = list(csv.DictReader(file))
    losses = [float(row["train_loss"]) for row in log]
    assert min(losses) < 0.38, "stays at the 0.69 of guessing"
    assert max(float(row["validation_macro_f1"]) for row in log) > 0.75
    assert len(run.split.part(0, "training")) // 16 * len(log) == int(log[-1]["step"])
