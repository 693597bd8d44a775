"""The whole way on a tiny folder of images: train, evaluate, report, predict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import medcnn

RECIPE = """
title: Bright or dark
task: classification
data:
  adapter: {{name: image_folder, positive: bright}}
  root: {root}
  split: {{by: fractions, validation: 0.25, test: 0.25}}
input: {{size: [16, 16]}}
model: {{name: basic_cnn, filters: [4], dense: [4], dropout: 0.2}}
training: {{epochs: 2, batch_size: 8, optimizer: adam, learning_rate: 0.01, precision: "32"}}
evaluation: {{resamples: 200}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name, level in (("dark", 60), ("bright", 160)):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for k in range(24):
            pixels = np.clip(generator.normal(level, 30, (16, 16)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{k:02d}.png")
    (tmp_path / "images" / "dark" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(root=tmp_path / "images"))
    return path


def test_a_run_leaves_its_figures_and_a_report_and_predicts_new_images(recipe: Path, tmp_path: Path) -> None:
    run = medcnn.run(recipe, out=tmp_path / "run")
    assert not isinstance(run, list)
    figures = {f["id"]: f for f in run.metrics["figures"] if f["target"] in (None, "bright")}
    assert {"f1", "sensitivity", "precision", "accuracy"} <= set(figures)
    assert "<html" in run.report.read_text()
    assert "broken.png" in (run.folder / "exclusions.csv").read_text()
    table = medcnn.predict(run, [tmp_path / "images" / "bright"], out=tmp_path / "out.csv")
    assert len(table) == 24
    assert np.allclose(table["p_dark"] + table["p_bright"], 1, atol=1e-5)
    assert (tmp_path / "out.csv").is_file()


def test_a_changed_split_is_refused(recipe: Path, tmp_path: Path) -> None:
    run = medcnn.train(recipe, out=tmp_path / "run", overrides=["training.epochs=1"])
    path = run.folder / "split.csv"
    path.write_text(path.read_text().replace("test", "training", 1))
    with pytest.raises(medcnn.MedcnnError, match="changed"):
        medcnn.evaluate(run.folder)


def test_a_folder_that_is_taken_is_left_alone(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("keep")
    with pytest.raises(medcnn.MedcnnError, match="not empty"):
        medcnn.run(recipe, out=tmp_path / "taken")
    assert (tmp_path / "taken" / "mine.txt").read_text() == "keep"


def test_another_dataset_is_judged_with_everything_frozen_and_may_not_overlap(recipe: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    for name, level in (("night", 60), ("day", 160)):
        folder = tmp_path / "other" / name
        folder.mkdir(parents=True)
        for k in range(10):
            Image.fromarray(generator.normal(level, 20, (16, 16)).clip(0, 255).astype(np.uint8)).save(
                folder / f"{k}.png"
            )
    entry = "  title: {0}\n  tasks: [classification]\n  adapter: {{name: image_folder}}\n"
    entry += "  patient: unknown\n  folder: {0}\n"
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text("other:\n" + entry.format("other") + "images:\n" + entry.format("images"))
    run = medcnn.run(recipe, out=tmp_path / "run", overrides=[f"data.catalog={catalog}"])
    assert not isinstance(run, list)
    labels = {"night": "dark", "day": "bright"}
    outside = medcnn.evaluate(run, data="other", root=tmp_path / "other", labels=labels)
    assert outside.find("accuracy").n == 20
    assert outside.details["thresholds"] == medcnn.evaluate(run).details["thresholds"]
    with pytest.raises(medcnn.MedcnnError, match="counterpart"):
        medcnn.evaluate(run, data="other", root=tmp_path / "other")
    with pytest.raises(medcnn.MedcnnError, match="trained on"):
        medcnn.evaluate(run, data="images", root=tmp_path / "images")


def test_a_value_is_learned_and_judged(recipe: Path, tmp_path: Path) -> None:
    rows = [f"bright/{k:02d}.png,{100 + k}.5" for k in range(24)] + [f"dark/{k:02d}.png,{k}" for k in range(24)]
    (tmp_path / "images" / "values.csv").write_text("image,age\n" + "\n".join(rows) + "\n")
    text = recipe.read_text().replace("task: classification", "task: regression")
    adapter = "{name: table, file: values.csv, value: age, unit: months}"
    text = text.replace("{name: image_folder, positive: bright}", adapter)
    path = tmp_path / "regression.yaml"
    path.write_text(text)
    run = medcnn.run(path, out=tmp_path / "run")
    assert not isinstance(run, list)
    assert {"mae", "rmse", "r2"} <= {f["id"] for f in run.metrics["figures"]}


def test_options_that_do_not_fit_the_labels_are_refused_before_training(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(medcnn.MedcnnError, match="level"):
        medcnn.train(recipe, out=tmp_path / "run", overrides=["evaluation.level=2"])
    with pytest.raises(medcnn.MedcnnError, match="does not fit"):
        medcnn.train(recipe, out=tmp_path / "other", overrides=["training.loss=mse"])


def test_a_network_beside_the_recipe_needs_permission(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\n\n\nclass Tiny(nn.Sequential):\n"
        "    def __init__(self, in_channels: int, outputs: int) -> None:\n"
        "        super().__init__(nn.Flatten(), nn.Linear(in_channels * 256, outputs))\n"
    )
    text = recipe.read_text()
    start, end = text.index("model:"), text.index("training:")
    recipe.write_text(text[:start] + 'model: {name: "my_nets:Tiny"}\n' + text[end:])
    with pytest.raises(medcnn.MedcnnError, match="allow-code"):
        medcnn.run(recipe, out=tmp_path / "refused")
    run = medcnn.run(recipe, out=tmp_path / "run", allow_code=True)
    assert not isinstance(run, list)
    assert run.report.is_file()
