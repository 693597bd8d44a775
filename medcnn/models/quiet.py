"""Keep what MONAI and its parts print at import away from the user."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

_LOGGERS = ("monai", "matplotlib", "nibabel", "ignite")


@contextlib.contextmanager
def quiet_monai() -> Iterator[None]:
    """Import MONAI inside this block: warnings, prints and log lines of the import are swallowed.

    Errors pass. The logging levels, the warning filters and the streams are as before afterwards::

        with quiet_monai():
            from monai.networks.nets import DenseNet
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
