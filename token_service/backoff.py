"""How long a caller is asked to wait that mints too fast: longer each time. Pure."""

from __future__ import annotations

from typing import Final

FIRST_SECONDS: Final = 60
LONGEST_SECONDS: Final = 900
REMEMBERED_SECONDS: Final = 3_600


def retry_after_seconds(breaches: int) -> int:
    """What the ``breaches``-th refusal within an hour is told: 1 min, 2, 4, 8, then 15 min."""
    doublings = min(breaches - 1, LONGEST_SECONDS.bit_length())  # no need for the powers beyond
    return min(FIRST_SECONDS << doublings, LONGEST_SECONDS)
