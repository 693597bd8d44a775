"""The same through the real command, where a process, a file system or a user of its own is what matters."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

NOBODY = 65534


def environment(**changes: str) -> dict[str, str]:
    package = Path(__import__("medcnn").__file__).parents[1]
    places = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1", **changes}


def command(
    *arguments: object, before: Sequence[str] = (), cwd: Path | None = None, **changes: str
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [*before, sys.executable, "-m", "medcnn", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment(**changes),
    )


def require_refused(done: Any, *texts: str) -> None:
    """Of a command in a process of its own, or in this one."""
    own = isinstance(done, subprocess.CompletedProcess)
    code, out, err = (done.returncode, done.stdout, done.stderr) if own else done
    assert code == 2, done
    assert err.count("error:") == 1, err
    assert "Traceback" not in out + err
    for text in texts:
        assert text in err, err
    assert len(err[err.index("error:") :].strip().splitlines()) > 1, err


def left_over(folder: Path) -> list[str]:
    """Temporary files."""
    return [str(p) for p in folder.rglob("*") if p.name.endswith((".part", ".tmp")) or ".part" in p.suffixes]


def test_one_of_each_family_is_refused(tiny: Any, finished: Path, tmp_path: Path) -> None:
    root = tiny.table([*tiny.rows(), "24.png,dark"])
    require_refused(command("run", tiny.recipe(root), "--out", tmp_path / "a"), "cases.csv:26", "double quotes")
    recipe = tiny.recipe(finished / "data", split="{by: folds, folds: 20}", name="folds")
    require_refused(command("run", recipe, "--out", tmp_path / "b"), "fewer groups (12) than folds (20)")
    run = Path(shutil.copytree(finished / "run", tmp_path / "run"))
    require_refused(command("run", finished / "recipe.yaml", "--out", run), "exists and is not empty")
    (run / "split.csv").write_bytes((run / "split.csv").read_bytes() + b"\n")
    require_refused(command("evaluate", run), "the split was changed after it was sealed")
    done = command("evaluate", run, "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_one_unreadable_file_among_thousands(medcnn_command: Any, tiny: Any, tmp_path: Path) -> None:
    root = tiny.folders(count=1000)
    (root / "dark" / "0500.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    recipe = tiny.recipe(root, adapter="{name: image_folder, positive: bright}")
    out, settings = tmp_path / "run", ("training.batch_size=256", "input.size=[8, 8]")
    done = medcnn_command("run", recipe, "--out", out, *settings)
    assert done.code == 0, done.err
    assert "1 of 2,001 images was not used" in done.out
    assert "dark/0500.png" in (out / "exclusions.csv").read_text()
    done = medcnn_command("run", recipe, "--out", tmp_path / "other", "data.on_error=stop", *settings)
    require_refused(done, "data.on_error=stop: 1 case cannot be used", "dark/0500.png")
    assert not (tmp_path / "other").exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def fill(disk: Path, left: int) -> Path:
    """Fill the file system but for some bytes."""
    ballast = disk / "ballast"
    free = shutil.disk_usage(disk).free
    with ballast.open("wb") as file:
        file.write(b"x" * (free - left))
    return ballast


# Nothing fits; the cases and no more; the preparation and no checkpoint; all but the last checkpoints.
@pytest.mark.parametrize("left", [0, 20_000, 100_000, 200_000])
def test_a_full_disk_stops_the_run_and_resume_goes_on(
    left: int, medcnn_command: Any, disk: Path, finished: Path
) -> None:
    out, recipe = disk / "run", finished / "recipe.yaml"
    ballast = fill(disk, left)
    # One of the family in a process of its own.
    done = (command if left == 100_000 else medcnn_command)("run", recipe, "--out", out)
    require_refused(done, "No space left on device", "--resume")
    assert not (out / "report.html").exists()
    assert not left_over(disk)
    ballast.unlink()
    done = medcnn_command("run", recipe, "--out", out, "--resume")
    assert done.code == 0, done.err
    whole = (finished / "run" / "training" / "predictions" / "test.csv").read_bytes()
    assert (out / "training" / "predictions" / "test.csv").read_bytes() == whole


def test_a_full_disk_under_other_commands(
    medcnn_command: Any, monkeypatch: pytest.MonkeyPatch, disk: Path, finished: Path, tmp_path: Path
) -> None:
    fill(disk, 0)
    with monkeypatch.context() as patch:
        patch.setenv("MEDCNN_CACHE", str(disk / "cache"))
        done = medcnn_command("run", finished / "recipe.yaml", "--out", tmp_path / "run")
    require_refused(done, "No space left on device", str(disk))
    table = disk / "predictions.csv"
    done = medcnn_command("predict", finished / "run", finished / "data", "--out", table)
    require_refused(done, "No space left on device", str(table))
    require_refused(medcnn_command("cp", "quickstart_abdomen", disk / "r.yaml"), "No space left on device")
    require_refused(medcnn_command("data", "phantom", disk / "cohort", "--patients", 2), "No space left on device")
    assert not [p for p in disk.rglob("*") if p.is_file() and p.name != "ballast"]


@pytest.fixture
def nobody() -> Iterator[tuple[Path, list[str]]]:
    """A folder that everyone may read, and what runs a command as a user who may write nowhere else."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or os.geteuid() != 0:
        pytest.skip("only root can run a command as another user")
    before = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    place = Path(tempfile.mkdtemp(prefix="medcnn-"))
    place.chmod(0o755)
    (place / "home").mkdir()
    os.chown(place / "home", NOBODY, NOBODY)
    try:
        if command("--version", before=before).returncode:
            pytest.skip("another user cannot read this installation")
        yield place, before
    finally:
        shutil.rmtree(place)


