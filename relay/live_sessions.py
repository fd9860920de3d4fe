"""The sessions that are live in this process: how many fit, and how they are told that the process stops."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator
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

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Occupy one place while the block runs. Raises Refusal when draining or full."""
        if self.draining:
            raise Refusal("draining", retry_after=RETRY_AFTER_SECONDS)
        if self._taken >= self._max_sessions:
            raise Refusal("unavailable", retry_after=RETRY_AFTER_SECONDS)
        self._taken += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._taken -= 1
            if not self._taken:
                self._empty.set()

    @contextlib.contextmanager
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

    @contextlib.contextmanager
    def listed(self, session: LiveSession) -> Iterator[None]:
        """Make the session known while the block runs; one that starts during a drain ends at once."""
        self._sessions.add(session)
        if self.draining:
            session.drain()
        try:
            yield
        finally:
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


def look_at(live: LiveSessions, telemetry: Telemetry) -> None:
    """Tell how many sessions there are, and have one of them, by chance, time a frame: the others pay nothing."""
    sessions = tuple(live)
    telemetry.gauge("airlock_live_sessions", len(sessions))
    if sessions:
        random.choice(sessions).time_frames()  # noqa: S311 - no secret
