"""A session's clocks: its time limit, the warnings before it, and idleness."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

WARN_AT_SECONDS: Final = (60, 10)


class Clocks:
    """Runs from its making until :meth:`stop`.

    ``quiet_since`` gives the event loop's time of the last activity; ``warn`` is given the seconds left.
    """

    def __init__(
        self,
        *,
        max_session_seconds: int,
        idle_seconds: int,
        quiet_since: Callable[[], float],
        warn: Callable[[int], None],
        time_is_up: Callable[[], None],
        is_idle: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle_seconds = idle_seconds
        self._quiet_since = quiet_since
        self._is_idle = is_idle
        self._timers = [self._loop.call_later(max_session_seconds, time_is_up)]
        for seconds_left in WARN_AT_SECONDS:
            if max_session_seconds > seconds_left:
                self._timers.append(self._loop.call_later(max_session_seconds - seconds_left, warn, seconds_left))
        self._idle_timer = self._loop.call_later(idle_seconds, self._look_for_idleness)

    def stop(self) -> None:
        """Cancel them all."""
        for timer in (*self._timers, self._idle_timer):
            timer.cancel()

    def _look_for_idleness(self) -> None:
        """Activity only notes its time; this looks again when it could be over."""
        left = self._quiet_since() + self._idle_seconds - self._loop.time()
        if left <= 0:
            self._is_idle()
        else:
            self._idle_timer = self._loop.call_later(left, self._look_for_idleness)
