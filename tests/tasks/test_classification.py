"""Classification: what counts in the loss and the figures, and how probabilities become decisions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medcnn.data.batch import LABELS, Batch
from medcnn.errors import DataError, ModelError
from medcnn.models import losses
from medcnn.models.builders import small_resnet
from medcnn.recipe.schema import InputSection
from medcnn.tasks.base import EvaluationOptions, TrainingFacts
from medcnn.tasks.class_model import focus_loss
from medcnn.tasks.classification import ClassificationTask
from medcnn.types import Case, ClassLabel, ClassPrediction, Dataset, ImageRef, LabelClass, LabelSchema

CLASSES = tuple(LabelClass(i, name) for i, name in enumerate(("ct", "mr", "xr")))
EXCLUSIVE = LabelSchema(CLASSES)
BINARY = LabelSchema(CLASSES[:2], positive="mr")
SEVERAL = LabelSchema(CLASSES, multilabel=True)
SCHEMAS = {"binary": BINARY, "multinomial": EXCLUSIVE, "multilabel": SEVERAL}


class Echo(nn.Module):
    """A network whose logits are the image's channels, times a factor that can be learned."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1) * self.factor


def case(name: str, *states: int | None) -> Case:
    return Case(name, (ImageRef((f"{name}.png",)),), (ClassLabel(tuple(states)),))


def batch(task: ClassificationTask, logits: list[list[float]], cases: list[Case]) -> Batch:
    encoded = [task.encode(c) for c in cases]
    targets = {k: torch.from_numpy(np.stack([e[k] for e in encoded])) for k in encoded[0]}
    return Batch(torch.tensor(logits)[:, :, None, None], targets, torch.arange(len(cases)))


def cross_entropy(logits: list[float], index: int) -> float:
    return math.log(sum(math.exp(v) for v in logits)) - logits[index]


def test_missing_labels_count_neither_in_the_loss_nor_in_the_gradient() -> None:
    task = ClassificationTask(EXCLUSIVE)
    model = task.build(Echo(), losses.cross_entropy(), TrainingFacts())
    logits = [[1.0, 2.0, 0.0], [3.0, 0.0, 1.0], [9.0, -9.0, 4.0]]
    cases = [case("a", 1, 0, 0), case("b", 0, 0, 1), case("c", None, None, None)]
    loss = model.losses(batch(task, logits, cases))["loss"]
    assert loss.item() == pytest.approx((cross_entropy(logits[0], 0) + cross_entropy(logits[1], 2)) / 2)
    two = model.losses(batch(task, logits[:2], cases[:2]))["loss"]
    for value in (loss, two):
        model.zero_grad()
        value.backward()
        assert float(model.network.factor.grad) == pytest.approx(
            0.5 * (1 * 0.244728 + 2 * 0.665241 - 1 + 3 * 0.843795 + 1 * 0.114195 - 1), abs=1e-4
        )


def test_an_uncertain_label_of_several_counts_alone() -> None:
    task = ClassificationTask(SEVERAL)
    model = task.build(Echo(), losses.binary_cross_entropy(), TrainingFacts())
    loss = model.losses(batch(task, [[1.0, -2.0, 5.0]], [case("a", 1, 0, None)]))["loss"]
    assert loss.item() == pytest.approx((math.log1p(math.exp(-1)) + math.log1p(math.exp(-2))) / 2)


def test_a_batch_without_any_label_has_no_loss_and_no_gradient() -> None:
    task = ClassificationTask(BINARY)
    model = task.build(Echo(), losses.cross_entropy(), TrainingFacts())
    loss = model.losses(batch(task, [[1.0, 2.0]], [case("a", None, None)]))["loss"]
    loss.backward()
    assert loss.item() == 0
    assert float(model.network.factor.grad) == 0


