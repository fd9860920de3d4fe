"""What the relay needs from one end of a session, whatever library speaks WebSocket underneath."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from aiohttp import web

HEARTBEAT_SECONDS: Final = 20.0
"""Time between pings to one who is silent; the answer may take half as long."""
CLOSE_SECONDS: Final = 1.5
"""A lease is freed within 2 s of its session's end, so the goodbyes must be shorter."""
MAX_UNWRITTEN_BYTES: Final = 262_144
"""More than this waiting to be written is congestion."""
DRAINED_BYTES: Final = MAX_UNWRITTEN_BYTES // 4
"""No more than this waiting to be written, and the congestion is over."""


MEASURING: Final = b"round trip"
"""What is in a ping whose way is measured, unlike that of a heartbeat."""


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
        on_control: called for each ping and pong of the other side. They are answered without it; it may count them.
        on_congestion: called with True when more is waiting to be written than the bound, with False when it drained.
        round_trip: seconds from the last answered :meth:`measure` to its answer; None before the first.
        ended: completes once, when the other side is gone; never cancelled by the channel itself.
    """

    on_frame: Callable[[bytes], None]
    on_control: Callable[[], None]
    on_congestion: Callable[[bool], None]
    round_trip: float | None
    ended: asyncio.Future[ChannelEnd]

    def send(self, frame: bytes) -> None:
        """Write one text message; silently nothing once the channel is gone."""

    def measure(self) -> None:
        """Send a ping for ``round_trip``, unless the one before is still unanswered."""

    def pause(self) -> None:
        """Stop reading until :meth:`resume`; the sender is held back by TCP."""

    def resume(self) -> None:
        """Read on."""

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye with a close frame and let go of the connection, within two seconds."""


class OpenChannel(Channel, AbstractAsyncContextManager["OpenChannel"], Protocol):
    """A channel as its maker gives it: it is read from the start of its ``async with`` block, and cut at the end."""


class NotConnected(Exception):
    """A dialled server is not there, broke off, or answered with an HTTP status other than 101.

    Attributes:
        why: the kind of error, for our logs.
        status: the HTTP status, if there was one.
        retry_after: its Retry-After header, as it came; may be empty.
    """

    def __init__(self, why: str, status: int | None = None, retry_after: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.status = status
        self.retry_after = retry_after


class WebSockets(Protocol):
    """One WebSocket library: makes channels of both sides.

    Attributes:
        hand_over: whether aiohttp has no part in an accepted connection once its channel is read.
    """

    hand_over: bool

    async def accept(
        self, request: web.Request, *, subprotocol: str | None, max_message_bytes: int
    ) -> tuple[web.StreamResponse, OpenChannel]:
        """Answer an admitted upgrade: the response, and the client's end. Raises ConnectionError when it is gone."""
        ...

    async def connect(
        self, url: str, headers: Mapping[str, str], on_frame: Callable[[bytes], None], *, max_message_bytes: int
    ) -> OpenChannel:
        """Dial once, without redirects or proxies; ``on_frame`` gets the frames from the first. Raises NotConnected."""
        ...


def ignore(*_: object) -> None:
    """Do nothing: what a channel's callbacks are until somebody sets them."""


def is_utf8(text: bytes) -> bool:
    """Whether a text message is one."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def sendable_code(code: int) -> int:
    """``code``, or 1000 for those that only note how a connection ended (RFC 6455 §7.4.1)."""
    return 1000 if code in (1004, 1005, 1006, 1015) or not 1000 <= code < 5000 else code
