"""Every snippet of README.md and docs/ runs, or is checked by the code that it speaks of.

What a block is, is said by the language of its fence:

``python``   runs, in the order of the page, in one namespace, in an empty folder
``yaml``     is a recipe, a suite, a catalog, or sections of a recipe; it must be valid
``sh``       one command a line; each is parsed by the real command line, those that are cheap run
``console``  commands after ``$`` with what they print, which is compared; a line ``...`` stands for any lines
``toml``, ``csv``, ``json``  must be readable
``text``     is not checked

A comment in front of a block, which readers do not see, gives directions: ``<!-- test: slow -->`` for what trains,
``overrides=KEY=VALUE ...`` added to what trains, ``file=PATH`` to write the block into the folder, ``skip=REASON``.
``<!-- test: images=FOLDER FOLDER -->`` alone makes folders with small pictures.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import sys
import tomllib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from PIL import Image

import medcnn
from medcnn import registry
from medcnn.cli.app import app
from medcnn.cli.main import main
from medcnn.data.catalog import CatalogEntry, load_catalog
from medcnn.recipe.load import load_recipe
from medcnn.recipe.options import options_model

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
LANGUAGES = ("python", "yaml", "sh", "console", "toml", "csv", "json", "text")
DIRECTIONS = ("slow", "skip", "overrides", "file", "images", "signature")
# Commands that take a moment and need nothing; all others run in the slow tests alone.
CHEAP = (("recipes",), ("cp",), ("validate",), ("schema",), ("data", "list"), ("data", "show"), ("models",))
TRAINING = ("run", "train")
OTHER_PROGRAMS = ("python3", ".venv/bin/python", ".venv/bin/pip", ".venv/bin/pytest", ".ci/run")
REST = {"task": "classification", "data": {"dataset": "phantom"}, "input": {"size": [64, 64]}, "model": "basic_cnn"}


@dataclass(frozen=True)
class Block:
    """A fenced block, or directions that stand alone (no language)."""

    page: str
    line: int
    language: str
    text: str
    directions: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> Iterator[Block]:
    """What a page asks to be done, in its order."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    waiting: dict[str, str] = {}
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        start = number
        comment = re.fullmatch(r"<!-- test: (.*) -->", line)
        fence = re.match(r"( *)```(.*)", line)
        if comment:
            given = dict(part.strip().partition("=")[::2] for part in comment[1].split(";"))
            assert set(given) <= set(DIRECTIONS), f"{page}:{start}: unknown directions {given}"
            if "images" in given:
                yield Block(page, start, "", "", given)
            else:
                waiting = given
        elif fence:
            inside = []
            while lines[number].strip() != "```":
                inside.append(lines[number].removeprefix(fence[1]))
                number += 1
            number += 1
            yield Block(page, start, fence[2].strip(), "".join(f"{text}\n" for text in inside), waiting)
            waiting = {}
        elif line.strip():
            assert not waiting, f"{page}:{start}: directions without a block"


