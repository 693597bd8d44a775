"""Training in several processes: the same result as in one, one voice, one end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

import medcnn

MakeRecipe = Callable[..., Path]

pytestmark = pytest.mark.slow

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
MEDCNN = ["-m", "medcnn"]


def call(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, cwd=folder)


def weights(run: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    return torch.load(run / "training" / name, weights_only=True)["state_dict"]


def difference(one: Path, other: Path) -> float:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    return max(float((first[k].double() - second[k].double()).abs().max()) for k in first)


def train_losses(run: Path) -> list[float]:
    lines = (run / "training" / "log.csv").read_text().splitlines()
    return [float(line.split(",")[2]) for line in lines[1:]]


@pytest.mark.parametrize(
    "options",
    [
        {},
        # Labels with gaps fall unevenly to the processes; the weights make every class count differently.
        {"labels": "labels: [round, large]", "training": ", class_weights: balanced", "epochs": 7},
        {
            "model": "{name: small_resnet, width: 4, blocks: [1, 1], strides: [1, 2]}",
            "training": ", sync_batchnorm: true, accumulate: 2",
            "epochs": 10,
        },
    ],
    ids=["plain, torchrun", "missing labels", "synchronised batch norm"],
)
def test_two_processes_are_one_with_twice_the_batch(
    make_recipe: MakeRecipe, tmp_path: Path, options: dict[str, str]
) -> None:
    recipe = make_recipe(**options)
    medcnn.train(recipe, out=tmp_path / "one")
    if options:
        medcnn.train(recipe, out=tmp_path / "two", overrides=["training.devices=2", "training.batch_size=4"])
    else:
        half = ["train", str(recipe), "training.batch_size=4", "--out", str(tmp_path / "two")]
        done = call([*TORCHRUN, *MEDCNN, *half], tmp_path)
        assert done.returncode == 0, done.stderr
    assert torch.load(tmp_path / "one" / "training" / "last.ckpt", weights_only=True)["global_step"] >= 20
    assert difference(tmp_path / "one", tmp_path / "two") < 1e-5
    assert train_losses(tmp_path / "two") == pytest.approx(train_losses(tmp_path / "one"), abs=1e-5)


def test_batch_norm_by_process_is_another_training(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(model="{name: basic_cnn, filters: [4, 8], dense: [8]}")
    medcnn.train(recipe, out=tmp_path / "one")
    medcnn.train(recipe, out=tmp_path / "two", overrides=["training.devices=2", "training.batch_size=4"])
    assert difference(tmp_path / "one", tmp_path / "two") > 1e-4


def test_one_checkpoint_gives_the_same_rows_in_one_and_in_two_processes(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(model="{name: small_resnet, width: 4, blocks: [1, 1], strides: [1, 2]}", count=71)
    one, two = medcnn.train(recipe, out=tmp_path / "one"), tmp_path / "two"
    shutil.copytree(one.folder, two)
    shutil.rmtree(two / "training" / "predictions")
    (two / "training" / "model.pt").unlink()
    done = call([*TORCHRUN, *MEDCNN, "train", str(recipe), "--out", str(two), "--resume"], tmp_path)
    assert done.returncode == 0, done.stderr
    counts = []
    for part in ("validation", "test"):
        place = Path("training") / "predictions" / f"{part}.csv"
        expected = (one.folder / place).read_bytes()
        assert (two / place).read_bytes() == expected
        counts.append(len(expected.splitlines()) - 1)
    assert any(count % 2 for count in counts)


SCRIPT = textwrap.dedent(
    """
    import os, signal, sys
    from lightning.pytorch import Callback
    import medcnn

    recipe, out, moment = sys.argv[1:]

    class Killer(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if moment == "kill" and trainer.current_epoch == 2 and batch_idx == 1 and trainer.global_rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)

    medcnn.train(recipe, out=out, resume=moment == "resume", callbacks=[Killer()])
    """
)


def test_a_killed_training_of_two_goes_on_to_the_same_weights(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(
        model="{name: basic_cnn, filters: [4, 8], dense: [8], dropout: 0.3}",
        augment="{rotate: 20.0, noise: 0.1}",
        training=", ema: 0.9",
    )
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert call([*TORCHRUN, str(script), str(recipe), str(whole), "never"], tmp_path).returncode == 0
    assert call([*TORCHRUN, str(script), str(recipe), str(broken), "kill"], tmp_path).returncode != 0
    assert not (broken / "training" / "model.pt").exists()
    assert call([*TORCHRUN, str(script), str(recipe), str(broken), "resume"], tmp_path).returncode == 0
    assert difference(whole, broken) == 0


NETWORK = textwrap.dedent(
    """
    import os
    from torch import nn

    class Broken(nn.Sequential):
        def __init__(self, in_channels: int, outputs: int) -> None:
            super().__init__(nn.Flatten(), nn.Linear(in_channels * 256, outputs))

        def forward(self, image):
            found = super().forward(image)
            return found * float("nan") if self.training and os.environ.get("RANK") == "1" else found
    """
)


@pytest.mark.parametrize("launcher", [True, False], ids=["torchrun", "devices"])
def test_an_error_of_one_process_ends_all_with_one_message(
    make_recipe: MakeRecipe, tmp_path: Path, launcher: bool
) -> None:
    recipe = make_recipe(model='{name: "my_net:Broken"}')
    (recipe.parent / "my_net.py").write_text(NETWORK)
    start = TORCHRUN if launcher else [sys.executable]
    devices = [] if launcher else ["training.devices=2"]
    run = ["run", str(recipe), *devices, "--allow-code", "--out", str(tmp_path / "run")]
    done = call([*start, *MEDCNN, *run], tmp_path)
    # torchrun has an exit code and a summary of its own.
    assert done.returncode == (1 if launcher else 2), done.stderr
    assert len(re.findall("^error: ", done.stderr, re.MULTILINE)) == 1, done.stderr
    assert re.search(r"error: training: the loss is not finite .*cases: \d\d\.png", done.stderr), done.stderr
    assert "internal error" not in done.stderr


def test_one_process_speaks_and_all_of_them_work(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe()
    done = call([*TORCHRUN, *MEDCNN, "run", str(recipe), "--out", str(tmp_path / "run")], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\ntraining: 10 batches in ") == 1
    assert done.stderr.count("predicting the test part: 20 images in ") == 1
    assert done.stdout.count("report: ") == 1
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_the_end_of_the_parent_is_the_end_of_all(
    make_recipe: MakeRecipe, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    recipe, out = make_recipe(epochs=100_000), tmp_path / "run"
    command = [sys.executable, *MEDCNN, "train", str(recipe), "training.devices=2", "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}) as parent:
        try:
            wait_for(lambda: (out / "training" / "log.csv").exists() or parent.poll() is not None, 120)
            everyone = psutil.Process(parent.pid).children(recursive=True)
            assert len(everyone) == 3
            parent.send_signal(number)
            _, said = parent.communicate(timeout=120)
        finally:
            parent.kill()
    assert parent.returncode == code, said
    if number == signal.SIGINT:
        assert said.count("interrupted; to go on: medcnn train") == 1
        assert "Traceback" not in said
    wait_for(lambda: not any(alive(process) for process in everyone), 60)


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)
