"""What the parent of several processes understands of them, and what each keeps to itself."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from medcnn.errors import DataError, MedcnnError, RunError
from medcnn.recipe.schema import TrainingSection
from medcnn.training.batch_sync import BatchSync, GatheredBatchNorm
from medcnn.workflow import launch, processes


class Recorded:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *values: self.calls.append((name, *values))


def lines(*messages: tuple[Any, ...]) -> list[str]:
    file = io.StringIO()
    channel = launch.Channel(file)
    for kind, *values in messages:
        channel.send(kind, *values)
    return file.getvalue().splitlines()


def test_progress_crosses_the_channel_and_noise_does_not() -> None:
    file, progress, failures = io.StringIO(), Recorded(), []
    channel = launch.Channel(file)
    channel.start("training", 10, "batches")
    channel.advance(2, "loss 0.5 ü\n")
    channel.say("caution")
    channel.finish()
    for line in ["a library's word", "[1]", "{}", *file.getvalue().splitlines()]:
        launch._relay(line, progress, failures)
    expected = [("start", "training", 10, "batches"), ("advance", 2, "loss 0.5 ü\n"), ("say", "caution"), ("finish",)]
    assert progress.calls == expected
    assert failures == []


def test_the_user_s_mistake_is_told_before_what_followed_from_it() -> None:
    failures: list[dict[str, Any]] = []
    said = lines(
        ("internal", "RuntimeError: Connection closed by peer"), ("error", "DataError", "no cases", "x.csv", "add some")
    )
    for line in said:
        launch._relay(line, Recorded(), failures)
    found = launch._failure(failures, "")
    assert type(found) is DataError
    assert str(found) == str(DataError("no cases", where="x.csv", todo="add some"))
    assert isinstance(launch._failure(failures[:1], ""), RuntimeError)
    unknown = json.loads(lines(("error", "OtherError", "what", "", ""))[0])
    assert type(launch._failure([unknown], "")) is MedcnnError


def test_a_process_that_is_ended_from_outside_is_told_with_its_last_word() -> None:
    found = launch._failure([], "first\nKilled\n\n")
    assert isinstance(found, RunError)
    assert "memory" in found.what
    assert "(Killed)" in found.todo


def test_how_many_processes_a_recipe_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert launch.wanted(TrainingSection(devices=2), "cpu") == 2
    assert launch.wanted(TrainingSection(devices="auto"), "cpu") == 1
    assert launch.wanted(TrainingSection(devices="auto"), "cuda") == 3
    with pytest.raises(RunError, match="nodes=2 needs a launcher"):
        launch.require_launchable(TrainingSection(nodes=2), ())
    with pytest.raises(RunError, match="callbacks"):
        launch.require_launchable(TrainingSection(devices=2), (object(),))


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pretend to be the second process of a launcher; returns how long was waited."""
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("WORLD_SIZE", "2"), ("RANK", "1")):
        monkeypatch.setenv(name, value)
    waited: list[float] = []
    monkeypatch.setattr(processes.time, "sleep", waited.append)
    return waited


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:3901"),
        dist.DistBackendError("NCCL communicator was aborted"),
    ],
)
def test_a_process_that_lost_its_partner_says_nothing(second_of_two: list[float], error: Exception) -> None:
    with pytest.raises(SystemExit), processes.together():
        raise error
    assert second_of_two == [processes.GRACE]


@pytest.mark.parametrize("error", [DataError("connection closed by peer"), RuntimeError("shape mismatch"), OSError()])
def test_an_error_of_its_own_is_told_after_the_main_process_had_its_say(
    second_of_two: list[float], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with pytest.raises(type(error)), processes.together():
        raise error
    assert second_of_two == [processes.COURTESY]
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(type(error)), processes.together():
        raise error
    assert second_of_two == [processes.COURTESY]


def test_without_a_launcher_nothing_is_special(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert (processes.count(), processes.rank(), processes.is_main()) == (1, 0, True)
    with pytest.raises(RuntimeError, match="closed by peer"), processes.together():
        raise RuntimeError("Connection closed by peer")
    processes.barrier()
    assert processes.share("value") == "value"


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("shape", [(6, 3, 5, 4), (6, 3, 2, 5, 4)])
def test_a_synchronised_norm_is_the_ordinary_one(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], momentum: float | None
) -> None:
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm3d
    plain, changed = nn.Sequential(kind(3, momentum=momentum)), nn.Sequential(kind(3, momentum=momentum))
    weight, names = changed[0].weight, set(changed.state_dict())
    model = BatchSync().apply(changed)
    assert isinstance(model[0], GatheredBatchNorm)  # type: ignore[index]
    assert model[0].weight is weight  # type: ignore[index]
    assert set(model.state_dict()) == names
    # Two processes whose second one holds the same cases: its sums are the first one's again.
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: tensor.mul_(2))
    one = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 100).requires_grad_()
    two = one.detach().clone().requires_grad_()
    factor = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    for _ in range(2):
        expected, found = plain(torch.cat([one, one]))[: len(one)], model(two)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    # The trainer averages over processes what each adds up: here both add up the same.
    (plain(torch.cat([one, one])) * torch.cat([factor, factor])).sum().backward()
    (model(two) * factor).sum().backward()
    torch.testing.assert_close(two.grad, one.grad / 2, atol=1e-4, rtol=1e-4)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(model[0], name), getattr(plain[0], name), atol=1e-3, rtol=1e-4)  # type: ignore[index]
    torch.testing.assert_close(model.eval()(two), plain.eval()(one), atol=1e-4, rtol=1e-4)
