"""One thing that an audit found, with how often and where."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from medcnn.data.grouping import printable

Severity = Literal["error", "caution", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "caution", "info")
MAX_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        id: Stable name, e.g. ``identical-across-labels``.
        severity: ``error``: results would be wrong; ``caution``: look at it; ``info``: good to know.
        what: One line with the count in it: ``12 images are constant: every pixel has the same value``.
        count: How many (cases, sets, ids or classes, as ``what`` says).
        cases: Up to 10 case ids as examples.
    """

    id: str
    severity: Severity
    what: str
    count: int
    cases: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "id": self.id,
            "severity": self.severity,
            "what": printable(self.what),
            "count": self.count,
            "cases": [printable(case) for case in self.cases],
        }


def examples(cases: Iterable[str]) -> tuple[str, ...]:
    """The first ten."""
    return tuple(itertools.islice(cases, MAX_EXAMPLES))
