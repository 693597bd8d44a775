"""The name ``auto``: a network that is planned from the training part before it is built."""

from __future__ import annotations

from typing import Any, Literal

from medcnn.errors import ModelError


def auto(*, network: Literal["dynunet", "small_unet"] = "dynunet", work: float | None = None) -> Any:
    """A U-Net whose levels and filters are planned from the training part and training.memory_gb.

    Args:
        network: Which network is planned.
        work: Multiply-adds that a training step may take; absent: memory alone decides. A current CPU core with
            AVX512-BF16 does about 6e10 a second in 3D.

    Raises:
        ModelError: Always: the plan names the network that is built.
    """
    raise ModelError(
        "model: auto is planned when a run is prepared",
        where="model",
        todo="name a network, or give the folder of a run, whose recipe.yaml holds its plan",
    )
