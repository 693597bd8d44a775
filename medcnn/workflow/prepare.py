"""From a recipe to cases, cache, audit and a sealed split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn import registry
from medcnn.data.audit import Audit, audit, surplus, write_audit
from medcnn.data.audit_images import target_key
from medcnn.data.batch import BOXES
from medcnn.data.cache import Cache, build_cache, estimate
from medcnn.data.cases_csv import write_cases, write_exclusions
from medcnn.data.dataset import load_dataset
from medcnn.data.loaders import OrderedImages
from medcnn.data.near_duplicates import NearDuplicates
from medcnn.data.patches import padded_axes
from medcnn.data.preprocess import Preprocessor
from medcnn.data.split import Split, make_split, write_split
from medcnn.errors import DataError
from medcnn.files import digest, write_json, write_text
from medcnn.geometry.boxes import map_boxes
from medcnn.inference.hardware import Hardware, available_cores
from medcnn.progress import Progress
from medcnn.recipe.auto import concrete, planned_keys
from medcnn.recipe.load import resolved
from medcnn.recipe.schema import InputSection, Recipe
from medcnn.tasks.base import Task
from medcnn.types import PARTS, Case, Dataset, Exclusion, Part
from medcnn.workflow import processes
from medcnn.workflow.folder import Run
from medcnn.workflow.planning import first_input, plan_lines, with_plan
from medcnn.workflow.provenance import code_digest, data_digest, hardware_facts, versions


@dataclass(frozen=True, slots=True)
class Prepared:
    """What training starts from.

    Attributes:
        run: The run folder.
        dataset: The cases in use.
        task: The task for them.
        cache: Their preprocessed images (and those of surplus copies, unused).
        rows: Row of the cache by case id.
        split: The sealed split.
        findings: The audit.
    """

    run: Run
    dataset: Dataset
    task: Task
    cache: Cache
    rows: Mapping[str, int]
    split: Split
    findings: Audit

    @property
    def images(self) -> OrderedImages:
        """The preprocessed images by the place of their case in ``cases.csv``."""
        return OrderedImages(self.cache, np.array([self.rows[c.id] for c in self.dataset.cases], np.int64))

    def places(self, fold: int, part: Part) -> NDArray[np.int64]:
        """Places in ``cases.csv`` of the cases of one part, rising."""
        wanted = set(self.split.part(fold, part))
        return np.array([place for place, c in enumerate(self.dataset.cases) if c.id in wanted], np.int64)

    def targets(self) -> dict[str, NDArray[Any]]:
        """Encoded targets, a row a case of ``cases.csv``."""
        encoded = [self.task.encode(case) for case in self.dataset.cases]
        if self.task.places and self.cache.matrices is not None:
            matrices = (self.cache.matrices[self.rows[case.id]] for case in self.dataset.cases)
            encoded = [in_grid(one, matrix) for one, matrix in zip(encoded, matrices, strict=True)]
        return {key: np.stack([e[key] for e in encoded]) for key in encoded[0]}


def in_grid(encoded: Mapping[str, NDArray[Any]], matrix: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Encoded targets with the boxes brought from the original image's grid to the network's."""
    moved = dict(encoded)
    if BOXES in moved:
        moved[BOXES] = map_boxes(moved[BOXES], matrix)
    return moved


def cache_folder(recipe: Recipe) -> Path:
    """Where the preprocessed cache of a recipe lies."""
    from medcnn.data.cache import default_cache_folder

    return Path(recipe.data.cache).expanduser() if recipe.data.cache else default_cache_folder()


