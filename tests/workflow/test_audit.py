"""The audit from end to end: files in, findings, a table and a page out; and what a run does with the findings."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

import medcnn
from medcnn.data import near_search
from medcnn.data.near_duplicates import Matches
from medcnn.errors import DataError, RunError
from medcnn.progress import Silent
from medcnn.recipe.load import load_recipe
from medcnn.recipe.schema import Recipe
from medcnn.report import write_report
from medcnn.workflow.folder import Run
from medcnn.workflow.prepare import prepare
from medcnn.workflow.steps import hardware_of

Picture = NDArray[np.uint8]


def body(seed: int, side: int = 64) -> Picture:
    """A bright ellipse with a texture of its own on a dark ground."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(*[np.linspace(-1, 1, side)] * 2, indexing="ij")
    a, b = rng.uniform(0.6, 0.85, 2)
    texture = gaussian_filter(rng.standard_normal((side, side)), 2) * 2 + 1.5 * gaussian_filter(
        rng.standard_normal((side, side)), 5
    )
    inside = (x / a) ** 2 + (y / b) ** 2 < 1
    return np.clip(np.where(inside, 120 + 55 * texture / texture.std(), 12), 0, 255).astype(np.uint8)


def mirrored_darker(picture: Picture) -> Picture:
    return np.ascontiguousarray((picture[::-1] * 0.8).astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 12 images; a copy within and one across them, a turned one across, two files that are broken."""
    root = tmp_path / "films"
    for k in range(24):
        place = root / ("left", "right")[k % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(body(k)).save(place / f"{k:02d}.png")
    Image.fromarray(body(0)).save(root / "left" / "again.png")
    Image.fromarray(body(2)).save(root / "right" / "moved.png")
    Image.fromarray(mirrored_darker(body(4))).save(root / "right" / "turned.png")
    (root / "left" / "empty.png").write_bytes(b"")
    return root


def test_a_folder_is_audited_into_three_files(folder: Path, tmp_path: Path) -> None:
    found = medcnn.audit(folder, out=tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "audit.csv",
        "audit.html",
        "audit.json",
        "pseudonyms.json",
    ]
    stored = json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(found.to_json()))
    jsonschema.validate(stored, json.loads(files("medcnn.data").joinpath("audit.schema.json").read_text("utf-8")))
    assert (stored["cases"], stored["images"]["read"]) == (27, 27)
    assert stored["exclusions"][0]["count"] == 1
    assert (stored["identical"]["sets"], stored["identical"]["surplus"]) == (2, 1)
    assert stored["identical"]["sets_across_labels"] == 1
    assert stored["near_duplicates"]["pairs"] == 1
    assert stored["near_duplicates"]["pairs_across_labels"] == 1
    assert stored["near_duplicates"]["turned"] == {"flipped along the second axis": 1}
    ids = {f["id"] for f in stored["findings"]}
    assert {"excluded", "identical-images", "identical-across-labels", "near-across-labels"} <= ids
    assert (tmp_path / "out" / "audit.csv").stat().st_mode & 0o777 == 0o600
    with (tmp_path / "out" / "audit.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert len(rows) == 28
    assert rows["left/again.png"]["identical"] == "2"
    assert rows["left/04.png"]["near_group"] == rows["right/turned.png"]["near_group"] == "left/04.png"
    assert rows["left/00.png"]["size"] == "1x64x64"
    assert "empty" in rows["left/empty.png"]["unusable"]


def test_what_lies_in_the_folder_stays(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes").write_text("mine")
    with pytest.raises(RunError, match="exists and is not empty") as caught:
        medcnn.audit(folder, out=tmp_path / "out")
    assert caught.value.todo == "give another --out"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["notes"]


def test_the_page_loads_nothing_and_names_no_file(folder: Path, tmp_path: Path) -> None:
    medcnn.audit(folder, out=tmp_path / "out")
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    targets = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]*)""", page)
    assert {t[:5] if t.startswith("data:") else t[:1] for t in targets} == {"data:", "#"}
    assert "<script" not in page
    assert not [name for name in ("again.png", "04.png", "empty.png", str(tmp_path)) if name in page]
    for title in ("Contact sheet", "Identical images with different labels", "Near-duplicates", "Stored types"):
        assert title in page
    assert page.count("data:image/png;base64,") == 27 + 2 + 2
    assert "pair 1, likeness 1.00, flipped along the second axis" in page


