"""The audit of a dataset from end to end: find it, read every image once, compare, and write what was found."""

from __future__ import annotations

import csv
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.audit import Audit, audit, write_audit
from medcnn.data.audit_headers import read_headers
from medcnn.data.audit_images import class_names
from medcnn.data.audit_near import other_label
from medcnn.data.cache import default_cache_folder
from medcnn.data.catalog import load_catalog
from medcnn.data.dataset import load_dataset
from medcnn.data.grouping import printable
from medcnn.data.images.sniff import has_image_suffix
from medcnn.data.near_duplicates import TURNS, NearDuplicates, NearPair
from medcnn.data.near_search import search
from medcnn.data.thumbnails import Thumbnails, middle_slice, read_thumbnails
from medcnn.errors import DataError, MedcnnError
from medcnn.files import open_atomic
from medcnn.inference.hardware import available_cores
from medcnn.progress import Progress
from medcnn.recipe.load import load_recipe
from medcnn.recipe.schema import DataSection, Suite
from medcnn.recipe.shelf import recipe_names
from medcnn.registry import suggest
from medcnn.types import Case, Dataset, Exclusion, ImageRef, Value
from medcnn.workflow.folder import new_folder

TABLE, SHEET = "audit.csv", "audit.html"
SHOWN_CASES, SHOWN_PAIRS = 96, 12
_NOT_DATA = "not an image by its name"
_IGNORED = {".csv", ".tsv", ".txt", ".json", ".md", ".html", ".xml", ".yaml", ".yml", ".log", ".zip", ".tar", ".pdf"}


@dataclass(frozen=True)
class Source:
    """What is audited.

    Attributes:
        dataset: The cases.
        section: How a recipe treats what cannot be used; the defaults where it is no recipe.
    """

    dataset: Dataset
    section: DataSection


def find_source(text: str | Path, catalog: Path | str | None, root: Path | str | None, progress: Progress) -> Source:
    """A dataset by the name of the catalog, a recipe, or a folder of images.

    Args:
        text: What the user gave. A name of the catalog comes before a recipe, and that before a folder; a path with
            a separator in it is a path.
        catalog: A catalog of one's own, searched first.
        root: Folder of the data of a catalog entry.
        progress: Handed to adapters that make their images.

    Raises:
        DataError: If there is none of these, or the dataset is unusable.
    """
    name = str(text)
    is_path = isinstance(text, Path) or os.sep in name or name.startswith(".")
    names = {**load_catalog(), **(load_catalog(catalog) if catalog else {})}
    if not is_path and name in names:
        section = DataSection(
            dataset=name, catalog=str(catalog) if catalog else None, root=str(root) if root is not None else None
        )
        return Source(load_dataset(section, progress), section)
    if root is not None:
        raise DataError("--root goes with a name of the catalog alone", where=name)
    path = Path(text).expanduser()
    if path.is_file() or (not is_path and name in recipe_names()):
        recipe = load_recipe(path if path.is_file() else name)
        if isinstance(recipe, Suite):
            raise DataError("a suite has several datasets", where=name, todo=f"name one of {', '.join(recipe.suite)}")
        return Source(load_dataset(recipe.data, progress), recipe.data)
    if path.is_dir():
        return Source(_folder(path), DataSection(adapter={"name": "image_folder"}, root=str(path)))
    if is_path:
        raise DataError("there is no such file or folder", where=name)
    raise DataError(
        f"{name!r} is no dataset of the catalog, no recipe and no folder",
        todo=suggest(name, [*names, *recipe_names()]),
    )


def _folder(path: Path) -> Dataset:
    """A folder a class where it is laid out so, else all images below it, without labels.

    Folders that cannot be listed are exclusions; links to folders are not followed.
    """
    unlisted: list[Exclusion] = []
    found = list(_images(path, unlisted))
    images = [p for p in found if not isinstance(p, Exclusion)]
    if not images:
        why = f"; {unlisted[0].path}: {unlisted[0].reason}" if unlisted else ""
        raise DataError(f"no image was found in the folder{why}", where=str(path), todo="name the folder of the images")
    inside = {Path(os.path.relpath(p, path)).parts[0] for p in images if Path(p).parent != path}
    if len(inside) > 1 and all(Path(p).parent != path for p in images):
        try:
            section = DataSection(adapter={"name": "image_folder"}, root=str(path))
            dataset = load_dataset(section)
            return replace(dataset, exclusions=(*dataset.exclusions, *unlisted))
        except MedcnnError:
            # Another layout: its images can be looked at all the same.
            pass
    cases = tuple(Case(os.path.relpath(p, path).replace(os.sep, "/"), (ImageRef((p,)),)) for p in images)
    left_out = [p for p in found if isinstance(p, Exclusion)]
    return Dataset(path.resolve().name, cases, {}, (*left_out, *unlisted))


