"""The command line in-process: exit code, standard output and standard error."""

from __future__ import annotations

import logging
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

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
