from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcnn.errors import ImageError
from medcnn.evaluation.results import (
    CurvePanel,
    DistributionPanel,
    Figure,
    GalleryItem,
    GalleryPanel,
    Interval,
    MatrixPanel,
    Series,
    TablePanel,
)
from medcnn.report.charts import draw_bands, draw_curves, draw_distribution, thin
from medcnn.report.formatting import between, counted, figure_name, number
from medcnn.report.markdown import escape
from medcnn.report.panels import Footnotes, encode_picture, gallery, matrix, table
from medcnn.report.privacy import Shown
from medcnn.report.pseudonyms import Pseudonyms
from medcnn.report.svg import clean


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    return Shown(Pseudonyms(tmp_path))


def made(value: float | None, n: int = 10, **more: Any) -> Figure:
    interval = Interval(0.8, 0.95, 0.95, more.pop("method", "bootstrap"), "patient") if value is not None else None
    return Figure("f1", "F1", value, n, interval=interval, clusters=more.pop("clusters", 5), **more)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.99712, "0.997"),
        (1.0, "1.000"),
        (0.0, "0.000"),
        (0, "0"),
        (5895, "5,895"),
        (-0.5, "−0.500"),
        (-0.0001, "0.000"),
        (12.345, "12.35"),
        (234.5, "234.5"),
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "∞"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_intervals_and_counts() -> None:
    assert between(0.991, 0.999) == "0.991–0.999"
    assert between(-0.2, 0.3) == "−0.200 to 0.300"
    assert between(0.99981, 0.99992) == "0.9998–0.9999"
    assert between(0.5, 0.5) == "0.500–0.500"
    assert counted(made(0.9, 512, clusters=41)) == "512 images · 41 patients"
    assert counted(made(0.9, 1, clusters=None)) == "1 image"
    assert counted(Figure("f", "F", 0.5, 41, unit="patient", interval=made(0.5).interval, clusters=41)) == "41 patients"
    assert figure_name(Figure("f1", "Macro F1", 0.5, 3, average="macro")) == "Macro F1"
    assert figure_name(Figure("f1", "F1", 0.5, 3, average="macro", unit="patient")) == "F1, macro, by patient"
    assert figure_name(Figure("f1", "F1", 0.5, 3, target="1")) == "F1, 1"
    assert figure_name(Figure("f1", "F1 of nodule (large)", 0.5, 3, target="nodule (large)")) == "F1 of nodule (large)"


def test_a_shared_n_stands_once(shown: Shown) -> None:
    block = table(TablePanel("t", "T", ["Class", "A", "B"], [["x", made(0.9), made(0.8)]]), shown)
    assert block.columns == ["Class", "A", "B"]
    assert block.rows[0][1].subs == ("0.800–0.950",)
    assert block.caption == "95 % interval: bootstrap. All figures: n = 10 images · 5 patients."


def test_an_n_shared_by_rows_has_a_column_that_is_blank_where_nothing_is_counted(shown: Shown) -> None:
    rows = [["x", made(0.9), made(0.8)], ["y", made(0.9, 11), made(0.8, 11)], ["mean", 0.9, 0.8]]
    block = table(TablePanel("t", "T", ["Class", "A", "B"], rows), shown)
    assert block.columns == ["Class", "n", "A", "B"]
    assert [r[1].text for r in block.rows] == ["10\N{NO-BREAK SPACE}images", "11\N{NO-BREAK SPACE}images", ""]
    assert [r[1].subs for r in block.rows] == [("5 patients",), ("5 patients",), ()]
    assert not block.footnotes


def test_cases_that_are_their_own_clusters_are_counted_once(shown: Shown) -> None:
    alone = Figure("mae", "MAE", 4.2, 12, clusters=12, note="fewer than 20 images: no interval by resampling")
    assert counted(alone) == "12 images"
    assert counted(replace(alone, clusters=7)) == "12 images · 7 clusters"
    assert counted(alone, "patient") == "12 images · 12 patients"
    block = table(TablePanel("t", "T", ["sex", "A", "B"], [["F", alone, alone]]), shown)
    assert block.caption.endswith("All figures: n = 12 images.")


