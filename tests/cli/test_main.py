"""How the command line ends: exit codes, one message, no traceback."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medcnn.cli.main import main
from medcnn.errors import DataError

Command = Callable[..., Any]
Fake = Callable[..., list[Any]]


def real(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run([sys.executable, "-m", "medcnn", *arguments], capture_output=True, text=True, check=False)


def test_help_names_the_commands_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from medcnn.cli.main import main; assert main(['--help']) == 0\n"
        "heavy = ('torch', 'monai', 'lightning', 'pydantic', 'pandas', 'numpy', 'scipy', 'yaml')\n"
        "print([m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    for command in ("recipes", "cp", "validate", "run", "train", "evaluate", "predict", "report", "data", "models"):
        assert command in done.stdout


@pytest.mark.parametrize("command", ["run", "evaluate", "predict", "data", "data phantom", "models describe", "doctor"])
def test_every_command_has_help(command: str, medcnn_command: Command) -> None:
    assert medcnn_command(*command.split(), "--help").code == 0


def test_the_version_is_told(medcnn_command: Command) -> None:
    from medcnn import __version__

    assert medcnn_command("--version").out == f"medcnn {__version__}\n"


def test_a_mistake_of_the_user_is_one_message_and_exit_code_2(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("task: classification\nsed: 3\nmodel: densnet\n", encoding="utf-8")
    done = real("run", str(path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith(f"error: 4 problems in the recipe:\n  {path}:1: data: is missing\n")
    assert "r.yaml:2: sed: unknown key (did you mean 'seed'?)" in done.stderr
    assert "r.yaml:3: model.name: unknown name 'densnet' among the networks (did you mean 'densenet'?)" in done.stderr


def test_debug_shows_the_traceback(medcnn_command: Command) -> None:
    from medcnn.errors import MedcnnError

    with pytest.raises(MedcnnError):
        main(["validate", "quickstrat", "--debug"])


def test_an_error_of_the_data_says_what_where_and_what_to_do(medcnn_command: Command, fake_api: Fake) -> None:
    fake_api(run=DataError("no class folders", where="/data/x", todo="set data.root=FOLDER"))
    done = medcnn_command("run", "quickstart_abdomen")
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith("error: /data/x: no class folders\n  set data.root=FOLDER\n")


def test_an_internal_error_is_one_line_and_exit_code_1(medcnn_command: Command, fake_api: Fake) -> None:
    fake_api(run=ZeroDivisionError("division by zero"))
    done = medcnn_command("run", "quickstart_abdomen")
    assert done.code == 1
    assert "internal error: ZeroDivisionError: division by zero" in done.err
    assert "--debug" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/full/x.bin"), "free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "/secret"), "/secret: permission denied"),
    ],
)
def test_what_the_system_refuses_is_the_users_to_mend(
    error: OSError, text: str, medcnn_command: Command, fake_api: Fake
) -> None:
    fake_api(run=error)
    done = medcnn_command("run", "quickstart_abdomen")
    assert done.code == 2
    assert text in done.err


def test_ctrl_c_tells_how_to_resume(medcnn_command: Command, fake_api: Fake) -> None:
    fake_api(run=KeyboardInterrupt(), predict=KeyboardInterrupt())
    done = medcnn_command("run", "quickstart_abdomen", "title=two words", "--out", "my runs")
    assert done.code == 130
    assert done.err.endswith(
        "interrupted; to go on: medcnn run quickstart_abdomen 'title=two words' --out 'my runs' --resume\n"
    )
    done = medcnn_command("run", "quickstart_abdomen", "--resume")
    assert done.err.count("--resume") == 1
    done = medcnn_command("predict", "model.pt", "x.png")
    assert (done.code, done.err) == (130, "\ninterrupted\n")


def test_ctrl_c_is_seen_through_a_trainer_that_exits_by_itself(
    medcnn_command: Command, fake_api: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any, **__: Any) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    fake_api()
    monkeypatch.setattr(sys.modules["medcnn.api"], "run", run, raising=False)
    done = medcnn_command("run", "quickstart_abdomen")
    assert done.code == 130
    assert "--resume" in done.err


def test_a_closed_pipe_is_quiet() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "medcnn", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # Before anything is written: what fits into the pipe would go through.
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 1


def test_unknown_commands_and_options_are_usage_errors(medcnn_command: Command) -> None:
    done = medcnn_command("evaluat")
    assert done.code == 2
    assert "Did you mean 'evaluate'" in done.err
    assert medcnn_command("run").code == 2
    assert medcnn_command("run", "quickstart", "--restart").code == 2


def test_what_libraries_say_does_not_reach_the_user(
    medcnn_command: Command, fake_api: Fake, recwarn: pytest.WarningsRecorder
) -> None:
    class Noisy:
        @property
        def folder(self) -> Path:
            warnings.warn("deprecated", FutureWarning, stacklevel=1)
            logging.getLogger("lightning.pytorch.utilities").warning("use more workers")
            logging.getLogger("monai").info("hello")
            return Path("runs/x")

    fake_api(run=Noisy())
    done = medcnn_command("run", "quickstart_abdomen")
    assert (done.code, done.err) == (0, "")
    assert not recwarn.list
