"""The process that reads images: it imports no torch, and may crash or hang without harm to the run.

It is started by :mod:`medcnn.data.workers` and speaks with it through its standard input and output, in messages
of a length (8 bytes) and a pickle. Both ends are the same program; nothing of a third party is unpickled.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import time
from typing import Any

from medcnn.data.messages import receive as receive
from medcnn.data.messages import send as send
from medcnn.errors import MedcnnError
from medcnn.types import Case, ImageRef, Target

# Rows are handed over at least so often, so that little is read again after a crash.
HAND_OVER_S = 2.0
_PLACE = struct.Struct("<q")

Item = tuple[str, tuple[ImageRef, ...], tuple[Target, ...]]


class Place:
    """Where a worker is in its chunk, in a file that both processes map: 0 between chunks, else case n from 1.

    It survives the worker, however that ends, and costs no message a case.

    Args:
        path: A file of :attr:`SIZE` bytes.
    """

    SIZE = 8

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), self.SIZE)

    def set(self, place: int) -> None:
        """Say where the worker is."""
        _PLACE.pack_into(self._map, 0, place)

    def get(self) -> int:
        """Where the worker is, or was when it ended."""
        (place,) = _PLACE.unpack_from(self._map, 0)
        return int(place)

    def close(self) -> None:
        """Give the map back."""
        self._map.close()


def serve() -> None:
    """Read chunks of cases until the other side closes."""
    # Libraries that print do so into the standard error, so that the messages stay whole.
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    # Ctrl-C reaches the whole process group; the run itself decides how to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from medcnn.data.rows import read_row

    try:
        preprocessor, path = receive(incoming)
        place = Place(path)
        while True:
            items: list[Item] = receive(incoming)
            rows: list[Any] = []
            last = time.monotonic()
            for number, (name, images, targets) in enumerate(items, 1):
                place.set(number)
                rows.append(read_row(Case(name, images, targets), preprocessor))
                if time.monotonic() - last > HAND_OVER_S:
                    send(outgoing, ("part", rows))
                    rows, last = [], time.monotonic()
            place.set(0)
            send(outgoing, ("done", rows))
    except (EOFError, BrokenPipeError):
        return
    except MedcnnError as error:
        send(outgoing, ("error", (error.what, error.where, error.todo)))
