"""The cache: opened where nothing changed, made where a byte did, and whole or absent."""

from __future__ import annotations

import copy
import errno
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medcnn.data import row_file
from medcnn.data.cache import PROCESS_BYTES, Cache, build_cache, default_cache_folder, estimate
from medcnn.data.preprocess import Preprocessor
from medcnn.errors import RunError
from medcnn.progress import Silent
from medcnn.recipe.schema import InputSection
from medcnn.types import Case, ImageRef

RANDOM = np.random.default_rng(0)


def png(path: Path, dtype: Any = np.uint8) -> Case:
    path.parent.mkdir(exist_ok=True)
    top = np.iinfo(dtype).max
    Pillow.fromarray((RANDOM.random((5, 4)) * top).astype(dtype)).save(path)
    return Case(path.stem, (ImageRef((str(path),)),))


def make(cases: list[Case], folder: Path, *, workers: int = 0, **options: Any) -> Cache:
    section = InputSection.model_validate({"size": (4, 5), **options})
    return build_cache(cases, Preprocessor(section), folder / "cache", workers=workers, progress=Silent())


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    return [png(tmp_path / "in" / f"{i}.png") for i in range(5)]


def test_rows_are_the_images(cases: list[Case], tmp_path: Path) -> None:
    cache = make(cases, tmp_path)
    assert cache.dtype == "uint8"
    assert cache.scale == 1 / 255
    assert cache.cases == tuple(cases)
    for row, case in enumerate(cases):
        with Pillow.open(case.images[0].paths[0]) as picture:
            np.testing.assert_array_equal(cache.images[row, 0], np.asarray(picture).T)
    fact = cache.facts[2]
    assert (fact.case, fact.shape, fact.dtype) == ("2", (1, 4, 5), "uint8")
    assert (fact.low, fact.high) == (cache.images[2].min(), cache.images[2].max())
    assert len({f.digest for f in cache.facts}) == 5


