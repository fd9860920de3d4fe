"""How fast a browser may send: a bucket that refills with time. Pure: the time is an argument."""

from __future__ import annotations

from typing import Final

from service_kit.session_token import Limits

MESSAGE_BURST_SECONDS = 2
MAX_AUDIO_SPEED = 2
"""Beyond its burst, audio may run at most this many times as fast as real time (security reference §1)."""

_ROUNDING_SECONDS: Final = 1e-6
"""More than the rounding of many sums, and less than anybody can send anything in."""


class Bucket:
    """Holds at most ``capacity`` and refills by ``per_second``; it starts full at ``now`` (seconds).

    Kept as the one time at which it will be full again, which is all that there is to know of it.
    """

    __slots__ = ("_fills_in", "_full_at", "_seconds_each")

    def __init__(self, capacity: float, per_second: float, now: float) -> None:
        self._seconds_each = 1 / per_second
        self._fills_in = capacity * self._seconds_each + _ROUNDING_SECONDS
        self._full_at = now

    def take(self, amount: float, now: float) -> bool:
        """Take ``amount`` at ``now``; False, and nothing is taken, if there is not enough."""
        full_at = self._full_at
        if full_at < now:  # a third of what max() would cost
            full_at = now
        full_at += amount * self._seconds_each
        if full_at - now > self._fills_in:
            return False
        self._full_at = full_at
        return True


def message_bucket(limits: Limits, now: float) -> Bucket:
    """Whole messages: bursts of two seconds' worth pass."""
    rate = limits.max_messages_per_second
    return Bucket(MESSAGE_BURST_SECONDS * rate, rate, now)


def audio_bucket(limits: Limits, now: float) -> Bucket:
    """Milliseconds of audio: a burst may run ahead of real time, what follows at most twice as fast."""
    return Bucket(limits.audio_burst_seconds * 1000, MAX_AUDIO_SPEED * 1000, now)
