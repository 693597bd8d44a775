"""Dates as tables and DICOM headers write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from medcnn.types import Attribute

_PARTIAL = re.compile(r"(\d{4})(?:-(\d{1,2}))?")
_DICOM = re.compile(r"(\d{4})[.]?(\d{2})[.]?(\d{2})(?:\d{2,6}(?:\.\d+)?(?:[+-]\d{4})?)?")


def parse_date(value: Attribute) -> datetime | None:
    """A point in time, or ``None`` where the value is no date that can be read in one way only.

    Read are ISO 8601 (``2024-05-31``, with a time or without), DICOM's DA and DT (``20240531``; the day alone), a month
    (``2024-05``) and a year (``2024``), which stand for their first day. Not read is what may be
    day or month first (``05/06/2024``). Times with a zone are compared in UTC, others as they are.
    """
    if value is None or value != value:
        return None
    if isinstance(value, float):
        if not value.is_integer():
            return None
        value = int(value)
    text = str(value).strip()
    try:
        if match := _PARTIAL.fullmatch(text):
            return datetime(int(match[1]), int(match[2] or 1), 1)
        if match := _DICOM.fullmatch(text):
            return datetime(int(match[1]), int(match[2]), int(match[3]))
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
