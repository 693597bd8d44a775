"""A worker process: one request a line on standard input, one answer a line on standard output.

Started as ``python -m medcnn.data.phantom.worker MODULE:FUNCTION``, so that a script that makes a phantom needs no
``if __name__ == "__main__"``, and nothing is inherited from a process that already runs threads.
"""

from __future__ import annotations

import json
import sys
from pkgutil import resolve_name
from typing import Any


def main(target: str) -> None:
    """Answer requests with what a function makes of them, until the input ends."""
    answers = sys.stdout
    # Whatever a library prints must not mix with the answers.
    sys.stdout = sys.stderr
    work = resolve_name(target)
    for line in sys.stdin:
        answer: dict[str, Any]
        try:
            answer = {"rows": work(**json.loads(line))}
        except OSError as error:
            answer = {"errno": error.errno, "reason": error.strerror or str(error), "path": str(error.filename or "")}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