def prepare(
    recipe: Recipe, folder: Path, hardware: Hardware, progress: Progress, *, command: Sequence[str] = ()
) -> Prepared:
    """Find the cases, read each once, audit, split and seal; everything found is written to the run folder.

    Raises:
        DataError: If the dataset is unusable, or more of it than the recipe allows.
    """
    progress.start("reading the dataset", None)
    found = load_dataset(recipe.data, progress)
    task_class: type[Task] = registry.load("tasks", recipe.task.name)
    task = task_class.create(found, **recipe.task.options)
    task.check_evaluation(recipe.evaluation)
    labelled, unlabelled = divide_labelled(found.cases, task)
    section = first_input(recipe, labelled)
    preprocessor = Preprocessor(section, task.masks, places=task.places)
    disk, memory = estimate(labelled, section)
    progress.say(
        f"{len(labelled):,} cases; the preprocessed cache needs {disk / 2**20:,.0f} MB of disk, "
        f"reading it {memory / 2**20:,.0f} MB of memory"
    )
    progress.start("preprocessing", len(labelled), "images")
    cache = build_cache(labelled, preprocessor, cache_folder(recipe), workers=available_cores(), progress=progress)
    check_unusable([*found.exclusions, *cache.exclusions], len(cache.cases), recipe)
    copies = copies_to_drop(cache, recipe)
    used = tuple(case for case in cache.cases if case.id not in {c.case for c in copies})
    dataset = replace(found, cases=used, exclusions=(*found.exclusions, *unlabelled, *cache.exclusions, *copies))
    near = near_duplicates(cache, recipe, progress)
    progress.start("splitting", None)
    dropped = [c for c in cache.cases if c.id in {e.case for e in copies}]
    split = split_cases(dataset, task, cache, recipe, dropped, near)
    findings = audit(replace(found, cases=cache.cases), cache.facts, dataset.exclusions, split, near=near)
    run = Run(folder)
    progress.start("planning" if planned_keys(recipe) else "writing what was found", None)
    recipe = with_plan(recipe, dataset, task, cache, split, hardware)
    write_prepared(run, recipe, dataset, cache, split, findings, hardware, command)
    for line in (
        *plan(dataset, task, split, hardware),
        *findings.headline(),
        *split.notes,
        *padding(cache, section),
        *plan_lines(recipe),
        *cautions(dataset, task, split),
    ):
        progress.say(line)
    progress.finish()
    rows = {case.id: row for row, case in enumerate(cache.cases)}
    return Prepared(run, dataset, task, cache, rows, split, findings)


def reopen(run: Run, progress: Progress) -> Prepared:
    """What :func:`prepare` left, for a later step; the cache is made again where it is gone."""
    recipe, dataset, split = run.recipe, run.dataset, run.split
    task_class: type[Task] = registry.load("tasks", recipe.task.name)
    task = task_class.create(dataset, **recipe.task.options)
    progress.start("opening the cache", len(dataset.cases), "images")
    stored = run.provenance.get("cache", {})
    cache = Cache.open(cache_folder(recipe) / stored["key"], dataset.cases) if stored.get("key") else None
    if cache is None:
        cache = build_cache(
            dataset.cases,
            Preprocessor(first_input(recipe, dataset.cases), task.masks, places=task.places),
            cache_folder(recipe),
            workers=available_cores(),
            progress=progress,
        )
    rows = {case.id: row for row, case in enumerate(cache.cases)}
    lost = [case.id for case in dataset.cases if case.id not in rows]
    if lost:
        raise DataError(
            f"{len(lost)} cases of the run can no longer be read, the first is {lost[0]}",
            where=str(run.folder / "cases.csv"),
            todo="put the images back where cases.csv says they are",
        )
    progress.finish()
    findings = audit(dataset, cache.facts, dataset.exclusions, split)
    return Prepared(run, dataset, task, cache, rows, split, findings)