def test_mixed_cases_have_mixed_labels_where_both_are_known() -> None:
    task = ClassificationTask(BINARY)
    model = task.build(Echo(), losses.cross_entropy(), TrainingFacts())
    logits = [[1.0, 0.0], [0.0, 3.0], [5.0, 0.0]]
    mixed = batch(task, logits, [case("a", 1, 0), case("b", 0, 1), case("c", None, None)])
    mixed.targets["mix_index"], mixed.targets["mix_weight"] = torch.tensor([1, 2, 0]), torch.tensor([0.75, 0.9, 0.6])
    # The second and third are mixed with, or are, the case without a label.
    expected = 0.75 * cross_entropy(logits[0], 0) + 0.25 * cross_entropy(logits[0], 1)
    assert model.losses(mixed)["loss"].item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_probabilities_are_those_of_the_kind_of_labels(kind: str) -> None:
    task = ClassificationTask(SCHEMAS[kind])
    name = task.default_loss
    model = task.build(Echo(), getattr(losses, name)(), TrainingFacts())
    logits = np.array([[0.5, -1.0, 2.0][: task.outputs]])
    with torch.no_grad():
        found = model.predict(torch.tensor(logits, dtype=torch.float32)[:, :, None, None])[0]
    assert isinstance(found, ClassPrediction)
    single = 1 / (1 + np.exp(-logits))
    expected = single if kind == "multilabel" else np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(found.probabilities, expected[0], rtol=1e-6)
    assert found.probabilities.dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "loss"), [("multilabel", "cross_entropy"), ("binary", "binary_cross_entropy"), ("binary", "mse")]
)
def test_a_loss_for_other_labels_is_refused(kind: str, loss: str) -> None:
    with pytest.raises(ModelError, match="does not fit"):
        ClassificationTask(SCHEMAS[kind]).build(Echo(), getattr(losses, loss)(), TrainingFacts())


def test_balanced_weights_are_the_inverse_of_the_counts() -> None:
    task = ClassificationTask(EXCLUSIVE)
    cases = [
        *(case(f"a{i}", 1, 0, 0) for i in range(6)),
        *(case(f"b{i}", 0, 1, 0) for i in range(2)),
        case("c", 0, 0, 1),
    ]
    facts = task.facts([*cases, case("missing", None, None, None)])
    assert facts.class_counts.tolist() == [6, 2, 1]
    weights = task.class_weights("balanced", facts)
    assert weights is not None
    torch.testing.assert_close(weights, torch.tensor([9 / 18, 9 / 6, 9 / 3]))
    torch.testing.assert_close(task.class_weights([1, 2, 3], facts), torch.tensor([1.0, 2.0, 3.0]))
    assert task.class_weights(None, facts) is None
    with pytest.raises(DataError, match="2 weights for 3 classes"):
        task.class_weights([1, 2], facts)


def test_balanced_weights_of_several_labels_are_negatives_over_positives() -> None:
    task = ClassificationTask(SEVERAL)
    cases = [case("a", 1, 0, None), case("b", 0, 0, 1), case("c", 0, 1, 0), case("d", 0, None, 0)]
    weights = task.class_weights("balanced", task.facts(cases))
    torch.testing.assert_close(weights, torch.tensor([3 / 1, 2 / 1, 2 / 1]))


def test_rows_leave_out_padding_and_score_leaves_out_missing_labels() -> None:
    task = ClassificationTask(EXCLUSIVE)
    model = task.build(Echo(), losses.cross_entropy(), TrainingFacts())
    cases = [case("a", 1, 0, 0), case("b", 0, 1, 0), case("c", None, None, None), case("d", 0, 0, 1)]
    made = batch(task, [[5.0, 0, 0], [5.0, 0, 0], [0, 0, 5.0], [0, 0, 5.0]], cases)
    made.index[3] = -1
    with torch.no_grad():
        rows = model.rows(made)
    assert [int(r["index"]) for r in rows] == [0, 1, 2]
    figures = task.score(rows)
    assert figures["accuracy"] == 0.5
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert all(math.isnan(v) for v in task.score([]).values())


def test_one_class_alone_cannot_be_learned_and_an_absent_one_is_named() -> None:
    task = ClassificationTask(EXCLUSIVE)
    one, other = case("a", 1, 0, 0), case("b", 0, 1, 0)
    with pytest.raises(DataError, match="only ct"):
        task.check({"training": [one], "validation": [other], "test": []})
    notes = task.check({"training": [one, other], "validation": [other], "test": []})
    assert notes == ["the training part has no case of xr", "the validation part has no case of ct, xr"]


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_task_comes_back_from_its_state(kind: str) -> None:
    task = ClassificationTask(SCHEMAS[kind])
    restored = ClassificationTask.restore(task.state())
    assert restored.schema == task.schema
    assert restored.outputs == len(SCHEMAS[kind].classes)


def test_a_dataset_without_classes_is_refused() -> None:
    with pytest.raises(DataError, match="no class labels"):
        ClassificationTask.create(Dataset("d", (), {}))
    with pytest.raises(DataError, match="two classes"):
        ClassificationTask.create(Dataset("d", (), {"class": LabelSchema(CLASSES[:1])}))


