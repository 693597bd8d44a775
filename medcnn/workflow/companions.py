"""What a prediction is written as beside its mask or its boxes: DICOM objects, pictures, tables of other programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from medcnn.data.mask_files import file_stem, write_picture
from medcnn.errors import RunError
from medcnn.inference.model_file import Model
from medcnn.inference.seg_segments import PRIVATE_SCHEME, without_code
from medcnn.inference.write_boxes import RESULTS, TABLE, CocoIds, Frames, write_box_csv, write_coco_results
from medcnn.inference.write_seg import SegKind, SegWriter, check_seg_kind, device_of
from medcnn.inference.write_sr import SrWriter, called
from medcnn.report.box_overlays import draw_boxes
from medcnn.report.overlays import draw_overlay, schema_colours
from medcnn.tasks.base import Beside, Companion, Drawn, Found, Task
from medcnn.types import BoxesPrediction, Case, LabelSchema, MaskFile, Prediction

OVERLAYS = "overlays"
_SIDE = 480
_DICOM = (("dicom_seg", "DICOM segmentation"), ("dicom_sr", "DICOM report"))
Window = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a user asks for beside the predictions.

    Attributes:
        seg: ``binary``, ``fractional``, ``labelmap`` or ``none``: the DICOM segmentation of images of DICOM.
        sr: Whether findings in images of DICOM are written as DICOM reports.
        overlays: Whether pictures are wanted.
        annotations: A COCO file whose ids results take.
    """

    seg: str = "binary"
    sr: bool = True
    overlays: bool = False
    annotations: Path | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """The predictions that were made.

    Attributes:
        cases: The cases.
        found: Their predictions, by id.
        thresholds: The lowest score or probability by class.
    """

    cases: Sequence[Case]
    found: Mapping[str, Prediction]
    thresholds: Mapping[str, float]


