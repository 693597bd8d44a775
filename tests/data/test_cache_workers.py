"""Reading in processes of their own: one file that crashes or hangs its reader is one case left out."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcnn.data import workers
from medcnn.data.cache import Cache, build_cache
from medcnn.data.preprocess import Preprocessor
from medcnn.data.rows import Unread
from medcnn.data.workers import case_seconds, chunk_size, read_rows
from medcnn.errors import MedcnnError, RunError
from medcnn.progress import Silent
from medcnn.recipe.schema import InputSection
from medcnn.types import Case, ImageRef

# A reader of somebody else: the first letter of a file says what it does.
READER = """
import ctypes, os, signal, sys, time
from pathlib import Path
import numpy as np
from medcnn.types import Image

def read(ref):
    path = Path(ref.paths[0])
    text = path.read_text()
    if text == "segfault":
        ctypes.string_at(0)
    elif text == "exit":
        os._exit(3)
    elif text == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif text == "sys.exit":
        sys.exit(5)
    elif text == "once":
        path.write_text("7")
        os.kill(os.getpid(), signal.SIGKILL)
    elif text == "hang":
        time.sleep(1000)
    elif text == "noise":
        os.write(1, b"a library that prints")
        print("another", flush=True)
        text = "9"
    elif text == "bug":
        return None
    return Image(np.full((1, 4, 5), int(text), np.uint8))
