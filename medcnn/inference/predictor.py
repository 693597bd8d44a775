"""Prediction: over cached cases, and over images of any origin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from medcnn.data.batch import Batch, Sample
from medcnn.data.images import read_case
from medcnn.errors import ImageError
from medcnn.inference.hardware import Hardware, memory_format
from medcnn.inference.model_file import Model
from medcnn.progress import Progress, Silent
from medcnn.tasks.base import Placement, TaskModel
from medcnn.types import Case, Exclusion, Prediction

# From the place of a case and its prediction to what is kept of it.
Keep = Callable[[int, Prediction], Prediction]
# The same for images of any origin, which say themselves where they lie.
KeepCase = Callable[[Case, Prediction, Placement], Prediction]


@contextmanager
def inference_mode(model: TaskModel, hardware: Hardware) -> Iterator[None]:
    """No gradients, evaluation mode, the device and the precision that training used."""
    model.to(hardware.device)
    was_training = model.training
    model.eval()
    dtype = hardware.autocast_dtype
    try:
        with (
            torch.no_grad(),
            torch.autocast(hardware.device, dtype=dtype or torch.float32, enabled=dtype is not None),
        ):
            yield
    finally:
        model.train(was_training)


def to_device(image: Tensor, hardware: Hardware) -> Tensor:
    """Images on the device, in the fast memory format."""
    return image.to(hardware.device).contiguous(memory_format=memory_format(image.ndim - 2))


def predict_batches(
    model: TaskModel,
    batches: Iterable[Batch],
    hardware: Hardware,
    progress: Progress | None = None,
    *,
    keep: Keep | None = None,
) -> dict[int, Prediction]:
    """Predictions by the position of the case; padding (-1) is left out.

    Args:
        model: Network and decoding.
        batches: The cases.
        hardware: What to compute on.
        progress: Advanced by one a case.
        keep: Takes each prediction as soon as it is made, and gives what is to be kept of it in memory.
    """
    keep = keep or (lambda _, prediction: prediction)
    found: dict[int, Prediction] = {}
    with inference_mode(model, hardware):
        for batch in batches:
            predictions = model.predict(to_device(batch.image, hardware))
            found.update((i, keep(i, p)) for i, p in zip(batch.index.tolist(), predictions, strict=True) if i >= 0)
            if progress is not None:
                progress.advance(int((batch.index >= 0).sum()))
    return found


def predict_cases(
    models: Sequence[Model],
    cases: Sequence[Case],
    hardware: Hardware,
    *,
    batch_size: int = 64,
    progress: Progress | None = None,
    keep: KeepCase | None = None,
) -> tuple[dict[str, Prediction], list[Exclusion]]:
    """Predictions by case id, and what could not be read or kept.

    Several models (the folds of a run) are combined as their task says: in the network's grid where they share it,
    else, as with a plan for each fold, in the image's own. Every batch has the same size, the last one padded: what a
    case gets does not depend on its neighbours. Images that keep their own size come one by one.

    Args:
        models: One, or those of several folds.
        cases: Which images.
        hardware: What to compute on.
        batch_size: Images at a time.
        progress: Advanced by one a case.
        keep: Takes each prediction as soon as it is made, and gives what is to be kept of it in memory.
    """
    progress = progress or Silent()
    found: dict[str, Prediction] = {}
    unreadable: list[Exclusion] = []
    waiting: list[tuple[Case, list[Sample]]] = []
    alike = _by_preprocessing(models)
    if not models[0].preprocess.uniform or len(alike) > 1:
        batch_size = 1

    def flush() -> None:
        together = [case for case, _ in waiting]
        combined = _combined(alike, [samples for _, samples in waiting], hardware, batch_size)
        # What is kept may be as large as what the network saw: not both at a time.
        waiting.clear()
        for case, (prediction, placement) in zip(together, combined, strict=True):
            try:
                found[case.id] = prediction if keep is None else keep(case, prediction, placement)
            except ImageError as error:
                unreadable.append(_unusable(case, error))

    for case in cases:
        try:
            waiting.append((case, _seen(case, alike)))
        except ImageError as error:
            unreadable.append(_unusable(case, error))
        progress.advance(1)
        if len(waiting) == batch_size:
            flush()
    if waiting:
        flush()
    return found, unreadable


def _seen(case: Case, alike: Sequence[Sequence[Model]]) -> list[Sample]:
    """The image of a case as each group of models sees it."""
    image = read_case(case)
    return [group[0].preprocess(image) for group in alike]


def _by_preprocessing(models: Sequence[Model]) -> list[list[Model]]:
    """Models that see an image in the same way stand together."""
    groups: dict[str, list[Model]] = {}
    for model in models:
        # The size of a window changes no pixel where images keep their size.
        section = model.preprocess.section.model_dump(exclude={"augment", "symmetric_axes", "patches"})
        if not model.preprocess.uniform:
            del section["size"]
        groups.setdefault(repr(section), []).append(model)
    return list(groups.values())


def _combined(
    alike: Sequence[Sequence[Model]], samples: Sequence[Sequence[Sample]], hardware: Hardware, batch_size: int
) -> list[tuple[Prediction, Placement]]:
    """A prediction a case with its placement.

    Args:
        alike: Groups of models that share their preprocessing.
        samples: For each case one sample a group.
        hardware: What to compute on.
        batch_size: Images at a time.
    """
    placements = [[Placement(s.matrix, s.original_shape) for s in own] for own in samples]
    if len(alike) == 1:
        together = predict_samples(alike[0], [own[0] for own in samples], hardware, batch_size)
        return [(prediction, own[0]) for prediction, own in zip(together, placements, strict=True)]
    task, found = alike[0][0].task, []
    for own, places in zip(samples, placements, strict=True):
        # One network after the other: maps in the image's own grid may be large.
        parts = (
            task.placed(predict_samples([model], [sample], hardware, batch_size)[0], place)
            for group, sample, place in zip(alike, own, places, strict=True)
            for model in group
        )
        shape = places[0].shape
        found.append((task.combine(parts), Placement(np.eye(len(shape) + 1), shape)))
    return found


def _unusable(case: Case, error: ImageError) -> Exclusion:
    return Exclusion(case.id, error.what, error.where or case.images[0].paths[0])


def predict_samples(
    models: Sequence[Model], samples: Sequence[Sample], hardware: Hardware, batch_size: int
) -> list[Prediction]:
    """One prediction a sample, combined over the models; the batch is padded to its full size."""
    task = models[0].task
    if batch_size == 1:
        # A volume may be large: no copy of it, and the networks one after the other.
        tensor = to_device(torch.from_numpy(samples[0].image[np.newaxis]), hardware)
        return [task.combine(_decoded(model, tensor, hardware)[0] for model in models)]
    images = np.stack([sample.image for sample in samples])
    padded = np.zeros((batch_size, *images.shape[1:]), np.float32)
    padded[: len(images)] = images
    tensor = to_device(torch.from_numpy(padded), hardware)
    by_model = [_decoded(model, tensor, hardware) for model in models]
    return [task.combine([own[k] for own in by_model]) for k in range(len(samples))]


def _decoded(model: Model, tensor: Tensor, hardware: Hardware) -> list[Prediction]:
    with inference_mode(model.model, hardware):
        return model.model.predict(tensor)