def test_a_second_call_opens_it(cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(cases, tmp_path)
    stamp = (first.path / "images.bin").stat().st_mtime_ns
    monkeypatch.setattr("medcnn.data.workers.read_row", lambda *_: pytest.fail("an image was read again"))
    second = make(cases, tmp_path)
    assert second.path == first.path
    assert (second.path / "images.bin").stat().st_mtime_ns == stamp


def test_a_changed_byte_makes_it_anew(cases: list[Case], tmp_path: Path) -> None:
    first = make(cases, tmp_path)
    path = Path(cases[1].images[0].paths[0])
    status = path.stat()
    data = bytearray(path.read_bytes())
    png(path)
    # Another content of the same size with the old time of modification, as some copying tools leave it.
    path.write_bytes(path.read_bytes()[: len(data)].ljust(len(data), b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = make(cases, tmp_path)
    assert second.key != first.key
    assert (second.images[1] != first.images[1]).any()


def test_other_steps_or_cases_make_another(cases: list[Case], tmp_path: Path) -> None:
    keys = {make(cases, tmp_path).key, make(cases[:4], tmp_path).key, make(cases, tmp_path, fit="crop").key}
    assert len(keys) == 3
    assert make(cases, tmp_path, symmetric_axes=(0,), augment=None).key in keys


def test_the_other_half_of_a_pair_counts(tmp_path: Path) -> None:
    import nibabel

    path = tmp_path / "a.hdr"

    def write(value: int) -> Case:
        nibabel.save(nibabel.Nifti1Pair(np.full((4, 5, 1), value, np.uint8), np.eye(4)), path)
        return Case("a", (ImageRef((str(path),), "nifti"),))

    first = make([write(1)], tmp_path).key
    assert make([write(2)], tmp_path).key != first


def test_what_cannot_be_read_is_left_out_by_name(cases: list[Case], tmp_path: Path) -> None:
    broken, text = tmp_path / "broken.png", tmp_path / "text.png"
    broken.write_bytes(Path(cases[0].images[0].paths[0]).read_bytes()[:40])
    text.write_text("no image")
    bad = [Case(p.stem, (ImageRef((str(p),)),)) for p in (broken, text, tmp_path / "absent.png", tmp_path)]
    bad.append(Case("nothing", ()))
    cache = make([bad[0], *cases, *bad[1:]], tmp_path)
    assert [c.id for c in cache.cases] == [c.id for c in cases]
    assert {e.case for e in cache.exclusions} == {c.id for c in bad}
    assert all(e.reason for e in cache.exclusions)
    assert {e.case: e.path for e in cache.exclusions}["absent"].endswith("absent.png")
    again = make([bad[0], *cases, *bad[1:]], tmp_path)
    assert again.exclusions == cache.exclusions


def test_of_a_copy_of_the_data_the_copys_files_are_named(cases: list[Case], tmp_path: Path) -> None:
    import shutil

    Path(cases[1].images[0].paths[0]).write_bytes(b"no image")
    first = make(cases, tmp_path)
    shutil.copytree(tmp_path / "in", tmp_path / "copy")
    copied = [Case(c.id, (ImageRef((str(tmp_path / "copy" / f"{c.id}.png"),)),)) for c in cases]
    second = make(copied, tmp_path)
    assert second.path == first.path
    assert [e.path for e in first.exclusions] == [str(tmp_path / "in" / "1.png")]
    assert [e.path for e in second.exclusions] == [str(tmp_path / "copy" / "1.png")]


def test_no_usable_case_is_an_empty_cache(tmp_path: Path) -> None:
    cache = make([Case("a", (ImageRef((str(tmp_path / "a.png"),)),))], tmp_path)
    assert cache.images.shape == (0, 1, 4, 5)
    assert len(cache.exclusions) == 1


@pytest.mark.parametrize("place", [0, 3, 5])
def test_bytes_and_floats_together(cases: list[Case], tmp_path: Path, place: int) -> None:
    deep = png(tmp_path / "in" / "deep.png", np.uint16)
    mixed = [*cases[:place], deep, *cases[place:]]
    cache = make(mixed, tmp_path)
    assert cache.dtype == "float32"
    assert cache.scale == 1.0
    steps = Preprocessor(InputSection.model_validate({"size": (4, 5)}))
    from medcnn.data.images import read_case

    for row, case in enumerate(mixed):
        np.testing.assert_allclose(cache.images[row], steps(read_case(case)).image, atol=1e-6)


def test_processes_give_what_one_gives(tmp_path: Path) -> None:
    many = [png(tmp_path / "in" / f"{i}.png", np.uint16 if i == 40 else np.uint8) for i in range(70)]
    (tmp_path / "in" / "7.png").write_bytes(b"broken")
    one, two = make(many, tmp_path / "one"), make(many, tmp_path / "two", workers=2)
    assert one.key == two.key
    assert one.cases == two.cases
    assert one.facts == two.facts
    assert one.exclusions == two.exclusions
    np.testing.assert_array_equal(one.images, two.images)


def test_pickle_and_copy_carry_no_pixels(cases: list[Case], tmp_path: Path) -> None:
    cache = make(cases, tmp_path)
    data = pickle.dumps(cache)
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.images, cache.images)
    assert again.cases == cache.cases
    assert b"_images" not in data
    assert copy.deepcopy(cache) is cache


def test_take_keeps_the_order_asked_for(cases: list[Case], tmp_path: Path) -> None:
    cache = make(cases, tmp_path)
    rows = np.array([3, 0, 3, 4])
    np.testing.assert_array_equal(cache.take(rows), cache.images[rows])
    assert cache.take(np.array([], np.int64)).shape == (0, 1, 4, 5)


@pytest.mark.parametrize("harm", ["short", "no index", "broken index", "old index"])
def test_a_damaged_cache_is_made_anew(cases: list[Case], tmp_path: Path, harm: str) -> None:
    cache = make(cases, tmp_path)
    images = np.array(cache.images)
    index = cache.path / "index.json"
    if harm == "short":
        os.truncate(cache.path / "images.bin", 7)
    elif harm == "no index":
        index.unlink()
    elif harm == "broken index":
        index.write_text("{")
    else:
        index.write_text(json.dumps({"format": 0}))
    assert Cache.open(cache.path, cases) is None
    np.testing.assert_array_equal(make(cases, tmp_path).images, images)
    left = [p.name for p in (tmp_path / "cache").iterdir() if p.name.startswith(".")]
    assert left == []


def test_a_damaged_memo_is_no_harm(cases: list[Case], tmp_path: Path) -> None:
    first = make(cases, tmp_path)
    for text in ("[1]", "{", '{"x": 1}'):
        (tmp_path / "cache" / "inputs.json").write_text(text)
        assert make(cases, tmp_path).key == first.key


class Disk:
    """A file system with so many free bytes beside what is always left free."""

    def __init__(self, free: int) -> None:
        self.free = free + row_file.SPARE


def small_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(row_file.shutil, "disk_usage", lambda _: Disk(free))


BYTE, FLOAT = 5 * 20, 5 * 20 * 4


@pytest.mark.parametrize(
    ("free", "dtype", "fits"),
    [
        (BYTE - 1, np.uint8, False),
        (BYTE, np.uint8, True),
        (FLOAT - 1, np.uint8, True),
        (BYTE, np.uint16, False),
        (FLOAT - 1, np.uint16, False),
        (FLOAT, np.uint16, True),
    ],
)
def test_the_disk_needs_what_the_rows_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, dtype: Any, fits: bool
) -> None:
    cases = [png(tmp_path / "in" / f"{i}.png", dtype) for i in range(5)]
    small_disk(monkeypatch, free)
    if fits:
        assert len(make(cases, tmp_path).cases) == 5
        return
    with pytest.raises(RunError, match="MB are free") as caught:
        make(cases, tmp_path)
    assert "data.cache" in caught.value.todo
    assert caches(tmp_path) == []


def caches(folder: Path) -> list[str]:
    return [p.name for p in (folder / "cache").iterdir() if p.is_dir()]


def test_the_need_is_not_guessed_for_many_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = png(tmp_path / "in" / "deep.png", np.uint16)
    cases = [Case(str(i), deep.images) for i in range(3000)]
    small_disk(monkeypatch, 3000 * 20 * 4 - 1)
    with pytest.raises(RunError, match="MB are free"):
        make(cases, tmp_path)


def test_one_deep_image_that_no_sample_showed_is_refused_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [png(tmp_path / "in" / f"{i}.png", np.uint16 if i == 25 else np.uint8) for i in range(30)]
    small_disk(monkeypatch, 30 * 20)
    with pytest.raises(RunError, match="MB are free"):
        make(cases, tmp_path)
    assert caches(tmp_path) == []


def test_a_disk_that_fills_up_ends_in_one_error(
    cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = row_file.RowFile.write, []

    def full(self: row_file.RowFile, array: Any) -> None:
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(1)
        real(self, array)

    monkeypatch.setattr(row_file.RowFile, "write", full)
    with pytest.raises(RunError, match="No space left"):
        make(cases, tmp_path)
    assert caches(tmp_path) == []
    monkeypatch.setattr(row_file.RowFile, "write", real)
    assert len(make(cases, tmp_path).cases) == 5


def test_what_a_killed_run_left_is_removed_after_a_day(cases: list[Case], tmp_path: Path) -> None:
    for name, age in ((".dead.x", 100_000), (".busy.y", 60)):
        (tmp_path / "cache" / name).mkdir(parents=True)
        file = tmp_path / "cache" / name / "images.bin"
        file.write_bytes(b"1")
        for path in (file, file.parent):
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age))
    made = make(cases, tmp_path)
    assert sorted(caches(tmp_path)) == sorted([".busy.y", made.key])


