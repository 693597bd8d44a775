"""Run folders as a training leaves them, made up: exclusive classes, two classes, folds."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcnn.evaluation.results import (
    CurvePanel,
    DistributionPanel,
    Evaluation,
    Figure,
    GalleryItem,
    GalleryPanel,
    Interval,
    MatrixPanel,
    Series,
    TablePanel,
)

SIX = ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT")
TWO = ("other", "abdomen")
SECRETS = ("pat-000", "Doe^Jane", "workstation-17", "jdoe", "1.2.840.113619.2.55.3", "2021-03-14", "/data/secret")
CLASS_F1 = (0.997, 0.981, 0.962, 0.991, 1.0, 0.934)
BUILD: dict[str, Any] = {}


def builder(function: Callable[..., Path]) -> Callable[..., Path]:
    BUILD[function.__name__] = function
    return function


def interval(value: float, width: float, clusters: int, resampled: str = "patient") -> Interval:
    if clusters < 20:
        return Interval(value - width, min(1.0, value + width), None, f"range over {clusters} clusters", "cluster")
    method = f"bootstrap over {clusters} patients, 2,000 resamples"
    return Interval(value - width, min(1.0, value + width * 0.7), 0.95, method, resampled)


def figure(name: str, label: str, value: float | None, n: int, clusters: int, **more: Any) -> Figure:
    given = more.pop("interval", interval(value, 0.012, clusters) if value is not None else None)
    return Figure(name, label, value, n, interval=given, clusters=clusters, **more)


def roc(name: str, sharpness: float, seed: int) -> Series:
    rng = np.random.default_rng(seed)
    x = np.sort(np.concatenate([[0.0, 1.0], rng.random(900) ** 2]))
    y = np.maximum.accumulate(np.clip(x ** (1 / sharpness) + rng.normal(0, 0.004, len(x)), 0, 1))
    y[0], y[-1] = 0, 1
    low, high = np.clip(y - 0.03, 0, 1), np.clip(y + 0.02, 0, 1)
    mark = (0.1, float(np.interp(0.1, x, y)), "threshold 0.43 (Youden, on validation)")
    return Series(name, x.tolist(), y.tolist(), low.tolist(), high.tolist(), [mark])


def class_rows(classes: Sequence[str], totals: Sequence[int], clusters: int, part: str) -> list[list[Any]]:
    rows: list[list[Any]] = []
    wilson = Interval(0.98, 0.995, 0.95, "Wilson on the effective n", "patient")
    against = {"baseline": 0.833, "baseline_label": "all negative", "interval": wilson}
    for i, (name, n) in enumerate(zip(classes, totals, strict=True)):
        value = CLASS_F1[i]
        about = {"target": name, "part": part}
        rows.append(
            [
                name,
                figure("f1", "F1", value, n, clusters, **about),
                figure("sensitivity", "Sensitivity", value - 0.004, n, clusters, **about),
                figure("precision", "Precision", value - 0.002, n, clusters, **about),
                figure("accuracy", "Accuracy", 0.99, n, clusters, **about, **against),
            ]
        )
    return rows


def subgroup_rows(clusters: int) -> list[list[Any]]:
    few = "no interval: 3 clusters, fewer than 5"
    undefined = "no case of this class in the subgroup (0 of 14)"
    rows: list[list[Any]] = [
        [
            name,
            figure("f1", "F1", value, n, clusters),
            figure("sensitivity", "Sensitivity", value - 0.004, n, clusters),
        ]
        for name, value, n in (("sex: F", 0.975, 412), ("sex: M", 0.981, 420))
    ]
    f1 = figure("f1", "F1", 0.9, 14, 3, interval=None, note=few)
    return [*rows, ["age: 93", f1, Figure("sensitivity", "Sensitivity", None, 14, note=undefined)]]


def curves(classes: Sequence[str]) -> list[CurvePanel]:
    x = np.linspace(0, 1, 500)
    drawn = classes[1:] if len(classes) == 2 else classes
    rocs = [roc(f"{c}: AUROC {0.9991 - i / 400:.3f}", 9 - i, i) for i, c in enumerate(drawn)]
    prs = [Series(c, x.tolist(), (1 - 0.2 * x ** (6 + i)).tolist()) for i, c in enumerate(drawn)]
    bins = Series(
        "all classes",
        [0.05, 0.2, 0.4, 0.6, 0.8, 0.97],
        [0.04, 0.25, 0.36, 0.66, 0.83, 0.98],
        [0.02, 0.15, 0.2, 0.5, 0.7, 0.95],
        [0.08, 0.4, 0.5, 0.8, 0.92, 0.99],
    )
    unit: Any = {"x_range": (0, 1), "y_range": (0, 1)}
    bands = "Bands: 95 %, bootstrap over patients."
    ten = "Ten bins of equal count."
    return [
        CurvePanel("roc", "ROC", "1 − specificity", "sensitivity", rocs, bands, diagonal=True, **unit),
        CurvePanel("pr", "Precision and recall", "sensitivity (recall)", "precision", prs, **unit),
        CurvePanel(
            "reliability", "Reliability", "predicted probability", "observed share", [bins], ten, diagonal=True, **unit
        ),
    ]


def distributions(classes: Sequence[str]) -> list[DistributionPanel]:
    rng = np.random.default_rng(7)
    groups = {
        "reference: other": rng.beta(1, 9, 600).tolist(),
        f"reference: {classes[1]}": rng.beta(9, 1.2, 240).tolist(),
    }
    bins = np.linspace(0, 1, 26).tolist()
    own = {c: rng.beta(9, 1.5, 60).tolist() for c in classes}
    return [
        DistributionPanel("scores", "Scores by reference", f"probability of {classes[1]}", groups, bins),
        DistributionPanel("margins", "Probability of the reference class", "probability", own),
    ]


def galleries(classes: Sequence[str]) -> list[GalleryPanel]:
    text = f"{classes[0]} taken for {classes[1]} (0.99), patient of 93 years"
    wrong = [GalleryItem(f"case {i:03d}", text, "wrong") for i in range(8)]
    right = [GalleryItem(f"case {i:03d}", f"{classes[1]} (0.97)", "right") for i in range(20, 28)]
    return [
        GalleryPanel("errors", "Most confident errors", wrong, "The errors with the highest probability."),
        GalleryPanel("correct", "Random correct cases", right),
    ]


def evaluation(classes: Sequence[str], clusters: int, part: str = "test", n: int = 846) -> Evaluation:
    rng = np.random.default_rng(7)
    counts = rng.integers(0, 3, (len(classes), len(classes)))
    counts[np.diag_indices(len(classes))] = [int(140 * v) for v in CLASS_F1[: len(classes)]]
    about: dict[str, Any] = {"part": part, "average": "macro"}
    if len(classes) == 2:
        about = {"part": part, "target": classes[1]}
    note = "withheld: undefined in 8.1 % of the resamples"
    majority = {"baseline": 0.182, "baseline_label": "majority class"}
    figures = [
        figure("f1", "F1", 0.978, n, clusters, **about),
        figure("sensitivity", "Sensitivity", 0.973, n, clusters, **about),
        figure("precision", "Precision", 0.984, n, clusters, **about),
        figure("accuracy", "Accuracy", 0.979, n, clusters, part=part, **majority),
        figure("auroc", "AUROC", 0.9991, n, clusters, **about),
        figure("mcc", "MCC", None, n, clusters, part=part, note=note),
        figure("f1", "F1", 0.981, 41, clusters, unit="patient", **about),
    ]
    columns = ["Class", "F1", "Sensitivity", "Precision", "Accuracy"]
    subgroup_columns = ["Subgroup", "F1", "Sensitivity"]
    rows = class_rows(classes, counts.sum(1).tolist(), clusters, part)
    panels = [
        TablePanel("by-class", "Figures by class", columns, rows, "One class against all others."),
        MatrixPanel("confusion", "Confusion matrix", "Reference", "Prediction", classes, classes, counts.tolist()),
        *curves(classes),
        *distributions(classes),
        TablePanel("subgroups", "By sex and age", subgroup_columns, subgroup_rows(clusters), section="subgroups"),
        *galleries(classes),
    ]
    head = [(f.id, f.target, f.average, f.unit) for f in figures[:6]]
    warnings = ["Patients are unknown: intervals are at the image level and too narrow if patients repeat."]
    if clusters < 20:
        warnings.append(f"There are {clusters} clusters: below 20 no percentile interval is printed, but the range.")
    notes = [
        f"F1 = 2tp / (2tp + fp + fn). Positive class: {classes[1]}.",
        "The threshold 0.43 was chosen on validation (Youden).",
        "Per patient: mean of the probabilities.",
    ]
    title = f"{', '.join(classes[:2])} on the {part} part"
    return Evaluation("some-task", title, figures, head, panels, warnings, notes)


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def log_rows(seed: int, epochs: int = 12) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "epoch": e + 1,
            "step": 50 * (e + 1),
            "train_loss": 1.7 * np.exp(-e / 3) + 0.04 + rng.normal(0, 0.01),
            "validation_loss": 1.5 * np.exp(-e / 3) + 0.09 + rng.normal(0, 0.03),
            "validation_macro_f1": 1 - 0.6 * np.exp(-e / 2.5) - abs(rng.normal(0, 0.01)),
            "learning_rate": 0.01 * (1 + np.cos(np.pi * e / epochs)) / 2,
            "seconds": 7.5,
        }
        for e in range(epochs)
    ]


def case_rows(classes: Sequence[str], count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    rows = []
    for i in range(count):
        patient = f"pat-{i // 3:05d}"
        rows.append(
            {
                "case": f"case {i:03d}",
                "patient": patient,
                "group": patient,
                "cluster": patient,
                "part": "",
                "reader": "raster",
                "paths": f"/data/secret/{patient}/Doe^Jane_{i}.png",
                "key": "",
                "index": "",
                "label": classes[int(rng.integers(len(classes)))],
                "attr_sex": "FM"[i // 3 % 2],
                "attr_age": int(rng.integers(30, 99)),
                "attr_study_date": "2021-03-14",
                "attr_scanner": f"scanner {'AB'[i % 2]}",
                "attr_referrer": f"Dr {i}",
            }
        )
    return rows


def parts_of(rows: Sequence[dict[str, Any]], folds: int) -> list[dict[str, str]]:
    out = []
    for row in rows:
        number = int(row["patient"].removeprefix("pat-"))
        made = {"case": row["case"], "group": row["group"]}
        if folds == 1:
            made["part"] = ("test", "validation", *["training"] * 5)[number % 7]
        for fold in range(folds) if folds > 1 else ():
            places = {fold: "test", (fold + 1) % folds: "validation"}
            made[f"part_{fold}"] = places.get(number % folds, "training")
        out.append(made)
    return out


def recipe(title: str) -> str:
    return f"""\
