"""What errors advise, in the words of the command that was given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from medcnn.errors import MedcnnError


@contextmanager
def root_option() -> Iterator[None]:
    """Turns ``data.root``, the key of a recipe, into ``--root`` for commands that take no recipe."""
    try:
        yield
    except MedcnnError as error:
        text = error.todo.replace("in a recipe: data.root", "--root")
        error.todo = text.replace("data.root=", "--root ").replace("data.root", "--root")
        raise
