"""What MONAI prints at import does not reach the user."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import pytest

from medcnn.models.quiet import quiet_monai


def test_prints_warnings_and_logs_are_swallowed(capfd: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger("monai").level
    with quiet_monai():
        print("out")
        print("err", file=sys.stderr)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logging.getLogger("monai").warning("a line")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("monai").level == level
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)


def test_errors_pass() -> None:
    with pytest.raises(ImportError), quiet_monai():
        raise ImportError("gone")


def test_a_monai_network_is_built_without_a_word() -> None:
    code = (
        "from medcnn.models import build_network; "
        "build_network('resnet', {'depth': 10}, spatial_dims=2, in_channels=1, outputs=2, size=(16, 16))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
