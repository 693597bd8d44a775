"""Networks by name, their losses, their weights, and a description of their layers.

Importing this package imports no torch; building a network does.
"""

from __future__ import annotations

from medcnn.models.build import build_network

__all__ = ["build_network"]