def test_no_permission_to_write(nobody: tuple[Path, list[str]], finished: Path) -> None:
    place, before = nobody
    shutil.copytree(finished / "data", place / "data")
    shutil.copytree(finished / "run", place / "run")
    recipe = place / "recipe.yaml"
    recipe.write_text((finished / "recipe.yaml").read_text().replace(str(finished), str(place)))
    home = {"HOME": str(place / "home"), "MEDCNN_CACHE": str(place / "home" / "cache")}

    def refused(*arguments: object, texts: Sequence[str] = ("ermission",), **changes: str) -> None:
        require_refused(command(*arguments, before=before, **{**home, **changes}), *texts)

    refused("run", recipe, "--out", place / "new", texts=(f"{place / 'new'}: cannot write", "may write to"))
    refused("run", recipe, "--out", place / "home" / "x", MEDCNN_CACHE=str(place / "cache"))
    assert not (place / "home" / "x" / "recipe.yaml").exists()
    refused("predict", place / "run", place / "data", "--out", place / "table.csv")
    refused("evaluate", place / "run")
    refused("report", place / "run")
    refused("cp", "quickstart_abdomen", place / "r.yaml")
    assert sorted(p.name for p in place.iterdir()) == ["data", "home", "recipe.yaml", "run"]


@pytest.fixture
def powerless() -> list[str]:
    """What runs a command as a user who is bound by the permissions of files; root is not, without that."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root is bound by no permissions, and setpriv is not here to bind it")
    return [setpriv, "--bounding-set=-all"]


def test_no_permission_to_read_an_image_is_one_case_and_a_table_is_the_end(
    powerless: list[str], finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished / "data", tmp_path / "data")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text((finished / "recipe.yaml").read_text().replace(str(finished), str(tmp_path)))

    def run(name: str) -> subprocess.CompletedProcess[str]:
        return command("run", recipe, "--out", tmp_path / name, before=powerless, MEDCNN_CACHE=str(tmp_path / "cache"))

    (tmp_path / "data" / "05.png").chmod(0)
    done = run("run")
    assert done.returncode == 0, done.stderr
    assert "05.png" in (tmp_path / "run" / "exclusions.csv").read_text()
    (tmp_path / "data" / "cases.csv").chmod(0)
    require_refused(run("table"), "cases.csv", "ermission")
    recipe.chmod(0)
    require_refused(run("recipe"), "recipe.yaml", "ermission")


def interrupt(step: str, *arguments: object, wait: float = 0.5) -> tuple[int, str]:
    """Press Ctrl-C a moment after a step is told; returns exit code and standard error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "medcnn", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(PYTHONUNBUFFERED="1"),
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith(step):
            break
    time.sleep(wait)
    process.send_signal(signal.SIGINT)
    said.append(process.stderr.read())
    process.stderr.close()
    return process.wait(60), "".join(said)


