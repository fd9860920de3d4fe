"""When Redis may be asked: a breaker, so that a slow Redis makes nobody wait in line. Pure: the time is an argument.

One question that waits in vain opens it; those that asked before have their own second to wait. While it is open
nothing that counts is sent, for a redemption whose answer comes too late is a token lost: from time to time a single
question is preceded by a PING, and all others are refused at once.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

SLOW_SECONDS: Final = 0.5
"""A question that waits longer than this, and then fails, opens the breaker."""
RETRY_SECONDS: Final = 0.5
"""How long nobody asks after that."""


class Verdict(Enum):
    """What becomes of a question."""

    ASK = "ask"
    PROBE_FIRST = "probe first"
    """Send a PING; ask only if it is answered."""
    REFUSE = "refuse"


class Breaker:
    """One Redis' breaker; times are seconds of one clock that never goes back."""

    def __init__(self) -> None:
        self._waiting: dict[int, float] = {}
        self._asked = 0
        self._probe_at: float | None = None
        self._probing: int | None = None
        self._closed_at = float("-inf")

    def ask(self, now: float) -> tuple[Verdict, int]:
        """The verdict on one more question, and its number for the calls below, unless it was refused."""
        verdict = self._judge(now)
        if verdict is not Verdict.REFUSE:
            self._asked += 1
            self._waiting[self._asked] = now
        if verdict is Verdict.PROBE_FIRST:
            self._probing = self._asked
        return verdict, self._asked

    def _judge(self, now: float) -> Verdict:
        if self._probe_at is not None:
            return Verdict.PROBE_FIRST if self._probing is None and now >= self._probe_at else Verdict.REFUSE
        return Verdict.ASK

    def probe_answered(self, now: float) -> None:
        """The PING came back in time: everybody may ask again."""
        self._probe_at = self._probing = None
        self._closed_at = now

    def failed(self, number: int, now: float) -> None:
        """The question got no answer, or an error; only if that took long is it the breaker's business.

        Not if it was asked before a PING that was answered since: what it met is over.
        """
        asked_at = self._waiting[number]
        was_slow = now - asked_at >= SLOW_SECONDS and asked_at >= self._closed_at
        if self._probing == number or was_slow:
            self._probe_at = now + RETRY_SECONDS

    def done(self, number: int) -> None:
        """Nobody waits for the question any more, however it ended."""
        del self._waiting[number]
        if self._probing == number:
            self._probing = None
