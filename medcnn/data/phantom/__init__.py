"""The generated cohort: CT series and radiographs as DICOM, with masks of organs and lesions.

Importing this module is cheap; what draws the images is imported when a cohort is made.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

from medcnn.errors import DataError, RunError
from medcnn.files import explain
from medcnn.progress import Progress, Silent

if TYPE_CHECKING:
    from medcnn.data.phantom.patient import Rows

PhantomSize = Literal["small", "medium", "large"]
__all__ = ["PhantomSize", "is_phantom", "make_phantom"]


def make_phantom(
    folder: Path,
    *,
    patients: int = 60,
    seed: int = 0,
    size: PhantomSize = "small",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Generate the cohort, or find it where it was generated before.

    The bytes are a function of ``patients``, ``seed`` and ``size``, whatever the number of workers.

    Args:
        folder: Where it goes; it appears when it is complete. An existing complete cohort of the same
            parameters is left as it is.
        patients: Number of patients.
        seed: Seed of everything.
        size: ``small``: CT of 96 x 96 in slices of about 10 mm; ``medium``: 256 x 256, 5 mm; ``large``: 512 x 512,
            2.5 mm.
        workers: Processes; ``None``: one a core. 1 works in this process.
        progress: Receives one unit a patient.

    Returns:
        The folder, with ``dicom/``, ``masks/``, ``series.csv``, ``images.csv``, ``lesions.coco.json`` and
        ``phantom.json``.

    Raises:
        DataError: If a parameter makes no sense, or the folder holds something else.
        RunError: If it cannot be written.
    """
    from medcnn.data.phantom.design import SIZES
    from medcnn.data.phantom.tables import VERSION, write_tables

    folder, progress = Path(folder), progress or Silent()
    if patients < 1 or seed < 0 or size not in SIZES:
        raise DataError(
            f"no such cohort: patients={patients}, seed={seed}, size={size}",
            where=str(folder),
            todo=f"patients must be at least 1, seed at least 0, size one of {', '.join(SIZES)}",
        )
    parameters = {"patients": patients, "seed": seed, "size": size}
    if is_phantom(folder, {"version": VERSION, "parameters": parameters}):
        return folder
    with _new_folder(folder, parameters) as temporary:
        jobs = [
            {"folder": str(temporary), "index": k, "patients": patients, "seed": seed, "size": size}
            for k in range(patients)
        ]
        progress.start("Generating the phantom cohort", patients, "patients")
        count = min(workers if workers is not None else _cores(), patients)
        found = _here(jobs, progress) if count <= 1 else _elsewhere(jobs, count, temporary, progress)
        progress.finish()
        write_tables(temporary, found, parameters)
    return folder


def is_phantom(folder: Path, wanted: dict[str, Any] | None = None) -> bool:
    """Whether a folder holds a complete cohort (of these parameters)."""
    try:
        facts = json.loads((folder / "phantom.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and all(facts.get(k) == v for k, v in (wanted or {}).items())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _new_folder(folder: Path, parameters: dict[str, Any]) -> Iterator[Path]:
    """A temporary folder beside the wanted one that takes its name when the block ends without an error."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        kind = "another phantom cohort (other parameters or version)" if is_phantom(folder) else "something else"
        wanted = ", ".join(f"{k}={v}" for k, v in parameters.items())
        raise DataError(
            f"the folder holds {kind}, not the cohort of {wanted}", where=str(folder), todo="choose another folder"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise explain(error, folder) from error
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o777 & ~mask)
        try:
            temporary.replace(folder)
        except OSError:
            # Another process may have made the same cohort in the meantime.
            if not is_phantom(folder, {"parameters": parameters}):
                raise
    except OSError as error:
        raise explain(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _here(jobs: list[dict[str, Any]], progress: Progress) -> list[Rows]:
    from medcnn.data.phantom.worker import work

    found = []
    for job in jobs:
        found.append(work(**job))
        progress.advance()
    return found


def _elsewhere(jobs: list[dict[str, Any]], count: int, folder: Path, progress: Progress) -> list[Rows]:
    """The jobs in worker processes, each taking the next job when it is free; answers in the order of the jobs."""
    idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()

    def ask(job: dict[str, Any]) -> Rows:
        process = idle.get()
        try:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        finally:
            idle.put(process)
        if not line:
            raise RunError(
                "a worker process ended before its work was done", where=str(folder), todo="try workers=1 to see why"
            )
        answer = json.loads(line)
        if "rows" not in answer:
            raise explain(OSError(answer["errno"], answer["reason"]), answer["path"] or folder)
        rows: Rows = answer["rows"]
        return rows

    found: dict[int, Rows] = {}
    processes = [_start() for _ in range(count)]
    pool = ThreadPoolExecutor(count)
    try:
        for process in processes:
            idle.put(process)
        futures = {pool.submit(ask, job): k for k, job in enumerate(jobs)}
        for future in as_completed(futures):
            found[futures[future]] = future.result()
            progress.advance()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            if len(found) < len(jobs):
                process.kill()
            process.communicate()
        pool.shutdown(wait=True)
    return [found[k] for k in range(len(jobs))]


def _start() -> subprocess.Popen[str]:
    # The workers find the same medcnn, installed or not, and do not fight each other for threads.
    root = str(Path(__file__).parents[3])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "medcnn.data.phantom.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, encoding="utf-8",
    )  # fmt: skip
