"""The cache: opened where nothing changed, made where a byte did, and whole or absent."""

from __future__ import annotations

import copy
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medcnn.data.cache import Cache, build_cache, default_cache_folder
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


def make(cases: list[Case], folder: Path, *, workers: int = 1, **options: Any) -> Cache:
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
    monkeypatch.setattr("medcnn.data.cache.read_row", lambda *_: pytest.fail("an image was read again"))
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


def test_a_full_disk_is_said_before(cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(RunError, match="MB are free"):
        make(cases, tmp_path)


def test_the_folder_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path))
    assert default_cache_folder() == tmp_path
