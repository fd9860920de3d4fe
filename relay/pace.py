"""How fast a browser may send: a bucket that refills with time. Pure: the time is an argument."""

from __future__ import annotations

from service_kit.session_token import Limits

MESSAGE_BURST_SECONDS = 2
MAX_AUDIO_SPEED = 2
"""Beyond its burst, audio may run at most this many times as fast as real time (security reference §1)."""


class Bucket:
    """Holds at most ``capacity`` and refills by ``per_second``; it starts full at ``now`` (seconds)."""

    __slots__ = ("_at", "_capacity", "_left", "_per_second")

    def __init__(self, capacity: float, per_second: float, now: float) -> None:
        self._capacity = capacity
        self._per_second = per_second
        self._left = capacity
        self._at = now

    def take(self, amount: float, now: float) -> bool:
        """Take ``amount`` at ``now``; False, and nothing is taken, if there is not enough."""
        left = self._left + (now - self._at) * self._per_second
        if left > self._capacity:  # twice as fast as min()
            left = self._capacity
        self._at = now
        if left < amount:
            self._left = left
            return False
        self._left = left - amount
        return True


def message_bucket(limits: Limits, now: float) -> Bucket:
    """Whole messages: bursts of two seconds' worth pass."""
    rate = limits.max_messages_per_second
    return Bucket(MESSAGE_BURST_SECONDS * rate, rate, now)


def audio_bucket(limits: Limits, now: float) -> Bucket:
    """Milliseconds of audio: a burst may run ahead of real time, what follows at most twice as fast."""
    return Bucket(limits.audio_burst_seconds * 1000, MAX_AUDIO_SPEED * 1000, now)
