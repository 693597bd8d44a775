"""A run killed at any moment and resumed ends with the weights of an uninterrupted one, bit for bit."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytestmark = pytest.mark.slow

RECIPE = """
task: classification
data:
  adapter: {{name: image_folder}}
  root: {root}
  split: {{by: folds, folds: 2, validation: 0.25}}
input:
  size: [16, 16]
  symmetric_axes: [0]
  augment: {{rotate: 20.0, noise: 0.1}}
model: {{name: basic_cnn, filters: [4, 8], dense: [8], dropout: 0.3}}
training:
  {{epochs: 3, batch_size: 8, optimizer: adam, learning_rate: 0.01, schedule: {schedule}, ema: 0.9,
   precision: bf16, threads: 1}}
"""

SCRIPT = textwrap.dedent(
    """
    import os, signal
    from lightning.pytorch import Callback
    import medcnn.api as api
    from medcnn.training import callbacks
    from medcnn.workflow import folds

    os.environ["MEDCNN_CACHE"] = cache

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    class Killer(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if moment == "mid_epoch" and trainer.current_epoch == 1 and batch_idx == 1:
                die()

        def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
            if moment == "validation" and trainer.current_epoch == 1:
                die()

    if moment == "checkpoint":
        replace, names = callbacks.replace, []

        def dying(temporary, final):
            names.append(final.name)
            if names.count("last.ckpt") == 2:
                die()
            replace(temporary, final)

        callbacks.replace = dying
    if moment == "between_folds":
        finish, done = folds.finish_fold, []

        def dying_after(*args, **kwargs):
            finish(*args, **kwargs)
            die()

        folds.finish_fold = dying_after
    api.train(recipe, out=out, resume=moment == "resume", callbacks=[Killer()])
    """
)
# A process a run, forked from one that has imported what takes long and has run nothing.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["medcnn.workflow.folds", "monai.networks.nets", "lightning.pytorch.callbacks"])


def make_recipe(folder: Path, schedule: str) -> Path:
    generator = np.random.default_rng(0)
    for name, level in (("dark", 90), ("bright", 140)):
        place = folder / "images" / name
        place.mkdir(parents=True)
        for k in range(24):
            pixels = np.clip(generator.normal(level, 30, (16, 16)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{k:02d}.png")
        # A surplus copy, first of its class: it has a row in the cache and no part in the run.
        shutil.copyfile(place / "07.png", place / "00-copy.png")
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(root=folder / "images", schedule=schedule))
    return path


def start(recipe: Path, out: Path, moment: str) -> int:
    names = {"recipe": str(recipe), "out": str(out), "moment": moment, "cache": str(out.parent / "cache")}
    process = PROCESSES.Process(target=exec, args=(SCRIPT, names))
    process.start()
    process.join(200)
    assert process.exitcode is not None, "the run takes too long"
    return process.exitcode


def states(run: Path) -> dict[str, torch.Tensor]:
    found = {}
    for fold in ("fold-0", "fold-1"):
        for name in ("last.ckpt", "best.ckpt"):
            stored = torch.load(run / fold / name, weights_only=True)
            for part in ("state_dict", "current_model_state"):
                found.update({f"{fold}/{name}/{part}/{k}": v for k, v in stored[part].items()})
    return found


@pytest.fixture(scope="module", params=["one_cycle", "plateau"])
def uninterrupted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    recipe = make_recipe(folder, request.param)
    assert start(recipe, folder / "whole", "never") == 0
    return recipe, folder / "whole"


@pytest.mark.parametrize("moment", ["mid_epoch", "validation", "checkpoint", "between_folds"])
def test_the_weights_of_a_resumed_run_are_those_of_an_uninterrupted_one(
    uninterrupted: tuple[Path, Path], tmp_path: Path, moment: str
) -> None:
    recipe, whole = uninterrupted
    assert start(recipe, tmp_path / "run", moment) == -signal.SIGKILL
    assert start(recipe, tmp_path / "run", "resume") == 0
    assert_same(whole, tmp_path / "run")


def test_a_lost_cache_changes_nothing(uninterrupted: tuple[Path, Path], tmp_path: Path) -> None:
    recipe, whole = uninterrupted
    assert "identical to" in (whole / "exclusions.csv").read_text()
    assert start(recipe, tmp_path / "run", "mid_epoch") == -signal.SIGKILL
    shutil.rmtree(tmp_path / "cache")
    assert start(recipe, tmp_path / "run", "resume") == 0
    assert_same(whole, tmp_path / "run")


def assert_same(whole: Path, run: Path) -> None:
    expected, found = states(whole), states(run)
    assert expected.keys() == found.keys()
    assert [k for k in expected if not torch.equal(expected[k], found[k])] == []
    for fold in ("fold-0", "fold-1"):
        for part in ("validation", "test"):
            place = Path(fold) / "predictions" / f"{part}.csv"
            assert (whole / place).read_bytes() == (run / place).read_bytes()