class Runner:
    """Does what the blocks of one page say, in one folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys
        self.space: dict[str, Any] = {"__name__": "snippet"}

    def do(self, block: Block, *, slow: bool) -> None:
        if "images" in block.directions:
            make_images(self.folder, block.directions["images"].split())
            return
        named = re.match(r"# (\S+\.(?:yaml|py|toml))\n", block.text)
        name = block.directions.get("file") or (named[1] if named else None)
        if name:
            # A package may not lie in the working folder: that is not installed.
            path = self.folder / ("" if name.endswith((".yaml", ".csv")) else "installed") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            importlib.invalidate_caches()
            if name.endswith("pyproject.toml"):
                install(path)
        if "skip" in block.directions or "signature" in block.directions:
            return
        if block.language in ("sh", "console") or (slow or "slow" not in block.directions):
            getattr(self, f"do_{block.language}")(block, name, slow)

    def do_python(self, block: Block, name: str | None, slow: bool) -> None:
        code = compile(block.text, block.place, "exec")
        if name:
            return
        more = shlex.split(block.directions.get("overrides", ""))
        with self.monkeypatch.context() as patched:
            for each in TRAINING:
                patched.setattr(medcnn, each, with_overrides(getattr(medcnn.api, each), more), raising=False)
            exec(code, self.space)

    def do_yaml(self, block: Block, name: str | None, slow: bool) -> None:
        check_yaml(block.text, self.folder / (name or "snippet.yaml"))

    def do_sh(self, block: Block, name: str | None, slow: bool) -> None:
        for line in joined(block.text):
            installs = ".venv/bin/" in line  # The environment of the reader, which is not ours.
            for command in commands(line, block.place):
                self.command(command, block, slow and not installs)

    def do_console(self, block: Block, name: str | None, slow: bool) -> None:
        for line, expected in sessions(block.text):
            (command,) = commands(line, block.place)
            self.capsys.readouterr()
            if self.command(command, block, slow):
                compare(expected, "".join(self.capsys.readouterr()), f"{block.place}: {line}")

    def do_toml(self, block: Block, name: str | None, slow: bool) -> None:
        tomllib.loads(block.text)

    def do_csv(self, block: Block, name: str | None, slow: bool) -> None:
        widths = {len(line.split(",")) for line in block.text.splitlines()}
        assert len(widths) == 1, block.place

    def do_json(self, block: Block, name: str | None, slow: bool) -> None:
        json.loads(block.text)

    def do_text(self, block: Block, name: str | None, slow: bool) -> None:
        """Nothing."""

    def command(self, arguments: list[str], block: Block, slow: bool) -> bool:
        """Parse a command, and run it where its time has come; whether it ran."""
        path = parse(arguments, block.place)
        overrides = [a for a in arguments if re.match(r"[a-z_.]+=", a)]
        if path[0] in TRAINING and not Path(arguments[1]).is_dir():
            load_recipe(arguments[1], overrides)
        cheap = any(path[: len(c)] == c for c in CHEAP)
        if not cheap and (not slow or path == ("doctor",)):
            return False
        more = shlex.split(block.directions.get("overrides", "")) if path[0] in TRAINING else []
        code = main([*arguments, *more])
        expected = 2 if block.language == "console" and "\nerror: " in f"\n{block.text}" else 0
        assert code == expected, f"{block.place}: {shlex.join(arguments)}: {self.capsys.readouterr().err}"
        return True


def with_overrides(function: Any, more: Sequence[str]) -> Any:
    def call(recipe: Any, *, overrides: Sequence[str] = (), **keywords: Any) -> Any:
        return function(recipe, overrides=[*overrides, *more], **keywords)

    return call


def make_images(folder: Path, names: Sequence[str]) -> None:
    """A dozen small pictures in each folder, brighter from folder to folder."""
    for number, name in enumerate(names):
        generator = np.random.default_rng(zlib.crc32(name.encode()))
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(12):
            pixels = generator.normal(60 + 80 * number, 20, (40, 40)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"p{k // 2:02d}-{'ab'[k % 2]}.png")


def install(pyproject: Path) -> None:
    """What pip does with entry points: a folder of metadata beside the package."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    facts = pyproject.parent / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    facts.mkdir(exist_ok=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (facts / "entry_points.txt").write_text("\n".join(groups))


def check_yaml(text: str, path: Path) -> None:
    """A recipe, a suite, a catalog, or sections of a recipe."""
    found = yaml.safe_load(text)
    if all(isinstance(entry, dict) and {"adapter", "title"} <= set(entry) for entry in found.values()):
        path.write_text(text, encoding="utf-8")
        for entry in load_catalog(path).values():
            registry.load("adapters", entry.adapter.name)
        return
    if "suite" not in found and "title" not in found:
        for key, value in REST.items():
            own = found.get(key, {})
            whole = key not in found or not isinstance(value, dict) or "adapter" in own
            found[key] = found.get(key, value) if whole else {**value, **own}
        text = yaml.safe_dump(found, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    load_recipe(path)


def joined(text: str) -> list[str]:
    """The lines of a script without comments; a line that ends in a backslash goes on."""
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]


def sessions(text: str) -> Iterator[tuple[str, list[str]]]:
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        line, *output = part.rstrip().splitlines()
        yield line, output