Finish = Callable[[Path, Kept], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Extras:
    """What is written beside predictions.

    Attributes:
        companions: Write something of each case.
        finish: Writes something of all together into a folder, and gives sentences about it.
    """

    companions: tuple[Companion, ...] = ()
    finish: Finish = lambda folder, kept: ()


@dataclass(frozen=True, slots=True)
class OverlayWriter:
    """Writes ``overlays/<case>.png``: the image with the contours of its labels, of a volume in three planes.

    Attributes:
        window: Lower and upper end of the grey scale; where absent as
            :func:`~medcnn.report.overlays.draw_overlay` says.
    """

    window: Window = (None, None)

    def __call__(self, folder: Path, drawn: Drawn) -> Beside:
        """Write the picture of one case."""
        pixels = draw_overlay(
            drawn.image,
            drawn.labels,
            np.zeros_like(drawn.labels),
            schema_colours(drawn.schema),
            overlapping=drawn.schema.multilabel,
            window=self.window,
            side=_SIDE,
        )
        return _picture(folder, drawn.case, pixels)


@dataclass(frozen=True, slots=True)
class BoxOverlayWriter:
    """Writes ``overlays/<case>.png``: the image with the boxes that are called findings, with class and score.

    Attributes:
        window: Lower and upper end of the grey scale, as of :class:`OverlayWriter`.
    """

    window: Window = (None, None)

    def __call__(self, folder: Path, drawn: Found) -> Beside:
        """Write the picture of one case; of a volume slices through the surest findings."""
        own, boxes = called(drawn), drawn.boxes
        shown = BoxesPrediction(boxes.corners[own], boxes.labels[own], boxes.scores[own])
        colours = schema_colours(drawn.schema)
        pixels = draw_boxes(drawn.image, None, shown, colours, names=drawn.schema.names, window=self.window, side=_SIDE)
        return _picture(folder, drawn.case, pixels)


def _picture(folder: Path, case: Case, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Beside:
    name = f"{OVERLAYS}/{file_stem(case.id)}.png"
    (folder / OVERLAYS).mkdir(parents=True, exist_ok=True)
    write_picture(folder / name, pixels)
    return Beside((("overlay", name),))


def extras_of(models: Sequence[Model], wishes: Wishes) -> Extras:
    """What writes beside the predictions of a task, by what the task draws.

    Args:
        models: Those that predict.
        wishes: What is asked for.

    Raises:
        RunError: If a kind of segmentation does not exist or cannot hold the labels, or the task has nothing to draw.
        DataError: If the COCO file cannot be read, or lacks a class.
    """
    task = models[0].task
    check_seg_kind(wishes.seg, task.schema if task.draws is Drawn else None)
    if wishes.annotations is not None and task.draws is not Found:
        raise RunError(f"{task.name} gives no boxes", where="--annotations", todo="leave it out")
    if task.draws is None:
        if wishes.overlays:
            raise RunError(
                f"{task.name} has no masks or boxes to draw",
                where="--overlays",
                todo="leave it out, or use a model of segmentation or detection",
            )
        return Extras()
    return _BESIDE[task.draws](models, wishes)


def _beside_masks(models: Sequence[Model], wishes: Wishes) -> Extras:
    made: list[Companion] = []
    if wishes.seg != "none":
        made.append(SegWriter(cast(SegKind, wishes.seg), device_of(models[0].description)))
    if wishes.overlays:
        made.append(OverlayWriter(_window(models)))
    return Extras(tuple(made))


def _beside_boxes(models: Sequence[Model], wishes: Wishes) -> Extras:
    schema = models[0].task.schema or LabelSchema(())
    ids = None if wishes.annotations is None else CocoIds.read(wishes.annotations, schema)
    frames = Frames()
    made: list[Companion] = [frames]
    if wishes.sr:
        made.append(SrWriter(device_of(models[0].description)))
    if wishes.overlays:
        made.append(BoxOverlayWriter(_window(models)))

    def finish(folder: Path, kept: Kept) -> Iterator[str]:
        return _write_boxes(folder, kept, schema, ids, frames)

    return Extras(tuple(made), finish)


def _window(models: Sequence[Model]) -> Window:
    scale = models[0].preprocess.section.intensity
    return scale.low, scale.high


def _write_boxes(folder: Path, kept: Kept, schema: LabelSchema, ids: CocoIds | None, frames: Frames) -> Iterator[str]:
    """The tables of all boxes: in pixels and mm, and of images in two dimensions COCO's results."""
    pairs = [(c, p) for c in kept.cases if isinstance(p := kept.found.get(c.id), BoxesPrediction)]
    names, boxes = [case.id for case, _ in pairs], [found for _, found in pairs]
    affines = [frames.affines.get(case.images[0].paths[0]) for case, _ in pairs]
    write_box_csv(folder / TABLE, names, boxes, schema, thresholds=kept.thresholds, affines=affines)
    if any(found.corners.shape[1] != 4 for found in boxes):
        if ids is not None:
            yield "COCO's results are for boxes in two dimensions: none are written"
        return
    unknown = write_coco_results(folder / RESULTS, names, boxes, schema, ids)
    if unknown:
        yield (
            f"{len(unknown)} of {len(names)} images are not in the COCO file, such as {unknown[0]}: "
            f"left out of {RESULTS}"
        )


_BESIDE: Mapping[type[Drawn | Found], Callable[[Sequence[Model], Wishes], Extras]] = {
    Drawn: _beside_masks,
    Found: _beside_boxes,
}


def remarks(task: Task, kept: Iterable[Prediction]) -> Iterator[str]:
    """What is to be said of the DICOM objects that were written, each sentence once."""
    files = [p for p in kept if isinstance(p, MaskFile | BoxesPrediction)]
    written = 0
    for column, what in _DICOM:
        count = sum(any(name == column for name, _ in p.beside) for p in files)
        if count:
            many = f"{count} {what}s carry" if count > 1 else f"1 {what} carries"
            yield f"{many} the patient and study of the source, names and dates included, as DICOM demands"
            written += count
    if not written:
        return
    for note, times in Counter(note for p in files for note in p.notes).items():
        yield f"{times} of {written}: {note}"
    private = without_code(task.schema or LabelSchema(()))
    if private:
        yield f"no code is known for {', '.join(private)}: written with a private one ({PRIVATE_SCHEME})"
