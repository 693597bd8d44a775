"""How long steps tell where they are, without knowing who looks."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what happens; the command line draws it, the Python API is silent by default."""

    def start(self, name: str, total: int | None, unit: str = "") -> None:
        """A step begins; ``total`` units of work, ``None`` if unknown. It ends where the next begins."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Some units are done; ``note`` is a short status such as the current loss."""

    def finish(self) -> None:
        """The current step is over."""

    def say(self, text: str) -> None:
        """A line for the user that stays: a caution, where a file is."""


class Silent:
    """A progress that shows nothing."""

    def start(self, name: str, total: int | None, unit: str = "") -> None:
        """Nothing."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""
