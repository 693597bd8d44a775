"""Training in several processes of this machine, started by torchrun's launcher from within one.

The process of the user (the *parent*) starts a *lead*, which is torchrun's agent, and the lead starts the *workers*.
Nothing is pickled: a worker opens the run folder, as ``--resume`` does, so that a script without a main guard, a
notebook and the command line work alike. The workers' standard output carries one JSON object a line to the parent:
progress of the first one, and errors of any. The end of the lead's standard input - the parent closed it, or is gone -
ends the lead and with it the workers, so that no process outlives its parent.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil

from medcnn.errors import DataError, MedcnnError, ModelError, RunError
from medcnn.progress import Progress, Silent
from medcnn.recipe.schema import TrainingSection
from medcnn.workflow import processes
from medcnn.workflow.folder import Run

MODULE = "medcnn.workflow.launch"
# Seconds that the agent has to end in order once its parent is gone.
PATIENCE = 3.0
_KINDS: dict[str, type[MedcnnError]] = {kind.__name__: kind for kind in (DataError, ModelError, RunError)}
_DISPLAY = ("start", "advance", "finish", "say")


def wanted(section: TrainingSection, device: str) -> int:
    """Processes that a recipe asks for on this machine; ``auto``: one a GPU, one without."""
    if section.devices != "auto":
        return section.devices
    if device != "cuda":
        return 1
    import torch

    return int(torch.cuda.device_count())


def require_launchable(section: TrainingSection, callbacks: Sequence[Any]) -> None:
    """Refuse what only a launcher outside of this process can start.

    Raises:
        RunError: If there are several machines, or callbacks that cannot be handed on.
    """
    if section.nodes > 1:
        raise RunError(
            f"training.nodes={section.nodes} needs a launcher",
            where="training.nodes",
            todo="start the same command on every node with torchrun",
        )
    if callbacks:
        raise RunError(
            "callbacks cannot be handed on to several processes",
            where="training.devices",
            todo="start the script itself with torchrun",
        )


def train_in_processes(run: Run, number: int, progress: Progress, *, resume: bool) -> None:
    """Train the folds of a prepared run in several processes, and wait for their end.

    Args:
        run: The prepared run.
        number: Processes.
        progress: Receives the display of the first process.
        resume: Go on with what is there.

    Raises:
        MedcnnError: What a process raised, or that one was ended from outside.
    """
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    # torchrun sets one thread a process with a remark; how many there are is decided later.
    environment.setdefault("OMP_NUM_THREADS", "1")
    package = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
    arguments = [str(run.folder), "resume" if resume else "start", str(run.allow_code or "")]
    command = [sys.executable, "-m", MODULE, "lead", str(number), *arguments]
    failures: list[dict[str, Any]] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        lead = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            encoding="utf-8",
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the parent alone, which then ends all.
        )
        assert lead.stdin is not None
        assert lead.stdout is not None
        try:
            for line in lead.stdout:
                _relay(line, progress, failures)
        finally:
            lead.stdin.close()
            code = lead.wait()
        if code != 0:
            complaints.seek(0)
            raise _failure(failures, complaints.read())


def _relay(line: str, progress: Progress, failures: list[dict[str, Any]]) -> None:
    """Pass a worker's line on to the display, or keep what it says of an error."""
    try:
        message = json.loads(line)
        kind, values = message["kind"], message["values"]
    except (ValueError, KeyError, TypeError):
        return
    if kind in _DISPLAY:
        getattr(progress, kind)(*values)
    else:
        failures.append(message)


def _failure(failures: Sequence[dict[str, Any]], complaints: str) -> Exception:
    """The error to raise for what the workers said, the user's own mistakes first."""
    for message in failures:
        if message["kind"] == "error":
            name, what, where, todo = message["values"]
            return _KINDS.get(name, MedcnnError)(what, where=where, todo=todo)
    for message in failures:
        return RuntimeError(message["values"][0])
    last = next((line for line in reversed(complaints.splitlines()) if line.strip()), "")
    return RunError(
        "a process of the training was ended from outside, most often for want of memory",
        where="training.devices",
        todo=f"use fewer processes or a smaller training.batch_size, then go on with --resume ({last.strip()[:200]})",
    )


class Channel:
    """A worker's line to the parent, which is also its progress."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def send(self, kind: str, *values: Any) -> None:
        """One line; a parent that is gone ends this process."""
        try:
            self._file.write(json.dumps({"kind": kind, "values": values}) + "\n")
            self._file.flush()
        except OSError:
            os._exit(1)

    def start(self, name: str, total: int | None, unit: str = "") -> None:
        """A step begins."""
        self.send("start", name, total, unit)

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Some units are done."""
        self.send("advance", amount, note)

    def finish(self) -> None:
        """The step is over."""
        self.send("finish")

    def say(self, text: str) -> None:
        """A line that stays."""
        self.send("say", text)


def lead(number: str, *arguments: str) -> None:
    """torchrun's agent, which ends its workers when its own standard input ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from torch.distributed.run import main

    main(["--standalone", f"--nproc-per-node={number}", "-m", MODULE, "work", *arguments])


def _end_with_parent() -> None:
    # Not through sys.stdin, whose lock the interpreter would miss at its own end.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    # The agent gives its workers half a minute, which a worker whose partner is gone may use up. Every file is whole
    # at any moment, so none of them needs it.
    time.sleep(PATIENCE)
    for worker in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    os._exit(1)


def work(folder: str, how: str, allow_code: str) -> int:
    """One worker: its share of the training of a run folder; returns the exit code."""
    # Whatever a library prints must not come between the messages.
    channel = Channel(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    try:
        with processes.together():
            _train(Run(Path(folder), Path(allow_code) if allow_code else None), channel, resume=how == "resume")
    except MedcnnError as error:
        channel.send("error", type(error).__name__, error.what, error.where, error.todo)
        return error.exit_code
    except Exception as error:
        channel.send("internal", f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
        return 1
    return 0


def _train(run: Run, channel: Channel, *, resume: bool) -> None:
    from medcnn.inference.hardware import choose_hardware
    from medcnn.workflow.folds import train_folds
    from medcnn.workflow.prepare import reopen

    section = run.recipe.training
    hardware = choose_hardware(section.device, section.precision, section.threads)
    processes.start(hardware.device)
    prepared = reopen(run, Silent())
    progress = channel if processes.is_main() else Silent()
    train_folds(prepared, run.recipe, hardware, progress, resume=resume, allow_code=run.allow_code)


if __name__ == "__main__":
    part, *rest = sys.argv[1:]
    (lead if part == "lead" else work)(*rest)
