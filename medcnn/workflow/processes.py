"""The processes of a launcher such as torchrun: every one runs the same steps, one of them writes.

Without a launcher there is one process, and all of this is nothing.
"""

from __future__ import annotations

import os
from typing import TypeVar

from medcnn.types import Prediction

ValueT = TypeVar("ValueT")


def count() -> int:
    """Processes of the launcher."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """Number of this process."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def is_main() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def start(device: str) -> None:
    """Join the launcher's group; the trainer uses the group that it finds."""
    import torch.distributed as dist

    if count() > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device == "cuda" else "gloo")


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
