"""Fail where a package that an install of medcnn brings has a licence its users could not take."""

from __future__ import annotations

import importlib.metadata
import re
import sys

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "medcnn-toolkit"
FORBIDDEN = re.compile(r"\b(A?GPL|GNU (Affero )?General Public)", re.IGNORECASE)
ALLOWED = re.compile(r"\b(LGPL|Lesser|Library)", re.IGNORECASE)


def licence(name: str) -> str:
    """What a package says of its licence: the expression, else the classifiers, else the field's first line."""
    meta = importlib.metadata.metadata(name)
    classifiers = [c.rpartition("::")[2].strip() for c in meta.get_all("Classifier") or [] if c.startswith("License")]
    field = (meta.get("License") or "").strip()
    return meta.get("License-Expression") or "; ".join(classifiers) or field.partition("\n")[0]


def installed(name: str, extras: set[str], seen: dict[str, str]) -> None:
    """Collect a package and what it requires here, without the extras that nobody asked for."""
    key = canonicalize_name(name)
    if key in seen:
        return
    try:
        requires = importlib.metadata.requires(name) or []
        seen[key] = licence(name)
    except importlib.metadata.PackageNotFoundError:
        return
    for line in requires:
        requirement = Requirement(line)
        wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in (extras or {""})
        )
        if wanted:
            installed(requirement.name, set(requirement.extras), seen)


def main() -> int:
    """Print and judge."""
    seen: dict[str, str] = {}
    installed(PROJECT, set(), seen)
    bad = {n: text for n, text in seen.items() if FORBIDDEN.search(text) and not ALLOWED.search(text)}
    for name, text in sorted(bad.items()):
        print(f"{name}: {text}")
    print(f"{len(seen)} packages looked at, {len(bad)} with a licence that is not allowed")
    return 1 if bad or len(seen) < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