def test_matches_are_kept_for_the_next_look(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = medcnn.audit(folder)

    def never(*_: object, **__: object) -> Matches:
        raise AssertionError("compared again")

    monkeypatch.setattr(near_search, "match", never)
    assert medcnn.audit(folder) == first
    Image.fromarray(body(99)).save(folder / "left" / "new.png")
    with pytest.raises(AssertionError, match="compared again"):
        medcnn.audit(folder)
    assert "near_duplicates" not in medcnn.audit(folder, near_duplicates=False).tables


def test_broken_or_foreign_matches_are_made_anew(tmp_path: Path) -> None:
    digests = ["a", "b", "a", "c"]
    found = Matches(
        np.array([0]), np.array([2]), np.array([3], np.int8), np.array([0.9], np.float32), np.zeros(3, bool)
    )
    near_search.save(tmp_path, digests, found)
    (path,) = tmp_path.glob("near-*.npz")
    assert path.stat().st_mode & 0o777 == 0o600
    again = near_search.load(tmp_path, digests)
    assert again is not None
    assert (again.first, again.second, again.turn) == (found.first, found.second, found.turn)
    assert near_search.load(tmp_path, ["b", "a", "c"]) is None
    near_search.save(tmp_path, digests, Matches(found.first, np.array([7]), found.turn, found.score, found.plain))
    assert near_search.load(tmp_path, digests) is None
    path.write_bytes(b"PK\x03\x04 broken")
    assert near_search.load(tmp_path, digests) is None


class Runs:
    """Recipes over 40 images in a table, of which some are copies of others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def table(self, copies: dict[int, Callable[[], Picture]], part: Callable[[int], str] = lambda k: "") -> None:
        root = self.folder / "data"
        root.mkdir()
        lines = ["image,y,part"]
        for k in range(40):
            Image.fromarray(copies.get(k, lambda k=k: body(k))()).save(root / f"{k:02d}.png")
            lines.append(f"{k:02d}.png,{k % 2},{part(k)}")
        (root / "cases.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def prepared(
        self, split: str, *overrides: str, name: str = "run", column: bool = False, progress: Silent | None = None
    ) -> Run:
        """What a run does before it trains."""
        part = ", part: part" if column else ""
        path = self.folder / "recipe.yaml"
        path.write_text(
            f"task: classification\ndata:\n  adapter: {{name: table, label: y{part}}}\n"
            f"  root: {self.folder / 'data'}\n  split: {split}\n"
            "input: {size: [16, 16], augment: null}\nmodel: basic_cnn\n"
            "training: {select: last, precision: '32'}\n",
            encoding="utf-8",
        )
        recipe = load_recipe(path, overrides)
        assert isinstance(recipe, Recipe)
        folder = self.folder / name
        folder.mkdir()
        return prepare(recipe, folder, hardware_of(recipe.training), progress or Silent()).run


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


HALVES = "{validation: 0, test: 0.5}"


def audit_of(run: Run) -> dict[str, dict[str, object]]:
    stored = json.loads((run.folder / "audit.json").read_text(encoding="utf-8"))
    return {f["id"]: f for f in stored["findings"]} | {"table": stored.get("near_duplicates", {})}


def parts_of(run: Run, cases: Sequence[str]) -> list[set[str]]:
    return [{part for part in ("training", "test") if case in run.split.part(0, part)} for case in cases]


def test_near_duplicates_are_reported_or_kept_together(runs: Runs) -> None:
    runs.table({k: lambda k=k: mirrored_darker(body(k - 20)) for k in range(20, 40)})
    pairs = [(f"{k:02d}.png", f"{k + 20:02d}.png") for k in range(20)]
    told = runs.prepared(HALVES, name="told")
    found = audit_of(told)
    assert found["table"]["pairs"] == 20
    assert found["table"]["pairs_across_parts"] == found["near-across-parts"]["count"]
    divided = sum(parts_of(told, pair)[0] != parts_of(told, pair)[1] for pair in pairs)
    assert found["near-across-parts"]["count"] == divided > 0
    assert found["near-across-parts"]["what"].endswith("data.near_duplicates: group keeps them together")
    page = write_report(told.folder).read_text(encoding="utf-8")
    assert f"{divided} pairs of near-duplicates lie in more than one part" in page
    kept = runs.prepared(HALVES, "data.near_duplicates=group", name="kept")
    assert all(parts_of(kept, pair)[0] == parts_of(kept, pair)[1] for pair in pairs)
    assert audit_of(kept)["table"]["pairs_across_parts"] == 0
    assert len(kept.split.part(0, "test")) == 20


def test_a_given_part_keeps_near_duplicates_as_a_finding_and_refuses_identical_images(runs: Runs) -> None:
    runs.table({30: lambda: mirrored_darker(body(0))}, lambda k: "training" if k < 20 else "test")
    split = "{by: column, validation: 0}"
    run = runs.prepared(split, "data.near_duplicates=group", column=True)
    assert parts_of(run, ["00.png", "30.png"]) == [{"training"}, {"test"}]
    assert audit_of(run)["near-across-parts"]["what"] == "1 pair of near-duplicates lies in more than one part"
    Image.fromarray(body(0)).save(runs.folder / "data" / "30.png")
    with pytest.raises(DataError, match=r"identical images in more than one part: '00.png' .training. and '30.png'"):
        runs.prepared(split, name="again", column=True)


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_a_run_looks_for_near_duplicates_up_to_a_size_unless_told(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.table({20: lambda: mirrored_darker(body(0))})
    heard = Heard()
    assert audit_of(runs.prepared(HALVES, "data.near_duplicates=off", name="off"))["table"] == {}
    monkeypatch.setattr(near_search, "MOST_IMAGES", 39)
    assert audit_of(runs.prepared(HALVES, name="many", progress=heard))["table"] == {}
    assert any("near-duplicates were not looked for among 40 images" in line for line in heard.lines)
    asked = runs.prepared(HALVES, "data.near_duplicates=report", name="asked", progress=heard)
    assert audit_of(asked)["table"]["pairs"] == 1
    assert "1 pair of near-duplicates, verified by their pixels: 2 cases in 1 group" in heard.lines
