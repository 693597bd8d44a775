"""The command line in-process: exit code, standard output and standard error."""

from __future__ import annotations

import logging
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import medcnn
from medcnn.cli.main import main
from medcnn.evaluation.results import Evaluation, Figure, Interval


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command line quiets the libraries for good; the other tests want them as they were."""
    for name in ("PYTHONWARNINGS", "TORCH_CPP_LOG_LEVEL", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    shown, handlers = warnings.showwarning, list(logging.getLogger().handlers)
    yield
    warnings.showwarning = shown
    logging.getLogger().handlers[:] = handlers


@pytest.fixture
def medcnn_command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """``medcnn_command("run", "quickstart")``."""

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        found = capsys.readouterr()
        return Done(code, found.out, found.err)

    return call


@pytest.fixture
def evaluation() -> Evaluation:
    """Two headline figures, one of them without an interval, and a caution."""
    interval = Interval(0.81, 0.97, 0.95, "bootstrap over 24 patients, 2,000 resamples", "patient")
    return Evaluation(
        task="classification",
        title="A trial",
        figures=[
            Figure("f1", "F1", 0.912, 120, average="macro", interval=interval, clusters=24),
            Figure("auroc", "AUROC", None, 120, note="one class only"),
            Figure("mcc", "MCC", 0.5, 120),
        ],
        headline=[("f1", None, "macro", "image"), ("auroc", None, None, "image")],
        panels=[],
        warnings=["few patients"],
    )


@pytest.fixture
def fake_api(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Puts functions in the place of ``medcnn.api``; returns the list of calls ``(name, arguments, keywords)``."""
    calls: list[Any] = []

    def install(**results: Any) -> list[Any]:
        module = types.ModuleType("medcnn.api")

        def function(name: str, result: Any) -> Callable[..., Any]:
            def call(*arguments: Any, **keywords: Any) -> Any:
                calls.append((name, arguments, keywords))
                if isinstance(result, BaseException):
                    raise result
                return result

            return call

        for name, result in results.items():
            setattr(module, name, function(name, result))
        monkeypatch.setitem(sys.modules, "medcnn.api", module)
        monkeypatch.setattr(medcnn, "api", module, raising=False)
        return calls

    return install


@pytest.fixture
def run_folder(tmp_path: Path, evaluation: Evaluation) -> Path:
    """What a finished run leaves for the summary."""
    from medcnn.files import write_json

    folder = tmp_path / "runs" / "trial"
    write_json(folder / "evaluation" / "metrics.json", evaluation.to_json())
    (folder / "cases.csv").write_text("case\n" + "".join(f"{i}\n" for i in range(4997)), encoding="utf-8")
    (folder / "exclusions.csv").write_text(
        'case,path,reason\na,x.png,"cut, off"\nb,y.png,"two\nlines"\nc,z.png,empty\n', encoding="utf-8"
    )
    (folder / "report.html").write_text("<html>", encoding="utf-8")
    return folder


RECIPE = """
task: classification
data:
  adapter: {adapter}
  root: {root}
  split: {split}
input: {{size: [16, 16]}}
model: {{name: basic_cnn, filters: [4], dense: [4]}}
training: {{epochs: 1, batch_size: 8, optimizer: adam, learning_rate: 0.01, precision: "32"}}
evaluation: {{resamples: 100}}
"""
TABLE = "{name: table, label: label, patient: patient}"
FRACTIONS = "{by: fractions, validation: 0.25, test: 0.25}"


class Tiny:
    """Tiny images, tables and recipes in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._generator = np.random.default_rng(0)

    def image(self, path: Path, level: float = 110.0, size: int = 16) -> Path:
        """A noisy grey image."""
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(self._generator.normal(level, 30, (size, size)), 0, 255).astype(np.uint8)).save(path)
        return path

    def table(
        self, rows: Sequence[str] | None = None, *, name: str = "data", header: str = "image,label,patient,site"
    ) -> Path:
        """A folder with 24 images and ``cases.csv``: two classes, two images a patient."""
        root = self.folder / name
        for k in range(24):
            self.image(root / f"{k:02d}.png", 60 if k % 2 else 160)
        text = "\n".join([header, *(self.rows() if rows is None else rows)])
        (root / "cases.csv").write_text(text + "\n", encoding="utf-8")
        return root

    @staticmethod
    def rows() -> list[str]:
        """The lines of the usual table."""
        return [f"{k:02d}.png,{['light', 'dark'][k % 2]},p{k // 2},s{k % 3}" for k in range(24)]

    def folders(self, name: str = "images", count: int = 12, classes: Sequence[str] = ("dark", "bright")) -> Path:
        """A folder a class."""
        root = self.folder / name
        for number, label in enumerate(classes):
            for k in range(count):
                self.image(root / label / f"{k:02d}.png", 60 + 100 * number)
        return root

    def recipe(
        self, root: Path, *, adapter: str = TABLE, split: str = FRACTIONS, name: str = "recipe", more: str = ""
    ) -> Path:
        """A recipe that trains in a second."""
        path = self.folder / f"{name}.yaml"
        path.write_text(RECIPE.format(adapter=adapter, root=root, split=split) + more, encoding="utf-8")
        return path


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    """Makes tiny data in the test's own folder."""
    return Tiny(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data``, ``recipe.yaml`` and a finished ``run``; tests copy what they change."""
    tiny = Tiny(tmp_path_factory.mktemp("finished"))
    recipe = tiny.recipe(tiny.table())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDCNN_CACHE", str(tmp_path_factory.getbasetemp() / "home" / "cache"))
        medcnn.run(recipe, out=tiny.folder / "run")
    return tiny.folder