"""


class Said(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done = 0

    def say(self, text: str) -> None:
        self.lines.append(text)

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done += amount


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "rough_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(str(tmp_path / "package"))
    return tmp_path


def make_cases(folder: Path, *contents: str) -> list[Case]:
    found = []
    for i, text in enumerate(contents):
        (folder / f"{i}.dat").write_text(text)
        found.append(Case(str(i), (ImageRef((str(folder / f"{i}.dat"),), "rough_reader:read"),)))
    return found


def steps() -> Preprocessor:
    return Preprocessor(InputSection.model_validate({"size": (4, 5)}))


def make(cases: list[Case], folder: Path, *, workers: int = 2, said: Said | None = None) -> Cache:
    return build_cache(cases, steps(), folder / "cache", workers=workers, progress=said or Silent())


def values(cache: Cache) -> dict[str, int]:
    return {case.id: int(cache.images[row].max()) for row, case in enumerate(cache.cases)}


def test_a_crash_costs_its_case_alone(place: Path) -> None:
    contents = ["1", "segfault", "2", "noise", "killed", "bug", "3"]
    said = Said()
    cache = make(make_cases(place, *contents), place, said=said)
    assert values(cache) == {"0": 1, "2": 2, "3": 9, "6": 3}
    assert [case.id for case in cache.cases] == ["0", "2", "3", "6"]
    reasons = {e.case: e.reason for e in cache.exclusions}
    assert set(reasons) == {"1", "4", "5"}
    assert "SIGSEGV" in reasons["1"]
    assert "SIGKILL" in reasons["4"]
    assert "memory" in reasons["4"]
    assert "cannot be used" in reasons["5"]
    assert all(e.path == str(place / f"{e.case}.dat") for e in cache.exclusions)
    assert said.done == len(contents)


def test_many_chunks_keep_their_order(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "CHUNK", 3)
    contents = [str(i) for i in range(40)]
    contents[17] = "sys.exit"
    cache = make(make_cases(place, *contents), place)
    assert values(cache) == {str(i): i for i in range(40) if i != 17}
    assert [case.id for case in cache.cases] == [str(i) for i in range(40) if i != 17]
    assert [(e.case, e.reason) for e in cache.exclusions] == [("17", "the process that read it ended with exit code 5")]


def test_a_process_that_was_ended_by_chance_costs_nothing(place: Path) -> None:
    # The want of memory of one process may end another.
    cache = make(make_cases(place, "1", "once", "2"), place, workers=1)
    assert values(cache) == {"0": 1, "1": 7, "2": 2}
    assert cache.exclusions == ()


def test_a_hanging_reader_is_given_up_and_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCNN_CASE_SECONDS", "2")
    said = Said()
    cache = make(make_cases(place, "1", "hang", "2"), place, workers=1, said=said)
    assert values(cache) == {"0": 1, "2": 2}
    assert [(e.case, e.reason) for e in cache.exclusions] == [("1", "not read within 2 s")]
    assert [line for line in said.lines if "1.dat" in line and "2 s" in line]


def test_what_may_pass_is_tried_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = make_cases(place, "1", "exit", "2")
    first = make(cases, place, workers=1)
    assert first.passing == {"1"}
    stamp = (first.path / "images.bin").stat().st_mtime_ns
    again = make(cases, place, workers=1)
    assert (again.path / "images.bin").stat().st_mtime_ns == stamp
    assert again.exclusions == first.exclusions
    # The same bytes, and the reader has been mended.
    (place / "package" / "rough_reader.py").write_text(READER.replace("os._exit(3)", "text = '8'"))
    mended = make(cases, place, workers=1)
    assert mended.key == first.key
    assert values(mended) == {"0": 1, "1": 8, "2": 2}
    assert mended.exclusions == ()
    assert mended.passing == frozenset()


def test_an_error_of_the_run_is_no_exclusion(place: Path) -> None:
    cases = [Case("a", (ImageRef((str(place / "package" / "rough_reader.py"),), "no_such_reader"),))]
    with pytest.raises(MedcnnError, match="no_such_reader"):
        make(cases, place, workers=1)


def test_processes_that_do_not_start_end_in_one_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(place / "package")])
    with pytest.raises(RunError, match=r"end before they read any.*exit code 1.*No module named"):
        list(read_rows(make_cases(place, "1"), steps(), workers=1))


def running(text: str) -> list[int]:
    """Processes with a text in their command line, by Linux's table."""
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("this system has no /proc")
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_script_needs_no_guard_and_the_processes_end(place: Path) -> None:
    code = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(place / "package")!r})
        from medcnn.data.workers import read_rows
        from medcnn.data.preprocess import Preprocessor
        from medcnn.recipe.schema import InputSection
        from medcnn.types import Case, ImageRef
        # Without a guard by __main__: the processes do not run this script again.
        cases = [Case(str(i), (ImageRef(({str(place / "0.dat")!r},), "rough_reader:read"),)) for i in range(5)]
        rows = [row for rows in read_rows(cases, Preprocessor(InputSection(size=(4, 5))), workers=2) for row in rows]
        print(len(rows), rows[0][1].max(), "torch" in sys.modules)
    """)
    (place / "0.dat").write_text("7")
    (place / "script.py").write_text(code)
    found = subprocess.run([sys.executable, str(place / "script.py")], capture_output=True, text=True, check=False)
    assert found.stdout == "5 7 False\n", found.stderr
    assert running(str(place / "package")) == []


def test_the_modules_of_the_processes_import_no_torch() -> None:
    code = "import sys, medcnn.data.worker, medcnn.data.rows, medcnn.data.cache; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_an_unfinished_reading_leaves_no_process(place: Path) -> None:
    cases = make_cases(place, *["1"] * 20)
    rows = read_rows(cases, steps(), workers=2)
    next(rows)
    assert len(running(str(place / "package"))) == 2
    rows.close()
    assert running(str(place / "package")) == []


@pytest.mark.parametrize("text", ["0", "-1", "soon", "inf", "nan"])
def test_the_time_limit_is_a_positive_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCNN_CASE_SECONDS", text)
    with pytest.raises(RunError, match="MEDCNN_CASE_SECONDS"):
        case_seconds()


def test_a_chunk_is_bounded_by_memory_too() -> None:
    assert chunk_size(53059, 64 * 64 * 4, 2) == 256
    assert chunk_size(1000, 4 * 128**3, 2) == 2
    assert chunk_size(16, 4096, 2) == 2
    assert chunk_size(1, 10**12, 8) == 1


def test_reading_here_gives_the_same(place: Path) -> None:
    cases = make_cases(place, "1", "bug", "2")
    here: list[Any] = [row for rows in read_rows(cases, steps(), workers=0) for row in rows]
    there: list[Any] = [row for rows in read_rows(cases, steps(), workers=1) for row in rows]
    assert isinstance(here[1], Unread)
    assert here[1] == there[1]
    for one, two in ((here[0], there[0]), (here[2], there[2])):
        assert one[0] == two[0]
        np.testing.assert_array_equal(one[1], two[1])
