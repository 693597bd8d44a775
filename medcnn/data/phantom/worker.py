"""A worker process: one request a line on standard input, one answer a line on standard output.

Started as ``python -m medcnn.data.phantom.worker``, so that a script that makes a phantom needs no
``if __name__ == "__main__"``, and nothing is inherited from a process that already runs threads.
"""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from medcnn.data.phantom.design import Patient, cohort
from medcnn.data.phantom.patient import Rows, make_patient


@lru_cache(maxsize=2)
def _people(count: int, seed: int) -> tuple[Patient, ...]:
    return cohort(count, seed)


def work(folder: str, index: int, patients: int, seed: int, size: str) -> Rows:
    """Make one patient of a cohort."""
    return make_patient(Path(folder), _people(patients, seed)[index], seed, size)


def main() -> None:
    """Answer requests until the input ends."""
    answers = sys.stdout
    # Whatever a library prints must not mix with the answers.
    sys.stdout = sys.stderr
    for line in sys.stdin:
        answer: dict[str, Any]
        try:
            answer = {"rows": work(**json.loads(line))}
        except OSError as error:
            answer = {"errno": error.errno, "reason": error.strerror or str(error), "path": str(error.filename or "")}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
