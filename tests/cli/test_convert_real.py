"""``medcnn convert`` in a process of its own: another user's permissions, and Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import medcnn

pytestmark = pytest.mark.slow

NOBODY = 65534


def environment(home: Path) -> dict[str, str]:
    package = Path(medcnn.__file__).parents[1]
    return {**os.environ, "PYTHONPATH": str(package), "HOME": str(home), "MEDCNN_CACHE": str(home / "cache")}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return medcnn.make_phantom(tmp_path_factory.mktemp("phantom") / "cohort", patients=12)


@pytest.fixture
def nobody() -> Iterator[tuple[Path, list[str]]]:
    """A folder with a cohort that everyone may read, and what runs a command as a user who may write ``home`` alone."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or os.geteuid() != 0:
        pytest.skip("only root can run a command as another user")
    before = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    place = Path(tempfile.mkdtemp(prefix="medcnn-"))
    place.chmod(0o755)
    (place / "home").mkdir()
    os.chown(place / "home", NOBODY, NOBODY)
    # Few enough for one process: another user may be unable to start this interpreter anew.
    medcnn.make_phantom(place / "in", patients=3)
    try:
        command = [*before, sys.executable, "-m", "medcnn", "--version"]
        if subprocess.run(command, capture_output=True, check=False, env=environment(place / "home")).returncode:
            pytest.skip("another user cannot read this installation")
        yield place, before
    finally:
        shutil.rmtree(place)


def test_without_permission_it_says_where(nobody: tuple[Path, list[str]]) -> None:
    place, before = nobody
    home = place / "home"

    def convert(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*before, sys.executable, "-m", "medcnn", "convert", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment(home))

    done = convert(place / "in", "--out", place / "out")
    assert done.returncode == 2, done
    assert f"{place / 'out'}" in done.stderr
    assert "ermission" in done.stderr
    assert not (place / "out").exists()
    files = sorted((place / "in").rglob("*.dcm"))
    files[0].chmod(0)
    done = convert(place / "in", "--out", home / "a", "--max-unusable", "0.5")
    assert done.returncode == 0, done.stderr
    assert f"{files[0].relative_to(place / 'in')}: the file cannot be opened: Permission denied" in done.stdout
    assert list((home / "a").rglob("*.nii.gz"))
    files[1].parent.chmod(0)
    done = convert(place / "in", "--out", home / "b", "--max-unusable", "0.9")
    assert done.returncode == 0, done.stderr
    assert "the folder cannot be listed: Permission denied" in done.stdout
    (place / "in").chmod(0)
    done = convert(place / "in", "--out", home / "c")
    assert done.returncode == 2
    assert "Permission denied" in done.stderr
    assert not (home / "c").exists()
    for done_text in (done.stdout, done.stderr):
        assert "Traceback" not in done_text


def test_ctrl_c_leaves_whole_files_and_resume_goes_on(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "my out"
    command = [sys.executable, "-m", "medcnn", "convert", str(cohort), "--out", str(out)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(tmp_path)
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("converting"):
            break
    while not list(out.rglob("*.nii.gz")) and process.poll() is None:
        pass
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.rstrip().endswith(f"--out '{out}' --resume"), said
    assert "Traceback" not in said
    assert not [p for p in out.rglob("*") if ".part" in p.name]
    images = {p: p.stat().st_mtime_ns for p in out.rglob("*.nii.gz")}
    assert images
    assert all(p.with_name(p.name.replace(".nii.gz", ".json")).is_file() for p in images)
    done = subprocess.run(
        [*command, "--resume"], capture_output=True, text=True, check=False, env=environment(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert "were there already" in done.stdout
    assert {p: p.stat().st_mtime_ns for p in images} == images
    assert len(list(out.rglob("*.nii.gz"))) > len(images)
