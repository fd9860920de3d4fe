"""What the relay needs from one end of a session, whatever library speaks WebSocket underneath."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class How(Enum):
    """The way an end went away."""

    CLOSED = "closed"
    """It sent a close frame; ``ChannelEnd.code`` is what it said, None if it said nothing."""
    VANISHED = "vanished"
    """The connection broke, or pings went unanswered."""
    INVALID = "invalid"
    """It broke the WebSocket protocol; ``ChannelEnd.code`` is the close code that says how (1002, 1003, 1007, 1009)."""


@dataclass(frozen=True, slots=True)
class ChannelEnd:
    """How one end of a session went away."""

    how: How
    code: int | None = None


class Channel(Protocol):
    """One end of a session: whole text messages as bytes of valid UTF-8, by callback.

    Attributes:
        on_frame: called with each message; it must not block. What it raises ends the channel with that exception.
        on_congestion: called with True when more is waiting to be written than the bound, with False when it drained.
        ended: completes once, when the other side is gone; never cancelled by the channel itself.
    """

    on_frame: Callable[[bytes], None]
    on_congestion: Callable[[bool], None]
    ended: asyncio.Future[ChannelEnd]

    def send(self, frame: bytes) -> None:
        """Write one text message; silently nothing once the channel is gone."""

    def pause(self) -> None:
        """Stop reading until :meth:`resume`; the sender is held back by TCP."""

    def resume(self) -> None:
        """Read on."""

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye with a close frame and let go of the connection, within two seconds."""