def _images(path: Path, unlisted: list[Exclusion]) -> Iterator[str | Exclusion]:
    def refused(error: OSError) -> None:
        place = str(error.filename)
        unlisted.append(Exclusion(printable(place), f"the folder cannot be listed: {error.strerror}", printable(place)))

    for place, below, names in os.walk(path, onerror=refused):
        below[:] = sorted(b for b in below if not b.startswith(".") and b != "__MACOSX")
        for name in sorted(names):
            file = os.path.join(place, name)
            if name.startswith(".") or name == "DICOMDIR":
                continue
            suffix = Path(name).suffix.lower()
            if suffix in _IGNORED and not has_image_suffix(name):
                yield Exclusion(printable(os.path.relpath(file, path)), _NOT_DATA, printable(file))
            else:
                yield file


def audit_folder(source: str | Path, out: Path | None) -> Path:
    """The new folder that an audit is written into: the wanted one, else ``audits/NAME``, numbered where taken.

    Raises:
        RunError: If the wanted folder is not empty, or cannot be written to.
    """
    if out is not None:
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
        DataError: After everything is written, if more cases are unusable than the recipe allows.
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
    progress.finish()
    result = audit(dataset, seen.facts, seen.exclusions, near=found, headers=headers or None)
    if out is not None:
        write_audit(out, result)
        write_table(out / TABLE, dataset, seen, found)
        _write_sheet(out, source, result, seen, found)
    _check_unusable([*dataset.exclusions, *seen.exclusions], len(seen.cases), source.section)
    return result


def _check_unusable(exclusions: list[Exclusion], usable: int, section: DataSection) -> None:
    """What a run would stop at, said when all is written."""
    bad = [e for e in exclusions if e.reason != _NOT_DATA and not e.aside]
    if not bad:
        return
    share = len(bad) / (len(bad) + usable)
    first = f"the first is {printable(bad[0].path or bad[0].case)}: {printable(bad[0].reason)}"
    if section.on_error == "stop" or share > section.max_unusable:
        rule = "data.on_error=stop" if section.on_error == "stop" else f"data.max_unusable={section.max_unusable:g}"
        raise DataError(
            f"{len(bad):,} of {len(bad) + usable:,} cases ({share:.1%}) cannot be used; {first}",
            where=rule,
            todo="mend or remove them; the audit lists each with its reason",
        )


def write_table(path: Path, dataset: Dataset, seen: Thumbnails, near: NearDuplicates | None) -> None:
    """``audit.csv``: a row a case, with ids and paths as they are; a local file.

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
    with open_atomic(path) as file:
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
    from medcnn.data.images import read_case
    from medcnn.report.audit_sheet import SheetCase, write_audit_sheet
    from medcnn.workflow.pictures import to_picture

    dataset = source.dataset
    by_id = {case.id: case for case in seen.cases}
    # The same dataset gives the same sheet.
    chosen = random.Random(0).sample(list(seen.cases), min(SHOWN_CASES, len(seen.cases)))
    place = {case.id: i for i, case in enumerate(dataset.cases)}
    random_cases = [SheetCase(c.id, label_text(dataset, c)) for c in sorted(chosen, key=lambda c: place[c.id])]
    pairs = []
    for number, pair in enumerate(_shown_pairs(near.pairs if near else (), by_id), 1):
        text = f"pair {number}, likeness {pair.score:.2f}" + (f", {TURNS[pair.turn]}" if pair.turn else "")
        for name in (pair.first, pair.second):
            pairs.append(SheetCase(name, "; ".join(filter(None, [label_text(dataset, by_id[name]), text]))))
    unlike = [
        SheetCase(name, label_text(dataset, by_id[name]))
        for finding in result.findings
        if finding.id == "identical-across-labels"
        for name in finding.cases
    ]

    def picture(name: str) -> NDArray[np.uint8] | None:
        if name not in by_id:
            return None
        image = read_case(by_id[name])
        return to_picture(replace(image, array=middle_slice(image)))

    rows = [
        {
            "case": c.id,
            "patient": c.patient or "",
            "group": c.group or "",
            "cluster": c.cluster or "",
            "study": c.study or "",
            "paths": "|".join(p for ref in c.images for p in ref.paths),
        }
        for c in dataset.cases
    ]
    left_out = [{"case": e.case, "path": e.path} for e in (*dataset.exclusions, *seen.exclusions)]
    words = [n for schema in dataset.labels.values() for n in schema.names]
    write_audit_sheet(
        out / SHEET,
        result.to_json(),
        random_cases,
        pairs,
        unlike=unlike,
        pictures=picture,
        rows=rows,
        exclusions=left_out,
        keep=words,
        title=str(dataset.facts.get("title") or dataset.name),
    )


def _shown_pairs(pairs: Sequence[NearPair], cases: Mapping[str, Case]) -> list[NearPair]:
    """A few pairs, the least alike first: up to half of them of different labels, the rest at random."""
    apart = [p for p in pairs if other_label(cases[p.first], cases[p.second])]
    chosen = random.Random(0).sample(apart, min(SHOWN_PAIRS // 2, len(apart)))
    taken = set(chosen)
    rest = [p for p in pairs if p not in taken]
    chosen += random.Random(0).sample(rest, min(SHOWN_PAIRS - len(chosen), len(rest)))
    return sorted(chosen, key=lambda p: (p.score, p.first, p.second))