def of_fold(prepared: Prepared, recipe: Recipe, number: int, progress: Progress) -> tuple[Prepared, Recipe]:
    """What one fold trains on: its own plan, and the images as that wants them; all as it was without a plan.

    Raises:
        DataError: If an image does not serve the plan.
    """
    own = concrete(recipe, number)
    if own is recipe:
        return prepared, recipe
    cases = prepared.dataset.cases

    def made() -> Cache:
        progress.start("preprocessing as planned", len(cases), "images")
        return build_cache(
            cases,
            Preprocessor(own.input, prepared.task.masks, places=prepared.task.places),
            cache_folder(recipe),
            workers=available_cores(),
            progress=progress,
        )

    # One process writes; the others then find it written.
    cache = made() if processes.is_main() else None
    processes.barrier()
    cache = cache or made()
    progress.finish()
    rows = {case.id: row for row, case in enumerate(cache.cases)}
    lost = [exclusion for exclusion in cache.exclusions if exclusion.case not in rows]
    if lost:
        raise DataError(
            f"{len(lost)} cases do not serve the plan, the first is {lost[0].case}: {lost[0].reason}",
            where=lost[0].path,
            todo="leave these cases out, or give input.spacing and input.size yourself",
        )
    return replace(prepared, cache=cache, rows=rows), own


def divide_labelled(cases: Sequence[Case], task: Task) -> tuple[list[Case], list[Exclusion]]:
    """Cases with a label for the task, and those without any."""
    labelled, without = [], []
    for case in cases:
        if task.stratum(case) is None:
            without.append(Exclusion(case.id, "no label", case.images[0].paths[0]))
        else:
            labelled.append(case)
    if not labelled:
        raise DataError("no case has a label", todo="check the label column or folders, and how labels are mapped")
    return labelled, without


def check_unusable(exclusions: Sequence[Exclusion], usable: int, recipe: Recipe) -> None:
    """Stop where the recipe says so: at the first unusable case, or above a share of them."""
    bad = [e for e in exclusions if not e.aside]
    if not bad:
        return
    first = f"the first is {bad[0].path or bad[0].case}: {bad[0].reason}"
    if recipe.data.on_error == "stop":
        raise DataError(
            f"{len(bad):,} {'case' if len(bad) == 1 else 'cases'} cannot be used; {first}",
            where="data.on_error=stop",
            todo="mend or remove them, or set data.on_error=report to go on without them",
        )
    share = len(bad) / max(len(bad) + usable, 1)
    if share > recipe.data.max_unusable:
        raise DataError(
            f"{len(bad):,} of {len(bad) + usable:,} cases ({share:.1%}) cannot be used; {first}",
            where=f"data.max_unusable={recipe.data.max_unusable:g}",
            todo="mend them, or raise data.max_unusable if you know why they are unusable",
        )


def copies_to_drop(cache: Cache, recipe: Recipe) -> list[Exclusion]:
    """Surplus copies of pixel-identical images with the same label; a part that was given loses none to another."""
    if not recipe.data.drop_duplicates:
        return []
    given = recipe.data.split.by == "column"
    drop = surplus(cache.cases, cache.facts, lambda case: (target_key(case), case.part if given else None))
    first: dict[str, str] = {}
    reasons = {}
    for fact in cache.facts:
        kept = first.setdefault(fact.digest, fact.case)
        reasons[fact.case] = f"identical to {kept}"
    return [Exclusion(c.id, reasons[c.id], c.images[0].paths[0]) for c in cache.cases if c.id in drop]


def near_duplicates(cache: Cache, recipe: Recipe, progress: Progress) -> NearDuplicates | None:
    """The verified near-duplicates, by the original pixels; ``None`` where the recipe does not ask."""
    from medcnn.data.near_search import MOST_IMAGES, search

    wanted = recipe.data.near_duplicates
    count = len({fact.digest for fact in cache.facts})
    if wanted == "auto" and count > MOST_IMAGES:
        progress.say(
            f"near-duplicates were not looked for among {count:,} images, which takes long: "
            "data.near_duplicates=report does"
        )
    if wanted == "off" or (wanted == "auto" and count > MOST_IMAGES):
        return None
    return search(cache.cases, cache.facts, cache_folder(recipe), threads=available_cores(), progress=progress)


