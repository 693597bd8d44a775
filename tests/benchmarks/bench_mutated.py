"""Broken files: good DICOM, NIfTI, JPEG, PNG and TIFF files with bytes flipped, cut out or repeated, then read.

Each file is read in a worker process. The goals: no crash, no read above 5 s, none above 2 GB of memory, and each
file ends in a readable image or in an ImageError of one line that names the file. Seconds are those of the processor
(the worker's and those of the process in which GDCM runs), so that a busy machine makes no hang; what has not come
after a minute by the clock hangs, whatever it does.

Run: python tests/benchmarks/bench_mutated.py [files] [seed]
"""

from __future__ import annotations

import gzip
import io
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

LIMIT_S = 5.0
LIMIT_CLOCK_S = 60.0
LIMIT_BYTES = 2 * 10**9


class Outcome(NamedTuple):
    """How one file ended."""

    kind: str  # read, refused, failed (another exception), crashed, hung
    text: str
    seconds: float
    peak: int


def good_files() -> dict[str, bytes]:
    """Small good files of all formats and of every compression that pydicom ships an example of."""
    import pydicom
    from PIL import Image

    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    small = [p for p in sorted(folder.glob("*.dcm")) if p.stat().st_size < 300_000]
    files = {p.name: p.read_bytes() for p in small if read_one(str(p))[0] == "read"}
    files.update(_compressed(folder / "CT_small.dcm"))
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8) + rng.integers(0, 9, (48, 64), np.uint8)
    pictures = {"grey": smooth, "rgb": np.stack([smooth, smooth.T.reshape(48, 64), 255 - smooth], -1)}
    for name, values in pictures.items():
        for kind, options in (("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("TIFF", {}),
                              ("TIFF", {"compression": "tiff_lzw"})):  # fmt: skip
            data = io.BytesIO()
            Image.fromarray(values).save(data, kind, **options)
            files[f"{name}{len(files)}.{kind.lower()}"] = data.getvalue()
    data = io.BytesIO()
    Image.fromarray(smooth.astype(np.uint16) * 99).save(data, "PNG")
    files["deep.png"] = data.getvalue()
    files.update(_niftis(rng))
    return files


def _compressed(path: Path) -> dict[str, bytes]:
    """A CT slice in the codings of which the package has no example of more than 8 bit without loss."""
    import gdcm
    import pydicom

    found = {}
    for name in ("RLELossless", "JPEGLSLossless", "JPEG2000Lossless"):
        one, data = pydicom.dcmread(path), io.BytesIO()
        one.compress(getattr(pydicom.uid, name))
        one.save_as(data)
        found[f"{name}.dcm"] = data.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        change.Change()
        writer.SetFileName(f"{folder}/a.dcm")
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.Write()
        found["JPEGLossless.dcm"] = Path(folder, "a.dcm").read_bytes()
    return found


def _niftis(rng: np.random.Generator) -> dict[str, bytes]:
    import nibabel

    found = {}
    for name, shape, kind in (
        ("a", (9, 8, 7), np.int16),
        ("b", (6, 5, 4, 3), np.float32),
        ("c", (20, 20, 3), np.uint8),
    ):
        values = rng.integers(0, 99, shape).astype(kind)
        image = nibabel.Nifti1Image(values, np.diag([2.0, 2, 3, 1]))
        image.header.set_slope_inter(2, 1)
        found[f"{name}.nii"] = image.to_bytes()
        found[f"{name}.nii.gz"] = gzip.compress(image.to_bytes())
        found[f"{name}2.nii"] = nibabel.Nifti2Image(values, np.eye(4)).to_bytes()
    return found


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip, cut out, repeat or shorten; once or twice, half of them in the first kilobyte."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 3))):
        reach = min(len(found), 1024) if rng.random() < 0.5 else len(found)
        if reach < 8:
            break
        at, length = int(rng.integers(0, reach)), int(rng.integers(1, 65))
        match rng.integers(0, 5):
            case 0:
                for place in rng.integers(0, reach, int(rng.integers(1, 20))):
                    found[place] ^= 1 << int(rng.integers(0, 8))
            case 1:
                found[at : at + length] = rng.integers(0, 256, min(length, len(found) - at), np.uint8).tobytes()
            case 2:
                del found[at : at + length]
            case 3:
                found[at:at] = found[at : at + length] * int(rng.integers(1, 9))
            case _:
                del found[max(at, len(found) // 2) :]
    return bytes(found)


def mutants(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents of ``count`` broken files."""
    good = good_files()
    names = sorted(good)
    rng = np.random.default_rng(seed)
    for i in range(count):
        name = names[i % len(names)]
        yield f"{i:05d}-{name}", mutate(good[name], rng)


def read_one(path: str) -> tuple[str, str]:
    """Read a file, also a frame of it; ``read``, ``refused`` or ``failed`` with the text."""
    from medcnn.data.images import read_image, scan_file
    from medcnn.errors import ImageError
    from medcnn.types import ImageRef

    try:
        scan_file(path)
        try:
            image = read_image(ImageRef((path,)))
        except ImageError as error:
            if "index" not in error.todo:
                raise
            image = read_image(ImageRef((path,), index=0))
        return "read", "x".join(map(str, image.array.shape))
    except ImageError as error:
        named = path in error.where and error.what and "\n" not in error.what
        return ("refused" if named else "failed"), error.what
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"


def _serve(pipe: Connection) -> None:
    warnings.simplefilter("ignore")
    read_one("")
    while path := pipe.recv():
        Path("/proc/self/clear_refs").write_text("5")
        start = _busy()
        kind, text = read_one(path)
        status = Path("/proc/self/status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
        pipe.send((kind, text, _busy() - start, max(peak, _peak_of_helpers())))


def _busy() -> float:
    """Seconds of the processor so far: of this process, of those that it started and that ended, and of the living."""
    from medcnn.data.images import gdcm_helper

    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime
    for helper in gdcm_helper._helpers.values():
        status = Path(f"/proc/{helper.pid}/stat")
        if helper.poll() is None and status.exists():
            user, system = status.read_text().rpartition(")")[2].split()[11:13]
            total += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return total


def _peak_of_helpers() -> int:
    """Largest memory of the processes in which GDCM ran, dead ones among them."""
    from medcnn.data.images import gdcm_helper

    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    for helper in gdcm_helper._helpers.values():
        status = Path(f"/proc/{helper.pid}/status")
        if helper.poll() is None and status.exists():
            peak = max(peak, int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024)
    return peak


class Worker:
    """A process that reads files one by one, and is started anew when it dies or hangs."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self) -> None:
        self._pipe, other = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()
        self._fresh = True

    def read(self, path: str) -> Outcome:
        """One file; the first one of a process may take the time of its imports."""
        self._pipe.send(path)
        limit, self._fresh = LIMIT_CLOCK_S + (60 if self._fresh else 0), False
        try:
            if self._pipe.poll(limit):
                return Outcome(*self._pipe.recv())
            outcome = Outcome("hung", f"above {limit:.0f} s by the clock", limit, 0)
        except EOFError:
            self._process.join()
            outcome = Outcome("crashed", f"exit code {self._process.exitcode}", 0.0, 0)
        self._process.kill()
        self._start()
        return outcome

    def close(self) -> None:
        """End the process."""
        self._pipe.send("")
        self._process.join(5)


def main() -> int:
    """Print what became of the files; exit 1 if a goal was missed."""
    given: list[Any] = [int(v) for v in sys.argv[1:3]]
    count, seed = [*given, *(5000, 0)[len(given) :]]
    kinds: Counter[str] = Counter()
    slowest = largest = 0.0
    bad = []
    worker = Worker()
    with tempfile.TemporaryDirectory() as folder:
        for name, data in mutants(count, seed):
            path = Path(folder) / name
            path.write_bytes(data)
            outcome = worker.read(str(path))
            kinds[outcome.kind] += 1
            slowest, largest = max(slowest, outcome.seconds), max(largest, outcome.peak)
            if outcome.kind not in ("read", "refused") or outcome.seconds > LIMIT_S or outcome.peak > LIMIT_BYTES:
                bad.append(f"{name}: {outcome.kind}: {outcome.text} ({outcome.seconds:.1f} s)")
            path.unlink()
    worker.close()
    print(f"{count} files (seed {seed}): {', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}")
    print(f"slowest {slowest:.2f} s of the processor, largest {largest / 1e9:.2f} GB")
    print("\n".join(bad[:50]) or "goals reached: no crash, none above 5 s, none above 2 GB, all named")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
