"""The processes of a launcher such as torchrun: every one runs the same steps, one of them writes.

Without a launcher there is one process, and all of this is nothing.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from medcnn.errors import MedcnnError
from medcnn.types import Prediction

ValueT = TypeVar("ValueT")

# One process prepares the data while the others wait for it.
PATIENCE = timedelta(hours=24)
# Seconds in which a launcher ends the other processes after one of them ended with an error.
GRACE = 60.0
# Seconds for which a process lets the main one speak first, when both may have met the same error.
COURTESY = 5.0
_LOST = ("connection closed by peer", "connection reset by peer", "broken pipe", "socket closed", "timed out waiting")


def launched() -> bool:
    """Whether a launcher started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def count() -> int:
    """Processes of the launcher."""
    return int(os.environ.get("WORLD_SIZE", "1")) if launched() else 1


def rank() -> int:
    """Number of this process."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def is_main() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def start(device: str) -> None:
    """Join the launcher's group; the trainer uses the group that it finds."""
    import torch
    import torch.distributed as dist

    if count() == 1 or dist.is_initialized():
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    atexit.register(dist.destroy_process_group)


@contextmanager
def together() -> Iterator[None]:
    """Let an error of one process end in one message, not in one for each process.

    A process that only lost its partners has nothing to tell and waits for its end. What the main process says
    needs no repetition: the others give it the time to say it, and their launcher the time to end them.
    """
    try:
        yield
    except Exception as error:
        if count() == 1:
            raise
        if partner_lost(error):
            time.sleep(GRACE)
            raise SystemExit(1) from None
        if not is_main():
            time.sleep(COURTESY)
        raise


def partner_lost(error: Exception) -> bool:
    """Whether an error only says that another process is gone."""
    import torch.distributed as dist

    if isinstance(error, MedcnnError):
        return False
    text = str(error).lower()
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and any(t in text for t in _LOST))


def barrier() -> None:
    """Wait until all processes are here."""
    if count() > 1:
        import torch.distributed as dist

        dist.barrier()


def gather(found: dict[int, Prediction]) -> dict[int, Prediction]:
    """The predictions of all processes."""
    if count() == 1:
        return found
    import torch.distributed as dist

    parts: list[dict[int, Prediction] | None] = [None] * count()
    dist.all_gather_object(parts, found)
    return {index: p for part in parts if part for index, p in part.items()}


def share(value: ValueT | None) -> ValueT:
    """The main process's value, in every process."""
    if count() > 1:
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, src=0)
        value = box[0]
    assert value is not None
    return value
