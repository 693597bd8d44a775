"""A small valid recipe, to be changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

RECIPE = """\
title: A trial
task: classification
data:
  dataset: mednist
input:
  size: [64, 64]
model:
  name: basic_cnn
  filters: [8, 16]
"""


@pytest.fixture
def recipe_text() -> str:
    return RECIPE


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe into a folder of its own and returns the file."""

    def _write(text: str = RECIPE, name: str = "recipe.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return _write
