"""The display of progress on a terminal and elsewhere."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from medcnn.cli import progress as module
from medcnn.cli.progress import RichProgress, duration


class Clock:
    """Time that tests move."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def plain() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=False, width=40, markup=False, highlight=False), stream


def test_without_a_terminal_there_are_lines_now_and_then(clock: Clock) -> None:
    console, stream = plain()
    with RichProgress(console, every=10) as progress:
        progress.start("preprocessing", 1000, "images")
        for _ in range(100):
            clock.now += 0.3
            progress.advance(10, "loss 0.5")
        progress.start("evaluating", None)
        clock.now += 2
    lines = stream.getvalue().splitlines()
    assert lines[0] == "preprocessing (1,000 images) ..."
    assert lines[1] == "preprocessing: 340/1,000 images, 33.3/s, 19.8 s left, loss 0.5"
    assert lines[-3:] == [
        "preprocessing: 1,000 images in 30.0 s; loss 0.5",
        "evaluating ...",
        "evaluating: 2.0 s",
    ]
    assert len(lines) == 6


def test_long_lines_are_not_broken_and_brackets_stay() -> None:
    console, stream = plain()
    RichProgress(console).say("[red] " + "x" * 100)
    assert stream.getvalue() == "[red] " + "x" * 100 + "\n"


def test_a_terminal_gets_a_bar_that_gives_way_to_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, markup=False, highlight=False)
    with RichProgress(console) as progress:
        progress.start("training", 40, "batches")
        progress.advance(40, "loss 0.1")
        time.sleep(0.3)  # The bar draws itself ten times a second.
        progress.say("a caution")
    text = stream.getvalue()
    assert "40/40 batches" in text
    assert "loss 0.1" in text
    assert "a caution" in text
    assert "training: 40 batches in" in text
    assert "\x1b[3" not in text


def test_an_error_ends_the_bar_without_a_line_that_says_done() -> None:
    console, stream = plain()
    with pytest.raises(ValueError, match="broken"), RichProgress(console) as progress:  # noqa: PT012
        progress.start("training", 10, "batches")
        raise ValueError("broken")
    assert stream.getvalue() == "training (10 batches) ...\n"


def test_other_processes_than_the_first_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    console, stream = plain()
    with RichProgress(console) as progress:
        progress.start("training", 10, "batches")
        progress.advance(10)
        progress.say("hello")
    assert stream.getvalue() == ""


def test_advancing_outside_a_step_does_nothing() -> None:
    console, stream = plain()
    progress = RichProgress(console)
    progress.advance(3)
    progress.finish()
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_as_people_write_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