def test_the_number_of_cases_is_left_out_where_it_is_the_n(shown: Shown) -> None:
    columns = ["sex", "Cases", "A", "B"]
    rows = [["F", 10, made(0.9), made(0.8)], ["M", 11, made(0.9, 11), made(0.8, 11)]]
    block = table(TablePanel("t", "T", columns, rows), shown)
    assert block.columns == ["sex", "n", "A", "B"]
    assert [len(r) for r in block.rows] == [4, 4]
    rows[1][1] = 12
    assert table(TablePanel("t", "T", columns, rows), shown).columns == ["sex", "n", "Cases", "A", "B"]


def test_different_n_stand_in_the_cells(shown: Shown) -> None:
    block = table(TablePanel("t", "T", ["Class", "A", "B"], [["x", made(0.9), made(0.8, 11)]]), shown)
    assert block.columns == ["Class", "A", "B"]
    assert block.rows[0][2].subs == ("0.800–0.950", "n = 11 · 5")
    assert block.caption.endswith("Counted by n: images · patients.")
    mixed = Figure("f", "F", 0.5, 5, unit="patient", interval=made(0.5).interval, clusters=5)
    block = table(TablePanel("t", "T", ["Class", "A", "B"], [["x", made(0.9), mixed]]), shown)
    assert block.rows[0][1].subs[1] == "n = 10 images · 5 patients"
    assert block.rows[0][2].subs[1] == "n = 5 patients"


def test_a_figure_without_an_interval_counts_what_the_others_do(shown: Shown) -> None:
    alone = replace(made(0.8, 11), interval=None, note="interval withheld")
    block = table(TablePanel("t", "T", ["Class", "A", "B"], [["x", made(0.9), alone]]), shown)
    assert block.rows[0][2].subs == ("n = 11 · 5",)
    assert "cluster" not in str(block)


def test_a_range_is_called_so_in_its_cell(shown: Shown) -> None:
    interval = Interval(0.2, 0.7, None, "range over 5 patients, each by itself", "patient")
    block = table(TablePanel("t", "T", ["Class", "A"], [["x", replace(made(0.9), interval=interval)]]), shown)
    assert block.rows[0][1].subs[0] == "range 0.200–0.700"
    assert "95 %" not in str(block)


def test_a_caution_of_all_intervals_stands_once(shown: Shown) -> None:
    row = ["x", *(made(v, method=f"{m}; too narrow") for v, m in ((0.9, "Wilson"), (0.8, "Wilson"), (0.7, "MOVER")))]
    block = table(TablePanel("t", "T", ["Class", "A", "B", "C"], [row]), shown)
    assert str(block).count("too narrow") == 1
    assert block.footnotes == [("a", "95 % interval: MOVER.")]


def test_the_unusual_method_is_marked(shown: Shown) -> None:
    row = ["x", made(0.9), made(0.8), made(0.7, method="Wilson")]
    block = table(TablePanel("t", "T", ["Class", "A", "B", "C"], [row]), shown)
    assert [c.marks for c in block.rows[0]] == ["", "", "", "a"]
    assert block.footnotes == [("a", "95 % interval: Wilson.")]


def test_a_baseline_in_a_column_is_not_said_twice(shown: Shown) -> None:
    row = ["x", made(0.9, baseline=0.2, baseline_label="chance"), 0.2]
    block = table(TablePanel("t", "T", ["Figure", "Value", "Baseline"], [row]), shown)
    assert "baseline" not in str(block.rows[0][1])
    assert "Baseline" not in block.caption


def test_an_undefined_cell_has_a_note_in_any_case(shown: Shown) -> None:
    block = table(TablePanel("t", "T", ["Class", "A", "B"], [["x", made(None), None]]), shown)
    assert [c.text for c in block.rows[0][1:]] == ["–", "–"]
    assert [c.marks for c in block.rows[0][1:]] == ["a", "a"]
    assert block.footnotes == [("a", "not defined")]


def test_cases_in_tables_are_pseudonyms_and_ages_pooled(shown: Shown) -> None:
    rows = [["scan7", 95, 3.5], ["scan8", "91-95", 2]]
    block = table(TablePanel("t", "T", ["Case", "Age", "Score"], rows), shown)
    assert [[c.text for c in row[1:]] for row in block.rows] == [["90+", "3.500"], ["90+", "2"]]
    assert "scan" not in str(block)


