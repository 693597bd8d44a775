"""A training step of the recipe ``brain_tumor_detection`` against MONAI's own RetinaNet with its default pyramid, and
the average precision that both reach in the same minutes.

Both see the same batches (the recipe's augmentation included) on the same threads. MONAI's detector is put together as
its documentation shows: ResNet-50, a feature pyramid of 256 channels on stages 1 to 3, three anchors a place of the
sizes that fit these boxes, ATSS with 4 candidates, hard negatives, box regression by smooth L1, SGD with Nesterov
momentum at 0.01. It computes in float32, which its losses need; the recipe computes in what the processor offers.

Goal: a step at least 8 times as fast (median of interleaved pairs), and no worse an average precision at IoU 0.5. Both
are judged on the same 64 images, evenly spread: MONAI's suppression takes seconds an image while scores are low.

Run: python tests/benchmarks/bench_retinanet.py FOLDER [MINUTES] [THREADS], where FOLDER holds ``brain_tumor_mri``.
The part that is looked at is a third of the training blocks of the first fold; the test blocks are not touched.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medcnn.data.augment import Augmenter
from medcnn.data.batch import BOX_LABELS, BOXES, Batch
from medcnn.data.loaders import BatchLoader
from medcnn.evaluation.detection import validation_scores_boxes
from medcnn.inference.hardware import choose_hardware
from medcnn.models.detection_losses import retinanet_loss
from medcnn.models.quiet import quiet_monai
from medcnn.progress import Silent
from medcnn.recipe.load import load_recipe
from medcnn.recipe.schema import Recipe
from medcnn.training.fit import optimization
from medcnn.types import Boxes, BoxesPrediction
from medcnn.workflow.folds import make_network
from medcnn.workflow.prepare import Prepared, prepare

GOAL = 8.0
PAIRS = 6
JUDGED = 64
Step = Callable[[Batch], Any]


def batches(prepared: Prepared, recipe: Recipe, targets: dict[str, Any]) -> Iterator[Batch]:
    """The augmented batches of training, without end."""
    loader = BatchLoader(
        prepared.images, prepared.places(0, "training"), targets, recipe.training.batch_size, seed=1, shuffle=True,
        drop_last=True,
    )  # fmt: skip
    augment = Augmenter(recipe.input.augment, recipe.input.symmetric_axes, seed=1)
    epoch = 0
    while True:
        loader.set_epoch(epoch)
        for batch in loader:
            yield augment(batch, epoch=epoch)
        epoch += 1


class Ours:
    """The recipe's network, loss and optimizer; its schedule is a one-cycle over the steps that the minutes allow."""

    def __init__(self, prepared: Prepared, recipe: Recipe, targets: dict[str, Any], steps: int) -> None:
        places = prepared.places(0, "training")
        cases = [prepared.dataset.cases[p] for p in places]
        facts = prepared.task.facts(cases, {k: v[places] for k, v in targets.items()})
        network, _ = make_network(recipe, prepared.task, None, Silent())
        options = recipe.training.loss.options if recipe.training.loss else {}
        self.model: Any = prepared.task.build(network, retinanet_loss(**options), facts)
        self.model.adopt(recipe.input)
        self.dtype = choose_hardware("cpu", "auto", torch.get_num_threads()).autocast_dtype
        made = optimization(recipe.training)
        self.optimizer = made.optimizer(self.model)
        self.left = max(steps, 2)
        self.schedule = made.schedule(self.optimizer, self.left, 1).scheduler

    def step(self, batch: Batch) -> None:
        """One step of training."""
        batch.image = batch.image.contiguous(memory_format=torch.channels_last)
        self.model.train()
        with torch.autocast("cpu", dtype=self.dtype or torch.float32, enabled=self.dtype is not None):
            losses = self.model.losses(batch)
        self.optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5)
        self.optimizer.step()
        self.left -= 1
        if self.left > 1:
            self.schedule.step()

    def boxes(self, image: Tensor) -> list[BoxesPrediction]:
        """Boxes of a batch."""
        self.model.eval()
        with torch.no_grad(), torch.autocast("cpu", dtype=self.dtype or torch.float32, enabled=self.dtype is not None):
            found: list[BoxesPrediction] = self.model.boxes(image.contiguous(memory_format=torch.channels_last))
        return found


