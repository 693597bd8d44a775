"""Pseudonyms of cases, patients and files: keyed, stable, and resolvable by the run's owner alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import stat
from pathlib import Path
from typing import Literal

from medcnn.errors import RunError
from medcnn.files import read_json, write_text

FILE_NAME = "pseudonyms.json"
Kind = Literal["case", "patient", "file"]
_PREFIX: dict[Kind, str] = {"case": "C", "patient": "P", "file": "F"}
_LENGTH = 7


class Pseudonyms:
    """Names that stand for identifiers, from HMAC-SHA256 with a random key that never leaves the run folder.

    The key and the map (pseudonym to identifier) are one file of mode 600, so that a second report uses the
    same names and the owner can look a case up. Without the key a pseudonym cannot be computed from a guessed
    identifier, which a plain hash would allow.

    Args:
        folder: The run folder.

    Raises:
        RunError: If the file is there but is not what this class writes.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._names: dict[Kind, dict[str, str]] = {"case": {}, "patient": {}, "file": {}}
        self._changed = not self._path.exists()
        if self._changed:
            self._key = secrets.token_bytes(32)
            return
        state = read_json(self._path)
        try:
            self._key = bytes.fromhex(state["key"])
            for kind in self._names:
                self._names[kind] = {str(name): str(pseudonym) for pseudonym, name in state[kind].items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RunError(
                "the file of pseudonyms is not usable",
                where=str(self._path),
                todo="delete it: the next report makes new pseudonyms",
            ) from error
        if stat.S_IMODE(self._path.stat().st_mode) & 0o077:
            self._changed = True

    def name(self, kind: Kind, identifier: str) -> str:
        """The pseudonym of an identifier, the same at each call and in each later report of the run."""
        names = self._names[kind]
        if identifier not in names:
            names[identifier] = self._make(kind, identifier, set(names.values()))
            self._changed = True
        return names[identifier]

    def save(self) -> None:
        """Write key and map with mode 600, where something is new."""
        if not self._changed:
            return
        state = {"key": self._key.hex()}
        maps = {kind: {p: i for i, p in names.items()} for kind, names in self._names.items()}
        write_text(self._path, json.dumps({**state, **maps}, indent=1, ensure_ascii=False) + "\n", private=True)
        self._changed = False

    def _make(self, kind: Kind, identifier: str, taken: set[str]) -> str:
        code = hmac.new(self._key, f"{kind}\0{identifier}".encode(), hashlib.sha256).digest()
        text = base64.b32encode(code).decode().rstrip("=").lower()
        for length in range(_LENGTH, len(text) + 1):
            pseudonym = f"{_PREFIX[kind]}-{text[:length]}"
            if pseudonym not in taken:
                return pseudonym
        raise AssertionError("two identifiers with the same HMAC-SHA256")
