"""The report in a real browser: nothing is fetched, nothing overflows, nothing goes wrong."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from medcnn.report import write_index, write_report

BROWSER = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH")]

# The frame has the policy of the report itself; the measuring script is the wrapper's.
WRAPPER = """<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">
<iframe id="f" style="width:{width}px;height:4000px;border:0" srcdoc="{page}"></iframe><pre id="out"></pre>
<script>
window.onerror = (m) => {{ document.getElementById("out").textContent = "error " + m; }};
const frame = document.getElementById("f");
frame.addEventListener("load", () => {{
  const page = frame.contentDocument, root = page.documentElement;
  const wide = [...page.body.querySelectorAll("*")].filter((e) =>
    e.getBoundingClientRect().right > {width} + 0.5 && !e.closest(".scroll, pre") && !e.closest("svg svg *"));
  document.getElementById("out").textContent = JSON.stringify({{
    client: root.clientWidth, scroll: root.scrollWidth, headings: page.querySelectorAll("h2").length,
    wide: wide.slice(0, 5).map((e) => e.tagName + "." + e.className), scripts: page.scripts.length,
    broken: [...page.images].filter((i) => !i.naturalWidth).length,
    cut: [...page.querySelectorAll(".scroll")].filter((e) => e.scrollWidth > e.clientWidth + 1)
      .map((e) => e.getAttribute("aria-label")),
    tiny: [...page.querySelectorAll("main *")].filter((e) => e.childElementCount === 0 && e.textContent.trim()
      && !e.closest("svg, sup") && parseFloat(getComputedStyle(e).fontSize) < 10.5).length,
    loaded: frame.contentWindow.performance
      .getEntriesByType("resource").map((r) => r.name).filter((n) => !n.startsWith("data:")),
  }});
}});
</script>"""


def browse(page: Path, profile: Path) -> tuple[str, str]:
    """The page's DOM after loading, and what the browser's console said."""
    done = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", "--enable-logging=stderr", f"--user-data-dir={profile}",
            "--window-size=1400,1000",
            "--virtual-time-budget=8000", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def measure(report: Path, width: int, folder: Path) -> dict[str, Any]:
    wrapper = folder / f"wrapper-{width}.html"
    text = html.escape(report.read_text(encoding="utf-8"), quote=True)
    wrapper.write_text(WRAPPER.format(width=width, page=text), encoding="utf-8")
    dom, console = browse(wrapper, folder / "profile")
    assert console == ""
    found = re.search(r'<pre id="out">(.*?)</pre>', dom, re.S)
    assert found
    result: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    return result


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, build: Any, evaluated: Any) -> list[Path]:
    tmp_path = tmp_path_factory.mktemp("reports")
    long = "averylongclassnamewithoutanyspace" * 2
    hostile = ("<script>alert(1)</script>", '<img src=x onerror="alert(2)">', long, "d", "e", "f")
    made = [
        write_report(build.external_run(tmp_path / "external"), pictures=build.pictures),
        write_report(build.full_run(tmp_path / "folds", folds=4), pictures=build.pictures),
        write_report(build.full_run(tmp_path / "hostile", classes=hostile), pictures=build.pictures, title=long),
        *(write_report(evaluated.write_kind(kind, tmp_path / kind)) for kind in evaluated.KINDS),
    ]
    return [*made, write_index([(m.parent.name, m) for m in made], tmp_path / "index.html")]


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overflows_and_nothing_is_fetched(reports: list[Path], width: int, tmp_path: Path) -> None:
    for report in reports:
        result = measure(report, width, tmp_path)
        assert result["scroll"] <= width, (report, result)
        assert result["wide"] == [], report
        assert result["headings"] >= 3
        assert result["scripts"] == 0
        assert result["broken"] == 0
        assert result["tiny"] == 0
        # On a phone tables scroll under their first column; on a screen those of the main figures fit. Thresholds of
        # several folds have a column each and may scroll.
        fitting = {"Figures by class", "Agreement and probabilities by class", "Averages over classes"}
        assert width < 1000 or not fitting & set(result["cut"]), report
        assert result["loaded"] == []


def test_the_browser_has_nothing_to_complain_of(reports: list[Path], tmp_path: Path) -> None:
    for report in reports:
        dom, console = browse(report, tmp_path / "profile")
        assert console == "", report
        assert "For research. Not a medical device." in dom


def test_the_policy_refuses_what_a_page_must_not_do(reports: list[Path], tmp_path: Path) -> None:
    spoiled = tmp_path / "spoiled.html"
    extra = '<img src="http://127.0.0.1:9/x.png"><script>document.title = "ran"</script></body>'
    spoiled.write_text(reports[0].read_text(encoding="utf-8").replace("</body>", extra), encoding="utf-8")
    dom, console = browse(spoiled, tmp_path / "profile")
    assert "<title>ran</title>" not in dom
    assert "Content Security Policy" in console