def test_the_mean_of_networks_and_the_decision() -> None:
    def prediction(*p: float) -> ClassPrediction:
        return ClassPrediction(np.array(p, np.float32))

    binary, several, many = (ClassificationTask(s) for s in (BINARY, SEVERAL, EXCLUSIVE))
    both = binary.combine([prediction(0.9, 0.1), prediction(0.5, 0.5)])
    np.testing.assert_allclose(both.probabilities, [0.7, 0.3], rtol=1e-6)
    assert binary.decide(both, {})["class"] == "ct"
    assert binary.decide(both, {"mr": 0.25})["class"] == "mr"
    assert binary.decide(prediction(0.75, 0.25), {"mr": 0.25})["class"] == "mr"
    assert binary.decide(both, {"mr": 0.31})["class"] == "ct"
    assert several.decide(prediction(0.5, 0.2, 0.9), {"mr": 0.1})["class"] == "ct|mr|xr"
    assert several.decide(prediction(0.4, 0.2, 0.1), {})["class"] == ""
    assert many.decide(prediction(0.2, 0.5, 0.3), {}) == {
        "p_ct": pytest.approx(0.2),
        "p_mr": 0.5,
        "p_xr": pytest.approx(0.3),
        "class": "mr",
    }


def write_parts(task: ClassificationTask, folder: Path, count: int = 40) -> dict[str, Case]:
    generator = np.random.default_rng(0)
    cases = {}
    for part in ("validation", "test"):
        truth = generator.integers(0, task.outputs, count)
        logits = generator.normal(size=(count, task.outputs)) + 2 * np.eye(task.outputs)[truth]
        rows = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
        names = [f"{part}{i}" for i in range(count)]
        cases.update(
            {n: case(n, *np.eye(task.outputs, dtype=int)[t].tolist()) for n, t in zip(names, truth, strict=True)}
        )
        task.write(folder, names, [ClassPrediction(r) for r in rows], part)
    return cases


def test_what_is_written_is_read_to_the_bit(tmp_path: Path) -> None:
    from medcnn.tasks.predictions import read_columns

    task = ClassificationTask(EXCLUSIVE)
    rows = np.random.default_rng(1).random((5, 3), np.float32)
    names = ["a", 'with "quotes", and commas', "ü", "d", "line\nbreak"]
    path = task.write(tmp_path, names, [ClassPrediction(r) for r in rows], "test")
    ids, columns, values = read_columns(path, dict.fromkeys(names))
    assert list(ids) == names
    assert columns == ["p_ct", "p_mr", "p_xr"]
    assert (values.astype(np.float32) == rows).all()


def test_thresholds_come_from_validation_and_serve_the_evaluation(tmp_path: Path) -> None:
    task = ClassificationTask(BINARY)
    cases = write_parts(task, tmp_path)
    chosen = task.thresholds(tmp_path, cases, {"threshold": "fixed", "threshold_value": 0.3})
    assert chosen["mr"] == pytest.approx(0.3)
    found = task.evaluate(
        [tmp_path],
        cases,
        EvaluationOptions("title", options={"resamples": 100, "threshold": "fixed", "threshold_value": 0.3}),
    )
    probabilities = np.loadtxt(tmp_path / "test.csv", delimiter=",", skiprows=1, usecols=2)
    truth = np.array([cases[f"test{i}"].targets[0].states[1] == 1 for i in range(40)])  # type: ignore[union-attr]
    sensitivity = ((probabilities >= 0.3) & truth).sum() / truth.sum()
    assert found.find("sensitivity", target="mr").value == pytest.approx(sensitivity)


def test_the_most_probable_of_several_classes_needs_no_threshold(tmp_path: Path) -> None:
    task = ClassificationTask(EXCLUSIVE)
    assert task.thresholds(tmp_path, write_parts(task, tmp_path), {}) == {}


def test_predictions_of_another_schema_or_run_are_refused(tmp_path: Path) -> None:
    task = ClassificationTask(BINARY)
    cases = write_parts(task, tmp_path)
    path = tmp_path / "test.csv"
    whole = path.read_text()
    path.write_text(whole.replace("p_mr", "p_us", 1))
    with pytest.raises(DataError, match="p_us"):
        task.evaluate([tmp_path], cases, EvaluationOptions("title"))
    path.write_text(whole + "stranger,0.5,0.5\n")
    with pytest.raises(DataError, match="not of this run"):
        task.evaluate([tmp_path], cases, EvaluationOptions("title"))
    path.write_text(whole + whole.splitlines()[1] + "\n")
    with pytest.raises(DataError, match="twice"):
        task.evaluate([tmp_path], cases, EvaluationOptions("title"))
    path.write_text(whole + "test0,0.5\n")
    with pytest.raises(DataError, match="cannot be read"):
        task.evaluate([tmp_path], cases, EvaluationOptions("title"))
    path.unlink()
    with pytest.raises(DataError, match="missing"):
        task.evaluate([tmp_path], cases, EvaluationOptions("title"))


