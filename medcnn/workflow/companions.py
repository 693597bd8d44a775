"""What a prediction is written as beside its mask: a DICOM segmentation, a picture with contours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from medcnn.data.mask_files import file_stem, write_picture
from medcnn.errors import RunError
from medcnn.inference.model_file import Model
from medcnn.inference.seg_segments import PRIVATE_SCHEME, without_code
from medcnn.inference.write_seg import SegKind, SegWriter, check_seg_kind, device_of
from medcnn.report.overlays import draw_overlay, schema_colours
from medcnn.tasks.base import Beside, Companion, Drawn, Task
from medcnn.types import LabelSchema, MaskFile, Prediction

OVERLAYS = "overlays"
_SIDE = 480


@dataclass(frozen=True, slots=True)
class OverlayWriter:
    """Writes ``overlays/<case>.png``: the image with the contours of its labels, of a volume in three planes.

    Attributes:
        window: Lower and upper end of the grey scale; where absent as
            :func:`~medcnn.report.overlays.draw_overlay` says.
    """

    window: tuple[float | None, float | None] = (None, None)

    def __call__(self, folder: Path, drawn: Drawn) -> Beside:
        """Write the picture of one case."""
        name = f"{OVERLAYS}/{file_stem(drawn.case.id)}.png"
        pixels = draw_overlay(
            drawn.image,
            drawn.labels,
            np.zeros_like(drawn.labels),
            schema_colours(drawn.schema),
            overlapping=drawn.schema.multilabel,
            window=self.window,
            side=_SIDE,
        )
        (folder / OVERLAYS).mkdir(parents=True, exist_ok=True)
        write_picture(folder / name, pixels)
        return Beside((("overlay", name),))


def companions_of(models: Sequence[Model], seg: str, *, overlays: bool) -> tuple[Companion, ...]:
    """What writes beside the masks of a prediction.

    Args:
        models: Those that predict.
        seg: ``binary``, ``fractional``, ``labelmap`` or ``none``: the DICOM segmentation of images of DICOM.
        overlays: Whether pictures are wanted.

    Raises:
        RunError: If the kind does not exist or cannot hold the labels, or the task has no masks to draw.
    """
    task = models[0].task
    check_seg_kind(seg, task.schema if task.keeps_files else None)
    if not task.keeps_files:
        if overlays:
            raise RunError(
                f"{task.name} has no masks to draw",
                where="--overlays",
                todo="leave it out, or use a segmentation model",
            )
        return ()
    made: list[Companion] = []
    if seg != "none":
        made.append(SegWriter(cast(SegKind, seg), device_of(models[0].description)))
    if overlays:
        scale = models[0].preprocess.section.intensity
        made.append(OverlayWriter((scale.low, scale.high)))
    return tuple(made)


def remarks(task: Task, kept: Iterable[Prediction]) -> Iterator[str]:
    """What is to be said of the DICOM segmentations that were written, each sentence once."""
    files = [p for p in kept if isinstance(p, MaskFile)]
    count = sum(any(column == "dicom_seg" for column, _ in p.beside) for p in files)
    if not count:
        return
    many = f"{count} DICOM segmentations carry" if count > 1 else "1 DICOM segmentation carries"
    yield f"{many} the patient and study of the source, names and dates included, as DICOM demands"
    for note, times in Counter(note for p in files for note in p.notes).items():
        yield f"{times} of {count}: {note}"
    private = without_code(task.schema or LabelSchema(()))
    if private:
        yield f"no code is known for {', '.join(private)}: written with a private one ({PRIVATE_SCHEME})"
