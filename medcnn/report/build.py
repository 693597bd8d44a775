"""From the files of a run folder to ``report.html`` and ``report.md``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import medcnn
from medcnn.evaluation.results import DistributionPanel, Evaluation, MatrixPanel
from medcnn.files import write_text
from medcnn.report.audit_part import audit_section
from medcnn.report.cohort import attribute_levels, flow_section, split_section
from medcnn.report.document import Document, Section
from medcnn.report.findings import (
    comparison_section,
    headline_section,
    notes_section,
    other_sections,
    panel_sections,
    provenance_section,
    reproduce_section,
    warnings_section,
)
from medcnn.report.html import render
from medcnn.report.markdown import to_markdown
from medcnn.report.method import layers_section, learning_section, method_section
from medcnn.report.panels import Pictures
from medcnn.report.plan_part import plan_section
from medcnn.report.privacy import Shown, mask
from medcnn.report.pseudonyms import FILE_NAME, Pseudonyms
from medcnn.report.runfiles import RunFiles, read_run


def write_report(run: Path, *, pictures: Pictures | None = None, title: str | None = None) -> Path:
    """Write ``report.html`` and ``report.md`` from the files of a run folder.

    Sections whose files are absent are left out, so that the evaluation of another program's predictions has a
    report too. Cases and patients appear under pseudonyms; the key is in ``pseudonyms.json`` (mode 600).

    Args:
        run: The run folder.
        pictures: Gives the pixels of a case for the galleries: ``(Y, X)`` or ``(Y, X, 3)`` uint8, or ``None``
            where there are none. They are shrunk to at most 160 px.
        title: The heading; the recipe's or the evaluation's where it is absent.

    Returns:
        The path of ``report.html``.

    Raises:
        RunError: If the folder holds nothing to report, a file is broken, or writing fails.
    """
    folder = Path(run)
    files = read_run(folder)
    pseudonyms = Pseudonyms(folder)
    document = build_document(files, pseudonyms, pictures=pictures, title=title)
    html = render("report.html.j2", document=document)
    pseudonyms.save()
    write_text(folder / "report.md", to_markdown(document))
    write_text(folder / "report.html", html)
    return folder / "report.html"


def build_document(
    run: RunFiles, pseudonyms: Pseudonyms, *, pictures: Pictures | None = None, title: str | None = None
) -> Document:
    """The report's sections, in the order of a reviewer's questions."""
    known = [*(run.cases or ()), *run.other_cases]
    shown = Shown(pseudonyms, known, run.exclusions or (), keep=_words(run))
    evaluation = run.evaluation
    sections: list[Section | None] = []
    if evaluation is not None:
        sections += [headline_section(evaluation, shown), warnings_section(evaluation, shown, run.unknown)]
    sections += [comparison_section(evaluation, run.others, shown), method_section(run), plan_section(run)]
    sections.append(flow_section(run, shown))
    if evaluation is not None:
        sections += panel_sections(evaluation, shown, pictures)
    sections += other_sections(run.others, shown)
    sections += [split_section(run, shown), learning_section(run), layers_section(run), audit_section(run.audit, shown)]
    if evaluation is not None:
        sections.append(notes_section(evaluation, shown))
    sections += [provenance_section(run.provenance), reproduce_section(run)]
    present = [s for s in sections if s is not None]
    return Document(_title(run, title), _subtitle(run), _chips(run), present, _footer())


def _words(run: RunFiles) -> set[str]:
    """Names of classes and levels of attributes: words that are shown even where a case is called so."""
    words = {row.get("label", "") for row in run.cases or ()}
    for levels in attribute_levels(run.cases or ()).values():
        words.update(levels)
    for evaluation in (run.evaluation, *run.others.values()):
        words |= _named(evaluation) if evaluation else set()
    return words


def _named(evaluation: Evaluation) -> set[str]:
    words = {f.target for f in evaluation.figures if f.target}
    for panel in evaluation.panels:
        if isinstance(panel, MatrixPanel):
            words |= {*panel.rows, *panel.columns}
        elif isinstance(panel, DistributionPanel):
            words |= set(panel.groups)
    return words


def _section(run: RunFiles, name: str) -> Mapping[str, Any]:
    value = run.recipe.get(name)
    return value if isinstance(value, Mapping) else {}


def _title(run: RunFiles, title: str | None) -> str:
    given = title or _section(run, "report").get("title") or run.recipe.get("title")
    return mask(str(given or (run.evaluation.title if run.evaluation else "") or "Report of a run"))


def _subtitle(run: RunFiles) -> str:
    text = run.evaluation.title if run.evaluation else ""
    return "" if text == _title(run, None) else mask(text)


def _chips(run: RunFiles) -> list[tuple[str, str]]:
    facts = (run.provenance or {}).get("dataset")
    known = facts if isinstance(facts, Mapping) else {}
    data = known.get("title") or _section(run, "data").get("dataset")
    task = _section(run, "task").get("name") or (run.evaluation.task if run.evaluation else None)
    chips = [("Task", task), ("Dataset", data), ("Network", _section(run, "model").get("name"))]
    return [(name, mask(str(value))) for name, value in chips if value]


def _footer() -> list[str]:
    return [
        f"Written by medcnn {medcnn.__version__} from the files of the run folder. The page loads nothing and runs "
        "no script.",
        f"Cases, patients and files carry pseudonyms; {FILE_NAME} in the run folder resolves them for its owner.",
        "An en dash means that a figure is not defined or not known; the note beside it says why.",
        "For research. Not a medical device.",
    ]
