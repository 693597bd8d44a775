"""The file ``dataset.json`` of the Decathlon and of nnU-Net."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medcnn.data.adapters.common import elsewhere
from medcnn.errors import DataError
from medcnn.registry import suggest

FILE = "dataset.json"


def read_about(root: Path) -> Mapping[str, Any]:
    """The content of ``dataset.json`` in a folder.

    Raises:
        DataError: If it is missing or broken, or names no labels.
    """
    path = root / FILE
    if not path.is_file():
        todo = elsewhere(root, (FILE,)) or f"set data.root=FOLDER to the folder that holds {FILE}"
        raise DataError("the file is not there", where=str(path), todo=todo)
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"the file cannot be read: {error}", where=str(path), todo="get it anew") from error
    if not isinstance(about, dict) or not isinstance(about.get("labels"), dict):
        raise DataError("the file names no labels", where=str(path), todo='it holds "labels": {...}')
    return about


def numbered(about: Mapping[str, Any], key: str, root: Path) -> tuple[str, ...]:
    """Names of the channels, which ``dataset.json`` numbers from 0.

    Raises:
        DataError: If it does not.
    """
    given = about.get(key)
    if not isinstance(given, dict) or not given or set(given) != set(map(str, range(len(given)))):
        raise DataError(
            f"{key} does not number the channels from 0",
            where=str(root / FILE),
            todo=f'it holds "{key}": {{"0": "T1", "1": "T2"}}',
        )
    return tuple(str(given[str(k)]) for k in range(len(given)))


def choose_channels(wanted: Sequence[str | int] | None, names: Sequence[str], root: Path) -> tuple[int, ...] | None:
    """Numbers of the channels that are wanted by name or number; ``None`` where all are.

    Raises:
        DataError: If one is not there, or named twice.
    """
    if wanted is None:
        return None
    found = []
    for name in wanted:
        text = str(name)
        if text not in names and not (text.isdigit() and int(text) < len(names)):
            raise DataError(f"there is no channel {name!r}", where=str(root / FILE), todo=suggest(text, names))
        found.append(names.index(text) if text in names else int(text))
    if not found or len(set(found)) < len(found):
        raise DataError("channels should name different channels", where="channels", todo="leave it out to use all")
    return tuple(found)
