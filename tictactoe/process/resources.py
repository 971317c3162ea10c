"""How resources are counted."""

from __future__ import annotations

PARTS = 10_000
"""Ray counts a resource in whole ten-thousandths."""


def shares(there: float, each: float) -> int:
    """How many shares of a resource there are, each of so much, as Ray counts them: 10 of 0.1 in 1, where `//` says 9."""
    return round(there * PARTS) // max(1, round(each * PARTS))
