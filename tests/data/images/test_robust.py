"""Damaged and strange files: one named reason each, never another exception, a crash or an absurd allocation."""

from __future__ import annotations

import gzip
import importlib.util
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow
from pydicom.data import get_testdata_file

from medcnn.data.images import read_image, reading, scan_file, series_files
from medcnn.errors import ImageError
from medcnn.types import Image, ImageRef

VALUES = np.arange(60, dtype=np.int16).reshape(3, 4, 5)


def read(path: str | Path, **options: Any) -> Image:
    return read_image(ImageRef((str(path),), **options))


def bench() -> ModuleType:
    """The benchmark, whose sample is this test's."""
    place = Path(__file__).parents[2] / "benchmarks" / "bench_mutated.py"
    spec = importlib.util.spec_from_file_location("bench_mutated", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_mutated"] = module
    spec.loader.exec_module(module)
    return module


def test_a_sample_of_mutated_files_ends_in_images_or_reasons(tmp_path: Path) -> None:
    mutated = bench()
    kinds = []
    for name, data in mutated.mutants(250, seed=7):
        path = tmp_path / name
        path.write_bytes(data)
        kind, text = mutated.read_one(str(path))
        assert kind in ("read", "refused"), f"{name}: {text}"
        kinds.append(kind)
    assert min(kinds.count("read"), kinds.count("refused")) > 20


@pytest.mark.parametrize("name", ['it\'s "quoted"', "mit Leerzeichen", "Schädel-頭部", "two\nlines", "-x", "a=b;c|d"])
def test_names_do_not_matter(tmp_path: Path, name: str) -> None:
    for suffix, source in ((".dcm", get_testdata_file("CT_small.dcm")), ("", get_testdata_file("MR_small.dcm"))):
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(Path(str(source)).read_bytes())
        assert read(path).array.ndim == 3
    Pillow.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / f"{name}.png")
    nibabel.save(nibabel.Nifti1Image(VALUES, np.eye(4)), tmp_path / f"{name}.nii.gz")
    assert read(tmp_path / f"{name}.png").array.shape == (1, 3, 2)
    np.testing.assert_array_equal(read(tmp_path / f"{name}.nii.gz").array[0], VALUES)
    assert len(series_files(str(tmp_path))) == 2


def test_a_link_to_itself_or_its_parent_and_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "up").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("loop", "cannot be opened"), ("up", "folder"), ("pipe", "no regular file")):
        for reader in ("auto", "dicom", "nifti", "raster"):
            with pytest.raises(ImageError, match=message):
                read(tmp_path / name, reader=reader)
        assert not hasattr(scan_file(str(tmp_path / name)), "slices")


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Pillow.fromarray(np.zeros((2, 3), np.uint8)).save(path)
    load = reading.registry.load

    def growing(kind: Any, name: str) -> Callable[..., Image]:
        reader = load(kind, name)

        def read_and_grow(ref: ImageRef) -> Image:
            image = reader(ref)
            path.write_bytes(path.read_bytes() + b"more")
            return image

        return read_and_grow

    monkeypatch.setattr(reading.registry, "load", growing)
    with pytest.raises(ImageError, match="changed while it was read"):
        read(path)


def peak_of(path: Path, message: str) -> int:
    tracemalloc.start()
    with pytest.raises(ImageError, match=message):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("MR_small_RLE.dcm")))
    dataset.Rows = dataset.Columns = 65535
    dataset.save_as(tmp_path / "a.dcm")
    assert peak_of(tmp_path / "a.dcm", "decompression bomb") < 2**24
    header = nibabel.Nifti1Header()
    header.set_data_shape((32000, 32000, 32000))
    for name in ("a.nii", "a.nii.gz"):
        data = header.binaryblock + b"\0" * 1000
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        assert peak_of(tmp_path / name, "decompression bomb") < 2**24
    size = struct.pack(">IIBBBBB", 13000, 13000, 8, 0, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", size), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    assert peak_of(tmp_path / "a.png", "decompression bomb") < 2**24


def test_a_truncated_nifti_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((500, 500, 200))
    (tmp_path / "a.nii").write_bytes(header.binaryblock + b"\0" * 1000)
    assert peak_of(tmp_path / "a.nii", "truncated") < 2**24


def test_a_decoder_that_dies_costs_one_image(tmp_path: Path) -> None:
    path = str(get_testdata_file("JPGExtended.dcm"))
    expected = read(path).array
    from medcnn.data.images import gdcm_helper

    (helper,) = gdcm_helper._helpers.values()
    helper.kill()
    helper.wait()
    np.testing.assert_array_equal(read(path).array, expected)
    (other,) = gdcm_helper._helpers.values()
    assert other.pid != helper.pid


def test_a_decoder_that_asks_for_gigabytes_gets_none(tmp_path: Path) -> None:
    from medcnn.data.images import gdcm_helper

    data = Path(str(get_testdata_file("JPEG-lossy.dcm"))).read_bytes()
    read(str(get_testdata_file("JPEG-lossy.dcm")))
    (helper,) = gdcm_helper._helpers.values()
    # GDCM looks for the next fragment for ever, and keeps all that it passes.
    (tmp_path / "a.dcm").write_bytes(data[:6572] + bytes(13) + data[6572:])
    with pytest.raises(ImageError, match="GDCM cannot read the file"):
        read(tmp_path / "a.dcm")
    assert helper.poll() is None
    if (status := Path(f"/proc/{helper.pid}/status")).exists():
        assert int(status.read_text().split("VmHWM:")[1].split()[0]) < 2**20  # kB


def test_a_decoder_that_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    from medcnn.data.images import gdcm_helper

    path = str(get_testdata_file("JPGExtended.dcm"))
    read(path)
    monkeypatch.setattr(gdcm_helper, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(gdcm_helper, "_BYTES_PER_S", float("inf"))
    monkeypatch.setattr(gdcm_helper, "_ask", lambda helper, *_: gdcm_helper.json.loads(helper.stdout.readline()))
    with pytest.raises(ImageError, match="did not come to an end"):
        read(path)


def test_the_helper_ends_with_its_caller() -> None:
    path = str(get_testdata_file("JPGExtended.dcm"))
    code = (
        "import sys\nfrom medcnn.data.images import read_image, gdcm_helper\nfrom medcnn.types import ImageRef\n"
        "read_image(ImageRef((sys.argv[1],)))\nprint(next(iter(gdcm_helper._helpers.values())).pid)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert not Path(f"/proc/{int(done.stdout)}").exists()


def test_a_box_of_no_length_does_not_hang(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("GDCMJ2K_TextGBR.dcm")))
    at = dataset.PixelData.find(b"jP  ") - 4
    assert at > 0
    dataset.PixelData = dataset.PixelData[: at + 12] + b"\0\0\0\0ftyp" + dataset.PixelData[at + 20 :]
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(ImageError, match="box has no length"):
        read(tmp_path / "a.dcm")
