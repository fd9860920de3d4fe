"""Several frames out of one read: what is sent meanwhile is gathered, and written at once when all were looked at.

A proxy that passes bytes on writes as often as it reads; picows alone would write for each frame. No timer is in this:
the read is over before anything else happens.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from typing import Final

from picows import WSMsgType, WSTransport

HEADER_ROOM: Final = 14
"""What picows wants before a message that it makes a frame of where it lies."""
_TEXT: Final = WSMsgType.TEXT
_LONG: Final = 126
"""A length from here on is written in two bytes more."""
_MOST_PIECES: Final = 32
"""Gathered for one connection, two for each frame, so that congestion is noticed."""


class Burst:
    """The read that is going on; there is one of these in a process.

    Attributes:
        is_on: it has brought more than one frame.
    """

    def __init__(self) -> None:
        self.is_on = False
        self._pieces: defaultdict[asyncio.Transport, list[bytes]] = defaultdict(list)

    def add(self, transport: asyncio.Transport, frame: bytes, after: bytes = b"") -> None:
        """Write a frame, or ``after`` its header what is in it, when the read is over; after those added before."""
        pieces = self._pieces[transport]
        pieces += (after, frame)
        if len(pieces) == _MOST_PIECES:
            _write(transport, self._pieces.pop(transport))

    def write(self) -> None:
        """Write what was gathered: the read is over, or something else must come after it."""
        self.is_on = False
        while self._pieces:
            _write(*self._pieces.popitem())


burst: Final = Burst()


def _write(transport: asyncio.Transport, pieces: list[bytes]) -> None:
    if not transport.is_closing():
        transport.write(b"".join(pieces))


def header(size: int) -> bytes:
    """What comes before a server's message of less than 64 KiB, which is sent as it is (RFC 6455 §5.2)."""
    return b"\x81%c" % size if size < _LONG else b"\x81\x7e" + size.to_bytes(2)


class Masking:
    """Makes a client's text frames as picows makes those that it sends, masked. Keeps nothing of them."""

    def __init__(self) -> None:
        sheet = _Sheet()
        self._take = sheet.take
        # The stub knows no constructor.
        picows = WSTransport(True, sheet, logging.getLogger("picows"), sheet)  # type: ignore[call-arg]
        self._send = picows.send_reuse_external_bytearray

    def frame(self, text: bytes) -> bytes:
        """The frame of one message."""
        self._send(_TEXT, bytearray(HEADER_ROOM) + text, HEADER_ROOM)
        return self._take()


class _Sheet:
    """What picows writes on in place of a transport and its loop; being secure, no socket is written to past it."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self.write = self._written.append
        self.take = self._written.pop

    def get_extra_info(self, _: str) -> _Sheet:
        return self

    def get_write_buffer_size(self) -> int:
        return 0

    def fileno(self) -> int:
        return -1

    def create_future(self) -> None:
        """Nobody waits for its end."""
