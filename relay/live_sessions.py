"""The sessions that are live in this process: how many fit, and how they are told that the process stops."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

from relay.control import Revocable
from service_kit.errors import Refusal
from service_kit.telemetry import Telemetry

RETRY_AFTER_SECONDS: Final = 2
MAX_GOODBYES: Final = 256
CLOSING_SECONDS: Final = 3
"""How long before the drain's end the remaining sessions are closed."""


class LiveSession(Revocable, Protocol):
    """What drain and orders need of a session."""

    def announce_drain(self, ends_at: float) -> None:
        """Tell the browser, if it understands; ``ends_at`` is in Unix seconds."""

    def drain(self) -> None:
        """End the session because the process stops."""

    def time_frames(self) -> None:
        """Measure how long the next frame each way is in this process."""


class LiveSessions:
    """The places of this process.

    Attributes:
        draining: no new session is admitted.
    """

    def __init__(self, max_sessions: int) -> None:
        self._max_sessions = max_sessions
        self._place = _Place(self)
        self._taken = 0
        self._goodbyes = 0
        self._sessions: set[LiveSession] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self.draining = False

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(self._sessions)

    def place(self) -> AbstractContextManager[None]:
        """Occupy one place while the block runs. It raises Refusal when draining or full."""
        return self._place

    def take(self) -> None:
        """Occupy a place. Raises Refusal."""
        if self.draining:
            raise Refusal("draining", retry_after=RETRY_AFTER_SECONDS)
        if self._taken >= self._max_sessions:
            raise Refusal("unavailable", retry_after=RETRY_AFTER_SECONDS)
        self._taken += 1
        self._empty.clear()

    def leave(self) -> None:
        """Give one back."""
        self._taken -= 1
        if not self._taken:
            self._empty.set()

    @contextmanager
    def goodbye(self) -> Iterator[bool]:
        """Whether a refused client may be told by a WebSocket: each holds a connection for a moment."""
        if self._goodbyes >= MAX_GOODBYES:
            yield False
            return
        self._goodbyes += 1
        try:
            yield True
        finally:
            self._goodbyes -= 1

    def listed(self, session: LiveSession) -> AbstractContextManager[None]:
        """Make the session known while the block runs; one that starts during a drain ends at once."""
        return _Listed(self, session)

    def add(self, session: LiveSession) -> None:
        """Make it known."""
        self._sessions.add(session)
        if self.draining:
            session.drain()

    def remove(self, session: LiveSession) -> None:
        """Forget it."""
        self._sessions.discard(session)

    async def drain(self, seconds: float, at_once: asyncio.Event, *, now: float) -> None:
        """Admit nobody, tell everybody, wait, then end who is left; returns after at most ``seconds``.

        ``at_once`` cuts the waiting short; ``now`` is in Unix seconds.
        """
        self.draining = True
        waiting = max(0.0, seconds - CLOSING_SECONDS)
        for session in tuple(self._sessions):
            session.announce_drain(now + waiting)
        hurried = asyncio.create_task(at_once.wait())
        emptied = asyncio.create_task(self._empty.wait())
        try:
            await asyncio.wait({hurried, emptied}, timeout=waiting, return_when=asyncio.FIRST_COMPLETED)
            for session in tuple(self._sessions):
                session.drain()
            await asyncio.wait({emptied}, timeout=CLOSING_SECONDS - 0.5)
        finally:
            hurried.cancel()
            emptied.cancel()


# Not generators: a session stands within both for as long as it lives, and those would take a kilobyte.


class _Place:
    __slots__ = ("_live",)

    def __init__(self, live: LiveSessions) -> None:
        self._live = live

    def __enter__(self) -> None:
        self._live.take()

    def __exit__(self, *_: object) -> None:
        self._live.leave()


class _Listed:
    __slots__ = ("_live", "_session")

    def __init__(self, live: LiveSessions, session: LiveSession) -> None:
        self._live = live
        self._session = session

    def __enter__(self) -> None:
        self._live.add(self._session)

    def __exit__(self, *_: object) -> None:
        self._live.remove(self._session)


def look_at(live: LiveSessions, telemetry: Telemetry) -> None:
    """Tell how many sessions there are, and have one of them, by chance, time a frame: the others pay nothing."""
    sessions = tuple(live)
    telemetry.gauge("airlock_live_sessions", len(sessions))
    if sessions:
        random.choice(sessions).time_frames()  # noqa: S311 - no secret
