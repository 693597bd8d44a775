"""Evaluation of two folders of masks that any other program wrote."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import DataError, MedcnnError, RunError
from medcnn.evaluation.masks_folders import (
    Labels,
    Pairs,
    described_labels,
    given_labels,
    listed_labels,
    match_folders,
    plain_labels,
)
from medcnn.evaluation.results import Evaluation, TablePanel
from medcnn.evaluation.segmentation import evaluate_segmentation, measure_options
from medcnn.evaluation.segmentation_table import SegmentationTable
from medcnn.progress import Progress
from medcnn.report.overlays import draw_overlay, schema_colours
from medcnn.workflow.mask_jobs import Job, Measured, is_dicom, measure_job, read_job, segments_in, values_in
from medcnn.workflow.tables import GALLERY, Judged, Wanted

T = TypeVar("T")
R = TypeVar("R")
# Above this share of masks that cannot be used something is wrong with the folders.
_MOST_UNUSABLE = 0.05
# Below this many bytes of files the start of processes costs more than it gains.
_SMALL = 20 * 2**20
_LISTED = 100


def judge_masks(wanted: Wanted, progress: Progress) -> Judged:
    """Evaluate a folder of predicted masks against a folder of references, matched by the names of their files.

    A case without a prediction, or whose prediction cannot be used, counts as an empty prediction, is listed, and
    said. Where no names are given, those of a ``dataset.json`` beside the references are taken.

    Raises:
        MedcnnError: If the folders, the names or too many masks do not fit.
    """
    if wanted.references is None:
        raise MedcnnError("masks need references", todo="give the folder of the true masks as --references")
    pairs = match_folders(wanted.predictions, wanted.references)
    labels = given_labels(wanted.labels) or described_labels(wanted.references)
    workers = _workers([*pairs.references.values(), *pairs.predictions.values()])
    labels = labels or _found_labels(list(pairs.references.values()), workers, progress)
    if is_dicom(next(iter(pairs.references.values()))):
        # Segments are layers: a voxel may lie in several.
        labels = replace(labels, overlapping=True)
    options = measure_options(wanted.options)
    jobs = [Job(path, pairs.predictions.get(case), labels, options) for case, path in pairs.references.items()]
    progress.start("measuring", len(jobs), "cases")
    found = _results(measure_job, jobs, workers, progress)
    progress.finish()
    _check_share(found)
    evaluation = _evaluated(dict(zip(pairs.references, found, strict=True)), pairs, labels, wanted)
    return Judged(evaluation, _pictures(pairs, labels))


def _found_labels(paths: list[Path], workers: int, progress: Progress) -> Labels:
    """The labels that the references themselves know."""
    progress.start("reading labels", len(paths), "masks")
    if is_dicom(paths[0]):
        return listed_labels(one for found in _results(segments_in, paths, 0, progress) for one in found)
    return plain_labels({value for found in _results(values_in, paths, workers, progress) for value in found})


def _workers(paths: Sequence[Path]) -> int:
    """Processes to measure with; 0 where the files are few and small."""
    if sum(path.stat().st_size for path in paths) < _SMALL:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, len(paths))


def _results(work: Callable[[T], R], jobs: Sequence[T], workers: int, progress: Progress) -> list[R]:
    """What comes of the jobs, in their order."""
    if not workers:
        return [_told(work(job), progress) for job in jobs]
    try:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            futures = [pool.submit(work, job) for job in jobs]
            try:
                for _ in _finished(futures):
                    progress.advance()
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    except BrokenProcessPool as error:
        raise RunError(
            "a process that measured a case was ended, most likely for want of memory",
            todo="close other programs, or evaluate on a machine with more memory",
        ) from error


def _told(result: R, progress: Progress) -> R:
    progress.advance()
    return result


def _finished(futures: Sequence[Future[Any]]) -> Iterator[Future[Any]]:
    """The futures as they are done; a failure of one is raised at once."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
            yield future


def _check_share(found: Sequence[Measured]) -> None:
    problems = [one.problem for one in found if one.problem]
    if len(problems) > _MOST_UNUSABLE * len(found):
        raise DataError(
            f"{len(problems)} of {len(found)} cases cannot be used, more than {_MOST_UNUSABLE:.0%}; "
            f"the first: {problems[0]}",
            todo="give masks of whole numbers in the grid of their reference, with the labels of the references",
        )


def _evaluated(found: Mapping[str, Measured], pairs: Pairs, labels: Labels, wanted: Wanted) -> Evaluation:
    usable = {case: one.measures for case, one in found.items() if one.measures is not None}
    table = SegmentationTable.of(list(usable), list(usable.values()))
    made = evaluate_segmentation(
        table, labels.schema, title=wanted.title, part="test", patients_known=False, gallery=GALLERY, seed=0,
        baseline=None, **wanted.options,
    )  # fmt: skip
    failed = [[case, "no prediction"] for case in pairs.missing if not found[case].problem]
    failed += [[case, one.problem] for case, one in found.items() if one.problem]
    warnings, panels = list(made.warnings), list(made.panels)
    counted = [case for case, _ in failed if case in usable]
    if counted:
        warnings.insert(
            0,
            f"{len(counted):,} of {len(found):,} cases have no usable prediction. Each is counted as an empty "
            "prediction: Dice is 0 and distances are infinite where the reference has the label.",
        )
    unused = len(found) - len(usable)
    if unused:
        warnings.insert(0, f"{unused:,} references cannot be used: their cases are left out.")
    if failed:
        caption = f"The first {_LISTED} of {len(failed):,}." if len(failed) > _LISTED else ""
        rows = failed[:_LISTED]
        panels.append(
            TablePanel("failed", "Cases without a usable mask", ["Case", "What is wrong"], rows, caption, "cases")
        )
    notes = [f"Labels: {labels.origin or 'called after the values in the references'}.", *made.notes]
    if pairs.surplus:
        notes.append(f"{len(pairs.surplus):,} predictions have no reference and are left out.")
    return replace(made, warnings=warnings, panels=panels, notes=notes)


def _pictures(pairs: Pairs, labels: Labels) -> Callable[[str], NDArray[np.uint8] | None]:
    """Contours alone, for want of the images."""
    colours = schema_colours(labels.schema)

    def picture(case: str) -> NDArray[np.uint8] | None:
        image, reference, prediction, _ = read_job(Job(pairs.references[case], pairs.predictions.get(case), labels, {}))
        dark = replace(image, array=np.zeros_like(image.array[:1], np.uint8))
        return draw_overlay(dark, reference, prediction, colours, overlapping=labels.overlapping)

    return picture
