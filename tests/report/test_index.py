from __future__ import annotations

from pathlib import Path
from typing import Any

from medcnn.report import write_index, write_report


def test_each_run_with_its_figures_and_link(tmp_path: Path, build: Any) -> None:
    one = write_report(build.full_run(tmp_path / "a b"))
    two = build.external_run(tmp_path / "two")
    bare = tmp_path / "bare"
    bare.mkdir()
    page = write_index([("one <b>", one), ("two", two), ("bare", bare)], tmp_path / "suite")
    html = page.read_text(encoding="utf-8")
    assert page == tmp_path / "suite" / "index.html"
    assert '<a href="../a%20b/report.html">one &lt;b&gt;</a>' in html
    assert '<a href="../two/report.html">two</a>' in html
    assert html.count("0.978") == 2
    assert "This run has no evaluation." in html
    assert "2 warnings: read them first" in html
    assert "<script" not in html
    assert not (bare / "pseudonyms.json").exists()
