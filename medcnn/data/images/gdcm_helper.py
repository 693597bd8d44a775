"""GDCM at arm's length: one helper process for each process that meets a file which only GDCM decodes."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images.dicom_file import Source
from medcnn.data.images.dicom_format import Format
from medcnn.data.images.limits import check_size
from medcnn.errors import ImageError

# A frame takes milliseconds; what takes this long will never end. The start of the process is another matter.
_START_S = 120.0
_PATIENCE_S = 3.0
_BYTES_PER_S = 5e6
_lock = threading.Lock()
_helpers: dict[int, subprocess.Popen[bytes]] = {}


def decode_by_gdcm(source: Source, form: Format, frame: int, *, twelve: bool) -> tuple[NDArray[Any], str]:
    """One frame by GDCM.

    Args:
        source: The file.
        form: Its image pixel module.
        frame: Which frame.
        twelve: Whether this is JPEG Extended of 12 bit.

    Returns:
        Stored values and the photometric interpretation that they have now.

    Raises:
        ImageError: If GDCM refuses the file, dies of it or does not come back.
    """
    # GDCM decodes all frames of 12 bit at once.
    work = form.frame_bytes * (form.frames if twelve else 1)
    request = {
        "path": os.path.abspath(source.path),
        "state": source.state,
        "syntax": source.syntax,
        "frame": frame,
        "twelve": twelve,
        "bytes": work + source.state[0],
        "shape": form.shape,
        "type": f"<{'i' if form.signed else 'u'}{form.allocated // 8}",
    }
    with _lock:
        helper = _running()
        timer = threading.Timer(_PATIENCE_S + work / _BYTES_PER_S, helper.kill)
        timer.start()
        try:
            return _ask(helper, request, source.path)
        except (OSError, ValueError) as error:
            _end(helper)
            todo = "copy the file anew, or convert it, for example with gdcmconv --raw"
            raise ImageError(
                "the decoder (GDCM) died of the pixel data or did not come to an end", where=source.path, todo=todo
            ) from error
        finally:
            timer.cancel()


def _ask(helper: subprocess.Popen[bytes], request: dict[str, Any], path: str) -> tuple[NDArray[Any], str]:
    assert helper.stdin is not None
    assert helper.stdout is not None
    helper.stdin.write(json.dumps(request).encode() + b"\n")
    helper.stdin.flush()
    answer = json.loads(helper.stdout.readline())
    if "error" in answer:
        raise ImageError(f"GDCM cannot decode the pixels: {answer['error']}", where=path)
    shape, kind = tuple(answer["shape"]), np.dtype(answer["type"])
    size = prod(shape) * kind.itemsize
    check_size(shape, kind.itemsize, os.path.getsize(path), path)
    data = helper.stdout.read(size)
    if len(data) != size:
        raise ValueError("the helper ended in the middle of its answer")
    return np.frombuffer(data, kind).reshape(shape), answer["photometric"]


def _running() -> subprocess.Popen[bytes]:
    """The helper of this very process: a forked child must not talk into its parent's pipe."""
    helper = _helpers.get(os.getpid())
    if helper is None or helper.poll() is not None:
        _helpers.clear()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([_root(), os.environ.get("PYTHONPATH", "")])}
        helper = subprocess.Popen(
            [sys.executable, "-m", "medcnn.data.images.gdcm_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        _helpers[os.getpid()] = helper
        atexit.register(_end, helper)
        _await(helper)
    return helper


def _await(helper: subprocess.Popen[bytes]) -> None:
    """Wait for the line by which the helper says that its imports are done."""
    assert helper.stdout is not None
    timer = threading.Timer(_START_S, helper.kill)
    timer.start()
    helper.stdout.readline()
    timer.cancel()


def _root() -> str:
    """The folder that holds the package, however it was found."""
    return str(Path(__file__).resolve().parents[3])


def _end(helper: subprocess.Popen[bytes]) -> None:
    helper.kill()
    helper.wait()
    for pipe in (helper.stdin, helper.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                # What was not yet written goes nowhere now.
                continue
    _helpers.pop(os.getpid(), None)
