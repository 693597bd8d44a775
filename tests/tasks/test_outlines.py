"""Masks that teach classifiers and detectors what is where."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medcnn.data.augment import Augmenter
from medcnn.data.batch import BOX_LABELS, BOXES, LABELS, Batch
from medcnn.data.labels.derive import boxes_of
from medcnn.data.labels.instances import instances_of
from medcnn.errors import DataError, ModelError
from medcnn.models import loss_modules, losses
from medcnn.models.builders import small_resnet, unet_classifier
from medcnn.models.detection_losses import retinanet_loss
from medcnn.models.detectors import retinanet
from medcnn.recipe.schema import AugmentSection, InputSection
from medcnn.tasks.base import TrainingFacts
from medcnn.tasks.classification import ClassificationTask
from medcnn.tasks.detection import DetectionTask
from medcnn.tasks.outlines import map_of_boxes, map_of_cases, outline_loss
from medcnn.tasks.regression import RegressionTask
from medcnn.types import Boxes, Case, Dataset, ImageRef, LabelClass, LabelSchema, Value

CLASSES = LabelSchema((LabelClass(0, "a"), LabelClass(1, "b")))
MASKS = LabelSchema((LabelClass(1, "finding"),))
DATASET = Dataset("d", (), {"class": CLASSES, "mask": MASKS})


def certain(classes: Tensor, outputs: int, right: bool = True) -> Tensor:
    """Logits that leave no doubt about each voxel."""
    shown = classes.clamp(max=outputs - 1) if right else (classes.clamp(max=outputs - 1) + 1) % outputs
    return 50 * torch.movedim(nn.functional.one_hot(shown, outputs).float(), -1, 1)


def row_of_boxes(*spans: tuple[float, float]) -> Tensor:
    """Boxes ``(1, M, 4)`` over some columns of an image of one row."""
    return torch.tensor([[[first, 0.0, last, 1.0] for first, last in spans]])


def test_each_voxel_takes_the_class_of_its_box() -> None:
    instances = torch.tensor([[[[0], [1], [2], [0], [2]]]], dtype=torch.uint8)
    boxes, labels = row_of_boxes((1, 2), (2, 5), (0, 0)), torch.tensor([[2, 0, -1]])
    assert map_of_boxes(instances, boxes, labels)[0, :, 0].tolist() == [0, 3, 1, 0, 1]


def test_what_is_not_annotated_teaches_nothing() -> None:
    nothing = torch.full((2, 1, 4, 1), 255, dtype=torch.uint8)
    boxes, labels = row_of_boxes((0, 2), (2, 4)).expand(2, 2, 4), torch.tensor([[0, 1], [0, -1]])
    found = map_of_boxes(nothing, boxes, labels)
    assert (found == 255).all()
    logits = torch.randn(2, 3, 4, 1, generator=torch.Generator().manual_seed(0)).requires_grad_()
    outline_loss(logits, found).backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) == 0


def test_in_the_box_of_an_object_that_is_not_drawn_nothing_is_background() -> None:
    instances = torch.tensor([[[[0], [0], [1], [0], [0], [0]]]], dtype=torch.uint8)
    labels = torch.tensor([[1, 0]])
    # The second box has no voxels; the first object, which lies in it too, is learned.
    found = map_of_boxes(instances, row_of_boxes((2, 3), (1.5, 4.2)), labels)
    assert found[0, :, 0].tolist() == [0, 255, 2, 255, 255, 0]


def test_a_region_that_is_ignored_is_no_background() -> None:
    instances = torch.tensor([[[[0], [0], [2], [0], [0]]]], dtype=torch.uint8)
    labels = torch.tensor([[-2, 0]])
    found = map_of_boxes(instances, row_of_boxes((1, 4), (2, 3)), labels)
    assert found[0, :, 0].tolist() == [0, 255, 1, 255, 0]
    drawn = torch.tensor([[[[0], [1], [1], [0], [0]]]], dtype=torch.uint8)
    assert map_of_boxes(drawn, row_of_boxes((1, 3), (0, 0)), torch.tensor([[-2, -1]]))[0, :, 0].tolist() == [
        0, 255, 255, 0, 0,
    ]  # fmt: skip


def test_from_a_mask_through_a_change_of_the_image_to_what_is_learned() -> None:
    schema = LabelSchema((LabelClass(1, "a"), LabelClass(2, "b")))
    mask = np.zeros((32, 32), np.uint8)
    mask[8:14, 8:16], mask[14:26, 8:24] = 1, 2
    boxes = boxes_of(mask, schema)
    instances = torch.from_numpy(instances_of(mask, schema, boxes))[None, None]
    targets = {
        LABELS: instances,
        BOXES: torch.from_numpy(boxes.corners)[None],
        BOX_LABELS: torch.from_numpy(boxes.labels)[None],
    }
    batch = Batch(torch.from_numpy(mask.astype(np.float32))[None, None], targets, torch.zeros(1, dtype=torch.int64))
    assert torch.equal(map_of_boxes(instances, targets[BOXES], targets[BOX_LABELS])[0], torch.from_numpy(mask).long())
    section = AugmentSection(probability=1, rotate=90, zoom=0.1, shift=0.05, brightness=0, contrast=0, noise=0)
    for epoch in range(5):
        moved = Augmenter(section, (0, 1), seed=1)(batch, epoch=epoch)
        found = map_of_boxes(moved.targets[LABELS], moved.targets[BOXES], moved.targets[BOX_LABELS])[0]
        shown = moved.image[0, 0]
        # Away from edges between labels, where intensities are mixed, the map says what the image shows.
        for value in (1, 2):
            inner = (shown - value).abs() < 1e-3
            assert inner.sum() > 20
            assert (found[inner] == value).float().mean() > 0.9


def test_each_voxel_of_a_finding_takes_the_class_of_its_case() -> None:
    labels = torch.tensor([[0, 1, 2, 255]], dtype=torch.uint8).expand(3, 1, 4)
    states = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    valid = torch.tensor([[True, True], [True, True], [False, False]])
    assert map_of_cases(labels, states, valid).tolist() == [[0, 1, 1, 255], [0, 2, 2, 255], [0, 255, 255, 255]]


def test_labels_that_overlap_are_one_finding() -> None:
    labels = torch.tensor([[[0, 1, 0, 255], [0, 0, 1, 255]]], dtype=torch.uint8)
    found = map_of_cases(labels, torch.tensor([[0.0, 1.0]]), torch.ones(1, 2, dtype=torch.bool))
    assert found.tolist() == [[0, 2, 2, 255]]


@pytest.mark.parametrize("size", [(6, 8), (4, 6, 8)])
def test_what_is_right_costs_nothing_and_what_is_wrong_much(size: tuple[int, ...]) -> None:
    classes = torch.randint(0, 3, (2, *size), generator=torch.Generator().manual_seed(0))
    assert float(outline_loss(certain(classes, 3), classes)) == pytest.approx(0, abs=1e-5)
    assert float(outline_loss(certain(classes, 3, right=False), classes)) > 10


def test_the_loss_is_cross_entropy_and_dice_worked_by_hand() -> None:
    chances = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.4, 0.3, 0.3]])
    logits = chances.log().T[None]
    classes = torch.tensor([[0, 1, 2]])
    entropy = -(np.log(0.7) + np.log(0.5) + np.log(0.3)) / 3
    dice = 1 - 2 * (0.8 + 0.6) / (0.3 + 0.8 + 0.6 + 2)
    assert float(outline_loss(logits, classes)) == pytest.approx(entropy + dice, rel=1e-5)
    # An image without objects has no part in Dice.
    both = outline_loss(torch.cat([logits, logits]), torch.tensor([[0, 1, 2], [0, 0, 0]]))
    empty = -(np.log(0.7) + np.log(0.2) + np.log(0.4)) / 3
    assert float(both) == pytest.approx((entropy + empty) / 2 + dice, rel=1e-5)


def test_what_is_not_annotated_has_no_gradient() -> None:
    logits = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    classes = torch.zeros(2, 5, 5, dtype=torch.long)
    classes[:, :2] = 1
    classes[0, 3] = 255
    outline_loss(logits, classes).backward()
    assert logits.grad is not None
    assert float(logits.grad[0, :, 3].abs().max()) == 0
    assert float(logits.grad[1, :, 3].abs().max()) > 0
    assert float(outline_loss(logits.detach(), torch.full((2, 5, 5), 255))) == 0


def test_coarser_logits_weigh_half_as_much_each() -> None:
    generator = torch.Generator().manual_seed(0)
    fine, coarse = torch.randn(1, 3, 8, 8, generator=generator), torch.randn(1, 3, 4, 4, generator=generator)
    classes = torch.zeros(1, 8, 8, dtype=torch.long)
    classes[:, 2:6, 2:6] = 2
    expected = (float(outline_loss(fine, classes)) + 0.5 * float(outline_loss(coarse, classes[:, ::2, ::2]))) / 1.5
    assert float(outline_loss([fine, coarse], classes)) == pytest.approx(expected, rel=1e-5)


def test_the_mean_of_two_processes_is_that_of_one_with_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    classes = torch.zeros(3, 6, 6, dtype=torch.long)
    classes[0, 2:4, 2:4], classes[1] = 1, 255
    whole = outline_loss(logits, classes)
    # Of two processes: 36 + 36 of 108 voxels are known and one image shows an object, a half of each a process.
    halves = []
    for part in (slice(0, 1), slice(1, 3)):
        shares = iter([torch.tensor(36.0), torch.tensor(0.5)])
        monkeypatch.setattr(loss_modules, "mean_over_processes", lambda _, shares=shares: next(shares))
        halves.append(outline_loss(logits[part], classes[part]))
    torch.testing.assert_close(torch.stack(halves).mean(), whole)


def two_kinds(dims: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, label maps and states: a bright square is of class a, a dark one of class b."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(8, 1, *(16,) * dims, generator=generator) * 0.1
    labels = torch.zeros(8, 1, *(16,) * dims, dtype=torch.uint8)
    for k in range(8):
        start = 2 + k
        block = (slice(start, start + 5),) * dims
        image[(k, 0, *block)] += 1 if k % 2 == 0 else -1
        labels[(k, 0, *block)] = 1
    return image, labels, torch.eye(2)[torch.arange(8) % 2]


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
def test_masks_teach_a_classifier_what_is_where(dims: int) -> None:
    image, labels, states = two_kinds(dims)
    task = ClassificationTask.create(DATASET, outlines=1.0)
    assert task.masks is not None
    torch.manual_seed(0)
    network = unet_classifier(spatial_dims=dims, in_channels=1, outputs=2, size=(16,) * dims, filters=(8, 16, 16))
    model = task.build(network, losses.cross_entropy(), TrainingFacts())
    targets = {"states": states, "valid": torch.ones(8, 2, dtype=torch.bool), LABELS: labels}
    batch = Batch(image, targets, torch.arange(8))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(40):
        optimizer.zero_grad()
        found = model.losses(batch)
        torch.stack(list(found.values())).sum().backward()
        optimizer.step()
    assert set(found) == {"loss", "outlines"}
    model.eval()
    logits, voxels = network.outlined(image)  # type: ignore[operator]
    torch.testing.assert_close(logits, network(image))
    shown = voxels[0].argmax(1)
    wanted = map_of_cases(labels, states, targets["valid"])
    assert float((shown == wanted)[wanted > 0].float().mean()) > 0.9
    assert (model.probabilities(image).argmax(1) == states.argmax(1)).all()


def test_a_classifier_needs_masks_and_a_decoder_for_outlines() -> None:
    with pytest.raises(DataError, match="no masks"):
        ClassificationTask.create(Dataset("d", (), {"class": CLASSES}), outlines=1.0)
    with pytest.raises(DataError, match="not both"):
        ClassificationTask.create(DATASET, outlines=1.0, focus=1.0)
    several = Dataset("d", (), {"class": LabelSchema(CLASSES.classes, multilabel=True), "mask": MASKS})
    with pytest.raises(DataError, match="several labels"):
        ClassificationTask.create(several, outlines=1.0)
    network = small_resnet(spatial_dims=2, in_channels=1, outputs=2, size=(16, 16), width=4)
    with pytest.raises(ModelError, match="no decoder"):
        ClassificationTask.create(DATASET, outlines=1.0).build(network, losses.cross_entropy(), TrainingFacts())


def test_a_decoder_that_nothing_teaches_is_refused() -> None:
    network = unet_classifier(spatial_dims=2, in_channels=1, outputs=2, size=(16, 16), filters=(4, 4, 4))
    with pytest.raises(ModelError, match="no masks teach it"):
        ClassificationTask.create(DATASET).build(network, losses.cross_entropy(), TrainingFacts())
    values = tuple(Case(str(k), (ImageRef((f"{k}.png",), "raster"),), (Value(float(k)),)) for k in range(2))
    with pytest.raises(ModelError, match="no masks teach it"):
        RegressionTask.create(Dataset("d", values, {})).build(network, losses.mse(), TrainingFacts())
    with pytest.raises(ModelError, match="no masks teach"):
        DetectionTask.create(boxes_dataset(True)).build(detector(), retinanet_loss(), TrainingFacts())
    # What only predicts needs no masks.
    ClassificationTask.create(DATASET).build(network, nn.Identity(), TrainingFacts())
    DetectionTask.create(boxes_dataset(True)).build(detector(), nn.Identity(), TrainingFacts())


def test_an_image_too_small_for_the_levels_is_refused() -> None:
    with pytest.raises(ModelError, match="16 x 16 leaves one place at the coarsest of 5 levels"):
        unet_classifier(spatial_dims=2, in_channels=1, outputs=2, size=(16, 16))


def test_images_with_outlines_are_not_mixed() -> None:
    task = ClassificationTask.create(DATASET, outlines=1.0)
    network = unet_classifier(spatial_dims=2, in_channels=1, outputs=2, size=(16, 16), filters=(4, 4, 4))
    model = task.build(network, losses.cross_entropy(), TrainingFacts())
    with pytest.raises(ModelError, match="two mixed images"):
        model.adopt(InputSection(size=(16, 16), augment=AugmentSection(mixup=0.2)))


def boxes_dataset(masks: bool) -> Dataset:
    """One case with one box."""
    boxes = Boxes(np.array([[2, 2, 8, 8]], np.float32), np.zeros(1, np.int64))
    case = Case("c", (ImageRef(("c.png",), "raster"),), (boxes,))
    return Dataset("d", (case,), {"boxes": CLASSES, **({"mask": MASKS} if masks else {})})


def detector(dims: int = 2, *, outlines: bool = True) -> nn.Module:
    """A small RetinaNet for images of 32."""
    return retinanet(
        spatial_dims=dims, in_channels=1, outputs=2, size=(32,) * dims, filters=(8, 8, 8, 8), levels=(1, 2),
        pyramid_filters=8, stem_pool=False, outlines=outlines, anchors=((6.0,) * dims,),
    )  # fmt: skip


@pytest.mark.parametrize(("levels", "stride"), [((1, 2), 2), ((2, 3), 2), ((3,), 4)])
def test_outlines_are_learned_one_level_below_the_boxes(levels: tuple[int, ...], stride: int) -> None:
    network = retinanet(
        spatial_dims=2, in_channels=1, outputs=2, size=(32, 32), filters=(8, 8, 8, 8), levels=levels,
        pyramid_filters=8, stem_pool=False, outlines=True,
    ).eval()  # fmt: skip
    image = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    logits, codes, outlines = network.outlined(image)  # type: ignore[operator]
    assert outlines.shape == (1, 3, 32 // stride, 32 // stride)
    torch.testing.assert_close((logits, codes), network(image))
    assert logits.shape[1] == len(network.anchors((32, 32))[0])  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
def test_masks_teach_a_detector_what_is_where(dims: int) -> None:
    image = torch.zeros(4, 1, *(32,) * dims)
    instances = torch.zeros(4, 1, *(32,) * dims, dtype=torch.uint8)
    corners = torch.full((4, 1, 2 * dims), torch.nan)
    for k in range(4):
        start = 4 + 4 * k
        block = (slice(start, start + 8),) * dims
        image[(k, 0, *block)] = 1 if k % 2 == 0 else -1
        instances[(k, 0, *block)] = 1
        corners[k, 0] = torch.tensor([start] * dims + [start + 8] * dims, dtype=torch.float32)
    kinds = torch.arange(4)[:, None] % 2
    torch.manual_seed(0)
    task = DetectionTask.create(boxes_dataset(True), outlines=1.0)
    network = detector(dims)
    model = task.build(network, retinanet_loss(), TrainingFacts())
    batch = Batch(image, {BOXES: corners, BOX_LABELS: kinds, LABELS: instances}, torch.arange(4))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        found = model.losses(batch)
        torch.stack(list(found.values())).sum().backward()
        optimizer.step()
    assert set(found) == {"classes", "boxes", "outlines"}
    shown = network.outlined(image)[2].argmax(1)  # type: ignore[operator]
    wanted = map_of_boxes(instances, corners, kinds)[(slice(None), *(slice(None, None, 2),) * dims)]
    assert float((shown == wanted)[wanted > 0].float().mean()) > 0.9


def test_a_detector_needs_masks_and_a_map_for_outlines() -> None:
    with pytest.raises(DataError, match="no masks"):
        DetectionTask.create(boxes_dataset(False), outlines=1.0)
    with pytest.raises(DataError, match="no masks"):
        DetectionTask.create(boxes_dataset(True), outlines=1.0, follow_masks=False)
    task = DetectionTask.create(boxes_dataset(True), outlines=1.0)
    with pytest.raises(ModelError, match="no map"):
        task.build(detector(outlines=False), retinanet_loss(), TrainingFacts())
    with pytest.raises(ModelError, match="no map"):
        detector(outlines=False).outlined(torch.zeros(1, 1, 32, 32))  # type: ignore[operator]