title: {title}
description: Body part from a single slice; a trial of the house.
task: {{name: some-task}}
data: {{dataset: mednist, root: /data/secret/MedNIST, split: {{by: fractions, test: 0.15}}}}
input:
  {{size: [64, 64], channels: 1, intensity: {{method: range}}, augment: {{rotate: 10.0, zoom: 0.1}}}}
model: {{name: small_resnet, width: 32}}
training:
  epochs: 12
  batch_size: 128
  optimizer: {{name: sgd, momentum: 0.9, nesterov: true}}
  learning_rate: 0.01
  schedule: {{name: one_cycle}}
evaluation: {{threshold: youden, resamples: 2000}}
report: {{title: null, gallery: 12}}
seed: 20210314
"""


def provenance() -> dict[str, Any]:
    return {
        "versions": {"medcnn": "0.1.0", "torch": "2.14.0+cpu", "python": "3.11.9"},
        "hardware": {"device": "cpu", "cpu": "Xeon, 2 cores", "memory_gb": 8.0, "hostname": "workstation-17"},
        "times": {"started": "2021-03-14T10:00:00", "training_seconds": 91.2},
        "user": "jdoe",
        "cwd": "/home/jdoe/work",
        "command": ["/home/jdoe/.venv/bin/medcnn", "run", "/home/jdoe/work/r.yaml", "data.root=/data/secret/MedNIST"],
        "digests": {"recipe": "a" * 64, "data": "b" * 64},
        "dataset": {
            "title": "MedNIST",
            "licence": "CC BY-SA 4.0",
            "modality": "CT, MR, X-ray",
            "patient": "unknown",
            "citation": "Collected from TCIA, the RSNA Bone Age Challenge and the NIH chest X-ray set; B. J. Erickson.",
        },
        "model": {
            "name": "small_resnet",
            "parameters": 1_123_456,
            "layers": [
                {"name": f"stage{i}.conv", "output": "(32, 64, 64)", "parameters": 9216, "receptive_field": 3 + 4 * i}
                for i in range(9)
            ],
        },
    }


def audit() -> dict[str, Any]:
    constant = "image is constant: /data/secret/pat-00001/Doe^Jane_3.png"
    copies = [["case 003", "case 009"]]
    return {
        "headline": ["12 identical images were found."],
        "findings": [
            {"severity": "info", "what": "surplus copies of identical images", "count": 12, "examples": copies},
            {"severity": "caution", "what": constant, "count": 1, "cases": ["case 003"]},
        ],
        "sizes": {"64x64": 845, "other": 1},
    }


@builder
def full_run(folder: Path, classes: Sequence[str] = SIX, folds: int = 1, clusters: int = 41) -> Path:
    """A run folder with every file; 846 cases."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = case_rows(classes, 846)
    bad = [f"/data/secret/bad/{i}.png" for i in range(5)]
    excluded = [
        {"case": f"bad {i}", "path": p, "reason": f"cannot be read: {p} is truncated"} for i, p in enumerate(bad)
    ]
    excluded.append({"case": "case 845", "path": "", "reason": "no label"})
    (folder / "recipe.yaml").write_text(recipe("Body part, six classes"), encoding="utf-8")
    write_csv(folder / "cases.csv", rows)
    write_csv(folder / "exclusions.csv", excluded)
    write_csv(folder / "split.csv", parts_of(rows[:845], folds))
    digest = hashlib.sha256((folder / "split.csv").read_bytes()).hexdigest()
    notes = ["One group, pat-00004, holds 2.1 % of the cases."]
    split = {"digest": digest, "by": "fractions", "seed": 3, "folds": folds, "notes": notes}
    write_json(folder / "split.json", split)
    write_json(folder / "audit.json", audit())
    write_json(folder / "provenance.json", provenance())
    for fold in range(folds):
        write_csv(folder / ("training" if folds == 1 else f"fold-{fold}") / "log.csv", log_rows(fold))
    part = "test" if folds == 1 else "out-of-fold"
    write_json(folder / "evaluation" / "metrics.json", evaluation(classes, clusters, part).to_json())
    write_csv(folder / "evaluation" / "cases.csv", [{"case": r["case"]} for r in rows[:121]])
    return folder


