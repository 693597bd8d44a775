"""Small folders of images to train on, and the trainer on arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RECIPE = """
task: classification
data:
  adapter: {{name: table, {labels}}}
  root: {root}
  split: {{by: fractions, validation: 0.2, test: 0.3}}
input: {{size: [16, 16], augment: {augment}}}
model: {model}
training:
  {{epochs: {epochs}, batch_size: 8, optimizer: sgd, learning_rate: 0.05, precision: "32", threads: 1{training}}}
evaluation: {{resamples: 100}}
"""

MakeRecipe = Callable[..., Path]


def write_recipe(
    folder: Path,
    *,
    model: str = "{name: basic_cnn, filters: [4, 8], dense: [8], batch_norm: false}",
    labels: str = "label: kind",
    training: str = "",
    augment: str = "null",
    epochs: int = 5,
    count: int = 66,
) -> Path:
    """A recipe beside a table of noisy images, half of them brighter; two more columns have gaps."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["image,kind,round,large"]
    for k in range(count):
        kind = ("dark", "bright")[k % 2]
        pixels = np.clip(generator.normal(90 if kind == "dark" else 140, 30, (16, 16)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{k:02d}.png")
        lines.append(f"{k:02d}.png,{kind},{('0', '1', '')[k % 3]},{('1', '', '', '0', '')[k % 5]}")
    (folder / "cases.csv").write_text("\n".join(lines) + "\n")
    path = folder / "recipe.yaml"
    filled = RECIPE.format(root=folder, labels=labels, model=model, training=training, augment=augment, epochs=epochs)
    path.write_text(filled)
    return path


@pytest.fixture
def make_recipe(tmp_path: Path) -> MakeRecipe:
    """Writes recipes into the test's folder."""
    return lambda **options: write_recipe(tmp_path / "data", **options)
