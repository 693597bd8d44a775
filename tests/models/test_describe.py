"""The table of layers: receptive fields against gradients, parameters against torch's count."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from medcnn.errors import ModelError
from medcnn.models import build_network
from medcnn.models.describe import HEADINGS, LayerInfo, describe, total_parameters


def build(name: str, options: dict, size: tuple[int, ...], channels: int = 1, dense: bool = False) -> nn.Module:
    return build_network(name, options, spatial_dims=len(size), in_channels=channels, outputs=2, size=size, dense=dense)


NORMS = (nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm)
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.PReLU)


def make_linear(network: nn.Module) -> nn.Module:
    """Positive weights, averages for maxima and no activations: every path carries a positive gradient."""
    for name, module in list(network.named_modules()):
        if isinstance(module, (*NORMS, *ACTIVATIONS)):
            replacement: nn.Module = nn.Identity()
        elif isinstance(module, nn.MaxPool2d):
            replacement = nn.AvgPool2d(module.kernel_size, module.stride, module.padding)
        else:
            continue
        network.set_submodule(name, replacement)
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.1)
    return network.double()


def measured(part: nn.Module, size: tuple[int, ...], positions: int = 1) -> tuple[int, ...]:
    """Largest extent of the pixels whose gradient at one of the central positions is not zero."""
    image = torch.rand(1, 1, *size, dtype=torch.float64, requires_grad=True)
    result = part(image)
    extents = []
    for shift in range(positions):
        place = tuple(min(n // 2 + shift, n - 1) for n in result.shape[2:])
        (gradient,) = torch.autograd.grad(result[(0, 0, *place)], image, retain_graph=True)
        touched = gradient[0, 0].nonzero()
        extents.append(touched.max(0).values - touched.min(0).values + 1)
    return tuple(torch.stack(extents).max(0).values.tolist())


def row(rows: list[LayerInfo], name: str) -> LayerInfo:
    return next(r for r in rows if r.name == name)


@settings(max_examples=25, deadline=None)
@given(
    kernels=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    stride=st.integers(1, 2),
    padding=st.sampled_from(["same", "valid", 1]),
    pooling=st.sampled_from(["max", "average", "none"]),
    pool_size=st.integers(1, 3),
)
def test_receptive_field_of_basic_cnn_is_what_gradients_reach(
    kernels: list[int], stride: int, padding: str | int, pooling: str, pool_size: int
) -> None:
    options = {
        "filters": (1,) * len(kernels),
        "kernel_size": tuple(kernels),
        "stride": stride,
        "padding": padding,
        "pooling": pooling,
        "pool_size": pool_size,
        "dense": (),
    }
    size = (480, 480) if len(kernels) > 2 and stride * pool_size > 3 else (160, 160)
    network = build("basic_cnn", options, size)
    rows = [r for r in describe(network, (1, *size)) if r.name.startswith("features")]
    assert rows[-1].receptive_field == measured(make_linear(network).features, size)


@pytest.mark.parametrize("stem", [1, 2, 4])
@pytest.mark.parametrize(("blocks", "strides"), [((1, 1), (1, 2)), ((2, 1), (2, 2)), ((1, 2, 1), (1, 2, 1))])
def test_receptive_field_of_small_resnet_is_what_gradients_reach(
    stem: int, blocks: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    size = (200, 200)
    options = {"width": 1, "blocks": blocks, "strides": strides, "stem_stride": stem}
    network = build("small_resnet", options, size)
    rows = [r for r in describe(network, (1, *size)) if r.name.startswith("stages")]
    assert rows[-1].receptive_field == measured(make_linear(nn.Sequential(network.stem, network.stages)), size)


def test_receptive_field_in_3d_has_an_entry_an_axis() -> None:
    network = nn.Sequential(
        nn.Conv3d(1, 1, (3, 3, 1), stride=(2, 2, 1), padding=(1, 1, 0)), nn.Conv3d(1, 1, (3, 5, 3), dilation=(1, 2, 1))
    )
    last = describe(network, (1, 40, 60, 20))[-1]
    assert last.receptive_field == (7, 19, 3)
    assert last.stride == (2, 2, 1)
    assert last.receptive_field == measured(make_linear(network), (40, 60, 20))


def test_branches_count_by_their_union() -> None:
    class Shifted(nn.Module):
        """One branch looks to the left, the other to the right."""

        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Sequential(nn.ConstantPad2d((2, 0, 2, 0), 0.0), nn.Conv2d(1, 1, 3))
            self.right = nn.Sequential(nn.ConstantPad2d((0, 2, 0, 2), 0.0), nn.Conv2d(1, 1, 3))
            self.end = nn.Conv2d(2, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.end(torch.cat([self.left(x), self.right(x)], 1))

    network = Shifted()
    assert describe(network, (1, 20, 20))[-1].receptive_field == (5, 5)
    assert measured(make_linear(network), (20, 20)) == (5, 5)


def test_pooling_with_padding_overlap_and_functional_calls_are_followed() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x = nn.functional.avg_pool2d(self.conv(x), 3, stride=2, padding=1)
            return self.conv(nn.functional.relu(x))

    rows = describe(Functional(), (1, 32, 32))
    assert [(r.name, r.receptive_field, r.parameters) for r in rows] == [("conv", (3, 3), 10), ("conv", (9, 9), 0)]
    assert measured(make_linear(Functional()), (32, 32)) == (9, 9)


def test_pooling_over_all_and_flatten_see_the_whole_image() -> None:
    network = build("basic_cnn", {"filters": (2,)}, (16, 16))
    rows = describe(network, (1, 16, 16))
    assert row(rows, "features.block1.pool").receptive_field == (4, 4)
    assert row(rows, "head.flatten").receptive_field == "image"
    assert row(rows, "head.flatten").stride is None
    resnet = describe(build("small_resnet", {"width": 2}, (16, 16)), (1, 16, 16))
    assert row(resnet, "pool").receptive_field == "image"


def test_an_excitation_shows_the_image_to_every_position_and_keeps_the_stride() -> None:
    rows = describe(build("seresnet", {}, (64, 64)), (1, 64, 64))
    last = [r for r in rows if len(r.output_shape) == 3 and r.output_shape[1] > 1][-1]
    assert last.receptive_field == "image"
    assert last.stride == (32, 32)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("offset", [0, 1, 2])
def test_receptive_field_behind_upsampling_is_the_largest_that_gradients_reach(
    mode: str, factor: int, offset: int
) -> None:
    up = nn.Upsample(scale_factor=factor, mode=mode)
    pad = nn.ConstantPad2d((offset, 0, 0, offset), 0.0)
    network = nn.Sequential(nn.Conv2d(1, 1, 3, stride=6, padding=1), up, pad, nn.Conv2d(1, 1, 2), nn.Conv2d(1, 1, 3, 2))
    last = describe(network, (1, 150, 150))[-1]
    assert last.receptive_field == measured(make_linear(network), (150, 150), 12)
    assert last.stride == (12 // factor,) * 2


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(kernel=st.integers(1, 5), stride=st.integers(1, 3), padding=st.integers(0, 2), dilation=st.integers(1, 2))
def test_receptive_field_behind_a_transposed_convolution_is_what_gradients_reach(
    kernel: int, stride: int, padding: int, dilation: int
) -> None:
    up = nn.ConvTranspose2d(1, 1, kernel, stride, padding, dilation=dilation)
    network = nn.Sequential(nn.Conv2d(1, 1, 3, stride=6), up, nn.Conv2d(1, 1, 2))
    last = describe(network, (1, 300, 300))[-1]
    # With gaps between the coarse positions' windows some positions see nothing: no field is claimed.
    gaps = any(not any((i + padding - t * dilation) % stride == 0 for t in range(kernel)) for i in range(stride))
    assert last.receptive_field == (None if gaps else measured(make_linear(network), (300, 300), 12))


UNETS = {
    "small_unet": {"filters": (1, 1, 1), "blocks": (0, 1, 1)},
    "unet": {"channels": (1, 1, 1), "res_units": 1},
    "dynunet": {"filters": (1, 1, 1)},
    "attention_unet": {"channels": (2, 2, 2)},
    "basic_unet": {"features": (2, 2, 2, 2, 2, 2)},
}


@pytest.mark.parametrize("name", UNETS)
def test_receptive_field_of_u_nets_is_the_largest_that_gradients_reach(name: str) -> None:
    size = (256, 256) if name == "basic_unet" else (96, 96)
    network = build(name, UNETS[name], size, dense=True).eval()
    last = [r for r in describe(network, (1, *size)) if r.output_shape[0] == 2][-1]
    assert last.stride == (1, 1)
    assert last.receptive_field == measured(make_linear(network), size, 16)


def test_what_has_no_rule_is_not_made_up() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Upsample(size=(12, 9)), nn.Conv2d(1, 1, 3))
    assert [r.receptive_field for r in describe(network, (1, 9, 9))] == [(3, 3), None, None]
    assert describe(network, (1, 9, 9))[-1].cells()[4:6] == ("–", "–")
    aligned = nn.Sequential(nn.Conv2d(1, 1, 3, 2), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True))
    assert describe(aligned, (1, 9, 9))[-1].receptive_field is None


def test_layers_that_run_in_training_alone_are_listed_with_their_parameters() -> None:
    network = build("small_unet", {"filters": (2, 2, 2), "deep_supervision": 2}, (16, 16), dense=True)
    rows = describe(network, (1, 16, 16))
    idle = [r for r in rows if not r.output_shape]
    assert [(r.name, r.parameters) for r in idle] == [("coarse_outputs.0", 6), ("coarse_outputs.1", 6)]
    assert idle[0].cells() == ("coarse_outputs.0", "Conv2d", "–", "6", "–", "–", "0")
    assert sum(r.parameters for r in rows) == total_parameters(network)


@pytest.mark.parametrize("name", [*UNETS, "segresnet"])
@pytest.mark.parametrize("size", [(32, 32), (16, 32, 16)])
def test_dense_networks_are_described_in_full(name: str, size: tuple[int, ...]) -> None:
    network = build(name, {}, size, dense=True)
    rows = describe(network, (1, *size))
    assert sum(r.parameters for r in rows) == total_parameters(network)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, 1, *size))
    assert 2 * sum(r.multiply_adds for r in rows) == counter.get_total_flops()
    assert rows[-1].output_shape == (2, *size)
    assert rows[-1].stride == (1,) * len(size)


def test_densenet121_has_its_published_receptive_field() -> None:
    rows = describe(build("densenet", {}, (64, 64)), (1, 64, 64))
    # 2071 once the layers before it are counted as in Araujo et al. 2019, table of networks.
    assert row(rows, "features.norm5").receptive_field == (2071, 2071)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("basic_cnn", {}),
        ("small_resnet", {}),
        ("small_resnet", {"pooling": "both"}),
        ("unet_classifier", {"filters": (4, 6, 8)}),
        ("resnet", {"depth": 10}),
        ("efficientnet", {}),
        ("vit", {"hidden_size": 24, "mlp_dim": 48, "num_layers": 2, "num_heads": 4}),
    ],
)
def test_parameters_and_work_are_all_counted(name: str, options: dict) -> None:
    network = build(name, options, (32, 32), channels=2).train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    rows = describe(network, (2, 32, 32))
    assert sum(r.parameters for r in rows) == total_parameters(network)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, 2, 32, 32))
    assert 2 * sum(r.multiply_adds for r in rows) == counter.get_total_flops()
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_network_is_left_as_it_was() -> None:
    network = build("small_resnet", {"width": 2, "dropout": 0.5}, (16, 16))
    network.stem.eval()
    describe(network, (1, 16, 16))
    assert network.training
    assert not network.stem.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_frozen_parameters_can_be_left_out() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    network[0].requires_grad_(False)
    assert total_parameters(network) == 14
    assert total_parameters(network, trainable=True) == 6


def test_an_image_that_does_not_fit_is_refused() -> None:
    network = build("basic_cnn", {}, (16, 16))
    with pytest.raises(ModelError, match="does not work on an image of 1 x 32 x 32"):
        describe(network, (1, 32, 32))


def test_cells_stand_under_the_headings() -> None:
    info = LayerInfo("a", "Conv3d", (4, 8, 8, 2), 1234, (2, 2, 1), (7, 7, 3), 1000000)
    assert info.cells() == ("a", "Conv3d", "4 x 8 x 8 x 2", "1,234", "2 x 2 x 1", "7 x 7 x 3", "1,000,000")
    assert len(info.cells()) == len(HEADINGS)
