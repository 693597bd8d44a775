"""The process that runs GDCM: reads requests of one line of JSON, answers with a line of JSON and raw values.

GDCM ends its process on some damaged files; here that costs one answer, not the caller.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

# Beyond what the process takes by itself: decoders make a few copies of what they were given, and damaged headers
# make them ask for gigabytes.
_SPARE_BYTES = 2**29
_COPIES = 4


def main() -> None:
    """Serve until the input ends."""
    warnings.simplefilter("ignore")
    out: BinaryIO = sys.stdout.buffer
    # GDCM writes warnings where it likes; the answers have this stream to themselves.
    sys.stdout = sys.stderr
    known: dict[str, Any] = {}
    _import()
    own = _own_memory()
    out.write(b"ready\n")
    out.flush()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _limit_memory(own + _SPARE_BYTES + _COPIES * request["bytes"])
        try:
            array, photometric = _decode(request, known)
        except Exception as error:
            words = " ".join(str(error).split())[:300]
            if "'NoneType' object" in words:
                # pydicom asks GDCM for the values, and there are none.
                words = "they are damaged, or of a form that it does not know"
            elif isinstance(error, MemoryError):
                words = "they ask for far more memory than such an image takes"
            out.write(json.dumps({"error": words or type(error).__name__}).encode() + b"\n")
        else:
            head = {"shape": array.shape, "type": array.dtype.str, "photometric": photometric}
            out.write(json.dumps(head).encode() + b"\n")
            out.write(np.ascontiguousarray(array).data)
        out.flush()


def _import() -> None:
    """Whatever the first frame would otherwise wait for."""
    from importlib import import_module

    for name in ("gdcm", "pydicom.pixels.decoders.gdcm"):
        import_module(name)


def _own_memory() -> int:
    """Address space of this process in bytes; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _limit_memory(most: int) -> None:
    try:
        import resource
    except ImportError:
        # Not on Windows, which has no such limit.
        return
    if not Path("/proc/self/statm").exists():
        # What the process takes by itself is not known there.
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _decode(request: dict[str, Any], known: dict[str, Any]) -> tuple[NDArray[Any], str]:
    import pydicom
    from pydicom.pixels.decoders.base import get_decoder

    key = json.dumps([request["path"], request["state"]])
    if key not in known:
        known.clear()
        known[key] = _twelve_bits(request) if request["twelve"] else pydicom.dcmread(request["path"], force=True)
    if request["twelve"]:
        return known[key][request["frame"]], "MONOCHROME2"
    dataset = known[key]
    decoder = get_decoder(pydicom.uid.UID(request["syntax"]))
    array, meta = decoder.as_array(dataset, index=request["frame"], decoding_plugin="gdcm")
    return np.asarray(array), str(meta.get("photometric_interpretation", ""))


def _twelve_bits(request: dict[str, Any]) -> NDArray[Any]:
    """12-bit JPEG, which GDCM decodes from the file though pydicom's plug-in does not ask it to."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(request["path"])
    if not reader.Read():
        raise ValueError("GDCM cannot read the file")
    data = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    shape = (-1, *request["shape"])
    return np.frombuffer(data, request["type"]).reshape(shape)


if __name__ == "__main__":
    main()
