from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from medcnn.evaluation import results

PAGE = Path(__file__).parents[2] / "docs" / "report.md"


@pytest.mark.parametrize(
    "name",
    ["Evaluation", "Figure", "Interval", "TablePanel", "CurvePanel", "Series", "MatrixPanel", "DistributionPanel",
     "GalleryPanel", "GalleryItem"],
)  # fmt: skip
def test_every_field_of_metrics_json_is_described(name: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    _, found, rest = text.partition(f"### {name}\n")
    assert found, name
    part = rest.partition("\n### ")[0].partition("\n## ")[0]
    described = {line.split("`")[1] for line in part.splitlines() if line.startswith("| `")}
    # The table of cases is a file of its own.
    assert described == {f.name for f in fields(getattr(results, name))} - {"cases"}
