"""Networks that give a value for each voxel: shapes, options, deep supervision, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from medcnn.errors import ModelError
from medcnn.models import build_network

SMALL: dict[str, dict] = {
    "small_unet": {"filters": (4, 8, 8)},
    "unet": {"channels": (4, 8, 8)},
    "dynunet": {"filters": (4, 8, 8)},
    "basic_unet": {"features": (4, 4, 4, 4, 4, 4)},
    "attention_unet": {"channels": (4, 8, 8)},
    "segresnet": {"init_filters": 8, "blocks_down": (1, 1, 1)},
}


def build(
    name: str, options: dict | None = None, size: tuple[int, ...] = (32, 24), outputs: int = 3, channels: int = 1
):
    return build_network(
        name, options, spatial_dims=len(size), in_channels=channels, outputs=outputs, size=size, dense=True
    )


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(32, 24), (16, 32, 16)])
def test_every_dense_network_gives_logits_of_the_image_s_size(name: str, size: tuple[int, ...]) -> None:
    network = build(name, SMALL[name], size, outputs=4, channels=2)
    image = torch.rand(2, 2, *size)
    for mode in (network.train(), network.eval()):
        result = mode(image)
        assert isinstance(result, Tensor)
        assert result.shape == (2, 4, *size)
    result.sum().backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(128, 128), (40, 56, 40)])
def test_the_defaults_work_on_small_grids(name: str, size: tuple[int, ...]) -> None:
    build(name, {}, size)


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        *((name, norm) for name in ("dynunet", "basic_unet", "segresnet") for norm in ("instance", "batch", "group")),
        ("unet", "instance"),
        ("unet", "batch"),
        ("small_unet", "instance"),
        ("small_unet", "batch"),
    ],
)
def test_normalisation_is_what_was_asked_for(name: str, norm: str) -> None:
    wide = {"unet": {"channels": (8, 8)}, "dynunet": {"filters": (8, 8, 8)}, "basic_unet": {"features": (8,) * 6}}
    network = build(name, {**wide.get(name, SMALL[name]), "norm": norm})
    kind = {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d, "group": nn.GroupNorm}[norm]
    found = [m for m in network.modules() if isinstance(m, (nn.InstanceNorm2d, nn.BatchNorm2d, nn.GroupNorm))]
    assert found
    assert all(isinstance(m, kind) for m in found)
    assert all(m.weight is not None for m in found)


def test_deep_supervision_gives_a_list_in_training_and_the_finest_in_evaluation() -> None:
    network = build("dynunet", {"filters": (4, 4, 8, 8), "deep_supervision": 2}, (16, 24, 16), outputs=2)
    image = torch.rand(1, 1, 16, 24, 16)
    shapes = [tuple(o.shape) for o in network.train()(image)]
    assert shapes == [(1, 2, 16, 24, 16), (1, 2, 8, 12, 8), (1, 2, 4, 6, 4)]
    assert network.eval()(image).shape == (1, 2, 16, 24, 16)


def test_deep_supervision_reaches_the_coarse_levels_and_leaves_no_graph_behind() -> None:
    network = build("dynunet", {"filters": (4, 4, 4, 4), "deep_supervision": 2}).train()
    outputs = network(torch.rand(1, 1, 32, 24))
    outputs[2].sum().backward()
    heads = network.deep_supervision_heads
    assert [next(h.parameters()).grad is not None for h in heads] == [False, True]
    copy.deepcopy(network)  # fails where a tensor with a graph hangs on the network


@pytest.mark.parametrize("size", [(1, 1), (7, 33), (5, 12, 3)])
@pytest.mark.parametrize("first", [1, 2, 3])
def test_small_unet_works_at_any_size_and_first_step(size: tuple[int, ...], first: int) -> None:
    options = {"filters": (4, 4, 8), "strides": (first, 2, 2), "deep_supervision": 2}
    network = build("small_unet", options, size)
    image = torch.rand(2, 1, *size)
    assert network.eval()(image).shape == (2, 3, *size)
    if max(size) > 4:
        outputs = network.train()(image)
        extents = [tuple(-(-n // (first * 2**k)) for n in size) for k in range(3)]
        assert [tuple(o.shape[2:]) for o in outputs] == [size, *extents[1:]]
        torch.stack([o.sum() for o in outputs]).sum().backward()
        assert all(p.grad is not None for p in network.parameters())


@pytest.mark.slow
def test_small_unet_learns_from_the_first_steps() -> None:
    torch.manual_seed(0)
    image = torch.randn(8, 1, 32, 32)
    labels = (torch.nn.functional.avg_pool2d(image, 7, 1, 3)[:, 0] > 0.1).long()
    network = build("small_unet", {"filters": (8, 16, 32)}, (32, 32), outputs=2).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(network(image), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.15


def test_the_output_of_small_unet_moves_with_the_image() -> None:
    """Features of a coarse voxel go back to the fine voxels that it covers, not to their neighbours."""
    torch.manual_seed(0)
    network = build("small_unet", {"filters": (4, 8, 8)}, (96, 96)).eval()
    image = torch.zeros(1, 1, 96, 96)
    image[0, 0, 40:48, 44:48] = 1
    moved = torch.roll(image, (8, -12), (2, 3))
    with torch.no_grad():
        torch.testing.assert_close(torch.roll(network(image), (8, -12), (2, 3)), network(moved))


def test_anisotropic_kernels_and_strides_keep_the_thin_axis() -> None:
    options = {"filters": (4, 4, 4), "kernel_size": ((3, 3, 1), 3, 3), "strides": (1, (2, 2, 1), 2)}
    network = build("dynunet", options, (16, 16, 6))
    assert network.eval()(torch.rand(1, 1, 16, 16, 6)).shape == (1, 3, 16, 16, 6)
    kernels = {m.kernel_size for m in network.modules() if isinstance(m, nn.Conv3d)}
    assert (3, 3, 1) in kernels
    flat = build("unet", {"channels": (4, 8), "strides": ((2, 2, 1),)}, (8, 8, 5))
    assert flat.eval()(torch.rand(1, 1, 8, 8, 5)).shape == (1, 3, 8, 8, 5)


@pytest.mark.parametrize(
    ("name", "options", "size", "message"),
    [
        ("unet", {}, (40, 44), r"40 x 44 is not a multiple of .* 8 x 8\s+the next that fits is 40 x 48"),
        ("dynunet", {"strides": (1, 2, 4, 2)}, (40, 40), "multiple of the network's strides, 16 x 16"),
        ("attention_unet", {}, (12, 16), "16 x 16"),
        ("segresnet", {}, (12, 16), "16 x 16"),
        ("basic_unet", {}, (8, 32), "needs 16"),
        ("basic_unet", {}, (16, 24), "one voxel on the coarsest level"),
        ("unet", {"channels": (4, 8, 8)}, (4, 4), "one voxel on the coarsest level"),
        ("unet", {"strides": (2, 2)}, (32, 32), "2 entries for 3 steps"),
        ("unet", {"strides": ((2, 2, 2), 2, 2)}, (32, 32), r"\[2, 2, 2\] in 2 dimensions"),
        ("dynunet", {"filters": (6, 8, 8), "norm": "group"}, (32, 32), "groups of 8 do not divide 6 filters"),
        ("dynunet", {"filters": (4, 4)}, (32, 32), "three levels"),
        ("dynunet", {"deep_supervision": 3}, (32, 32), "at most 2"),
        ("dynunet", {"kernel_size": (3, 3)}, (32, 32), "2 entries for 4 levels"),
        ("dynunet", {"strides": (2, 2, 2, 2)}, (32, 32), "let the first be 1"),
        ("segresnet", {"blocks_up": (1,)}, (32, 32), "one less than blocks_down"),
        ("small_unet", {"blocks": (1, 1)}, (32, 32), "2 numbers for 4 levels"),
        ("small_unet", {"deep_supervision": 4}, (32, 32), "at most 3"),
        ("small_unet", {"strides": (1, 2)}, (32, 32), "2 entries for 4 steps"),
        ("unet", {"dropout": 1.0}, (32, 32), "dropout"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(
    name: str, options: dict, size: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        build(name, options, size)


def test_a_network_of_the_other_kind_is_refused_with_names_that_fit() -> None:
    with pytest.raises(ModelError, match="such as small_unet or dynunet"):
        build("small_resnet", {"width": 4})
    with pytest.raises(ModelError, match="such as small_resnet"):
        build_network("unet", SMALL["unet"], spatial_dims=2, in_channels=1, outputs=3, size=(32, 32))
