"""Networks by name: shapes, sizes, options, a user's own class, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from medcnn.errors import MedcnnError, ModelError
from medcnn.models import build_network

VIT = {"hidden_size": 24, "mlp_dim": 48, "num_layers": 2, "num_heads": 4, "patch_size": 8}


def build(
    name: str, options: dict | None = None, size: tuple[int, ...] = (32, 32), outputs: int = 3, channels: int = 1
):
    return build_network(name, options, spatial_dims=len(size), in_channels=channels, outputs=outputs, size=size)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("basic_cnn", {}),
        ("small_resnet", {"width": 4}),
        ("unet_classifier", {"filters": (4, 6, 8)}),
        ("densenet", {"init_features": 8, "growth_rate": 4}),
        ("resnet", {"depth": 10, "widen_factor": 0.125}),
        ("seresnet", {}),
        ("vit", VIT),
    ],
)
@pytest.mark.parametrize("size", [(32, 40), (32, 32, 40)])
def test_every_network_gives_logits_in_2d_and_3d(name: str, options: dict, size: tuple[int, ...]) -> None:
    network = build(name, options, size, outputs=5, channels=2).eval()
    with torch.no_grad():
        result = network(torch.rand(2, 2, *size))
    assert isinstance(result, torch.Tensor)
    assert result.shape == (2, 5)


def test_efficientnet_is_2d_alone() -> None:
    assert build("efficientnet", {"variant": "b0"})(torch.rand(2, 1, 32, 32)).shape == (2, 3)
    with pytest.raises(ModelError, match="efficientnet is for 2D"):
        build("efficientnet", size=(32, 32, 32))


@pytest.mark.parametrize(
    ("options", "features"),
    [
        ({"filters": [4, 6]}, 6 * 8 * 8),
        ({"filters": [4, 6], "padding": "valid"}, 6 * 6 * 6),
        ({"filters": [4], "kernel_size": 5, "stride": 2, "padding": "same", "pooling": "none"}, 4 * 16 * 16),
        ({"filters": [4], "kernel_size": 4, "pooling": "none"}, 4 * 32 * 32),
        ({"filters": [4], "kernel_size": 4, "stride": 3, "pooling": "none"}, 4 * 11 * 11),
        ({"filters": [4], "padding": 3, "pooling": "average", "pool_size": 3}, 4 * 12 * 12),
        ({"filters": [4, 4], "kernel_size": [5, 3], "stride": [2, 1], "pool_size": [1, 2]}, 4 * 8 * 8),
    ],
)
def test_sizes_of_basic_cnn_follow_its_options(options: dict, features: int) -> None:
    network = build("basic_cnn", {**options, "dense": []})
    assert network.head.output.in_features == features


def test_basic_cnn_has_the_course_s_order_of_layers() -> None:
    network = build("basic_cnn", {"filters": [4], "dense": [8], "dropout": 0.5})
    kinds = [type(m).__name__ for m in network.modules() if not list(m.children())]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "Flatten", "Linear", "ReLU", "Dropout", "Linear"]
    assert network.features.block1.conv.bias is None


def test_an_image_that_shrinks_to_nothing_names_the_block_and_the_way_out() -> None:
    with pytest.raises(ModelError, match="block 4") as caught:
        build("basic_cnn", {"filters": [4] * 6}, (8, 20))
    assert "at most 3 block(s)" in str(caught.value)
    with pytest.raises(ModelError, match=r"block 1 .* filters are 9 wide"):
        build("basic_cnn", {"filters": [4], "kernel_size": 9, "padding": "valid"}, (8, 8))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("basic_cnn", {"filters": []}, "at least one block"),
        ("basic_cnn", {"kernel_size": [3, 3]}, "2 numbers for 3 blocks"),
        ("basic_cnn", {"dropout": 1.0}, "dropout is 1.0"),
        ("basic_cnn", {"filter": [4]}, "did you mean 'filters'"),
        ("basic_cnn", {"outputs": 7}, "comes from the task"),
        ("small_resnet", {"strides": [1, 2]}, "2 numbers for 4 stages"),
        ("small_resnet", {"stem_stride": 3}, "stem_stride is 3"),
        ("densenet", {"depth": 12}, "known: 121, 169, 201"),
        ("vit", {"patch_size": 5}, "do not tile"),
        ("vit", {"num_heads": 5}, "do not divide"),
    ],
)
def test_options_that_do_not_fit_are_refused(name: str, options: dict, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        build(name, options)
    assert words in str(caught.value)


@pytest.mark.parametrize(("name", "smallest"), [("densenet", 29), ("seresnet", 3), ("small_resnet", 1), ("resnet", 1)])
def test_the_smallest_image_is_known(name: str, smallest: int) -> None:
    options = {"width": 4} if name == "small_resnet" else {}
    build(name, options, (smallest, smallest))
    if smallest > 1:
        with pytest.raises(ModelError, match="shrinks to nothing"):
            build(name, options, (smallest - 1, smallest))


def test_size_and_dimensions_must_agree() -> None:
    with pytest.raises(ModelError, match="3 numbers"):
        build_network("basic_cnn", spatial_dims=2, in_channels=1, outputs=2, size=(8, 8, 8))


def test_an_unknown_network_is_answered_with_the_nearest() -> None:
    with pytest.raises(MedcnnError, match="densenet"):
        build("densnet")


OWN = """
import torch
from torch import nn

