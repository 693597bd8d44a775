"""What was trained on what, and how it went: dataset, network, settings, learning curves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from medcnn.evaluation.results import CurvePanel, Series
from medcnn.report.charts import DASHES, Pen, draw_curves, pen
from medcnn.report.cohort import folds, people
from medcnn.report.document import Block, Cell, ChartBlock, ChartsBlock, PairsBlock, Section, TableBlock
from medcnn.report.formatting import as_number, plain, plural
from medcnn.report.privacy import reduce_paths
from medcnn.report.runfiles import Row, RunFiles

_POSITION = ("epoch", "step")
_LEFT_OUT = (*_POSITION, "seconds", "learning_rate")
_MOST_LAYERS = 80
_ACRONYMS = {w.lower(): w for w in ("F1", "AUROC", "AUC", "AP", "MCC", "MAE", "RMSE", "MSE", "IoU", "mAP")} | {
    "r2": "R²"
}


def method_section(run: RunFiles) -> Section | None:
    """Dataset, network and settings, from the recipe and the provenance."""
    provenance = run.provenance or {}
    blocks: list[Block] = []
    data = _dataset_pairs(run, _mapping(provenance.get("dataset")))
    if data:
        blocks.append(PairsBlock("Data", data))
    network = _network_pairs(run, _mapping(provenance.get("model")))
    if network:
        blocks.append(PairsBlock("Task and network", network))
    for name, title in (("input", "What the network sees"), ("training", "Training"), ("evaluation", "Evaluation")):
        pairs = flatten(reduce_paths(run.recipe.get(name)))
        if pairs:
            blocks.append(PairsBlock(title, pairs))
    if not blocks:
        return None
    description = str(reduce_paths(str(run.recipe.get("description") or "")))
    return Section("method", "What was trained on what", blocks, description)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _dataset_pairs(run: RunFiles, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    section = _mapping(run.recipe.get("data"))
    adapter = _mapping(section.get("adapter"))
    named = facts.get("title") or facts.get("name") or section.get("dataset") or adapter.get("name")
    pairs = [("Dataset", plain(named))] if named else []
    # The number of cases is said at the end, with what they were divided by.
    names = {"title", "name", "layers"} | ({"cases"} if run.cases is not None else set())
    # Facts of a dataset are published statements (licence, citation): they are shown as they were written.
    pairs += [(_title(k), _fact(v)) for k, v in facts.items() if k not in names and v not in (None, "", [], {})]
    if run.cases is not None:
        divisions = folds(run)
        used = [r for rows in divisions[0].parts.values() for r in rows] if divisions else run.cases
        pairs.append(("Cases analysed", f"{plural(len(used), 'case', 'cases')}, {people(used)}"))
    return pairs


def _fact(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return plain(reduce_paths(value)) if isinstance(value, str) and value.startswith(("/", "~")) else plain(value)


def _network_pairs(run: RunFiles, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    task = _mapping(run.recipe.get("task"))
    model = _mapping(run.recipe.get("model"))
    pairs = []
    if task.get("name"):
        pairs.append(("Task", str(task["name"])))
        pairs += [(f"Task: {k}", v) for k, v in flatten({k: v for k, v in task.items() if k != "name"})]
    name = facts.get("name") or model.get("name")
    if name:
        pairs.append(("Network", plain(reduce_paths(str(name)))))
    for key, value in facts.items():
        if key == "name" or value is None or (key == "layers" and not isinstance(value, int)):
            continue
        pairs.append((_title(key), f"{value:,}" if isinstance(value, int) else plain(reduce_paths(value))))
    options = flatten(reduce_paths({k: v for k, v in model.items() if k != "name"}))
    return pairs + [(f"Network: {k[0].lower()}{k[1:]}", v) for k, v in options]


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested mapping as pairs of readable names and values; what is not set is left out.

    A component ``{name: adam, weight_decay: 0}`` reads ``adam (weight decay 0)``.
    """
    pairs: list[tuple[str, str]] = []
    for key, item in _mapping(value).items():
        title = f"{prefix}{str(key).replace('_', ' ')}"
        if item is None or item in ({}, [], ""):
            continue
        if isinstance(item, Mapping) and "name" in item:
            options = [f"{k.replace('_', ' ')} {plain(v)}" for k, v in item.items() if k != "name" and v is not None]
            pairs.append((_title(title), f"{item['name']}{' (' + ', '.join(options) + ')' if options else ''}"))
        elif isinstance(item, Mapping):
            pairs += flatten(item, f"{title}: ")
        else:
            pairs.append((_title(title), plain(item)))
    return pairs