def test_footnotes_run_past_z() -> None:
    notes = Footnotes()
    marks = [notes.mark(str(i)) for i in range(28)]
    assert marks[0] == "a"
    assert marks[25:] == ["z", "aa", "ab"]
    assert notes.mark("0") == "a"


def test_matrix_shares_are_of_the_row() -> None:
    block = matrix(MatrixPanel("m", "M", "R", "P", ["a", "b"], ["a", "b"], [[3, 1], [0, 0]]))
    assert [[c.share for c in row] for row in block.cells] == [["75.0 %", "25.0 %"], ["–", "–"]]
    assert [[c.diagonal for c in row] for row in block.cells] == [[True, False], [False, True]]
    assert list(block.totals) == ["4", "0"]


def test_pictures_shrink(shown: Shown) -> None:
    source = encode_picture(np.zeros((200, 400, 3), np.uint8))
    image = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
    assert image.size == (160, 80)
    assert Image.open(io.BytesIO(base64.b64decode(encode_picture(np.ones((8, 9), np.uint8))[22:]))).size == (9, 8)
    with pytest.raises(TypeError, match="uint8"):
        encode_picture(np.zeros((3, 4)))  # type: ignore[arg-type]


def test_a_picture_that_cannot_be_read_leaves_its_place_empty(shown: Shown) -> None:
    def pictures(case: str) -> None:
        raise ImageError("truncated", where=case)

    block = gallery(GalleryPanel("g", "G", [GalleryItem("c1", "t")]), shown, pictures, 160)
    assert block.pictures[0].source == ""
    assert block.caption == "1 picture is not at hand."


def test_thinning_keeps_the_shape() -> None:
    x = np.linspace(0, 1, 20_000)
    y = np.sin(7 * x)
    at = thin(x, [y])
    assert len(at) <= 300
    assert {0, len(x) - 1} <= set(at.tolist())
    assert np.abs(np.interp(x, x[at], y[at]) - y).max() < 0.01


def test_thinning_keeps_the_corners_of_steps() -> None:
    x = np.repeat(np.linspace(0, 1, 6), 2)[1:]
    y = np.repeat(np.arange(6.0), 2)[:-1]
    assert thin(x, [y]).tolist() == list(range(11))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_short_series_are_drawn(count: int) -> None:
    series = [Series("a", [0.1, 0.2][:count], [0.3, 0.4][:count], [0.2, 0.3][:count], [0.4, 0.5][:count])]
    for points in (False, True):
        assert draw_curves(CurvePanel("c", "C", "x", "y", series, points=points)).svg.startswith("<svg")


def test_undefined_points_are_left_out() -> None:
    x: Any = [0.0, None, 1.0]
    y: Any = [0.0, 0.5, float("nan")]
    assert "<svg" in draw_curves(CurvePanel("c", "C", "x", "y", [Series("a", x, y)], x_log=True)).svg


def test_rates_on_a_logarithmic_axis_are_read_as_fractions() -> None:
    line = [Series("a", [1 / 16, 1, 16], [0.2, 0.5, 0.9])]
    near = draw_curves(CurvePanel("c", "C", "x", "y", line, x_log=True, x_range=(1 / 16, 16))).svg
    assert all(f">{text}<" in near for text in ("1/8", "1/2", "1", "4", "16"))
    wide = draw_curves(CurvePanel("c", "C", "x", "y", line, x_log=True, x_range=(1e-4, 1))).svg
    assert ">0.001<" in wide
    assert "math" not in near + wide


def test_many_points_say_how_many_are_drawn() -> None:
    values = np.linspace(0, 1, 5000).tolist()
    chart = draw_curves(CurvePanel("c", "C", "x (mm)", "y", [Series("a", values, values)], points=True))
    assert "1,200 of 5,000 points are drawn" in chart.caption
    assert "x (mm)" in chart.svg


def test_marks_are_numbered_where_a_line_has_several() -> None:
    one = Series("a", [0, 1], [0, 1], marks=[(0.2, 0.3, "low"), (0.6, 0.7, "high")])
    chart = draw_curves(CurvePanel("c", "C", "x", "y", [one]))
    assert [e.label for e in chart.legend] == ["a", "1: low", "2: high"]