def test_focus_is_the_cross_entropy_of_places_and_mask() -> None:
    places = torch.log(torch.tensor([0.1, 0.2, 0.3, 0.4])).view(1, 1, 2, 2)
    labels = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    labels[0, 0, 0, 0] = 1
    labels[0, 0, 3, 1:4] = 2
    # One voxel lies in the first place, one in the third and two in the fourth.
    expected = -(0.25 * np.log(0.1) + 0.25 * np.log(0.3) + 0.5 * np.log(0.4))
    assert float(focus_loss(places, labels)) == pytest.approx(expected, rel=1e-5)


def test_focus_passes_over_cases_without_a_mask() -> None:
    places = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    labels[0, 0, 0, 0] = 1
    labels[2] = 255
    assert float(focus_loss(places, labels)) == pytest.approx(float(focus_loss(places[:1], labels[:1])))
    assert float(focus_loss(places[1:], labels[1:])) == 0


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
def test_masks_teach_attention_where_to_look(dims: int) -> None:
    schema = LabelSchema((LabelClass(0, "a"), LabelClass(1, "b")))
    dataset = Dataset("d", (), {"class": schema, "mask": LabelSchema((LabelClass(1, "finding"),))})
    task = ClassificationTask.create(dataset, focus=2.0)
    assert task.masks is not None
    torch.manual_seed(0)
    network = small_resnet(
        spatial_dims=dims, in_channels=1, outputs=2, size=(16,) * dims, width=4, blocks=(1, 1), strides=(1, 2),
        pooling="attention",
    )  # fmt: skip
    model = task.build(network, losses.cross_entropy(), TrainingFacts())
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(8, 1, *(16,) * dims, generator=generator) * 0.1
    labels = torch.zeros(8, 1, *(16,) * dims, dtype=torch.uint8)
    for k in range(8):
        corner = (slice(0, 4) if k % 2 else slice(12, 16),) * dims
        image[(k, 0, *corner)] += 1
        labels[(k, 0, *corner)] = 1
    states = torch.eye(2)[torch.arange(8) % 2]
    batch = Batch(
        image, {"states": states, "valid": torch.ones(8, 2, dtype=torch.bool), LABELS: labels}, torch.arange(8)
    )
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    first = float(model.losses(batch)["focus"].detach())
    for _ in range(40):
        optimizer.zero_grad()
        torch.stack(list(model.losses(batch).values())).sum().backward()
        optimizer.step()
    assert float(model.losses(batch)["focus"]) < 0.5 * first
    model.eval()
    logits, places = network.attend(image)
    torch.testing.assert_close(logits, network(image))
    looked_at = places.flatten(2).argmax(2)[:, 0]
    assert looked_at[0] != looked_at[1]


def test_focus_without_masks_or_attention_is_refused() -> None:
    schema = LabelSchema((LabelClass(0, "a"), LabelClass(1, "b")))
    with pytest.raises(DataError, match="no masks"):
        ClassificationTask.create(Dataset("d", (), {"class": schema}), focus=1.0)
    masks = LabelSchema((LabelClass(1, "finding"),))
    task = ClassificationTask.create(Dataset("d", (), {"class": schema, "mask": masks}), focus=1.0)
    with pytest.raises(ModelError, match="no attention"):
        task.build(nn.Linear(2, 2), losses.cross_entropy(), TrainingFacts())


def test_mirror_images_are_averaged_along_symmetric_axes_alone() -> None:
    class Left(nn.Module):
        """Logits from the left half and from the whole image."""

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            half = image[:, 0, :2].sum((1, 2))
            return torch.stack([half, image.sum((1, 2, 3))], 1)

    schema = LabelSchema((LabelClass(0, "a"), LabelClass(1, "b")))
    image = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for axes, same in (((0,), True), ((), False)):
        model = ClassificationTask(schema, mirror=True).build(Left(), losses.cross_entropy(), TrainingFacts())
        model.adopt(InputSection(size=(4, 4), symmetric_axes=axes))
        assert torch.allclose(model.probabilities(image), model.probabilities(image.flip(2))) == same