def compare(expected: Sequence[str], output: str, place: str) -> None:
    """The printed lines are those of the page; ``...`` stands for any."""
    pattern = "".join(r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line.rstrip()) + r"\n" for line in expected)
    shown = "".join(f"{line.rstrip()}\n" for line in output.strip("\n").splitlines())
    assert re.fullmatch(pattern, shown), f"{place} prints\n{shown}"


def commands(line: str, place: str) -> list[list[str]]:
    """The medcnn commands of a line of the shell."""
    found = []
    for part in line.split(" && "):
        words = shlex.split(part, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if Path(words[0]).name == "medcnn":
            found.append(words[1 : words.index(">") if ">" in words else None])
        else:
            assert words[0] in OTHER_PROGRAMS, f"{place}: what is {words[0]}?"
    return found


def parse(arguments: list[str], place: str) -> tuple[str, ...]:
    """Let the real command line read the arguments, without doing anything; returns the command."""
    command: Any = typer.main.get_command(app)
    path: list[str] = []
    rest, above = list(arguments), None
    while True:
        try:
            context = command.make_context(path[-1] if path else "medcnn", list(rest), parent=above)
            if not hasattr(command, "resolve_command"):
                return tuple(path)
            given = [*context._protected_args, *context.args]
            if not given:
                return tuple(path)
            name, command, rest = command.resolve_command(context, given)
        except Exception as error:
            pytest.fail(f"{place}: medcnn {shlex.join(arguments)}: {getattr(error, 'message', '') or error!r}")
        path.append(name)
        above = context


@pytest.fixture
def runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], _quiet_as_before: None
) -> Iterator[Runner]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "installed").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(medcnn, "api", __import__("medcnn.api").api, raising=False)
    known = set(sys.modules)
    yield Runner(tmp_path, monkeypatch, capsys)
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def _quiet_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command line quiets the libraries for good; the other tests want them as they were."""
    import logging
    import warnings

    for name in ("PYTHONWARNINGS", "TORCH_CPP_LOG_LEVEL", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    shown, handlers = warnings.showwarning, list(logging.getLogger().handlers)
    yield
    warnings.showwarning = shown
    logging.getLogger().handlers[:] = handlers


@pytest.mark.parametrize("page", NAMES)
def test_each_block_says_what_it_is(page: str) -> None:
    for block in blocks(page):
        if "images" not in block.directions:
            assert block.language in LANGUAGES, f"{block.place}: {block.language or 'no language'}"
        if "skip" in block.directions:
            assert len(block.directions["skip"].split()) >= 3, f"{block.place}: skipped without a reason"
        if block.language == "sh" and "skip" in block.directions:
            for line in joined(block.text):
                for command in commands(line, block.place):
                    parse(command, block.place)


@pytest.mark.parametrize("page", NAMES)
def test_no_block_is_indented(page: str) -> None:
    # An indented block has no language, so nothing would check it.
    text = re.sub(r"^ *```.*?^ *```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S | re.M)
    assert re.findall(r"\n\n {4}.*", text) == []


@pytest.mark.parametrize("page", NAMES)
def test_snippets_run(page: str, runner: Runner) -> None:
    for block in blocks(page):
        runner.do(block, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", NAMES)
def test_snippets_that_train_run_too(page: str, runner: Runner) -> None:
    for block in blocks(page):
        runner.do(block, slow=True)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", NAMES)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        goal = (ROOT / page).parent / path if path else ROOT / page
        assert goal.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(goal), f"{page}: {link}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        links = re.findall(r"\]\(([^)#\s]+\.md)[^)]*\)", page.read_text(encoding="utf-8"))
        waiting += [g for link in links if (g := (page.parent / link).resolve()) not in reached and g.is_file()]
    assert set(PAGES) <= reached


def test_every_key_of_the_catalog_and_every_option_of_an_adapter_is_described() -> None:
    described = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")))
    assert set(CatalogEntry.model_fields) <= described
    for adapter in ("image_folder", "table"):
        assert {f.alias for f in options_model("adapters", adapter).model_fields.values()} <= described, adapter


def test_ci_runs_the_commands_of_the_readme_and_of_contributing() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace(" -q", "")
    command = "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/pytest"
    assert f"{command}\n" in script
    for page in ("README.md", "CONTRIBUTING.md"):
        assert f"{command}\n" in (ROOT / page).read_text(encoding="utf-8")
