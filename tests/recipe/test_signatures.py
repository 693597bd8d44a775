"""Builders' arguments, read from their source or from themselves: both must say the same."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from medcnn import registry
from medcnn.errors import MedcnnError, RecipeError
from medcnn.recipe import signatures
from medcnn.recipe.options import check_options, options_model, wanted_arguments
from medcnn.recipe.signatures import REQUIRED, Wanted, read_signature

BUILDERS = '''\
from __future__ import annotations
from typing import TYPE_CHECKING, Annotated, Literal, Any
from pydantic import Field
import functools
if TYPE_CHECKING:
    from nowhere import Tensor

Size = int | tuple[int, ...]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
DEFAULT = (8, 16)


def build(outputs: int, filters: tuple[int, ...] = DEFAULT, *, kernel: Size = 3, mode: Literal["a", "b"] = "a",
          drop: Share = 0.5, weight: Tensor | None = None, must: str) -> Any:
    """Builds something.

    Args:
        outputs: Not shown.
        filters: How many,
            in a long sentence.
        kernel (Size): The ``edge``.
        mode: One of two.

    Raises:
        ValueError: never: really.
    """


def quoted(size: "Size" = 1): ...


@functools.cache
def decorated(depth: int = 3): ...


class Net:
    """A network.

    Args:
        depth: Layers.
    """

    def __init__(self, depth: int = 4, **rest: Any) -> None: ...


class Child(Net):
    """Inherits its constructor."""
'''


@pytest.fixture
def builders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"builders_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(BUILDERS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_a_function_is_read_without_being_imported(builders: str) -> None:
    found = read_signature(f"{builders}:build", Wanted(without=("outputs", "weight")))
    assert builders not in sys.modules
    assert found.summary == "Builds something."
    assert not found.open
    by_name = {a.name: a for a in found.arguments}
    assert list(by_name) == ["filters", "kernel", "mode", "drop", "must"]
    assert by_name["filters"].annotation == tuple[int, ...]
    assert by_name["filters"].default == (8, 16)
    assert by_name["filters"].description == "How many, in a long sentence."
    assert by_name["kernel"].annotation == int | tuple[int, ...]
    assert by_name["kernel"].description == "The edge."
    assert by_name["mode"].annotation == Literal["a", "b"]
    assert by_name["must"].default is REQUIRED
    assert by_name["must"].description == ""


def test_imported_and_unimported_give_the_same(builders: str) -> None:
    before = [read_signature(f"{builders}:{name}", Wanted(without=("weight",))) for name in ("build", "quoted", "Net")]
    importlib.import_module(builders)
    after = [read_signature(f"{builders}:{name}", Wanted(without=("weight",))) for name in ("build", "quoted", "Net")]
    assert repr(before) == repr(after)


def test_what_the_source_does_not_say_is_imported(builders: str) -> None:
    assert [a.name for a in read_signature(f"{builders}:decorated").arguments] == ["depth"]
    assert builders in sys.modules


def test_an_inherited_constructor_is_imported(builders: str) -> None:
    found = read_signature(f"{builders}:Child")
    assert builders in sys.modules
    assert [(a.name, a.default) for a in found.arguments] == [("depth", 4)]
    assert found.open


def test_names_known_to_the_type_checker_alone_allow_anything(builders: str) -> None:
    importlib.import_module(builders)
    found = {a.name: a for a in read_signature(f"{builders}:build").arguments}
    assert found["weight"].annotation is Any


@pytest.mark.parametrize("kind", ["adapters", "networks", "losses", "optimizers", "schedules", "evaluators", "tasks"])
def test_each_builders_source_says_what_the_builder_itself_says(kind: registry.Kind) -> None:
    for name in registry.names(kind):
        module, _, attribute = registry.target(kind, name).partition(":")
        wanted = wanted_arguments(kind)
        static = signatures._from_source(module, attribute, wanted)
        assert repr(static) == repr(signatures._from_object(module, attribute, wanted)), name


def test_options_of_tasks_losses_and_optimizers_are_checked_without_torch() -> None:
    # scipy stands for what the evaluators import: their source is read, they are not imported.
    code = (
        "import sys\nfrom medcnn import registry\nfrom medcnn.recipe.options import options_model\n"
        "for kind in ('tasks', 'losses', 'optimizers', 'schedules', 'networks', 'adapters', 'evaluators'):\n"
        "    for name in registry.names(kind): options_model(kind, name)\n"
        "print([m for m in ('torch', 'scipy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_supplied_arguments_are_no_options() -> None:
    for kind, name, absent in (
        ("networks", "small_resnet", {"spatial_dims", "in_channels", "outputs", "size"}),
        ("adapters", "image_folder", {"root"}),
        ("optimizers", "sgd", {"params", "learning_rate"}),
        ("schedules", "step", {"optimizer", "steps_per_epoch", "epochs"}),
        ("losses", "focal", {"class_weights"}),
        ("evaluators", "classification", {"table", "schema", "title", "seed", "part"}),
        ("tasks", "classification", {"dataset", "options"}),
    ):
        fields = {f.alias for f in options_model(kind, name).model_fields.values()}  # type: ignore[arg-type]
        assert not fields & absent


def test_options_get_defaults_and_types() -> None:
    found = check_options("networks", "basic_cnn", {"filters": [8, 16], "dropout": "0.5"})
    assert found["filters"] == (8, 16)
    assert found["dropout"] == 0.5
    assert found["kernel_size"] == 3


def test_wrong_options_are_listed_together() -> None:
    with pytest.raises(RecipeError) as caught:
        check_options("networks", "basic_cnn", {"filtres": [8], "dropout": "much"})
    assert sorted(caught.value.problems) == [
        "dropout: should be a number, not 'much'",
        "filtres: unknown key (did you mean 'filters'?)",
    ]
    assert caught.value.where == "basic_cnn (networks)"


def test_a_required_option_is_missed() -> None:
    with pytest.raises(RecipeError, match="classes: is missing"):
        check_options("adapters", "medmnist", {"file": "x.npz"})


def test_numbers_serve_where_text_is_wanted() -> None:
    assert check_options("adapters", "table", {"positive": 1})["positive"] == "1"


def test_unknown_components_are_answered_with_the_nearest() -> None:
    with pytest.raises(MedcnnError, match="did you mean 'densenet'"):
        check_options("networks", "dense_net", {})


def test_a_task_takes_no_unknown_option_though_its_protocol_does() -> None:
    with pytest.raises(RecipeError, match="unknown key"):
        check_options("tasks", "classification", {"anything": 1})


def test_a_builder_with_open_arguments_takes_any_option(builders: str) -> None:
    assert check_options("networks", f"{builders}:Net", {"width": 3})["width"] == 3
