"""Anonymous memory of a whole run, and whether it grows with the number of images.

Peak of the sum of ``Anonymous`` in ``/proc/*/smaps_rollup`` over the process tree (Linux), sampled while
``medcnn run`` goes from the files to the report, without a cache at hand, for several ``data.limit``. What is mapped
from files (the cache, libraries) is not in it: the system takes that back whenever it needs room.

Run: python tests/benchmarks/bench_memory.py DATA_ROOT [recipe] [limits, as 5000,20000,all] [KEY=VALUE ...]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOAL = 2.5e9
# Facts, labels and predictions of a case are kept; its pixels never are (64 x 64 bytes, or 16 KB as float32).
GOAL_A_CASE = 4096
SAMPLE_S = 0.2


def tree(root: int) -> set[int]:
    """A process and all below it."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may hold blanks.
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
    found, grown = {root}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


def anonymous(pid: int) -> int:
    """Bytes of anonymous memory of a process; 0 where it is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def last_line(path: Path) -> str:
    """The step that the run is at, as it says itself."""
    lines = path.read_text(errors="replace").split("\n")
    return next((line.strip()[:80] for line in reversed(lines) if line.strip()), "")


def measure(recipe: str, data: str, limit: str, changes: list[str], folder: Path) -> dict[str, object]:
    """One run: its peak over all processes, that of its largest process, and its time."""
    command = [
        sys.executable, "-m", "medcnn", "run", recipe, "--out", str(folder / "run"), "training.epochs=1",
        f"data.cache={folder / 'cache'}", *changes,
    ]  # fmt: skip
    if limit != "all":
        command.append(f"data.limit={limit}")
    start, peak, largest, during = time.monotonic(), 0, 0, ""
    with open(folder / "log.txt", "wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "MEDCNN_DATA": data}
        )
        while process.poll() is None:
            taken = [anonymous(pid) for pid in tree(process.pid)]
            largest = max([largest, *taken])
            if sum(taken) > peak:
                peak, during = sum(taken), last_line(folder / "log.txt")
            time.sleep(SAMPLE_S)
    if process.returncode:
        raise SystemExit((folder / "log.txt").read_text(errors="replace")[-2000:])
    index = next(folder.glob("cache/*/index.json"))
    cases = len(json.loads(index.read_text())["facts"]["case"])
    return {
        "limit": limit, "cases": cases, "peak_bytes": peak, "peak_GB": round(peak / 1e9, 3), "peak_during": during,
        "largest_process_GB": round(largest / 1e9, 3), "seconds": round(time.monotonic() - start, 1),
    }  # fmt: skip


def main() -> int:
    """Print JSON; exit 1 above the goals."""
    if len(sys.argv) < 2 or not Path("/proc/self/smaps_rollup").exists():
        print(__doc__)
        return 2
    recipe = sys.argv[2] if len(sys.argv) > 2 else "body_part_multinomial"
    limits = sys.argv[3].split(",") if len(sys.argv) > 3 else ["5000", "20000", "all"]
    runs = []
    for limit in limits:
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measure(recipe, sys.argv[1], limit, sys.argv[4:], Path(folder)))
            print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    few, many = runs[0], runs[-1]
    apart = int(str(many["cases"])) - int(str(few["cases"]))
    grown = (int(str(many["peak_bytes"])) - int(str(few["peak_bytes"]))) / max(apart, 1)
    reached = max(int(str(r["peak_bytes"])) for r in runs) < GOAL and grown < GOAL_A_CASE
    result = {
        "recipe": recipe, "changes": sys.argv[4:], "runs": runs, "bytes_more_a_case": round(grown),
        "goals": {"peak_GB": GOAL / 1e9, "bytes_more_a_case": GOAL_A_CASE}, "reached": reached,
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    return int(not reached)


if __name__ == "__main__":
    sys.exit(main())
