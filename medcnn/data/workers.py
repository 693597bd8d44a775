"""Reads cases in processes of their own: a file that crashes or hangs a reader costs that case alone.

The processes are started afresh rather than forked: they hold neither torch nor its threads, and a user's script
needs no ``if __name__ == "__main__"``.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medcnn.data.preprocess import Preprocessor
from medcnn.data.rows import Row, Unread, first_path, read_row
from medcnn.data.worker import Place, receive, send
from medcnn.errors import MedcnnError, RunError
from medcnn.progress import Progress, Silent
from medcnn.types import Case, Exclusion, Target

CHUNK = 256
CHUNK_BYTES = 16 * 2**20
# A case that crashes its process is tried once more: for want of memory any process may be the one that is ended.
TRIES = 2
STARTS = 3
SECONDS = 600.0
# Until a process is there: Python and numpy from a slow drive.
START_SECONDS = 120.0
# One thread a process: there are as many processes as cores.
_SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def case_seconds() -> float:
    """How long the reading of one case may take: ``$MEDCNN_CASE_SECONDS``, else 600 s.

    Raises:
        RunError: If the variable is not a positive number.
    """
    text = os.environ.get("MEDCNN_CASE_SECONDS", "")
    try:
        seconds = float(text) if text else SECONDS
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise RunError(f"{text!r} is no positive number of seconds", where="$MEDCNN_CASE_SECONDS")
    return seconds


def chunk_size(cases: int, row_bytes: int, workers: int) -> int:
    """Cases that one process takes at a time: enough to be quick, few enough for memory and an even load."""
    return max(1, min(CHUNK, CHUNK_BYTES // max(row_bytes, 1), -(-cases // (4 * max(workers, 1)))))


def read_rows(
    cases: Sequence[Case],
    preprocessor: Preprocessor,
    *,
    workers: int,
    row_bytes: int = 1,
    progress: Progress | None = None,
) -> Iterator[list[Row]]:
    """Rows in the order of the cases, in lists; a few lists ahead at most, so that memory stays flat.

    Args:
        cases: What to read.
        preprocessor: How.
        workers: Processes; 0 reads in this one, where a crash of a reader is a crash of the run.
        row_bytes: Largest size of one row.
        progress: Told of a case that takes long.

    Raises:
        RunError: If no process can be started.
    """
    size = chunk_size(len(cases), row_bytes, workers)
    chunks = [list(cases[i : i + size]) for i in range(0, len(cases), size)]
    if workers <= 0:
        yield from ([read_row(case, preprocessor) for case in chunk] for chunk in chunks)
        return
    pool = _Pool(preprocessor, min(workers, len(chunks)), case_seconds(), progress or Silent())
    try:
        yield from pool.run(chunks)
    finally:
        pool.stop()


def _targets(case: Case, kinds: tuple[type[Target], ...]) -> tuple[Target, ...]:
    """Those targets that a worker needs to read the case."""
    return tuple(target for target in case.targets if isinstance(target, kinds))


class _Chunk:
    """Cases in order, with a place for the row of each."""

    def __init__(self, cases: list[Case]) -> None:
        self.cases = cases
        self.rows: list[Row | None] = [None] * len(cases)

    def open(self) -> list[int]:
        """Positions of the cases that have no row yet."""
        return [i for i, row in enumerate(self.rows) if row is None]


class _Worker:
    """One process with the thread that speaks to it; what it sends arrives in ``events``."""

    def __init__(self, preprocessor: Preprocessor, events: queue.SimpleQueue[tuple[_Worker, Any]]) -> None:
        handle, self._path = tempfile.mkstemp(prefix="medcnn-")
        with os.fdopen(handle, "wb") as file:
            file.write(bytes(Place.SIZE))
        self.place = Place(self._path)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        code = f"import sys; sys.path[:] = {sys.path!r}; from medcnn.data.worker import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **_SINGLE},
        )
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._inbox.put((preprocessor, self._path))
        self._kinds = preprocessor.target_kinds
        self._events = events
        self.chunk: _Chunk | None = None
        self._open: list[int] = []
        self._taken = self._seen = 0
        self._since = 0.0
        self.noted = False
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def give(self, chunk: _Chunk) -> None:
        """Let it read what is left of a chunk."""
        self.chunk, self._open = chunk, chunk.open()
        self._taken = self._seen = 0
        self._since, self.noted = time.monotonic(), False
        cases = [chunk.cases[i] for i in self._open]
        self._inbox.put([(case.id, case.images, _targets(case, self._kinds)) for case in cases])

    def take(self, rows: list[Row]) -> None:
        """Put rows that arrived, the next ones in order, into the chunk."""
        assert self.chunk is not None
        for i, row in zip(self._open[self._taken :], rows, strict=False):
            self.chunk.rows[i] = row
        self._taken += len(rows)

    def _talk(self) -> None:
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        try:
            send(pipe_in, self._inbox.get())
            while (items := self._inbox.get()) is not None:
                send(pipe_in, items)
                kind = ""
                while kind not in ("done", "error"):
                    kind, content = receive(pipe_out)
                    self._events.put((self, (kind, content)))
        except (EOFError, OSError, ValueError):
            self._events.put((self, ("ended", None)))

    def waiting(self) -> float:
        """Seconds since it began the case that it is at."""
        place = self.place.get()
        if place != self._seen:
            self._seen, self._since, self.noted = place, time.monotonic(), False
        return time.monotonic() - self._since

    def suspect(self) -> int | None:
        """Position in its chunk of the case that it is at, or was when it ended; ``None`` between cases."""
        place = self.place.get()
        return None if place == 0 else self._open[place - 1]

    def kill(self) -> None:
        """End the process; its end arrives as an event."""
        self._process.kill()

    def end(self) -> str:
        """Wait for a process that closes; how it ended, in words for a reason."""
        try:
            code = self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self.stop()
        return _how(code)

    def last_words(self) -> str:
        """The last line that the process printed as an error."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""

    def stop(self) -> None:
        """End the process without waiting for its work, and give back what it holds."""
        self._inbox.put(None)
        self._process.kill()
        self._process.wait()
        self._thread.join(5.0)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                # A process that is gone leaves bytes behind that were never sent to it.
                with contextlib.suppress(OSError):
                    pipe.close()
        self.place.close()
        Path(self._path).unlink(missing_ok=True)