@builder
def external_run(folder: Path) -> Path:
    """Two classes, with an evaluation on another dataset."""
    full_run(folder, TWO, clusters=19)
    other = evaluation(TWO, 33, "hospital-b", 310).to_json()
    other["figures"][0] |= {"value": 0.871}
    other["figures"][0]["interval"] |= {"low": 0.842, "high": 0.897}
    write_json(folder / "evaluation" / "external-hospital-b" / "metrics.json", other)
    return folder


def pictures(case: str) -> np.ndarray | None:
    """A picture for all cases but one: 200 x 260 px, so that it must shrink."""
    if case == "case 002":
        return None
    seed = int(case.split()[-1])
    y, x = np.mgrid[-1:1:200j, -1.3:1.3:260j]
    body = 150 * np.exp(-(((x / 0.9) ** 2 + (y / 0.7) ** 2) ** 3)) + 60 * np.exp(-(((x - 0.3) * 5) ** 2 + (y * 5) ** 2))
    noise = np.random.default_rng(seed).normal(0, 6, body.shape)
    grey = np.clip(body + noise, 0, 255).astype(np.uint8)
    return np.stack([grey] * 3, -1) if seed % 2 else grey


BUILD["pictures"] = pictures
BUILD["evaluation"] = evaluation


@pytest.fixture(scope="session")
def evaluated() -> Any:
    """The module with real evaluations of every kind, which lies beside the tests and is no package."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("evaluated", Path(__file__).with_name("evaluated.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def build() -> Any:
    """The builders by name."""
    return type("Build", (), {k: staticmethod(v) for k, v in BUILD.items()})
