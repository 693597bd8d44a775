"""The command ``medcnn``: every error that a user can cause ends in one message."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from collections.abc import Sequence

from medcnn.errors import MedcnnError

EXIT_INTERRUPTED = 130
_RESUMABLE = ("run", "train", "convert")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; those of the process where they are absent.

    Returns:
        The exit code: 0, 1 for a mistake of medcnn's own, 2 for an error that the user can mend, 130 for Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [a for a in given if a != "--debug"]
    if not debug:
        _quiet()
    try:
        from medcnn.cli.app import Interrupted, app
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    try:
        app(args=given, prog_name="medcnn")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Interrupted:
        # Of the processes of a launcher, which all end, the first one speaks.
        if os.environ.get("RANK", "0") == "0":
            print(f"\n{_how_to_resume(given)}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        if debug:
            raise
        return _explain(error)
    return 0


def _explain(error: Exception) -> int:
    """Say what went wrong, without a traceback; returns the exit code."""
    known = error if isinstance(error, MedcnnError) else _user_error(error)
    if known is not None:
        print(f"{_red('error:')} {known}", file=sys.stderr)
        return known.exit_code
    text = str(error).strip().partition("\n")[0]
    print(f"{_red('internal error:')} {type(error).__name__}{': ' + text if text else ''}", file=sys.stderr)
    print("  this is a mistake in medcnn: run it again with --debug and report what it prints", file=sys.stderr)
    return 1


def _user_error(error: Exception) -> MedcnnError | None:
    """What the operating system refuses is the user's to mend, wherever it was met."""
    if not isinstance(error, OSError):
        return None
    place = str(error.filename or "")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        from medcnn.files import explain

        return explain(error, place)
    if isinstance(error, PermissionError):
        return MedcnnError("permission denied", where=place, todo="ask for the permission, or choose another place")
    return None


def _how_to_resume(given: Sequence[str]) -> str:
    if not given or given[0] not in _RESUMABLE:
        return "interrupted"
    command = [*given, *(() if "--resume" in given else ("--resume",))]
    return f"interrupted; to go on: medcnn {shlex.join(command)}"


def _red(text: str) -> str:
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return f"\x1b[31m{text}\x1b[0m" if coloured else text


def _quiet() -> None:
    """Keep what the libraries print away from the user; ``--debug`` shows all of it.

    Lightning gives its loggers a level and a handler of their own unless the root logger has one, so the
    root gets one first. Worker processes and C++ code look at the environment alone.
    """
    import logging
    import warnings

    def swallow(*_: object, **__: object) -> None:
        """Nothing."""

    warnings.showwarning = swallow
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setLevel(logging.ERROR)
        # It tells each decoder's failure with a traceback, also where the next decoder succeeds.
        handler.addFilter(lambda record: not record.name.startswith("pydicom"))
        root.addHandler(handler)


if __name__ == "__main__":
    sys.exit(main())
