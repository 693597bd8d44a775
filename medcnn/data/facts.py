"""What is learned of an image while it is read once: the audit and the split need no second look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts of one readable case.

    Attributes:
        case: Id of the case.
        digest: Digest of the decoded pixels, their shape and type: equal exactly for identical images.
        shape: ``(C, X, Y[, Z])`` as read.
        dtype: Type as stored.
        spacing: mm, or ``None``.
        low: Smallest finite value.
        high: Largest finite value.
    """

    case: str
    digest: str
    shape: tuple[int, ...]
    dtype: str
    spacing: tuple[float, ...] | None
    low: float
    high: float
