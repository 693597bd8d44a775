"""The report: from the files of a run to one self-contained page, without knowing the task."""

from __future__ import annotations

from medcnn.report.build import write_report
from medcnn.report.index import write_index

__all__ = ["write_index", "write_report"]
