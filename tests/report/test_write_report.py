from __future__ import annotations

import json
import re
import shutil
import stat
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from medcnn.errors import RunError
from medcnn.report import write_report

HOSTILE = (
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(2)">',
    '"><svg onload=alert(3)>',
    "]]>--></style></svg><b>",
    "{{7*7}}{% raw %}",
    "$x$",
)


class Page(HTMLParser):
    """Elements, attributes and headings of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self._heading = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._heading = tag == "h2"

    def handle_data(self, data: str) -> None:
        if self._heading:
            self.headings.append(data)
            self._heading = False


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


@pytest.fixture
def full(shared: Path, build: Any) -> Path:
    """A run with all its files and its report, made once."""
    folder = shared / "full"
    if not folder.exists():
        write_report(build.external_run(folder), pictures=build.pictures)
    return folder


def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def texts(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8") + (folder / "report.md").read_text(encoding="utf-8")


def test_all_sections_are_there(full: Path) -> None:
    assert page(full).headings == [
        "Main figures",
        "Warnings",
        "Internal and external figures",
        "What was trained on what",
        "Flow of cases",
        "Figures",
        "Curves and distributions",
        "Figures by subgroup",
        "Cases worth a look",
        "On other data: hospital-b",
        "The split and its balance",
        "Learning curves",
        "Layers of the network",
        "Audit of the data",
        "Definitions",
        "Provenance",
        "How to reproduce",
    ]


def test_the_page_is_small_and_asks_for_nothing(full: Path) -> None:
    html = unescape((full / "report.html").read_text(encoding="utf-8"))
    assert len(html) < 3_000_000
    assert "default-src 'none'" in html
    assert not re.search(r"""(?:src|href|action|data|poster)\s*=\s*["']?\s*(?!data:image/png|#)[^"'#\s>]""", html)
    assert not re.search(r"url\(\s*['\"]?(?!#)|@import|https?:", html)
    tags = {tag for tag, _ in page(full).elements}
    assert not tags & {"script", "iframe", "object", "embed", "link", "base", "form"}
    assert not [k for _, attributes in page(full).elements for k in attributes if k.startswith("on")]


def test_ids_are_unique(full: Path) -> None:
    ids = [a["id"] for _, a in page(full).elements if "id" in a]
    assert len(ids) == len(set(ids))
    referred = set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", (full / "report.html").read_text()))
    assert {a or b for a, b in referred} <= set(ids)


def test_markup_is_balanced(full: Path) -> None:
    void = {"meta", "img", "br", "hr", "path", "rect", "circle", "use", "line"}
    open_tags: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            if tag not in void:
                open_tags.append(tag)

        def handle_startendtag(self, tag: str, attrs: Any) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            if tag not in void:
                assert open_tags.pop() == tag

    Balance().feed((full / "report.html").read_text(encoding="utf-8"))
    assert open_tags == []


def test_nothing_that_identifies_is_shown(full: Path, build: Any) -> None:
    shown = texts(full)
    for secret in (
        "pat-0",
        "Doe^Jane",
        "workstation-17",
        "jdoe",
        "/data/",
        "/home/",
        "2021-03-14",
        "case 003",
        "bad 1",
    ):
        assert secret not in shown, secret
    assert "Dr 5" not in shown
    assert "90+ years" in shown
    assert "93 years" not in shown
    assert "age: 90+" in shown
    assert "age: 93" not in shown


def test_the_command_keeps_the_last_part_of_paths(full: Path) -> None:
    assert "medcnn run r.yaml data.root=MedNIST" in texts(full)
    assert "root: MedNIST" in texts(full)


def test_figures_have_their_n_and_interval(full: Path) -> None:
    html = (full / "report.html").read_text(encoding="utf-8")
    card = html[html.index('class="card"') :][:900]
    assert "0.978" in card
    assert "0.966–0.990" in card
    assert "n = 846 images · 19 clusters" in card
    assert "range over 19 clusters" in card


def test_undefined_is_a_dash_with_its_note_as_tip_and_in_sight(full: Path) -> None:
    html = (full / "report.html").read_text(encoding="utf-8")
    note = "no case of this class in the subgroup (0 of 14)"
    assert re.search(rf'<td class="number" title="{re.escape(note)}">–<sup>', html)
    assert re.search(rf"<li><sup>\w+</sup> {re.escape(note)}</li>", html)
    assert f") {note}" in (full / "report.md").read_text(encoding="utf-8")


def test_a_second_report_equals_the_first(full: Path, build: Any) -> None:
    before = texts(full)
    write_report(full, pictures=build.pictures)
    assert texts(full) == before


def test_pseudonyms_are_private_and_resolve(full: Path) -> None:
    file = full / "pseudonyms.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    names = json.loads(file.read_text())["case"]
    assert names
    shown = (full / "report.html").read_text()
    assert any(pseudonym in shown for pseudonym in names)
    assert set(names.values()) >= {f"case {i:03d}" for i in range(8)}


def test_flow_counts_every_case(full: Path) -> None:
    markdown = (full / "report.md").read_text(encoding="utf-8")
    assert "- Found: 851 cases" in markdown
    assert "- Left out: 6" in markdown
    assert "- cannot be read: the file is truncated: 5" in markdown
    assert "- no label: 1" in markdown
    assert "- Analysed: 845 cases (282 patients)" in markdown


def test_a_missing_picture_is_counted(full: Path) -> None:
    assert "1 picture is not at hand." in texts(full)
    sources = [a["src"] for tag, a in page(full).elements if tag == "img"]
    assert len(sources) == 15
    assert all(s and s.startswith("data:image/png;base64,") for s in sources)


def test_external_figures_stand_beside_the_internal_ones(full: Path) -> None:
    markdown = (full / "report.md").read_text(encoding="utf-8")
    line = next(x for x in markdown.splitlines() if x.startswith("| F1, abdomen |"))
    assert "0.978" in line
    assert "0.871" in line
    assert "0.842–0.897" in line


def test_an_evaluation_alone_has_a_report(tmp_path: Path, build: Any) -> None:
    build.full_run(tmp_path / "whole")
    run = tmp_path / "run"
    (run / "evaluation").mkdir(parents=True)
    shutil.copy(tmp_path / "whole" / "evaluation" / "metrics.json", run / "evaluation")
    assert write_report(run, title="Predictions of another program") == run / "report.html"
    assert page(run).headings == [
        "Main figures",
        "Warnings",
        "Figures",
        "Curves and distributions",
        "Figures by subgroup",
        "Cases worth a look",
        "Definitions",
    ]
    assert "<h1>Predictions of another program</h1>" in texts(run)


def test_a_run_without_an_evaluation_has_a_report(tmp_path: Path, build: Any) -> None:
    run = build.full_run(tmp_path / "run")
    shutil.rmtree(run / "evaluation")
    (run / "audit.json").unlink()
    write_report(run)
    assert "Main figures" not in page(run).headings
    assert "Audit of the data" not in page(run).headings
    assert "Learning curves" in page(run).headings


def test_folds_are_laid_over_each_other(tmp_path: Path, build: Any) -> None:
    run = build.full_run(tmp_path / "run", folds=4)
    write_report(run)
    shown = texts(run)
    assert "Training loss, fold 3" in shown
    assert "4 folds; each case is in the test part of one fold" in shown
    assert "Fold 2: validation" in shown


def spoil(value: Any, text: str) -> Any:
    """Every text of a JSON value with something added that must not run."""
    if isinstance(value, dict):
        return {k: v if k in ("kind", "section", "status") else spoil(v, text) for k, v in value.items()}
    if isinstance(value, list):
        return [spoil(v, text) for v in value]
    return value + text if isinstance(value, str) else value


def test_text_from_files_does_not_run(tmp_path: Path, build: Any) -> None:
    text = "".join(HOSTILE)
    run = build.full_run(tmp_path / "run", classes=("a" + text, "b|`" + text))
    for name in ("evaluation/metrics.json", "audit.json", "provenance.json", "split.json"):
        file = run / name
        file.write_text(json.dumps(spoil(json.loads(file.read_text()), text)), encoding="utf-8")
    exclusions = (run / "exclusions.csv").read_text() + f'x,y,"{text.replace(chr(34), chr(34) * 2)}"\n'
    (run / "exclusions.csv").write_text(exclusions, encoding="utf-8")
    recipe = f"{{title: {json.dumps(text)}, description: {json.dumps(text)}, task: {{name: {json.dumps(text)}}}}}"
    (run / "recipe.yaml").write_text(recipe, encoding="utf-8")
    write_report(run, title=f"title {text}")
    found = page(run)
    tags = {tag for tag, _ in found.elements}
    assert not tags & {"script", "iframe"}
    assert not [k for _, attributes in found.elements for k in attributes if k.startswith("on")]
    assert all((a["src"] or "").startswith("data:") for tag, a in found.elements if tag == "img")
    prose = re.sub(r"^(`{3,}).*?^\1", "", (run / "report.md").read_text(encoding="utf-8"), flags=re.S | re.M)
    assert not re.search(r"<(?!br>)", prose)
    assert not re.search(r"(?<!\\)`", prose)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nothing to report"):
        write_report(tmp_path)
    with pytest.raises(RunError, match="no such run folder"):
        write_report(tmp_path / "absent")


@pytest.mark.parametrize("name", ["evaluation/metrics.json", "split.json", "provenance.json", "recipe.yaml"])
def test_a_broken_file_is_named(tmp_path: Path, build: Any, name: str) -> None:
    run = build.full_run(tmp_path / "run")
    (run / name).write_text("{[", encoding="utf-8")
    with pytest.raises(RunError) as caught:
        write_report(run)
    assert Path(name).name in str(caught.value)
    assert not (run / "report.html").exists()


def test_a_newer_schema_is_refused(tmp_path: Path, build: Any) -> None:
    run = build.full_run(tmp_path / "run")
    file = run / "evaluation" / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": 99}))
    with pytest.raises(RunError, match="schema version"):
        write_report(run)


def test_a_panel_of_an_unknown_kind_is_named(tmp_path: Path, build: Any) -> None:
    run = build.full_run(tmp_path / "run")
    file = run / "evaluation" / "metrics.json"
    data = json.loads(file.read_text())
    data["panels"].append({"kind": "hologram", "title": "A view", "id": "v"})
    file.write_text(json.dumps(data))
    write_report(run)
    assert "cannot draw a panel of the evaluation (hologram: A view)" in texts(run)


def test_a_case_without_reason_is_not_lost(tmp_path: Path, build: Any) -> None:
    run = build.full_run(tmp_path / "run")
    lines = (run / "split.csv").read_text().splitlines()
    (run / "split.csv").write_text("\n".join(lines[:-2]) + "\n")
    write_report(run)
    assert "in no part of the split, without a recorded reason: 2" in (run / "report.md").read_text(encoding="utf-8")
