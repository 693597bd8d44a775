"""Where the user's caches lie."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache_folder() -> Path:
    """``$MEDCNN_CACHE``, else ``~/.cache/medcnn/cache``."""
    place = os.environ.get("MEDCNN_CACHE")
    return Path(place).expanduser() if place else Path.home() / ".cache" / "medcnn" / "cache"
