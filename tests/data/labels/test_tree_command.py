"""DICOM masks that do not fit, with the real command: one message with the file and the remedy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcnn.cli.main import main

SQUARE = np.array([[1, 1], [5, 1], [5, 4], [1, 4]]) + 0.5
RECIPE = """
task: segmentation
data:
  root: {root}
  adapter: {{name: dicom_tree, mask_labels: {{liver: Liver}}}}
  on_error: stop
input: {{size: [16, 16, 16], fit: pad}}
model: small_unet
"""


def refused(root: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Runs the recipe; exit code 2 and one message, which is returned."""
    recipe = root.parent / "recipe.yaml"
    recipe.write_text(RECIPE.format(root=root), encoding="utf-8")
    assert main(["run", str(recipe), "--out", str(root.parent / "run")]) == 2
    shown = capsys.readouterr().err
    assert shown.count("error:") == 1
    assert "Traceback" not in shown
    message = shown[shown.index("error:") :]
    assert len(message.strip().splitlines()) > 1, f"the message does not say what to do: {message}"
    return message


def test_dicom_masks_that_do_not_fit(
    tmp_path: Path, series: Any, make: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "tree"
    shutil.copytree(series.folder, root / "ct")
    assert "there is no segmentation or structure set in the folder" in refused(root, capsys)
    place = root / "mask.dcm"
    gone = make.series(tmp_path / "gone", series="1.2.826.0.1.3680043.8.498.71")
    values = np.ones(make.shape, np.uint8)
    make.seg(place, gone, values, [make.segment(1, "Liver")])
    assert f"{place}: 1 mask refers to series that are not in the folder" in refused(root, capsys)
    make.seg(place, series, values, [make.segment(1, "Rib")])
    assert "no segment of the mask is one of the labels liver: it holds 'Rib'" in refused(root, capsys)
    make.rtstruct(place, series, [make.roi("Liver", [(SQUARE, 2.4)])])
    message = refused(root, capsys)
    assert f"{place}: the structure 'Liver' has a contour off the slices of the image (1.00 mm beside one)" in message
    make.rtstruct(place, series, [make.roi("Liver", [(SQUARE[:1], 2)], "POINT")])
    assert "has a contour of the type POINT, which encloses nothing" in refused(root, capsys)
