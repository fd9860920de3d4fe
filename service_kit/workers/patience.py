"""How long a parent waits for what. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """In seconds, but for the last.

    Attributes:
        silent: a worker that reports nothing for so long hangs, and is killed.
        steady: who did not serve for so long had a short life; after several in a row comes a pause that doubles.
        longest_pause: between two tries to fill a place.
        beyond_drain: how much longer than ``DRAIN_SECONDS`` a worker may take to leave.
        at_once: how long it may take when it must not drain.
        failed_starts: so many in a row, with nobody serving, and the parent gives up.
    """

    silent: int = 30
    steady: float = 10
    longest_pause: float = 30
    beyond_drain: float = 2
    at_once: float = 6
    failed_starts: int = 5

    def pause(self, short_lives: int) -> float:
        """How long to wait after so many short lives in a row, in one place: none after the first, then 1, 2, 4…"""
        return min(self.longest_pause, 2.0 ** min(short_lives - 2, 20)) if short_lives > 1 else 0.0
