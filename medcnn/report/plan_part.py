"""What a run planned for ``auto`` in its recipe, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medcnn.recipe.auto import folds_alike
from medcnn.report.document import Block, LinesBlock, PairsBlock, Section
from medcnn.report.method import flatten
from medcnn.report.privacy import reduce_paths
from medcnn.report.runfiles import RunFiles

_INTRODUCTION = (
    "What the recipe leaves to auto, chosen from shapes, spacings and intensities of the training part alone, within "
    "the memory that it allows."
)


def plan_section(run: RunFiles) -> Section | None:
    """The planned values with their reasons; folds with the same values stand together."""
    plans = run.recipe.get("plan")
    if not isinstance(plans, list) or not all(isinstance(one, Mapping) for one in plans) or not plans:
        return None
    together, blocks = folds_alike(plans), list[Block]()
    for folds in together:
        name = "" if len(together) == 1 else f"Fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))}"
        blocks += _blocks(plans[folds[0]], name)
    many = f" All {len(plans)} folds came to the same." if len(plans) > 1 and len(together) == 1 else ""
    return Section("plan", "The plan", blocks, _INTRODUCTION + many)


def _blocks(plan: Mapping[str, Any], name: str) -> list[Block]:
    found = reduce_paths(dict(plan))
    model = found.get("model") or {}
    network = {"network": model.get("name"), **{k: _by_level(v) for k, v in model.items() if k != "name"}}
    pairs = flatten({**(found.get("input") or {}), **(found.get("training") or {}), **network})
    reasons = [str(reason) for reason in found.get("reasons") or ()]
    return [PairsBlock(name or "Planned values", pairs), LinesBlock(reasons, "Reasons")]


def _by_level(value: Any) -> Any:
    """Kernels and strides of several axes as ``3 x 3 x 1``, one a level."""
    if isinstance(value, list) and value and all(isinstance(entry, list) for entry in value):
        return [" x ".join(map(str, entry)) for entry in value]
    return value