class Good(nn.Module):
    def __init__(self, in_channels, outputs, width=3):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3)
        self.end = nn.Linear(width, outputs)
    def forward(self, x):
        return self.end(self.conv(x).mean((2, 3)))

class Anything(Good):
    def __init__(self, **options):
        super().__init__(options["in_channels"], options["outputs"])
        self.options = options

class Wide(Good):
    def __init__(self, outputs, **_):
        super().__init__(1, outputs + 1)

class Squeezing(Good):
    def forward(self, x):
        return super().forward(x).mean(0, keepdim=True)

class Pair(Good):
    def forward(self, x):
        return super().forward(x), x

class Raising(Good):
    def __init__(self, outputs):
        raise RuntimeError("no such luck")

class RealOnly(Good):
    def forward(self, x):
        assert float(x.sum()) == 0.0
        return super().forward(x)

def number(**_):
    return 7
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_networks_for_test.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.modules.pop("my_networks_for_test", None)
    return tmp_path


def build_own(folder: Path | None, name: str, options: dict | None = None) -> nn.Module:
    return build_network(
        f"my_networks_for_test:{name}",
        options,
        spatial_dims=2,
        in_channels=1,
        outputs=2,
        size=(8, 8),
        allow_code=folder,
    )


def test_an_own_class_receives_what_it_accepts(own: Path) -> None:
    assert build_own(own, "Good", {"width": 5}).conv.out_channels == 5
    assert build_own(own, "Anything", {"any": 1}).options == {
        "any": 1,
        "spatial_dims": 2,
        "in_channels": 1,
        "outputs": 2,
        "size": (8, 8),
    }


def test_a_network_that_needs_real_numbers_is_run_on_them(own: Path) -> None:
    assert build_own(own, "RealOnly").training


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Wide", r"gives \(2, 3\) for 2 cases; expected \(2, 2\)"),
        ("Squeezing", r"gives \(1, 2\)"),
        ("Pair", "gives a tuple"),
        ("Raising", "cannot be built: RuntimeError: no such luck"),
        ("number", "gives a int, not a torch.nn.Module"),
    ],
)
def test_an_own_class_that_does_not_fit_is_refused(own: Path, name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build_own(own, name)


def test_own_code_needs_permission(own: Path) -> None:
    with pytest.raises(MedcnnError, match="not an installed package"):
        build_own(None, "Good")


def test_building_leaves_random_state_to_the_weights_alone() -> None:
    torch.manual_seed(3)
    first = build("basic_cnn", {"filters": [4], "dropout": 0.5})
    after = torch.rand(1)
    torch.manual_seed(3)
    second = build("basic_cnn", {"filters": [4], "dropout": 0.5})
    assert torch.equal(after, torch.rand(1))
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert first.training
    assert int(first.features.block1.norm.num_batches_tracked) == 0


def test_small_resnet_has_the_parameters_of_its_recipe() -> None:
    network = build("small_resnet", {"width": 16}, (64, 64), outputs=6)
    assert sum(p.numel() for p in network.parameters()) == 308_022


def test_small_resnet_may_see_the_maximum_of_a_filter_beside_its_mean() -> None:
    pool = build("small_resnet", {"width": 2, "pooling": "both"}, (16, 16)).get_submodule("pool")
    features = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]], [[2.0, 2.0], [2.0, 2.0]]]])
    assert pool(features).flatten().tolist() == [1.0, 2.0, 3.0, 2.0]


@pytest.mark.parametrize("size", [(33, 47), (9, 10, 11)])
@pytest.mark.parametrize("stem", [1, 2, 4])
def test_small_resnet_learns_from_odd_sizes(size: tuple[int, ...], stem: int) -> None:
    network = build("small_resnet", {"width": 4, "stem_stride": stem, "dropout": 0.1}, size)
    network(torch.rand(4, 1, *size)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_zero_init_starts_blocks_as_their_shortcuts() -> None:
    network = build("small_resnet", {"width": 4, "zero_init": True})
    block = network.stages.stage2.block1.eval()
    x = torch.rand(2, 4, 8, 8)
    torch.testing.assert_close(block(x), block.shortcut(x).relu())


def test_small_resnet_in_bf16_and_channels_last_agrees_with_float32() -> None:
    torch.manual_seed(0)
    network = build("small_resnet", {"width": 8}, (32, 32)).eval()
    image = torch.rand(4, 1, 32, 32)
    with torch.no_grad():
        expected = network(image)
        network.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(image.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.05)


def test_builders_and_losses_import_no_torch() -> None:
    code = (
        "import sys, medcnn.models.builders, medcnn.models.losses, medcnn.training.optimizers, "
        "medcnn.training.schedules; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
