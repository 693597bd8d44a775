"""Device, precision and memory format, chosen by capability and never by a stopwatch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import torch

from medcnn.errors import RunError


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a run computes on.

    Attributes:
        device: ``cpu``, ``cuda`` or ``mps``.
        precision: ``32``, ``bf16`` or ``16`` (mixed: weights stay float32).
        reason: Why this precision.
        threads: Torch threads on the CPU.
        name: The processor's or GPU's name.
    """

    device: Literal["cpu", "cuda", "mps"]
    precision: Literal["32", "bf16", "16"]
    reason: str
    threads: int
    name: str

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """The type of the mixed precision; ``None`` for float32."""
        return {"32": None, "bf16": torch.bfloat16, "16": torch.float16}[self.precision]

    @property
    def trainer_precision(self) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
        """The same in the trainer's words."""
        names: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
            "32": "32-true",
            "bf16": "bf16-mixed",
            "16": "16-mixed",
        }
        return names[self.precision]


def available_cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_device(wanted: Literal["auto", "cpu", "cuda", "mps"] = "auto") -> Literal["cpu", "cuda", "mps"]:
    """The device for a wish; raises :class:`~medcnn.errors.RunError` where it is not there."""
    has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return "cuda" if has["cuda"] else "mps" if has["mps"] else "cpu"
    if not has[wanted]:
        there = ", ".join(name for name, present in has.items() if present)
        raise RunError(
            f"the device {wanted!r} is not available here",
            where="training.device",
            todo=f"available: {there}; set training.device=auto to take the best one",
        )
    return wanted


def choose_precision(
    device: Literal["cpu", "cuda", "mps"], wanted: Literal["auto", "32", "bf16", "16"] = "auto"
) -> tuple[Literal["32", "bf16", "16"], str]:
    """The precision for a device, with the reason.

    Raises:
        RunError: If float16 is asked for on a CPU, where its kernels are slower than float32's.
    """
    if wanted == "16" and device == "cpu":
        raise RunError(
            "16-bit floats are not supported in training on the CPU",
            where="training.precision",
            todo="use bf16, 32 or auto",
        )
    if wanted != "auto":
        return wanted, "as the recipe says"
    if device == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU computes bfloat16 in hardware"
        return "32", "the GPU has no bfloat16"
    if device == "mps":
        return "32", "mixed precision is not used on this device"
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    for flag, text in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-BF16")):
        if capabilities.get(flag):
            return "bf16", f"the processor computes bfloat16 in hardware ({text})"
    return "32", "the processor has no bfloat16 (neither AVX512-BF16 nor AMX)"


def choose_hardware(
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "32", "bf16", "16"] = "auto",
    threads: int | None = None,
) -> Hardware:
    """Device, precision and threads for the wishes of a recipe; processes of a launcher divide the cores."""
    chosen = choose_device(device)
    kind, reason = choose_precision(chosen, precision)
    share = max(1, available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return Hardware(chosen, kind, reason, threads or share, device_name(chosen))


def device_name(device: str) -> str:
    """The name of the GPU, or of the processor."""
    if device == "cuda":
        return str(torch.cuda.get_device_name())
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return f"{line.partition(':')[2].strip()} ({available_cores()} cores)"
    except OSError:
        pass
    import platform

    return f"{platform.processor() or platform.machine()} ({available_cores()} cores)"


def memory_format(spatial_dims: int) -> torch.memory_format:
    """Channels last, in which the convolutions of current CPUs and GPUs are fastest."""
    return torch.channels_last if spatial_dims == 2 else torch.channels_last_3d
