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
        self._ends_at = self._loop.time() + max_session_seconds
        self._warn = warn
        self._time_is_up = time_is_up
        self._idle_seconds = idle_seconds
        self._quiet_since = quiet_since
        self._is_idle = is_idle
        self._timer = self._next(*(each for each in WARN_AT_SECONDS if max_session_seconds > each), 0)
        self._idle_timer = self._loop.call_later(idle_seconds, self._look_for_idleness)

    def stop(self) -> None:
        """Cancel them all."""
        self._timer.cancel()
        self._idle_timer.cancel()

    def _next(self, seconds_left: int, *later: int) -> asyncio.TimerHandle:
        """One timer at a time: each sets the next."""
        return self._loop.call_at(self._ends_at - seconds_left, self._strike, seconds_left, *later)

    def _strike(self, seconds_left: int, *later: int) -> None:
        if not later:
            self._time_is_up()
            return
        self._timer = self._next(*later)
        self._warn(seconds_left)

    def _look_for_idleness(self) -> None:
        """Activity only notes its time; this looks again when it could be over."""
        left = self._quiet_since() + self._idle_seconds - self._loop.time()
        if left <= 0:
            self._is_idle()
        else:
            self._idle_timer = self._loop.call_later(left, self._look_for_idleness)