def test_ctrl_c_in_training_ends_cleanly_and_resume_goes_on(
    medcnn_command: Any, tiny: Any, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "my run"
    arguments = ("run", finished / "recipe.yaml", "training.epochs=150", "--out", out)
    code, said = interrupt("training (", *arguments)
    assert code == 130, said
    assert said.rstrip().endswith(f"--out '{out}' --resume"), said
    assert "Traceback" not in said
    assert (out / "recipe.yaml").is_file()
    assert not (out / "report.html").exists()
    assert not left_over(out)
    done = medcnn_command(*arguments, "--resume")
    assert done.code == 0, done.err
    assert "preprocessing" not in done.err
    assert (out / "report.html").is_file()


def test_ctrl_c_in_preprocessing_ends_cleanly_and_resume_goes_on(
    medcnn_command: Any, tiny: Any, tmp_path: Path
) -> None:
    root = tiny.folders(count=1000)
    recipe = tiny.recipe(root, adapter="{name: image_folder, positive: bright}")
    out = tmp_path / "run"
    arguments = ("run", recipe, "training.batch_size=512", "input.size=[192, 192]", "--out", out)
    code, said = interrupt("preprocessing", *arguments)
    assert code == 130, said
    assert said.rstrip().endswith("--resume"), said
    assert "Traceback" not in said
    assert not (out / "recipe.yaml").exists()
    done = medcnn_command(*arguments, "input.size=[8, 8]", "--resume")
    assert done.code == 0, done.err


def test_ctrl_c_in_prediction_leaves_no_table(tiny: Any, finished: Path, tmp_path: Path) -> None:
    # Prediction is quick: a moment later it might be over.
    root = tiny.folders(count=3000)
    target = tmp_path / "table.csv"
    code, said = interrupt("predicting", "predict", finished / "run", root, "--out", target, wait=0.0)
    assert code == 130, said
    assert said.rstrip().endswith("interrupted"), said
    assert "Traceback" not in said
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(("table", ".table"))]


def test_a_network_of_ones_own_needs_permission_in_every_command_that_runs_it(
    medcnn_command: Any, monkeypatch: pytest.MonkeyPatch, finished: Path, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_nets.py").write_text(
        "from torch import nn\n\n\nclass Tiny(nn.Sequential):\n"
        "    def __init__(self, in_channels: int, outputs: int) -> None:\n"
        "        super().__init__(nn.Flatten(), nn.Linear(in_channels * 256, outputs))\n"
    )
    text = (finished / "recipe.yaml").read_text()
    own = text.replace("{name: basic_cnn, filters: [4], dense: [4]}", "own_nets:Tiny")
    assert own != text
    recipe, run = tmp_path / "own.yaml", tmp_path / "run"
    recipe.write_text(own)
    commands: dict[str, tuple[object, ...]] = {
        "validate": (recipe,),
        "models": ("describe", recipe),
        "run": (recipe, "--out", run),
        "evaluate": (run,),
        "predict": (run, finished / "data" / "00.png"),
    }
    for name, arguments in commands.items():
        refused = medcnn_command(name, *arguments)
        assert refused.code == 2, (name, refused.err)
        assert "--allow-code" in refused.err
        done = medcnn_command(name, *arguments, "--allow-code")
        assert done.code == 0, (name, done.err)
        # The next command is as if it were the first of its process.
        sys.modules.pop("own_nets", None)
        sys.path[:] = [p for p in sys.path if p != str(tmp_path)]
    # A report runs no network, and asks for nothing.
    assert medcnn_command("report", run).code == 0
