"""What makes a cache another one: all that changes a pixel, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from medcnn.data import cache, inputs_digest, preprocess
from medcnn.data.cache import steps_digest
from medcnn.data.inputs_digest import InputDigests
from medcnn.data.preprocess import Preprocessor
from medcnn.recipe.schema import InputSection, IntensitySection
from medcnn.types import Case, ImageRef

BASE: dict[str, Any] = {"size": (8, 8, 8)}
# Each entry changes pixels of some image.
PIXELS: dict[str, Any] = {
    "size": (8, 8, 9),
    "channels": 2,
    "spacing": (1, 1, 1),
    "orientation": "RAS",
    "fit": "crop",
    "intensity.method": "range",
    "intensity.low": 0,
    "intensity.high": 81,
    "intensity.percentiles": (1, 99),
}
NO_PIXELS: dict[str, Any] = {"symmetric_axes": (0,), "augment": None, "patches": {"per_case": 2}}


def digest(changes: dict[str, Any]) -> str:
    return Preprocessor(InputSection.model_validate({**BASE, **changes})).digest()


def changed(name: str, value: Any) -> dict[str, Any]:
    if name in ("intensity.low", "intensity.high"):
        return {"intensity": {"low": -5, "high": 80, name.partition(".")[2]: value}}
    section, _, key = name.partition(".")
    return {section: {key: value}} if key else {section: value}


def test_every_setting_is_on_one_of_the_lists() -> None:
    fields = {name for name in InputSection.model_fields if name != "intensity"}
    fields |= {f"intensity.{name}" for name in IntensitySection.model_fields}
    assert fields == {*PIXELS, *NO_PIXELS}


@pytest.mark.parametrize("name", PIXELS)
def test_what_changes_pixels_changes_the_key(name: str) -> None:
    base = {"intensity": {"low": -5, "high": 80}} if name in ("intensity.low", "intensity.high") else {}
    assert digest(changed(name, PIXELS[name])) != digest(base)


@pytest.mark.parametrize("name", NO_PIXELS)
def test_what_only_augments_does_not(name: str) -> None:
    assert digest(changed(name, NO_PIXELS[name])) == digest({})


def test_versions_of_the_code_and_of_the_decoders_count(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Preprocessor(InputSection.model_validate(BASE))
    keys = [steps_digest(steps)]
    monkeypatch.setattr(preprocess, "VERSION", preprocess.VERSION + 1)
    keys.append(steps_digest(steps))
    for name, value in (
        ("__version__", "0.0.7"),
        ("version", lambda name: "99.0" if name == "pillow" else "1.0"),
        ("_SOURCES", ("data/images/*.py",)),
    ):
        monkeypatch.setattr(cache, name, value)
        cache.code.cache_clear()
        keys.append(steps_digest(steps))
    cache.code.cache_clear()
    assert len(set(keys)) == len(keys)


def test_the_sources_that_make_pixels_are_there() -> None:
    package = Path(cache.__file__).parent.parent
    assert all(list(package.glob(pattern)) for pattern in cache._SOURCES)


def old_file(path: Path, data: bytes) -> Path:
    """A file that has not changed for an hour, as far as its times say."""
    path.write_bytes(data)
    return path


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs_digest, "SETTLED_NS", -1)


def case(path: Path, name: str = "a") -> Case:
    return Case(name, (ImageRef((str(path),)),))


@pytest.mark.usefixtures("settled")
def test_an_unchanged_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = old_file(tmp_path / "a.png", b"12345")
    with InputDigests(tmp_path) as digests:
        key, _ = digests.key([case(path)], "steps")
    monkeypatch.setattr(inputs_digest.hashlib, "file_digest", lambda *_: pytest.fail("the file was read again"))
    with InputDigests(tmp_path) as digests:
        assert digests.key([case(path)], "steps")[0] == key
    assert (tmp_path / "inputs.json").stat().st_mode & 0o077 == 0


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path) -> None:
    # Within one step of the file system's clock a second change would not show.
    path = old_file(tmp_path / "a.png", b"12345")
    with InputDigests(tmp_path) as digests:
        digests.key([case(path)], "steps")
    assert not (tmp_path / "inputs.json").exists()


@pytest.mark.usefixtures("settled")
def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old_file(tmp_path / "a.png", b"12345")
    real = inputs_digest.hashlib.file_digest

    def slow(*given: Any) -> Any:
        found = real(*given)
        path.write_bytes(b"other content")
        return found

    monkeypatch.setattr(inputs_digest.hashlib, "file_digest", slow)
    with InputDigests(tmp_path) as digests:
        digests.key([case(path)], "steps")
        assert digests._memo == {}


def test_files_that_cannot_be_read_are_named_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, folder, pipe = old_file(tmp_path / "good.png", b"1"), tmp_path / "folder", tmp_path / "pipe"
    vanishing = old_file(tmp_path / "vanishing.png", b"2")
    folder.mkdir()
    os.mkfifo(pipe)
    real = inputs_digest.hashlib.file_digest

    def failing(file: Any, *given: Any) -> Any:
        if file.name.endswith("vanishing.png"):
            raise OSError(5, "Input/output error")
        return real(file, *given)

    monkeypatch.setattr(inputs_digest.hashlib, "file_digest", failing)
    cases = [case(p, p.name) for p in (good, folder, pipe, vanishing, tmp_path / "absent", Path("a\0b"))]
    started = time.monotonic()
    with InputDigests(tmp_path) as digests:
        _, unreadable = digests.key(cases, "steps")
    # A pipe that nobody writes into is not waited for.
    assert time.monotonic() - started < 5
    assert set(unreadable) == {"folder", "pipe", "vanishing.png", "absent", "a\0b"}
    assert "Input/output error" in unreadable["vanishing.png"].reason
    assert "no regular file" in unreadable["pipe"].reason
    assert all(e.path for e in unreadable.values())


def test_threads_give_the_same_key(tmp_path: Path) -> None:
    cases = [case(old_file(tmp_path / f"{i}.png", bytes([i]) * i), str(i)) for i in range(200)]
    cases.insert(100, case(tmp_path / "absent", "absent"))
    one, two = InputDigests(tmp_path), InputDigests(tmp_path)
    assert one.key(cases, "steps") == two.key(cases, "steps", threads=3)
    other = old_file(tmp_path / "150.png", b"x" * 150)
    assert one.key([*cases[:-1], case(other, "199")], "steps")[0] != two.key(cases, "steps", threads=3)[0]
