"""A session's clocks: its time limit, the warnings before it, and idleness."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

WARN_AT_SECONDS: Final = (60, 10)


class Timed(Protocol):
    """A session, as its clocks see it."""

    def quiet_since(self) -> float:
        """The event loop's time of the last activity."""

    def warn(self, seconds_left: int) -> None:
        """Its time will soon be up."""

    def time_is_up(self) -> None:
        """It has lasted as long as it may."""

    def is_idle(self) -> None:
        """Nothing has happened for too long."""


class Clocks:
    """Runs from its making until :meth:`stop`, by one timer: the next thing that may be due sets the one after it."""

    __slots__ = ("_ends_at", "_idle_seconds", "_loop", "_session", "_strikes", "_timer")

    def __init__(self, session: Timed, *, max_session_seconds: int, idle_seconds: int) -> None:
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + max_session_seconds
        self._idle_seconds = idle_seconds
        self._strikes = (*(each for each in WARN_AT_SECONDS if max_session_seconds > each), 0)
        self._timer = self._next()

    def stop(self) -> None:
        """Nothing is due any more."""
        self._timer.cancel()

    def _next(self) -> asyncio.TimerHandle:
        return self._loop.call_at(min(self._ends_at - self._strikes[0], self._idle_at()), self._look)

    def _idle_at(self) -> float:
        """Activity only notes its time; this is when it could be over."""
        return self._session.quiet_since() + self._idle_seconds

    def _look(self) -> None:
        now = self._loop.time()
        if now >= self._ends_at:
            self._session.time_is_up()
        elif now >= self._idle_at():
            self._session.is_idle()
        else:
            if now >= self._ends_at - self._strikes[0]:
                seconds_left, *later = self._strikes
                self._strikes = tuple(later)
                self._session.warn(seconds_left)
            self._timer = self._next()