class _Pool:
    """Workers, what each is at, and how often a case has ended one."""

    def __init__(self, preprocessor: Preprocessor, count: int, limit: float, progress: Progress) -> None:
        self._preprocessor, self._count, self._limit, self._progress = preprocessor, count, limit, progress
        self._events: queue.SimpleQueue[tuple[_Worker, Any]] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._todo: deque[_Chunk] = deque()
        self._ended: Counter[str] = Counter()
        self._failed_starts = 0

    def run(self, chunks: Sequence[list[Case]]) -> Iterator[list[Row]]:
        """The rows of each chunk, in order."""
        later = deque(_Chunk(list(cases)) for cases in chunks)
        order: deque[_Chunk] = deque()
        while later or order:
            while later and len(order) < 2 * self._count + 2:
                order.append(later.popleft())
                self._todo.append(order[-1])
            self._hand_out()
            try:
                worker, (kind, content) = self._events.get(timeout=min(0.5, self._limit / 4))
                if worker in self._workers:
                    self._hear(worker, kind, content)
            except queue.Empty:
                pass
            self._look_for_hanging()
            while order and not order[0].open():
                yield [row for row in order.popleft().rows if row is not None]

    def stop(self) -> None:
        """End all processes."""
        while self._workers:
            self._workers.pop().stop()

    def _hand_out(self) -> None:
        idle = [worker for worker in self._workers if worker.chunk is None]
        while self._todo:
            if not idle:
                if len(self._workers) >= self._count:
                    return
                idle.append(self._start())
            idle.pop().give(self._todo.popleft())

    def _start(self) -> _Worker:
        try:
            worker = _Worker(self._preprocessor, self._events)
        except OSError as error:
            raise RunError(
                f"a process that reads images cannot be started: {error.strerror}", todo="use fewer processes"
            ) from error
        self._workers.append(worker)
        return worker

    def _hear(self, worker: _Worker, kind: str, content: Any) -> None:
        if kind == "ended":
            self._bury(worker)
        elif kind == "error":
            what, where, todo = content
            raise MedcnnError(what, where=where, todo=todo)
        else:
            worker.take(content)
            self._failed_starts = 0
            if kind == "done":
                worker.chunk = None

    def _bury(self, worker: _Worker) -> None:
        """A process is gone: what it was at is tried again, and left out the second time."""
        position, chunk = worker.suspect(), worker.chunk
        how, words = worker.end(), worker.last_words()
        self._workers.remove(worker)
        if chunk is None:
            return
        self._todo.appendleft(chunk)
        if position is None:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                raise RunError(
                    f"the processes that read images end before they read any: {how}" + (f"; {words}" if words else ""),
                    todo="free some memory, or use fewer processes",
                )
            return
        case = chunk.cases[position]
        self._ended[case.id] += 1
        if self._ended[case.id] >= TRIES:
            self._leave_out(chunk, position, how)

    def _look_for_hanging(self) -> None:
        for worker in list(self._workers):
            if worker.chunk is None or (seconds := worker.waiting()) < self._limit / 10:
                continue
            position = worker.suspect()
            if position is None:
                if seconds >= max(self._limit, START_SECONDS):
                    worker.kill()
            elif seconds >= self._limit:
                self._leave_out(worker.chunk, position, f"not read within {self._limit:g} s")
                self._todo.appendleft(worker.chunk)
                self._workers.remove(worker)
                worker.stop()
            elif not worker.noted:
                worker.noted = True
                case = worker.chunk.cases[position]
                self._progress.say(
                    f"reading {first_path(case) or case.id} takes long; it is left out after {self._limit:g} s"
                )

    def _leave_out(self, chunk: _Chunk, position: int, reason: str) -> None:
        case = chunk.cases[position]
        chunk.rows[position] = Unread(Exclusion(case.id, reason, first_path(case)), passing=True)


def _how(code: int) -> str:
    """How a process ended, as the reason why a case was left out."""
    if code >= 0:
        return f"the process that read it ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    why = ", most often for want of memory" if name == "SIGKILL" else ""
    return f"the process that read it was ended by {name}{why}"
