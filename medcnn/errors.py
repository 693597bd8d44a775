"""The errors a user can cause, each saying what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Sequence


class MedcnnError(Exception):
    """An error that the user can mend; the command line prints it without a traceback.

    Args:
        what: What is wrong, in one sentence.
        where: The file, line, key or case concerned; empty where there is none.
        todo: What the user can do about it; empty where the sentence already says it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", todo: str = "") -> None:
        self.what = what
        self.where = where
        self.todo = todo
        super().__init__(what, where, todo)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  {self.todo}" if self.todo else text


class RecipeError(MedcnnError):
    """One or several mistakes in a recipe, found together.

    Args:
        problems: One line a mistake, each with its place (``file:line: key: what``).
    """

    def __init__(self, problems: Sequence[str], *, where: str = "", todo: str = "") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} in the recipe"
        super().__init__("\n  ".join([head + ":", *self.problems]), where=where, todo=todo)


class DataError(MedcnnError):
    """Data that cannot be used as they are: a table, a folder, a split, a label."""


class ImageError(MedcnnError):
    """One image that cannot be read, with its path and the reason; never ends a run by itself."""


class ModelError(MedcnnError):
    """A network, its weights or a checkpoint that does not fit."""


class RunError(MedcnnError):
    """A run that cannot start or go on: an output folder, a full disk, a non-finite loss."""
