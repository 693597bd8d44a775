"""Plans: nnU-Net's rules on hand-worked cases, properties over any images, and the formula of cost against torch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medcnn.errors import ModelError
from medcnn.models import build_network, plan_cost
from medcnn.models.dense_losses import dice_ce
from medcnn.models.describe import describe, total_parameters
from medcnn.models.plan import Fingerprint, Intensities, Plan, plan, topology
from medcnn.models.plan_cost import Design, cost
from medcnn.recipe.options import check_options
from medcnn.recipe.schema import InputSection

GIB = 2**30


def images(shape: tuple[int, ...], spacing: tuple[float, ...] = (), count: int = 100, **more: Any) -> Fingerprint:
    return Fingerprint((shape,) * count, (spacing,) * count if spacing else (), **more)


@st.composite
def fingerprints(draw: st.DrawFn) -> Fingerprint:
    dims = draw(st.sampled_from([2, 3]))
    count = draw(st.integers(1, 12))
    extent = st.integers(2, 300 if dims == 2 else 160)
    shapes = draw(st.lists(st.tuples(*[extent] * dims), min_size=count, max_size=count))
    spacings: list[tuple[float, ...]] = []
    if draw(st.booleans()):
        spacings = draw(st.lists(st.tuples(*[st.floats(0.2, 8.0)] * dims), min_size=count, max_size=count))
    return Fingerprint(tuple(shapes), tuple(spacings), draw(st.integers(1, 4)), draw(st.integers(2, 5)))


@settings(max_examples=150, deadline=None)
@given(
    fingerprint=fingerprints(),
    budget=st.integers(400 * 2**20, 24 * GIB),
    network=st.sampled_from(["dynunet", "small_unet"]),
    work=st.none() | st.floats(1e9, 1e13),
)
def test_every_plan_keeps_to_its_limits(
    fingerprint: Fingerprint, budget: int, network: Any, work: float | None
) -> None:
    try:
        found = plan(fingerprint, budget, network=network, work=work)
    except ModelError:  # what it says is looked at below
        return
    factors = found.design.factors
    assert all(n % f == 0 for n, f in zip(found.size, factors, strict=True))
    padded = [math.ceil(n / f) * f for n, f in zip(found.median, factors, strict=True)]
    assert all(n <= most for n, most in zip(found.size, padded, strict=True))
    assert found.cost.bytes <= budget
    assert work is None or found.cost.work <= work
    assert found.batch_size >= 2
    assert len(found.design.filters) == len(found.design.strides) == len(found.design.kernels) >= 3
    assert set(found.design.strides[0]) == {1}
    assert plan(fingerprint, budget, network=network, work=work) == found
    # A larger budget never gives a smaller step.
    more = plan(fingerprint, 2 * budget, network=network, work=work)
    assert more.design.filters[0] >= found.design.filters[0]


@settings(max_examples=8, deadline=None)
@given(fingerprint=fingerprints(), network=st.sampled_from(["dynunet", "small_unet"]))
def test_every_plan_is_a_recipe_whose_network_works(fingerprint: Fingerprint, network: Any) -> None:
    found = plan(fingerprint, 600 * 2**20, network=network)
    sections = found.sections()
    section = InputSection.model_validate({**sections["input"], "channels": fingerprint.channels})
    name = sections["model"].pop("name")
    options = check_options("networks", name, sections["model"])
    options = {k: v for k, v in options.items() if k not in ("weights", "strict_weights")}
    build_network(
        name,
        options,
        spatial_dims=len(section.size),
        in_channels=section.channels,
        outputs=fingerprint.outputs,
        size=section.size,
        dense=True,
    )


def test_small_images_of_one_size_are_seen_whole() -> None:
    """Hippocampus: nnU-Net plans patches of 40 x 56 x 40 with three halvings too."""
    found = plan(images((36, 50, 35), (1.0, 1.0, 1.0), outputs=3), 4 * GIB)
    assert found.size == (40, 56, 40)
    assert found.spacing == (1.0, 1.0, 1.0)
    assert found.design.factors == (8, 8, 8)
    assert found.design.filters == (32, 64, 128, 256)
    assert found.batch_size == int(0.05 * 100 * 36 * 50 * 35 / (40 * 56 * 40))
    assert any("holds the median image whole" in reason for reason in found.reasons)


def test_thick_slices_get_flat_kernels_and_steps_first() -> None:
    strides, kernels = topology((256, 256, 20), (0.8, 0.8, 5.0))
    # 0.8 and 1.6 mm are far finer than 5 mm; at 3.2 mm the third axis joins in.
    assert strides[:4] == ((1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2))
    assert kernels[:3] == ((3, 3, 1), (3, 3, 1), (3, 3, 3))
    assert kernels[-1] == (3, 3, 3)
    # 20 slices are halved twice, which leaves 5; the plane of 256 six times, which leaves 4.
    assert math.prod(step[2] for step in strides) == 4
    assert math.prod(step[0] for step in strides) == 64


def test_an_axis_alone_is_pooled_while_it_has_twelve_positions() -> None:
    assert topology((8, 7), (1.0, 1.0))[0] == ((1, 1), (1, 1), (1, 1))
    assert topology((12, 7), (1.0, 1.0))[0] == ((1, 1), (2, 1), (1, 1))


def test_the_spacing_of_a_coarse_axis_is_its_tenth_percentile() -> None:
    spacings = ((0.8, 0.8, 5.0),) * 80 + ((0.8, 0.8, 1.0),) * 20
    fine = plan(Fingerprint(((512, 512, 60),) * 100, spacings), 8 * GIB)
    assert fine.spacing == pytest.approx((0.8, 0.8, 1.0))
    assert "anisotropy" in fine.reasons[0]
    # With as many slices as pixels in the plane nothing is gained by a finer grid.
    deep = plan(Fingerprint(((200, 200, 200),) * 100, spacings), 8 * GIB)
    assert deep.spacing == (0.8, 0.8, 5.0)
    # It never becomes finer than the plane.
    thin = ((0.8, 0.8, 5.0),) * 80 + ((0.8, 0.8, 0.4),) * 20
    assert plan(Fingerprint(((512, 512, 60),) * 100, thin), 8 * GIB).spacing == pytest.approx((0.8, 0.8, 0.8))


def test_the_median_shape_is_that_of_the_target_spacing() -> None:
    fingerprint = Fingerprint(((100, 100, 50), (50, 50, 25), (100, 100, 50)), ((1, 1, 2), (2, 2, 4), (1, 1, 2)))
    assert plan(fingerprint, 4 * GIB).median == (100, 100, 50)
    assert plan(images((30, 40)), 4 * GIB).spacing is None


def test_a_small_budget_narrows_the_network_before_it_cuts_the_patch() -> None:
    fingerprint = images((128, 128, 128), (1.0, 1.0, 1.0), outputs=3)
    found = [plan(fingerprint, gib * GIB) for gib in (16, 4, 2, 1)]
    widths = [p.design.filters[0] for p in found]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 32
    assert widths[-1] < 32
    assert all(min(p.size) >= 64 for p in found)
    assert "with 32 the memory budget" in " ".join(found[-1].reasons) or widths[-1] < 24
    assert "largest near the median image's proportions" in " ".join(found[1].reasons)


def test_work_limits_the_step_too() -> None:
    fingerprint = images((36, 50, 35), (1.0, 1.0, 1.0), outputs=3)
    free, limited = (plan(fingerprint, 8 * GIB, network="small_unet", work=w) for w in (None, 4e10))
    assert limited.cost.work <= 4e10 < free.cost.work
    assert limited.design.filters[0] < free.design.filters[0]
    assert any("memory and work" in reason for reason in limited.reasons)


def test_what_cannot_be_planned_says_what_it_needs() -> None:
    with pytest.raises(ModelError, match="allow at least"):
        plan(images((64, 64, 64)), 10 * 2**20)
    with pytest.raises(ModelError, match="no images"):
        plan(Fingerprint(()), GIB)
    with pytest.raises(ModelError, match="2 and 3 dimensions"):
        plan(Fingerprint(((10, 10), (10, 10, 10))), GIB)
    with pytest.raises(ModelError, match="1 of 2 training images have a spacing"):
        plan(Fingerprint(((10, 10), (10, 10)), ((1.0, 1.0),)), GIB)
    with pytest.raises(ModelError, match="above 0"):
        plan(images((10, 10), (1.0, 0.0)), GIB)


def test_the_budget_that_an_error_asks_for_is_enough() -> None:
    with pytest.raises(ModelError) as caught:
        plan(images((64, 64, 64)), 10 * 2**20)
    assert caught.value.todo is not None
    needed = int(caught.value.todo.split("at least ")[1].split(" MiB")[0])
    assert isinstance(plan(images((64, 64, 64)), (needed + 1) * 2**20), Plan)


def test_ct_is_clipped_and_other_images_are_standardised() -> None:
    ct = plan(images((64, 64), intensities=Intensities(-150.0, 220.0, True)), GIB)
    assert ct.sections()["input"]["intensity"] == {"method": "window", "low": -150.0, "high": 220.0}
    mr = plan(images((64, 64), intensities=Intensities(3.0, 900.0, False)), GIB)
    assert mr.sections()["input"]["intensity"] == {"method": "zscore"}
    assert "intensity" not in plan(images((64, 64)), GIB).sections()["input"]


def kept_bytes(network: torch.nn.Module, shape: tuple[int, ...], outputs: int) -> int:
    """What torch keeps for the way back of a step in mixed precision, the parameters aside."""
    parameters = {p.untyped_storage().data_ptr() for p in network.parameters()}
    found: dict[int, int] = {}
    alive = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            found[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(torch.rand(shape))
        dice_ce()(logits, torch.zeros(shape[0], *shape[2:], dtype=torch.long))
    return sum(found.values())


@pytest.mark.parametrize("name", ["dynunet", "small_unet"])
@pytest.mark.parametrize("size", [(24, 32, 24), (96, 64)])
def test_the_formula_of_cost_is_near_what_torch_counts(name: Any, size: tuple[int, ...]) -> None:
    dims = len(size)
    steps = ((1,) * dims, (2,) * dims, (2,) * dims, (2, *(1,) * (dims - 1)))
    kernels = ((3, *(1,) * (dims - 1)), *((3,) * dims,) * 3)
    design = Design(name, (8, 16, 32, 32), kernels, steps)
    network = build_network(
        name, design.options(), spatial_dims=dims, in_channels=2, outputs=3, size=size, dense=True
    ).train()
    found = cost(design, size, 2, 2, 3)
    assert found.parameters == pytest.approx(total_parameters(network), rel=0.03)
    work = 3 * 2 * sum(row.multiply_adds for row in describe(network, (2, *size)))
    assert found.work == pytest.approx(work, rel=0.02)
    maps = (found.bytes - plan_cost._FIXED_BYTES - plan_cost._PARAMETER_BYTES * found.parameters) / plan_cost._MARGIN
    kept = kept_bytes(network, (2, 2, *size), 3)
    # The formula also counts what the loss holds while it is computed.
    assert kept < maps < 1.4 * kept
