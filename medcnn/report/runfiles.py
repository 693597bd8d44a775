"""The files of a run folder, read with the standard library; what is absent is ``None`` or empty."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from medcnn.errors import RunError
from medcnn.evaluation.results import (
    SCHEMA_VERSION,
    CurvePanel,
    DistributionPanel,
    Evaluation,
    Figure,
    GalleryItem,
    GalleryPanel,
    Interval,
    MatrixPanel,
    Panel,
    Series,
    TablePanel,
)
from medcnn.files import read_json

T = TypeVar("T")
Row = dict[str, str]
_FIGURE_KEYS = frozenset({"id", "label", "value", "n"})


@dataclass(frozen=True, slots=True)
class RunFiles:
    """What a run folder holds.

    Attributes:
        folder: The run folder.
        recipe: ``recipe.yaml``; empty where there is none.
        cases: Rows of ``cases.csv``; ``None`` where there is no such file (also below).
        exclusions: Rows of ``exclusions.csv``.
        audit: ``audit.json``.
        split: Rows of ``split.csv``.
        split_facts: ``split.json``.
        provenance: ``provenance.json``.
        logs: Rows of ``log.csv`` by folder (``training``, ``fold-0``, ...).
        evaluation: ``evaluation/metrics.json``.
        evaluated: Number of cases in ``evaluation/cases.csv``.
        others: Evaluations on other datasets by name.
        other_cases: Rows of ``cases.csv`` and ``exclusions.csv`` of these datasets, and of ``evaluation/cases.csv``.
        unknown: Panels that this version cannot draw, as ``kind: title``.
    """

    folder: Path
    recipe: Mapping[str, Any] = field(default_factory=dict)
    cases: list[Row] | None = None
    exclusions: list[Row] | None = None
    audit: Mapping[str, Any] | None = None
    split: list[Row] | None = None
    split_facts: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] | None = None
    logs: Mapping[str, list[Row]] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    evaluated: int | None = None
    others: Mapping[str, Evaluation] = field(default_factory=dict)
    other_cases: Sequence[Row] = ()
    unknown: Sequence[str] = ()


def read_run(folder: Path) -> RunFiles:
    """Read whatever of the run's files is there.

    Raises:
        RunError: If the folder does not exist, holds none of the files, or one of them is broken.
    """
    if not folder.is_dir():
        raise RunError("there is no such run folder", where=str(folder), todo="give the folder of a run")
    unknown: list[str] = []
    evaluation = folder / "evaluation"
    logs = {p.parent.name: read_csv(p) or [] for p in sorted(folder.glob("*/log.csv"), key=_by_number)}
    others = {
        p.parent.name.removeprefix("external-"): read_evaluation(p, unknown)
        for p in sorted(evaluation.glob("*/metrics.json"))
    }
    evaluated = read_csv(evaluation / "cases.csv")
    main = evaluation / "metrics.json"
    run = RunFiles(
        folder=folder,
        recipe=_read_recipe(folder / "recipe.yaml"),
        cases=read_csv(folder / "cases.csv"),
        exclusions=read_csv(folder / "exclusions.csv"),
        audit=_read_object(folder / "audit.json"),
        split=read_csv(folder / "split.csv"),
        split_facts=_read_object(folder / "split.json") or {},
        provenance=_read_object(folder / "provenance.json"),
        logs=logs,
        evaluation=read_evaluation(main, unknown) if main.is_file() else None,
        evaluated=None if evaluated is None else len({row.get("case", str(i)) for i, row in enumerate(evaluated)}),
        others=others,
        other_cases=[r for p in sorted(evaluation.glob("*/*.csv")) for r in read_csv(p) or [] if "case" in r]
        # A table from elsewhere has no cases.csv of its own: what it evaluated are the identifiers.
        + [r for r in evaluated or () if "case" in r],
        unknown=unknown,
    )
    if not any((run.recipe, run.cases, run.split, run.logs, run.evaluation, run.others)):
        raise RunError(
            "there is nothing to report in this folder",
            where=str(folder),
            todo="give the folder of a run: it holds recipe.yaml, or evaluation/metrics.json",
        )
    return run


def _by_number(path: Path) -> tuple[str, int]:
    stem, _, digits = path.parent.name.rpartition("-")
    return (stem, int(digits)) if digits.isdecimal() else (path.parent.name, 0)


def read_csv(path: Path) -> list[Row] | None:
    """The rows of a CSV file, blank cells as empty text; ``None`` where there is no such file."""
    if not path.is_file():
        return None
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return [{k: v or "" for k, v in row.items() if k is not None} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"the table cannot be read: {error}", where=str(path)) from error


def _read_object(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    value = read_json(path)
    if not isinstance(value, dict):
        raise RunError("the file should hold one JSON object", where=str(path))
    return value


def _read_recipe(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    import yaml

    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunError(f"the recipe cannot be read: {error}", where=str(path)) from error
    if not isinstance(value, dict):
        raise RunError("the recipe should be a mapping", where=str(path))
    return value


def read_evaluation(path: Path, unknown: list[str] | None = None) -> Evaluation:
    """``metrics.json`` as an :class:`~medcnn.evaluation.results.Evaluation`.

    Args:
        path: The file.
        unknown: Receives ``kind: title`` of each panel that this version cannot draw.

    Raises:
        RunError: If the file is missing, broken, or of a newer version of the schema.
    """
    data = read_json(path)
    version = data.get("schema_version", SCHEMA_VERSION) if isinstance(data, dict) else None
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise RunError(
            f"this is not an evaluation of schema version {SCHEMA_VERSION} or older",
            where=str(path),
            todo="write the report with the version of medcnn that made the evaluation",
        )
    try:
        panels = [_panel(p, unknown) for p in data.get("panels", ())]
        return _make(
            Evaluation,
            data,
            figures=[_figure(f) for f in data.get("figures", ())],
            headline=[tuple(h) for h in data.get("headline", ())],
            panels=[p for p in panels if p is not None],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"the evaluation does not have its form: {error}",
            where=str(path),
            todo="docs/report.md describes the form of metrics.json",
        ) from error


def _make(cls: type[T], data: Mapping[str, Any], **replaced: Any) -> T:
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    return cls(**{**{k: v for k, v in data.items() if k in known}, **replaced})


def _figure(data: Mapping[str, Any]) -> Figure:
    interval = data.get("interval")
    return _make(Figure, data, interval=_make(Interval, interval) if interval else None)


def _cell(value: Any) -> Any:
    return _figure(value) if isinstance(value, dict) and value.keys() >= _FIGURE_KEYS else value


def _panel(data: Mapping[str, Any], unknown: list[str] | None) -> Panel | None:
    kind = data.get("kind")
    if kind == "table":
        return _make(TablePanel, data, rows=[[_cell(v) for v in row] for row in data["rows"]])
    if kind == "curve":
        return _make(CurvePanel, data, series=[_make(Series, s) for s in data["series"]])
    if kind == "matrix":
        return _make(MatrixPanel, data)
    if kind == "distribution":
        return _make(DistributionPanel, data)
    if kind == "gallery":
        return _make(GalleryPanel, data, items=[_make(GalleryItem, i) for i in data["items"]])
    if unknown is not None:
        unknown.append(f"{kind}: {data.get('title', data.get('id', ''))}")
    return None
