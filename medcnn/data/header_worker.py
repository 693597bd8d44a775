"""The process that reads headers: it imports no torch; its messages are those of :mod:`medcnn.data.messages`."""

from __future__ import annotations

import os
import signal

from medcnn.data.messages import receive, send


def serve() -> None:
    """Read the headers of lists of files until the other side closes."""
    # Libraries that print do so into the standard error, so that the messages stay whole.
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    # Ctrl-C reaches the whole process group; the run itself decides how to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from medcnn.data.header_rows import scan_row

    try:
        extra = receive(incoming)
        while True:
            send(outgoing, [scan_row(path, name, extra) for path, name in receive(incoming)])
    except (EOFError, BrokenPipeError):
        return