def split_cases(
    dataset: Dataset,
    task: Task,
    cache: Cache,
    recipe: Recipe,
    dropped: Sequence[Case],
    near: NearDuplicates | None = None,
) -> Split:
    """The split of the recipe, checked by the task; dropped copies still join the groups they stood in."""
    section = recipe.data.split
    pixels = {fact.case: fact.digest for fact in cache.facts}
    seed = recipe.seed if section.seed is None else section.seed
    joined = near.groups if near is not None and recipe.data.near_duplicates == "group" else None
    split = make_split(
        dataset.cases, section, stratum=task.stratum, identical=pixels, seed=seed, joined_by=dropped, near=joined
    )
    cautions(dataset, task, split)
    return split


def cautions(dataset: Dataset, task: Task, split: Split) -> list[str]:
    """What the task has to say about the parts of each fold; raises where training would be pointless."""
    by_id = {case.id: case for case in dataset.cases}
    said: dict[str, None] = {}
    for fold in range(len(split.folds)):
        parts = {part: [by_id[i] for i in split.part(fold, part)] for part in PARTS}
        said.update(dict.fromkeys(f"caution: {note}" for note in task.check(parts)))
    return list(said)


def plan(dataset: Dataset, task: Task, split: Split, hardware: Hardware) -> list[str]:
    """What will be done, in lines for the user."""
    patients = len({c.patient for c in dataset.cases if c.patient})
    who = f"{patients:,} patients" if dataset.patients_known else "patients unknown"
    lines = [f"dataset {dataset.name}: {len(dataset.cases):,} cases, {who}"]
    if dataset.exclusions:
        reasons = Counter(e.reason.split(" to ")[0].split(":")[0] for e in dataset.exclusions)
        lines.append("not used: " + ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common(5)))
    folds = len(split.folds)
    counts = {part: len(split.part(0, part)) for part in PARTS}
    head = f"{folds} folds, the first: " if folds > 1 else "split: "
    lines.append(head + ", ".join(f"{n:,} {part}" for part, n in counts.items()))
    by_id = {case.id: case for case in dataset.cases}
    balance = Counter(task.stratum(by_id[i]) for i in split.part(0, "training"))
    lines.append("training part: " + ", ".join(f"{n:,} {name}" for name, n in sorted(balance.items(), key=str)))
    lines.append(f"device: {hardware.name}, {hardware.precision} ({hardware.reason}), {hardware.threads} threads")
    return lines


def padding(cache: Cache, section: InputSection) -> list[str]:
    """How many images are smaller than the patches that are drawn of them."""
    if section.fit != "patches" or cache.matrices is None:
        return []
    pairs = zip(cache.facts, cache.matrices, strict=True)
    count = sum(padded_axes(fact.shape[1:], matrix, section.size) for fact, matrix in pairs)
    size = "x".join(map(str, section.size))
    many = f"{count:,} of {len(cache.facts):,} images are" if count > 1 else f"1 of {len(cache.facts):,} images is"
    return [f"{many} smaller than a patch of {size} voxels along an axis, and padded"] if count else []


def write_prepared(
    run: Run,
    recipe: Recipe,
    dataset: Dataset,
    cache: Cache,
    split: Split,
    findings: Audit,
    hardware: Hardware,
    command: Sequence[str],
) -> None:
    """Write what the later steps read; the recipe last, so that a folder with a recipe is whole."""
    folder = run.folder
    write_cases(folder / "cases.csv", dataset)
    write_exclusions(folder / "exclusions.csv", dataset.exclusions)
    write_audit(folder, findings)
    write_split(folder, split)
    text = resolved(recipe)
    write_json(
        folder / "provenance.json",
        {
            "versions": versions(),
            "hardware": hardware_facts(hardware),
            "digests": {
                "recipe": digest(text.encode()),
                "data": data_digest(dataset.cases, cache.facts),
                "split": digest((folder / "split.csv").read_bytes()),
                "code": code_digest(),
            },
            "dataset": {
                "name": dataset.name,
                "cases": len(dataset.cases),
                "patients_known": dataset.patients_known,
                **{k: v for k, v in dataset.facts.items() if v is not None},
            },
            "cache": {"key": cache.key},
            "seed": recipe.seed,
            "command": list(command),
            "times": {},
        },
    )
    write_text(folder / "recipe.yaml", text)
