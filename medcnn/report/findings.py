"""The evaluation's figures as sections, the comparison with other datasets, the audit and the provenance."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from medcnn.evaluation.results import Evaluation, Figure, GalleryPanel, Panel, TablePanel
from medcnn.report.document import (
    Block,
    CardsBlock,
    CodeBlock,
    LinesBlock,
    PairsBlock,
    Section,
)
from medcnn.report.formatting import figure_name, plain, plural
from medcnn.report.panels import Pictures, cards, table, to_blocks
from medcnn.report.privacy import Machine, Shown, basename, is_local, reduce_paths
from medcnn.report.runfiles import RunFiles

SECTIONS = {
    "figures": "Figures",
    "curves": "Curves and distributions",
    "subgroups": "Figures by subgroup",
    "folds": "Spread between folds",
    "cases": "Cases worth a look",
}


def headline(evaluation: Evaluation) -> list[Figure]:
    """The figures that stand first; the first four of all where the evaluation names none."""
    found = []
    for name, target, average, unit in evaluation.headline:
        try:
            found.append(evaluation.find(name, target, average, unit))
        except KeyError:
            continue
    return found or list(evaluation.figures[:4])


def headline_section(evaluation: Evaluation, shown: Shown) -> Section:
    """The main figures as cards."""
    found = cards(headline(evaluation), shown)
    return Section("headline", "Main figures", [CardsBlock(found)] if found else [])


def warnings_section(evaluation: Evaluation, shown: Shown, unknown: Sequence[str]) -> Section | None:
    """What a reviewer must see before the rest."""
    lines = [shown.text(w) for w in evaluation.warnings]
    lines += [f"This version cannot draw a panel of the evaluation ({name})." for name in unknown]
    return Section("warnings", "Warnings", [LinesBlock(lines, tone="warning")]) if lines else None


def panel_sections(evaluation: Evaluation, shown: Shown, pictures: Pictures | None) -> list[Section]:
    """The panels, a section for each name that they carry; the known names come in their order."""
    by_name: dict[str, list[Panel]] = {name: [] for name in SECTIONS}
    for panel in evaluation.panels:
        by_name.setdefault(panel.section, []).append(panel)
    size = picture_size(evaluation.panels)
    order = [n for n in by_name if n != "cases"] + ["cases"]
    return [
        Section(f"panels-{i}", SECTIONS.get(name, name.replace("_", " ").capitalize()), blocks)
        for i, name in enumerate(order)
        if (blocks := to_blocks(by_name[name], f"p{i}", shown, pictures, size))
    ]


def picture_size(panels: Sequence[Panel]) -> int:
    """Longest side of the pictures in px: 160, and less where there are many, so that the report stays small."""
    count = sum(len(p.items) for p in panels if isinstance(p, GalleryPanel))
    return 160 if count <= 36 else 112 if count <= 90 else 80


def notes_section(evaluation: Evaluation, shown: Shown) -> Section | None:
    """Definitions and rules in force."""
    lines = [shown.text(n) for n in evaluation.notes]
    return Section("notes", "Definitions", [LinesBlock(lines)]) if lines else None


def comparison_section(main: Evaluation | None, others: Mapping[str, Evaluation], shown: Shown) -> Section | None:
    """The same figures on the run's own data and on other datasets, side by side."""
    if main is None or not others:
        return None
    rows = []
    first = headline(main)
    for figure in [*first, *(f for f in main.figures if f not in first and f.target is None)]:
        cells: list[Any] = [figure_name(figure), figure]
        matched = [_match(figure, other) for other in others.values()]
        if any(m is not None for m in matched):
            rows.append([*cells, *matched])
    if not rows:
        return None
    columns = ["Figure", f"Internal ({rows[0][1].part})", *others]
    caption = "The network and its thresholds are the same in all columns."
    panel = TablePanel("comparison", "The same figures, side by side", columns, rows, caption)
    return Section("comparison", "Internal and external figures", [table(panel, shown)])


def _match(figure: Figure, other: Evaluation) -> Figure | None:
    try:
        return other.find(figure.id, figure.target, figure.average, figure.unit)
    except KeyError:
        return None


def other_sections(others: Mapping[str, Evaluation], shown: Shown) -> list[Section]:
    """One section for each other dataset: its warnings, main figures and panels."""
    sections = []
    for i, (name, evaluation) in enumerate(others.items()):
        blocks: list[Block] = []
        if evaluation.warnings:
            blocks.append(LinesBlock([shown.text(w) for w in evaluation.warnings], tone="warning"))
        blocks.append(CardsBlock(cards(headline(evaluation), shown)))
        # Ids of both datasets may be equal: those of the other one carry its name, and have no pictures here.
        blocks += to_blocks([_named_apart(p, name) for p in evaluation.panels], f"x{i}", shown, None)
        if evaluation.notes:
            blocks.append(LinesBlock([shown.text(n) for n in evaluation.notes], "Definitions"))
        sections.append(Section(f"other-{i}", f"On other data: {name}", blocks, evaluation.title))
    return sections


