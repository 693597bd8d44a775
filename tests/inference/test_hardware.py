"""Device and precision follow what the machine says it can do, never a stopwatch."""

from __future__ import annotations

import pytest
import torch

from medcnn.errors import RunError
from medcnn.inference import hardware
from medcnn.inference.hardware import choose_device, choose_hardware, choose_precision, memory_format


def machine(monkeypatch: pytest.MonkeyPatch, *, cuda: bool = False, mps: bool = False, **flags: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)


@pytest.mark.parametrize(("cuda", "mps", "device"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_the_best_device_is_taken(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, device: str) -> None:
    machine(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device() == device
    assert choose_device("cpu") == "cpu"


def test_a_device_that_is_not_there_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, mps=True)
    with pytest.raises(RunError, match="available: cpu, mps"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("flags", "precision", "reason"),
    [
        ({"avx512_bf16": True, "avx512_f": True}, "bf16", "AVX512-BF16"),
        ({"amx_bf16": True, "avx512_bf16": True}, "bf16", "AMX"),
        ({"avx512_f": True, "avx512_bf16": False}, "32", "no bfloat16"),
        ({}, "32", "no bfloat16"),
    ],
)
def test_the_processor_s_flags_choose_its_precision(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, bool], precision: str, reason: str
) -> None:
    machine(monkeypatch, **flags)
    found, why = choose_precision("cpu")
    assert found == precision
    assert reason in why


@pytest.mark.parametrize(("supported", "precision"), [(True, "bf16"), (False, "32")])
def test_the_gpu_s_own_bfloat16_counts_and_no_emulation(
    monkeypatch: pytest.MonkeyPatch, supported: bool, precision: str
) -> None:
    asked = []
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: asked.append(including_emulation) or supported
    )
    assert choose_precision("cuda")[0] == precision
    assert asked == [False]


def test_a_wish_is_granted_where_it_makes_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    assert choose_precision("cpu", "bf16") == ("bf16", "as the recipe says")
    assert choose_precision("cuda", "16")[0] == "16"
    with pytest.raises(RunError, match="16-bit"):
        choose_precision("cpu", "16")


def test_the_processes_of_a_launcher_divide_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    monkeypatch.setattr(hardware, "available_cores", lambda: 9)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert choose_hardware().threads == 9
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert choose_hardware().threads == 2
    assert choose_hardware(threads=7).threads == 7
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "64")
    assert choose_hardware().threads == 1


def test_mixed_precision_in_the_words_of_torch_and_of_the_trainer() -> None:
    made = choose_hardware("cpu", "bf16")
    assert (made.autocast_dtype, made.trainer_precision) == (torch.bfloat16, "bf16-mixed")
    assert choose_hardware("cpu", "32").autocast_dtype is None
    assert (memory_format(2), memory_format(3)) == (torch.channels_last, torch.channels_last_3d)
