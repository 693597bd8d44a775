"""Tables and figures on a terminal and elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medcnn.cli.data import size
from medcnn.cli.show import facts, figure_lines, table, unused_sentence
from medcnn.evaluation.results import Evaluation


def test_figures_survive_json(evaluation: Evaluation) -> None:
    assert figure_lines(json.loads(json.dumps(evaluation.to_json()))) == figure_lines(evaluation.to_json())


def test_only_headline_figures_are_shown(evaluation: Evaluation) -> None:
    assert not any("MCC" in line for line in figure_lines(evaluation.to_json()))


def test_unused_images_are_counted_by_rows_not_by_lines(run_folder: Path) -> None:
    assert unused_sentence(run_folder).startswith("3 of 5,000 images were not used")
    (run_folder / "exclusions.csv").write_text("case,path,reason\na,b,c\n", encoding="utf-8")
    assert unused_sentence(run_folder).startswith("1 of 4,998 images was not used")
    (run_folder / "exclusions.csv").write_text("case,path,reason,aside\na,b,c,\nd,e,f,1\ng,h,i,1\n", encoding="utf-8")
    assert ", 2 files or stacks were set aside: see " in unused_sentence(run_folder)
    (run_folder / "exclusions.csv").write_text("case,path,reason\n", encoding="utf-8")
    assert unused_sentence(run_folder) == ""


def test_tables_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    table(("name", "n"), [("a", "1"), ("long\nname", "20")], right=(1,))
    assert capsys.readouterr().out == "name        n\na           1\nlong name  20\n"


def test_what_is_unknown_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    facts([("size", None), ("text", "two\nlines")])
    assert capsys.readouterr().out == "size  –\ntext  two\n      lines\n"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (58_900_000, "58.9 MB"), (3_200_000_000_000_000, "3,200.0 TB")],
)
def test_sizes_as_people_write_them(count: int, text: str) -> None:
    assert size(count) == text


def test_a_long_note_does_not_stretch_the_summary() -> None:
    figure = {
        "id": "hd95", "label": "HD95", "value": None, "n": 14, "interval": None,
        "note": "infinite in half of the cases; " + "; ".join(f"label {k}: infinite in 3 of 4 cases" for k in range(9)),
    }  # fmt: skip
    (line,) = figure_lines({"figures": [figure], "headline": [["hd95", None, None, "image"]]})
    assert len(line) < 130
    assert "infinite in half of the cases; see the report" in line