def test_the_estimate_bounds_what_is_written(tmp_path: Path) -> None:
    cases = [png(tmp_path / "in" / f"{i}.png", np.uint16) for i in range(5)]
    made = make(cases, tmp_path)
    section = InputSection.model_validate({"size": (4, 5)})
    assert estimate(cases, section)[0] == (made.path / "images.bin").stat().st_size
    volumes = InputSection.model_validate({"size": (256, 256, 128)})
    row = 4 * 256 * 256 * 128
    # Volumes are taken one by one: memory holds some of them, never hundreds.
    assert estimate([*cases] * 100, volumes, workers=2)[1] < 10 * row + 2 * PROCESS_BYTES


def test_a_row_of_another_kind_is_put_in_place(tmp_path: Path) -> None:
    # More bytes than one block, so that rows are moved in several steps.
    rows = RANDOM.integers(0, 256, (7, 2**20 + 3)).astype(np.uint8)
    last = RANDOM.random(2**20 + 3).astype(np.float32)
    with row_file.RowFile(tmp_path / "rows", most=0) as file:
        for row in (*rows, last, rows[0]):
            file.write(row)
    assert file.dtype == "float32"
    found = np.fromfile(tmp_path / "rows", np.float32).reshape(9, -1)
    np.testing.assert_array_equal(found[:7], rows.astype(np.float32) * np.float32(1 / 255))
    np.testing.assert_array_equal(found[7], last)
    np.testing.assert_array_equal(found[8], found[0])


def test_the_folder_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path))
    assert default_cache_folder() == tmp_path