def _named_apart(panel: Panel, name: str) -> Panel:
    if not isinstance(panel, GalleryPanel):
        return panel
    return replace(panel, items=[replace(item, case=f"{name}/{item.case}") for item in panel.items])


def provenance_section(provenance: Mapping[str, Any] | None) -> Section | None:
    """Versions, hardware and whatever else the run wrote down, without what names a machine or a person."""
    if provenance is None:
        return None
    machine, hidden = Machine(), 0
    blocks: list[Block] = []
    single: list[tuple[str, str]] = []
    for key, value in provenance.items():
        if key in ("dataset", "model", "digests", "command", "argv", "seed"):
            continue
        if is_local(key):
            hidden += 1
        elif isinstance(value, Mapping):
            pairs, left = _provenance_pairs(value, machine)
            hidden += left
            if pairs:
                blocks.append(PairsBlock(key.replace("_", " ").capitalize(), pairs))
        else:
            single.append((key.replace("_", " "), machine.text(plain(reduce_paths(value)))))
    if single:
        blocks.insert(0, PairsBlock("Run", single))
    if hidden:
        text = f"{plural(hidden, 'entry stays', 'entries stay')} in provenance.json alone: hosts, users, paths, dates."
        blocks.append(LinesBlock([text]))
    return Section("provenance", "Provenance", blocks) if blocks else None


def _provenance_pairs(
    value: Mapping[str, Any], machine: Machine, prefix: str = ""
) -> tuple[list[tuple[str, str]], int]:
    pairs: list[tuple[str, str]] = []
    hidden = 0
    for key, item in value.items():
        title = f"{prefix}{str(key).replace('_', ' ')}"
        if is_local(str(key)):
            hidden += 1
        elif isinstance(item, Mapping):
            inner, left = _provenance_pairs(item, machine, f"{title}: ")
            pairs += inner
            hidden += left
        else:
            text = machine.text(plain(reduce_paths(item)))
            if text.strip() == "[date]":
                hidden += 1
            else:
                pairs.append((title, text))
    return pairs, hidden


def reproduce_section(run: RunFiles) -> Section | None:
    """The command, the seed, the digests and the whole recipe."""
    provenance = run.provenance or {}
    blocks: list[Block] = []
    command = command_line(provenance.get("command") or provenance.get("argv"))
    if command:
        blocks.append(CodeBlock("The command of this run", command, "sh"))
    if run.recipe:
        caption = "With the recipe below saved as recipe.yaml, wherever the run's own recipe is not at hand."
        blocks.append(CodeBlock("The same from the resolved recipe", "medcnn run recipe.yaml", "sh", caption))
    pairs = []
    seed = run.recipe.get("seed", provenance.get("seed"))
    if seed is not None:
        pairs.append(("Seed", plain(seed)))
    digests = provenance.get("digests")
    if isinstance(digests, Mapping):
        pairs += [(f"Digest of the {str(k).replace('_', ' ')}", plain(reduce_paths(v))) for k, v in digests.items()]
    split = run.split_facts.get("digest")
    if split and split not in dict(pairs).values():
        pairs.append(("Digest of the split (split.csv)", str(split)))
    if pairs:
        blocks.append(PairsBlock("Seed and digests", pairs, "Digests are SHA-256."))
    if run.recipe:
        caption = "With all defaults filled in. Of paths the last part is shown: give them anew where there are any."
        blocks.append(CodeBlock("Recipe", _yaml(reduce_paths(run.recipe)), "yaml", caption))
    return Section("reproduce", "How to reproduce", blocks) if blocks else None


def command_line(command: Any) -> str:
    """A command without absolute paths: of each the last part stays, also behind ``key=``."""
    if isinstance(command, str):
        try:
            command = shlex.split(command)
        except ValueError:
            command = command.split()
    if not isinstance(command, (list, tuple)):
        return ""
    machine = Machine()
    words = []
    for word in map(str, command):
        key, sign, value = word.rpartition("=")
        path = value.startswith(("/", "~")) or value[1:3] in (":\\", ":/") or value.startswith("\\\\")
        words.append(machine.text(f"{key}{sign}{basename(value)}" if path else word))
    if words and words[0] in ("__main__.py", "main.py"):
        words[0] = "medcnn"
    return shlex.join(words)


def _yaml(value: Any) -> str:
    import yaml

    return yaml.safe_dump(value, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)
