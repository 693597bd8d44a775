"""One display of progress: a bar on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console

# Seconds between two plain lines of the same step.
PLAIN_EVERY = 15.0


def is_main_process() -> bool:
    """Whether this process speaks to the user: under torchrun only the first does."""
    return int(os.environ.get("RANK") or 0) == 0


class RichProgress:
    """The command line's :class:`~medcnn.progress.Progress`, on standard error.

    A step that ends leaves one line with its count and duration. ``NO_COLOR`` and ``TERM=dumb`` are heeded.

    Args:
        console: Where to draw; standard error where it is absent.
        every: Seconds between plain lines where the console is no terminal.
    """

    def __init__(self, console: Console | None = None, *, every: float = PLAIN_EVERY) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True, markup=False, highlight=False, emoji=False)
        self._silent = not is_main_process()
        self._bar: Any = None
        self._task: Any = None
        self._every = every
        self._name: str | None = None
        self._total: int | None = None
        self._unit = ""
        self._note = ""
        self._done = 0
        self._began = self._said = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        self._name = None
        self._stop()

    def start(self, name: str, total: int | None, unit: str = "") -> None:
        """A step begins; the one before ends."""
        self.finish()
        self._name, self._total, self._unit, self._done, self._note = name, total, unit, 0, ""
        self._began = self._said = time.monotonic()
        if self._silent:
            return
        if not self._drawing():
            count = f" ({_counted(total, unit)})" if total is not None else ""
            self._console.print(f"{name}{count} ...", soft_wrap=True)
            return
        if self._bar is None:
            self._bar = _bar(self._console)
            self._bar.start()
        self._task = self._bar.add_task(name, total=total, count="", rate="", note="")
        self._refresh()

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Some units are done."""
        if self._name is None:
            return
        self._done += amount
        self._note = note or self._note
        if self._silent:
            return
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, amount)
            self._refresh()
        elif time.monotonic() - self._said >= self._every:
            self._said = time.monotonic()
            self._console.print(f"{self._name}: {self._state()}", soft_wrap=True)

    def finish(self) -> None:
        """The step is over: the bar gives way to a line."""
        if self._name is None:
            return
        name, self._name = self._name, None
        seconds = duration(time.monotonic() - self._began)
        count = f"{_counted(self._done, self._unit)} in " if self._done else ""
        note = f"; {self._note}" if self._note else ""
        if self._bar is not None and self._task is not None:
            self._bar.remove_task(self._task)
            self._bar.refresh()
            self._task = None
        if not self._silent:
            self._console.print(f"{name}: {count}{seconds}{note}", soft_wrap=True)

    def say(self, text: str) -> None:
        """A line that stays, above the bar."""
        if not self._silent:
            self._console.print(text, soft_wrap=True)

    def _drawing(self) -> bool:
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def _refresh(self) -> None:
        self._bar.update(self._task, count=self._count(), rate=self._rate(), note=self._note)

    def _count(self) -> str:
        if self._total is None:
            return f"{self._done:,}" if self._done else ""
        return f"{self._done:,}/{self._total:,} {self._unit}".rstrip()

    def _rate(self) -> str:
        seconds = time.monotonic() - self._began
        if not self._done or seconds < 1:
            return ""
        rate = self._done / seconds
        return f"{rate:,.1f}/s" if rate >= 1 else f"{1 / rate:,.1f} s each"

    def _state(self) -> str:
        """Count, rate, time left and note in one line."""
        parts = [self._count(), self._rate()]
        if self._total and self._done:
            left = (time.monotonic() - self._began) / self._done * max(self._total - self._done, 0)
            parts.append(f"{duration(left)} left")
        return ", ".join(p for p in (*parts, self._note) if p) or "..."

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar(console: Console) -> Any:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    def text(field: str, style: str = "") -> TextColumn:
        return TextColumn(f"{{task.{field}}}", markup=False, style=style or "none")

    return Progress(
        text("description"),
        BarColumn(bar_width=24),
        text("fields[count]"),
        text("fields[rate]", "dim"),
        TimeRemainingColumn(compact=True),
        text("fields[note]", "dim"),
        console=console,
        transient=True,
    )


def _counted(count: int, unit: str) -> str:
    """``1 file``, ``2 files``; units are given as plurals."""
    one = unit.removesuffix("es" if unit.endswith("ches") else "s")
    return f"{count:,} {one if count == 1 else unit}".rstrip()


def duration(seconds: float) -> str:
    """``4.2 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
