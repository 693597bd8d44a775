"""Fixtures for all tests: no test needs a download; real data are found by an environment variable."""

from __future__ import annotations

import os
import signal
import tarfile
from pathlib import Path

import pytest

# A shell that starts the tests in the background lets them, and the commands that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Processes that run tests side by side divide the cores, as those of a launcher do: torch reads the first when it is
# imported, a run the second.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("LOCAL_WORLD_SIZE", os.environ["PYTEST_XDIST_WORKER_COUNT"])

ARCHIVES = {
    "MedNIST": "MedNIST.tar.gz",
    "Task04_Hippocampus": "Task04_Hippocampus.tar",
    "brain_tumor_mri": "brain_tumor_mri.tar",
    "mr_dicom_series": "mr_dicom_series.tar",
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's caches."""
    base = tmp_path_factory.getbasetemp() / "home"
    monkeypatch.setenv("MEDCNN_CACHE", str(base / "cache"))
    monkeypatch.setenv("MEDCNN_DATA", os.environ.get("MEDCNN_TEST_DATA", str(base / "data")))


@pytest.fixture(scope="session")
def realdata(tmp_path_factory: pytest.TempPathFactory) -> RealData:
    """Folders of the real data sets, unpacked on first use."""
    return RealData(tmp_path_factory.mktemp("realdata"))


class RealData:
    """Finds a data set by name; skips the test, with the reason, where it is absent."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch

    def __call__(self, name: str) -> Path:
        place = os.environ.get("MEDCNN_REALDATA", "")
        if not place:
            pytest.skip("MEDCNN_REALDATA does not name a folder with the real data sets")
        if (Path(place) / name).is_dir():
            return Path(place) / name
        target, archive = self._scratch / name, Path(place) / ARCHIVES[name]
        if not target.is_dir():
            if not archive.is_file():
                pytest.skip(f"{archive.name} is not in MEDCNN_REALDATA")
            with tarfile.open(archive) as file:
                file.extractall(self._scratch, filter="data")
        return target
