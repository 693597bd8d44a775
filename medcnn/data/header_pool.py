"""Reads the headers of many files in processes of their own, which hold no torch and may crash without harm."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

from medcnn.data.header_rows import Row, scan_row
from medcnn.data.messages import receive, send
from medcnn.errors import RunError

CHUNK = 64
# Below this number of files a process takes longer to start than to read them.
FEW = 192
STARTS = 3

Named = tuple[str, bytes]


def scan_files(files: Iterator[Named], extra: Sequence[str], workers: int, total: int) -> Iterator[list[Row]]:
    """A row for each file, in lists, in any order; memory stays flat.

    Args:
        files: Paths, and what the index calls them.
        extra: Keywords of further elements to keep.
        workers: Processes; 0 or 1 reads in this one.
        total: Number of files.

    Raises:
        RunError: If no process can be started.
    """
    if workers < 2 or total < FEW:
        for chunk in _chunks(files, CHUNK):
            yield [scan_row(path, name, extra) for path, name in chunk]
        return
    pool = _Pool(files, extra, min(workers, -(-total // CHUNK)))
    try:
        yield from pool.rows()
    finally:
        pool.stop()


def _chunks(files: Iterator[Named], size: int) -> Iterator[list[Named]]:
    chunk: list[Named] = []
    for one in files:
        chunk.append(one)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class _Pool:
    """A thread for each process: it hands out chunks and puts the rows into a queue."""

    def __init__(self, files: Iterator[Named], extra: Sequence[str], count: int) -> None:
        self._chunks, self._extra = _chunks(files, CHUNK), tuple(extra)
        self._lock = threading.Lock()
        self._stopped = self._answered = False
        self._lost = 0
        self._found: queue.Queue[list[Row] | Exception | None] = queue.Queue(maxsize=4 * count)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        # The files are listed by the caller's thread, which alone may use its database.
        self._todo: queue.Queue[list[Named] | None] = queue.Queue()
        for thread in self._threads:
            thread.start()

    def rows(self) -> Iterator[list[Row]]:
        """Lists of rows as they come."""
        ahead, running = 0, len(self._threads)
        more = True
        while running:
            while more and ahead < 3 * len(self._threads):
                chunk = next(self._chunks, None)
                if chunk is None:
                    more = False
                    for _ in self._threads:
                        self._todo.put(None)
                else:
                    self._todo.put(chunk)
                    ahead += 1
            found = self._found.get()
            if found is None:
                running -= 1
            elif isinstance(found, Exception):
                raise found
            else:
                ahead -= 1
                yield found

    def stop(self) -> None:
        """End the processes, whatever they are at."""
        self._stopped = True
        with self._lock:
            for process in self._processes:
                process.kill()
        for _ in self._threads:
            self._todo.put(None)
        while any(thread.is_alive() for thread in self._threads):
            with contextlib.suppress(queue.Empty):
                self._found.get(timeout=0.05)

    def _work(self) -> None:
        process: subprocess.Popen[bytes] | None = None
        try:
            while not self._stopped and (chunk := self._todo.get()) is not None:
                process = process if process is not None and process.poll() is None else self._start()
                rows = _ask(process, chunk)
                self._answered = self._answered or rows is not None
                # It ended: each file alone tells which one ended it.
                self._found.put(rows if rows is not None else [self._alone(one) for one in chunk])
        except Exception as error:
            self._found.put(error)
        finally:
            if process is not None:
                _end(process)
            self._found.put(None)

    def _alone(self, one: Named) -> Row:
        process = self._start()
        rows = _ask(process, [one])
        _end(process)
        if rows is not None:
            self._answered = True
            return rows[0]
        self._lost += 1
        if not self._answered and self._lost >= STARTS and not self._stopped:
            raise RunError(
                "the processes that read headers end before they read any", todo="free some memory, or use fewer"
            )
        return Row(one[1], 0, 0, 0, reason="the process that read the header ended")

    def _start(self) -> subprocess.Popen[bytes]:
        code = f"import sys; sys.path[:] = {sys.path!r}; from medcnn.data.header_worker import serve; serve()"
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            )
        except OSError as error:
            raise RunError(
                f"a process that reads headers cannot be started: {error.strerror}", todo="use fewer processes"
            ) from error
        with self._lock:
            self._processes.append(process)
            if self._stopped:
                process.kill()
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            send(process.stdin, self._extra)
        return process


def _ask(process: subprocess.Popen[bytes], chunk: list[Named]) -> list[Row] | None:
    """The rows of a chunk; ``None`` where the process is gone."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        send(process.stdin, chunk)
        rows: list[Row] = receive(process.stdout)
        return rows
    except (EOFError, OSError, ValueError):
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            # What was never sent to a process that is gone stays in the pipe.
            with contextlib.suppress(OSError):
                pipe.close()
