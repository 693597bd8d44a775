"""The audit of a dataset from end to end: read every image once, compare, and write what was found."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.audit import Audit, audit, write_audit
from medcnn.data.audit_boxes import read_boxes
from medcnn.data.audit_headers import read_headers
from medcnn.data.audit_images import class_names
from medcnn.data.audit_near import other_label
from medcnn.data.audit_targets import read_masks
from medcnn.data.cache import default_cache_folder
from medcnn.data.grouping import printable
from medcnn.data.near_duplicates import TURNS, NearDuplicates, NearPair
from medcnn.data.near_search import search
from medcnn.data.thumbnails import Thumbnails, read_thumbnails
from medcnn.errors import DataError, RunError
from medcnn.files import open_atomic
from medcnn.inference.hardware import available_cores
from medcnn.progress import Progress
from medcnn.recipe.schema import DataSection
from medcnn.types import Case, Dataset, Value
from medcnn.workflow.audit_source import Source
from medcnn.workflow.folder import new_folder

TABLE, SHEET = "audit.csv", "audit.html"
SHOWN_CASES, SHOWN_PAIRS = 96, 12


def audit_folder(source: str | Path, out: Path | None) -> Path:
    """The new folder that an audit is written into: the wanted one, else ``audits/NAME``, numbered where taken.

    Raises:
        RunError: If the wanted folder is not empty, or cannot be written to.
    """
    if out is not None:
        if out.is_dir() and any(out.iterdir()):
            what = "the output folder exists and is not empty; nothing was changed"
            raise RunError(what, where=str(out), todo="give another --out")
        return new_folder(out, out.name)
    name = Path(source).stem or Path(source).resolve().name or "audit"
    folder, count = Path("audits") / name, 1
    while folder.exists():
        count += 1
        folder = Path("audits") / f"{name}-{count}"
    return new_folder(folder, name)


def run_audit(source: Source, out: Path | None, progress: Progress, *, near: bool = True) -> Audit:
    """Read, compare and write.

    Args:
        source: What to look at.
        out: Folder for ``audit.json``, ``audit.csv`` and ``audit.html``; nothing is written where it is absent.
        progress: Receives the display.
        near: Look for near-duplicates.

    Raises:
        RunError: If the folder cannot be written.
    """
    dataset, cores = source.dataset, available_cores()
    progress.start("reading images", len(dataset.cases), "images")
    seen = read_thumbnails(dataset.cases, workers=cores, progress=progress)
    found: NearDuplicates | None = None
    if near:
        found = search(seen.cases, seen.facts, default_cache_folder(), threads=cores, progress=progress, seen=seen)
    progress.start("reading headers", len(dataset.cases), "cases")
    headers = read_headers(dataset.cases, progress)
    masks = read_masks(dataset, seen.cases, threads=cores, progress=progress)
    boxes = read_boxes(dataset, seen.cases, threads=cores, progress=progress)
    progress.finish()
    result = audit(
        dataset,
        seen.facts,
        seen.exclusions,
        near=found,
        headers=headers or None,
        masks=masks or None,
        boxes=boxes,
    )
    if out is not None:
        write_audit(out, result)
        write_table(out / TABLE, dataset, seen, found)
        _write_sheet(out, source, result, seen, found)
    return result


def require_usable(result: Audit, section: DataSection) -> None:
    """Stop where a run would.

    Raises:
        DataError: If more cases are unusable than the recipe allows.
    """
    bad = [row for row in result.tables["exclusions"] if not row["aside"]]
    if not bad:
        return
    count = sum(row["count"] for row in bad)
    share = count / (count + result.cases)
    example = bad[0]["examples"][0]
    first = f"{example['path'] or example['case']}: {bad[0]['reason']}"
    if section.on_error == "stop" or share > section.max_unusable:
        rule = "data.on_error=stop" if section.on_error == "stop" else f"data.max_unusable={section.max_unusable:g}"
        raise DataError(
            f"{count:,} of {count + result.cases:,} cases ({share:.1%}) cannot be used, such as {first}",
            where=rule,
            todo="mend or remove them; the audit lists each with its reason",
        )


def write_table(path: Path, dataset: Dataset, seen: Thumbnails, near: NearDuplicates | None) -> None:
    """``audit.csv``: a row a case, with ids and paths as they are: a local file, readable by its owner alone.

    Raises:
        RunError: If it cannot be written.
    """
    facts = {f.case: f for f in seen.facts}
    reasons = {e.case: e for e in (*dataset.exclusions, *seen.exclusions)}
    counts: dict[str, int] = {}
    for seen_fact in seen.facts:
        counts[seen_fact.digest] = counts.get(seen_fact.digest, 0) + 1
    groups: Mapping[str, str] = near.groups if near else {}
    columns = ["case", "label", "patient", "size", "dtype", "spacing", "low", "high", "digest", "identical"]
    with open_atomic(path, private=True) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*columns, "near_group", "unusable", "path"])
        for case in dataset.cases:
            known, reason = facts.get(case.id), reasons.pop(case.id, None)
            row: list[Any] = [case.id, label_text(dataset, case), case.patient or ""]
            if known is not None:
                spacing = "" if known.spacing is None else "x".join(f"{s:g}" for s in known.spacing)
                size = "x".join(map(str, known.shape))
                row += [size, known.dtype, spacing, known.low, known.high, known.digest, counts[known.digest]]
            else:
                row += [""] * 7
            where = case.images[0].paths[0] if case.images and case.images[0].paths else ""
            row += [groups.get(case.id, ""), reason.reason if reason else "", where]
            writer.writerow([printable(v) if isinstance(v, str) else v for v in row])
        for left in reasons.values():
            writer.writerow([printable(left.case), *[""] * 10, printable(left.reason), printable(left.path)])


def label_text(dataset: Dataset, case: Case) -> str:
    """The classes, or the value, of a case in words."""
    value = case.target(Value)
    if value is not None and value.value is not None:
        return f"{value.value:g}"
    return ", ".join(class_names(dataset, case))


def _write_sheet(out: Path, source: Source, result: Audit, seen: Thumbnails, near: NearDuplicates | None) -> None:
    from medcnn.report.audit_sheet import SheetCase, write_audit_sheet
    from medcnn.workflow.audit_pictures import boxes_text, colours_of, odd_boxes, picture_of, sheet_cases

    dataset = source.dataset
    by_id = {case.id: case for case in seen.cases}
    schema = dataset.labels.get("boxes")

    def line(case: Case) -> str:
        return "; ".join(filter(None, [label_text(dataset, case), boxes_text(schema, case)]))

    random_cases = [SheetCase(c.id, line(c)) for c in sheet_cases(seen.cases, SHOWN_CASES)]
    pairs = [SheetCase(*pair) for pair in _pair_lines(dataset, near, by_id)]
    unlike = [
        SheetCase(name, label_text(dataset, by_id[name]))
        for finding in result.findings
        if finding.id == "identical-across-labels"
        for name in finding.cases
    ]

    def picture(name: str) -> NDArray[np.uint8] | None:
        return picture_of(dataset, by_id[name]) if name in by_id else None

    left_out = [{"case": e.case, "path": e.path} for e in (*dataset.exclusions, *seen.exclusions)]
    words = [n for schema in dataset.labels.values() for n in schema.names]
    write_audit_sheet(
        out / SHEET,
        result.to_json(),
        random_cases,
        pairs,
        unlike=unlike,
        odd=[SheetCase(*one) for one in odd_boxes(result, by_id)],
        colours=colours_of(dataset),
        pictures=picture,
        rows=[_row(c) for c in dataset.cases],
        exclusions=left_out,
        keep=words,
        title=str(dataset.facts.get("title") or dataset.name),
    )


def _pair_lines(dataset: Dataset, near: NearDuplicates | None, cases: Mapping[str, Case]) -> Iterator[tuple[str, str]]:
    """Case and text of both pictures of each pair that is shown."""
    for number, pair in enumerate(_shown_pairs(near.pairs if near else (), cases), 1):
        text = f"pair {number}, likeness {pair.score:.2f}" + (f", {TURNS[pair.turn]}" if pair.turn else "")
        for name in (pair.first, pair.second):
            yield name, "; ".join(filter(None, [label_text(dataset, cases[name]), text]))


def _row(case: Case) -> dict[str, str]:
    """What of a case the page needs to give it a pseudonym."""
    return {
        "case": case.id,
        "patient": case.patient or "",
        "group": case.group or "",
        "cluster": case.cluster or "",
        "study": case.study or "",
        "paths": "|".join(p for ref in case.images for p in ref.paths),
    }


def _shown_pairs(pairs: Sequence[NearPair], cases: Mapping[str, Case]) -> list[NearPair]:
    """A few pairs, the least alike first: up to half of them of different labels, the rest at random."""
    apart = [p for p in pairs if other_label(cases[p.first], cases[p.second])]
    chosen = random.Random(0).sample(apart, min(SHOWN_PAIRS // 2, len(apart)))
    taken = set(chosen)
    rest = [p for p in pairs if p not in taken]
    chosen += random.Random(0).sample(rest, min(SHOWN_PAIRS - len(chosen), len(rest)))
    return sorted(chosen, key=lambda p: (p.score, p.first, p.second))