class Monai:
    """MONAI's detector as it is documented."""

    def __init__(self, classes: int, shapes: list[list[float]]) -> None:
        with quiet_monai():
            from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
            from monai.apps.detection.networks.retinanet_network import RetinaNet, resnet_fpn_feature_extractor
            from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
            from monai.networks.nets.resnet import resnet50
        backbone = resnet50(spatial_dims=2, n_input_channels=1, conv1_t_stride=(2, 2), conv1_t_size=(7, 7))
        extractor = resnet_fpn_feature_extractor(backbone, 2, False, [1, 2, 3], None)
        anchors = AnchorGeneratorWithAnchorShape((1, 2, 4, 8), [[side / 2 for side in shape] for shape in shapes])
        network = RetinaNet(2, classes, len(shapes), extractor, size_divisible=(32, 32))
        self.detector: Any = RetinaNetDetector(network, anchors)
        self.detector.set_atss_matcher(num_candidates=4, center_in_gt=False)
        self.detector.set_hard_negative_sampler(64, 0.3, pool_size=20)
        self.detector.set_target_keys("box", "label")
        self.detector.set_box_selector_parameters(score_thresh=0.02, nms_thresh=0.22, detections_per_img=100)
        self.optimizer = torch.optim.SGD(
            self.detector.parameters(), 0.01, momentum=0.9, weight_decay=3e-5, nesterov=True
        )

    def step(self, batch: Batch) -> None:
        """One step of training."""
        self.detector.train()
        targets = []
        for own, kinds in zip(batch.targets[BOXES], batch.targets[BOX_LABELS], strict=True):
            targets.append({"box": own[kinds >= 0], "label": kinds[kinds >= 0]})
        found = self.detector(batch.image, targets)
        self.optimizer.zero_grad()
        (found["classification"] + found["box_regression"]).backward()
        self.optimizer.step()

    def boxes(self, image: Tensor) -> list[BoxesPrediction]:
        """Boxes of a batch."""
        self.detector.eval()
        with torch.no_grad():
            found = self.detector(image)
        return [
            BoxesPrediction(f["box"].float().numpy(), f["label"].numpy(), f["label_scores"].float().numpy())
            for f in found
        ]


def train(step: Step, source: Iterator[Batch], minutes: float) -> int:
    """Steps that fit into the minutes."""
    end, count = time.perf_counter() + 60 * minutes, 0
    while time.perf_counter() < end:
        step(next(source))
        count += 1
    return count


def judged(
    boxes: Callable[[Tensor], list[BoxesPrediction]], prepared: Prepared, targets: dict[str, Any]
) -> dict[str, float]:
    """The figures of some images of validation, in the network's grid."""
    places = prepared.places(0, "validation")
    some = places[np.arange(JUDGED) * len(places) // JUDGED]
    loader = BatchLoader(prepared.images, some, targets, 16, seed=1, shuffle=False)
    predicted, references = [], []
    for batch in loader:
        for place, found in zip(batch.index.tolist(), boxes(batch.image), strict=True):
            if place >= 0:
                known = targets[BOX_LABELS][place] >= 0
                predicted.append(found)
                references.append(Boxes(targets[BOXES][place][known], targets[BOX_LABELS][place][known]))
    assert prepared.task.schema is not None
    return validation_scores_boxes(predicted, references, prepared.task.schema.names)


def main(root: str, minutes: float = 5.0, threads: int = 1) -> None:
    torch.set_num_threads(threads)
    recipe = load_recipe(
        "brain_tumor_detection",
        [f"data.root={Path(root) / 'brain_tumor_mri'}", "data.split.validation=0.34", "data.split.only=[0]",
         "data.near_duplicates=off"],
    )  # fmt: skip
    assert isinstance(recipe, Recipe)
    hardware = choose_hardware("cpu", "auto", threads)
    prepared = prepare(recipe, Path(tempfile.mkdtemp()) / "run", hardware, Silent())
    targets = prepared.targets()
    torch.manual_seed(1)
    ours = Ours(prepared, recipe, targets, 100)
    shapes = ours.model.network.anchor_shapes.tolist()
    assert prepared.task.schema is not None
    theirs = Monai(len(prepared.task.schema.names), shapes)
    source = batches(prepared, recipe, targets)
    ratios, seconds = [], []
    for pair in range(PAIRS + 1):
        batch, times = next(source), []
        for step in (ours.step, theirs.step):
            begin = time.perf_counter()
            step(Batch(batch.image.clone(), dict(batch.targets), batch.index))
            times.append(time.perf_counter() - begin)
        if pair:
            ratios.append(times[1] / times[0])
            seconds.append(times)
    ratio = statistics.median(ratios)
    own, other = (statistics.median(s[k] for s in seconds) for k in (0, 1))
    print(f"a step of {recipe.training.batch_size}: medcnn {own:.2f} s, MONAI {other:.2f} s, {threads} threads")
    outcome = "reached" if ratio >= GOAL else "missed"
    print(f"ratio {ratio:.1f} ({min(ratios):.1f} to {max(ratios):.1f}); goal {GOAL:g}: {outcome}")
    if minutes <= 0:
        return
    ours = Ours(prepared, recipe, targets, int(60 * minutes / own))
    theirs = Monai(len(prepared.task.schema.names), shapes)
    for name, one in (("medcnn", ours), ("MONAI", theirs)):
        count = train(one.step, batches(prepared, recipe, targets), minutes)
        found = judged(one.boxes, prepared, targets)
        precision, sensitivity = found["average_precision"], found["sensitivity"]
        print(f"{name}: {count} steps in {minutes:g} minutes, average precision at IoU 0.5 {precision:.3f},")
        print(f"  sensitivity at 1 false positive an image {sensitivity:.3f}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(sys.argv[1], *(float(a) for a in sys.argv[2:3]), *(int(a) for a in sys.argv[3:4]))