def _title(text: str) -> str:
    text = str(text).replace("_", " ")
    return text[:1].upper() + text[1:]


def layers_section(run: RunFiles) -> Section | None:
    """The network's layers, where the provenance lists them."""
    layers = _mapping((run.provenance or {}).get("model")).get("layers")
    if not isinstance(layers, Sequence) or not layers or not isinstance(layers[0], Mapping):
        return None
    return Section("layers", "Layers of the network", [_layers(layers)])


def _layers(layers: Sequence[Mapping[str, Any]]) -> TableBlock:
    columns = list(dict.fromkeys(k for layer in layers for k in layer))
    rows = [[_layer_cell(layer.get(c), i) for i, c in enumerate(columns)] for layer in layers[:_MOST_LAYERS]]
    rest = len(layers) - len(rows)
    caption = f"{plural(rest, 'further layer is', 'further layers are')} not shown." if rest else ""
    return TableBlock("", [_title(c) for c in columns], rows, caption)


def _layer_cell(value: Any, column: int) -> Cell:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else plain(value)
    return Cell(text, numeric=column > 0 and not isinstance(value, str))


def learning_section(run: RunFiles) -> Section | None:
    """Learning curves, the folds over each other."""
    logs = {name: rows for name, rows in run.logs.items() if rows}
    if not logs:
        return None
    columns = list(dict.fromkeys(c for rows in logs.values() for c in rows[0]))
    losses = [c for c in columns if "loss" in c.lower()]
    figures = [c for c in columns if c not in losses and c not in _LEFT_OUT]
    shares = [c for c in figures if _within_unit(logs, c)]
    charts = [_chart("learning-loss", "Loss", "loss", losses, logs)]
    if shares:
        charts.append(_chart("learning-figures", "Validation figures", "value (0 to 1)", shares, logs))
    charts += [
        _chart(f"learning-{i}", _words(c), _words(c).lower(), [c], logs)
        for i, c in enumerate(figures)
        if c not in shares
    ]
    charts.append(_chart("learning-rate", "Learning rate", "learning rate", ["learning_rate"], logs))
    drawn = [c for c in charts if c is not None]
    if not drawn:
        return None
    return Section("learning", "Learning curves", [ChartsBlock(drawn)], _duration(logs))


def _duration(logs: Mapping[str, Sequence[Row]]) -> str:
    epochs = [len(rows) for rows in logs.values()]
    seconds = sum(as_number(r.get("seconds", "")) or 0.0 for rows in logs.values() for r in rows)
    low, high = min(epochs), max(epochs)
    count = plural(low, "epoch", "epochs") if low == high else f"{low} to {high} epochs"
    text = f"{count} in each of {len(logs)} folds" if len(logs) > 1 else count
    return f"{text}, {seconds:,.0f} s of training in all." if seconds else f"{text}."


def _within_unit(logs: Mapping[str, Sequence[Row]], column: str) -> bool:
    values = [v for rows in logs.values() for r in rows if (v := as_number(r.get(column, ""))) is not None]
    return bool(values) and all(0 <= v <= 1 for v in values)


def _words(column: str) -> str:
    text = re.sub(r"^val_", "validation_", column)
    text = re.sub(r"^train_", "training_", text)
    return _title(" ".join(_ACRONYMS.get(w, w) for w in text.split("_")))


def _chart(name: str, title: str, y_label: str, columns: Sequence[str], logs: Mapping[str, Any]) -> ChartBlock | None:
    series, pens = [], []
    for i, (folder, rows) in enumerate(logs.items()):
        x_name = "epoch" if "epoch" in rows[0] else "step"
        for j, column in enumerate(columns):
            points = [(as_number(r.get(x_name, "")), as_number(r.get(column, ""))) for r in rows]
            known = [(x, y) for x, y in points if x is not None and y is not None]
            if not known:
                continue
            label = _words(column) if len(columns) > 1 or len(logs) == 1 else ""
            fold = folder.replace("-", " ") if len(logs) > 1 else ""
            series.append(Series(", ".join(t for t in (label, fold) if t), *zip(*known, strict=True)))
            # One colour a fold and one dash a figure, so that a figure can be followed over the folds.
            pens.append(Pen(pen(i).color, DASHES[j % len(DASHES)]) if len(logs) > 1 else pen(j))
    if not series:
        return None
    x_label = "epoch" if all("epoch" in rows[0] for rows in logs.values()) else "step"
    return draw_curves(CurvePanel(name, title, x_label, y_label, series), pens)
