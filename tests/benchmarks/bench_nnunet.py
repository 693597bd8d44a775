"""medcnn against nnU-Net v2 on one fold of the hippocampus: the same cases, minutes, cores and threads.

nnU-Net runs in an environment of its own (``python3 -m venv E && E/bin/pip install nnunetv2``), with the configuration
that it plans for itself and its own schedule, which ends with the minutes that medcnn's fold took
(``nnunet_train.py``). Both are scored by the same code in the grid of the images; the interval of the difference
resamples cases.

Run: medcnn run hippocampus training.threads=1 --out RUN
     taskset -c 0 python tests/benchmarks/bench_nnunet.py RUN --data Task04_Hippocampus --python E/bin/python \\
         --threads 1 --work DIR
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.segmentation_case import measure_case

DATASET = "Dataset004_Hippocampus"
LABELS = ("Anterior", "Posterior")
RESAMPLES = 10_000


def parts(run: Path, fold: int) -> tuple[list[str], list[str]]:
    """The cases that a fold of the run learned from, and those it was tested on."""
    with (run / "split.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    key = f"part_{fold}"
    return [r["case"] for r in rows if r[key] != "test"], [r["case"] for r in rows if r[key] == "test"]


def minutes_of(run: Path, fold: int) -> float:
    """The minutes that the epochs of a fold took."""
    with (run / f"fold-{fold}" / "log.csv").open(encoding="utf-8", newline="") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file)) / 60


def write_raw(data: Path, raw: Path) -> None:
    """Task04 as nnU-Net wants it: channels numbered in the names, its own ``dataset.json``."""
    for source, target, ending in (("imagesTr", "imagesTr", "_0000"), ("labelsTr", "labelsTr", "")):
        (raw / target).mkdir(parents=True, exist_ok=True)
        for path in sorted((data / source).glob("hippocampus_*.nii.gz")):
            shutil.copy(path, raw / target / path.name.replace(".nii.gz", f"{ending}.nii.gz"))
    facts = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "Anterior": 1, "Posterior": 2},
        "numTraining": len(list((raw / "labelsTr").iterdir())),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(facts))


def run_nnunet(args: argparse.Namespace, training: list[str], test: list[str]) -> dict[str, object]:
    """Plan, preprocess, train and predict; what ``nnunet_train.py`` printed last."""
    work = Path(args.work)
    places = {name: str(work / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    # Its planner wants a process that augments; without one the training step does it, on the same threads.
    env = {**os.environ, **places, "nnUNet_n_proc_DA": "1", "OMP_NUM_THREADS": str(args.threads)}
    write_raw(Path(args.data), work / "nnUNet_raw" / DATASET)
    plan = Path(args.python).parent / "nnUNetv2_plan_and_preprocess"
    command = [str(plan), "-d", "4", "-c", "3d_fullres", "-np", "1", "-npfp", "1"]
    with (work / "plan.log").open("w") as log:
        subprocess.run(command, env=env, check=True, stdout=log, stderr=log)
    splits = work / "nnUNet_preprocessed" / DATASET / "splits_final.json"
    splits.write_text(json.dumps([{"train": training, "val": test}]))
    script = Path(__file__).parent / "nnunet_train.py"
    command = [args.python, str(script), "--dataset", DATASET]
    command += ["--minutes", str(args.minutes), "--threads", str(args.threads)]
    env["nnUNet_n_proc_DA"] = "0"
    with (work / "train.log").open("w") as log:
        done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, stderr=log, text=True)
    (work / "nnunet.log").write_text(done.stdout)
    result: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def dice(data: Path, predictions: Path, cases: list[str]) -> NDArray[np.float64]:
    """``(cases, labels)`` Dice in the grid of the images."""
    rows = []
    for case in cases:
        reference = nibabel.load(data / "labelsTr" / f"{case}.nii.gz")  # type: ignore[attr-defined]
        found = nibabel.load(predictions / f"{case}.nii.gz")  # type: ignore[attr-defined]
        measured = measure_case(
            np.asarray(reference.dataobj, np.uint8),
            np.asarray(found.dataobj, np.uint8),
            len(LABELS),
            tuple(float(z) for z in reference.header.get_zooms()),
        )
        rows.append([m.dice for m in measured])
    return np.array(rows, float)


def compare(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> None:
    """Means, and the paired difference with its bootstrap interval over cases, by label and of their mean."""
    draws = np.random.default_rng(0).integers(0, len(ours), (RESAMPLES, len(ours)))
    columns = [(name, ours[:, k], theirs[:, k]) for k, name in enumerate(LABELS)]
    for name, a, b in [*columns, ("mean of both", ours.mean(1), theirs.mean(1))]:
        low, high = np.percentile((a - b)[draws].mean(1), (2.5, 97.5))
        print(
            f"{name:14} medcnn {a.mean():.4f}  nnU-Net {b.mean():.4f}  difference {(a - b).mean():+.4f} "
            f"(95 % interval {low:+.4f} to {high:+.4f}), n {len(a)}"
        )


def main() -> int:
    """Print what both did and how they compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a medcnn run of recipes/hippocampus.yaml")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--python", required=True, help="of the environment that holds nnunetv2")
    parser.add_argument("--minutes", type=float, help="absent: those that medcnn's fold took")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", required=True, help="an empty folder")
    args = parser.parse_args()
    training, test = parts(args.run, args.fold)
    args.minutes = args.minutes or minutes_of(args.run, args.fold)
    print(
        f"{len(training)} cases to learn from, {len(test)} to test on, {args.minutes:.1f} min, {args.threads} threads"
    )
    done = run_nnunet(args, training, test)
    print(f"nnU-Net: {done}")
    ours = dice(args.data, args.run / f"fold-{args.fold}" / "predictions" / "test", test)
    compare(ours, dice(args.data, Path(str(done["predictions"])), test))
    return 0


if __name__ == "__main__":
    sys.exit(main())
