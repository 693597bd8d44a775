"""Making a cohort: a folder that appears when it is complete, and its patients drawn in worker processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from medcnn.errors import DataError, RunError
from medcnn.files import explain
from medcnn.progress import Progress

# The tables' rows of one patient, by table.
Rows = dict[str, list[dict[str, Any]]]
Job = Mapping[str, Any]


def is_made(folder: Path, file: str, wanted: Mapping[str, Any] | None = None) -> bool:
    """Whether a folder holds a complete cohort, whose file of facts says what is wanted."""
    try:
        facts = json.loads((folder / file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and all(facts.get(k) == v for k, v in (wanted or {}).items())


@contextmanager
def new_folder(folder: Path, file: str, parameters: Mapping[str, Any]) -> Iterator[Path]:
    """A temporary folder beside the wanted one that takes its name when the block ends without an error.

    Args:
        folder: The wanted one.
        file: The cohort's file of facts.
        parameters: What the cohort is made of.

    Raises:
        DataError: If the folder holds something else.
        RunError: If it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        kind = "another phantom cohort (other parameters or version)" if is_made(folder, file) else "something else"
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
            if not is_made(folder, file, {"parameters": parameters}):
                raise
    except OSError as error:
        raise explain(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def run_jobs(
    target: str, jobs: Sequence[Job], folder: Path, *, workers: int | None, progress: Progress, what: str
) -> list[Rows]:
    """Do all jobs; answers in their order.

    Args:
        target: ``module:function`` that does one job, called with its entries.
        jobs: The arguments of each.
        folder: For messages.
        workers: Processes; ``None``: one a core. 1 works in this process.
        progress: Receives one unit a job.
        what: What is made, for the progress.
    """
    progress.start(what, len(jobs), "patients")
    count = min(workers if workers is not None else _cores(), len(jobs))
    found = _here(target, jobs, progress) if count <= 1 else _elsewhere(target, jobs, count, folder, progress)
    progress.finish()
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _here(target: str, jobs: Sequence[Job], progress: Progress) -> list[Rows]:
    from pkgutil import resolve_name

    work: Callable[..., Rows] = resolve_name(target)
    found = []
    for job in jobs:
        found.append(work(**job))
        progress.advance()
    return found


def _elsewhere(target: str, jobs: Sequence[Job], count: int, folder: Path, progress: Progress) -> list[Rows]:
    """The jobs in worker processes, each taking the next job when it is free."""
    idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()

    def ask(job: Job) -> Rows:
        process = idle.get()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
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
    processes = [_start(target) for _ in range(count)]
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


def _start(target: str) -> subprocess.Popen[str]:
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
        [sys.executable, "-m", "medcnn.data.phantom.worker", target],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, encoding="utf-8",
    )  # fmt: skip