def test_a_curve_in_the_corner_is_enlarged() -> None:
    unit: dict[str, Any] = {"x_range": (0, 1), "y_range": (0, 1)}
    near = Series("near", [0, 0.01, 1], [0, 0.99, 1])
    far = Series("far", [0, 0.5, 1], [0, 0.8, 1])
    assert "corner, enlarged" in draw_curves(CurvePanel("c", "C", "x", "y", [near], **unit)).svg
    assert "corner, enlarged" not in draw_curves(CurvePanel("c", "C", "x", "y", [near, far], **unit)).svg
    assert "corner, enlarged" not in draw_curves(CurvePanel("c", "C", "x", "y", [near])).svg


def test_bands_of_many_lines_have_a_drawing_each() -> None:
    def lines(count: int) -> CurvePanel:
        x, y = [0.0, 0.5, 1.0], [0.0, 0.8, 1.0]
        return CurvePanel("c", "C", "x", "y", [Series(f"class {i}", x, y, x, [0.2, 0.9, 1.0]) for i in range(count)])

    assert draw_bands(lines(4)) is None
    assert "drawing of its own" not in draw_curves(lines(4)).caption
    apart = draw_bands(lines(6))
    assert apart is not None
    assert "drawing of its own" in draw_curves(lines(6)).caption
    assert all(f"class {i}" in apart.svg for i in range(6))
    assert draw_bands(lines(25)) is None
    assert "metrics.json" in draw_curves(lines(25)).caption


def test_a_level_among_points_is_a_line() -> None:
    series = [Series("cases", [0, 1, 2], [3, 1, 2]), Series("limit", [0, 2], [1.5, 1.5])]
    chart = draw_curves(CurvePanel("c", "C", "x", "y", series, points=True))
    assert [e.shape for e in chart.legend] == ["point", "line"]


def test_a_thinned_group_tells_its_true_n() -> None:
    panel = DistributionPanel("d", "D", "x", {"a": [0.1, 0.9], "b": [0.5]}, [0, 0.5, 1], counts={"a": 5267})
    assert [e.label for e in draw_distribution(panel).legend] == ["a (n = 5,267)", "b (n = 1)"]


def test_distributions_show_shares_and_what_is_outside() -> None:
    groups: dict[str, Any] = {"a": [0.1, 0.2, 5.0], "b": [0.5, None]}
    chart = draw_distribution(DistributionPanel("d", "D", "score", groups, [0, 0.5, 1]))
    assert [e.label for e in chart.legend] == ["a (n = 3)", "b (n = 1)"]
    assert chart.caption == "1 values lie outside the drawing. 1 values are undefined."
    for bins in (None, [0, 1]):
        many = {f"group {i}": [0.1 * i] for i in range(6)} | {"empty": []}
        assert "<svg" in draw_distribution(DistributionPanel("d", "D", "score", many, bins)).svg


def test_a_dollar_is_no_formula() -> None:
    chart = draw_curves(CurvePanel("c", "C", r"$\frac{1}{$", "a_$b$", [Series("s", [0, 1], [0, 1])]))
    assert "a_$b$" in chart.svg


def test_a_drawing_is_clean() -> None:
    dirty = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9" '
        'onload="a()"><script>b()</script><style>*{}</style><defs><clipPath id="k"><rect width="1.23456"/></clipPath>'
        '</defs><g id="n" clip-path="url(#k)"><use xlink:href="http://x/y"/><use xlink:href="#k"/>'
        "<text>&lt;b&gt;</text></g><foreignObject/></svg>"
    )
    svg = clean(dirty, "p-", 'say "x"')
    assert not re.search(r"script|style|onload|http|foreign|<b>", svg)
    assert 'id="p-k"' in svg
    assert "url(#p-k)" in svg
    assert 'href="#p-k"' in svg
    assert 'id="n"' not in svg
    assert 'width="1.23"' in svg
    assert "&lt;b&gt;" in svg


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("`x`", r"\`x\`"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("[a](javascript:b)", r"\[a\](javascript:b)"),
        ("two\nlines", "two lines"),
        ("# head", r"\# head"),
        ("- item", r"\- item"),
        ("plain text, 0.99 (n = 3)", "plain text, 0.99 (n = 3)"),
    ],
)
def test_markdown_is_escaped(text: str, expected: str) -> None:
    assert escape(text) == expected
