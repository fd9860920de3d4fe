"""Refuses unmasked WebSocket frames of a client, which aiohttp's reader would take (RFC 6455 §5.1).

Only frame headers are looked at: two to fourteen bytes each, then the payload is skipped by its length.
"""

from __future__ import annotations

from typing import Final, Protocol

_RESERVED_BITS: Final = b"\xf0\x00"
"""A frame header that every reader refuses as a protocol error; the parser is given it in place of the frame."""


class FrameParser(Protocol):
    """What aiohttp's connection asks of a WebSocket parser."""

    def feed_data(self, data: bytes, /) -> tuple[bool, bytes]:
        """Take bytes; True when the connection should close."""

    def feed_eof(self) -> None:
        """The connection is gone."""


class MaskedFrames:
    """Passes a client's bytes to the parser until a frame header without the mask bit comes by."""

    def __init__(self, parser: FrameParser) -> None:
        self._parser = parser
        self._held = b""
        self._payload_left = 0
        self._refused = False

    def feed_eof(self) -> None:
        """The connection is gone."""
        self._parser.feed_eof()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes; the frames before an unmasked one still count, and nothing after it does."""
        if self._refused:
            return False, b""
        data = self._held + data
        fine = self._follow(data)
        self._held = data[fine:]  # the beginning of a header: it is passed on when it is whole
        outcome = self._parser.feed_data(data[:fine])
        return self._parser.feed_data(_RESERVED_BITS) if self._refused else outcome

    def _follow(self, data: bytes) -> int:
        """How many of these bytes come before a header that is not whole yet, or that breaks the rule."""
        at = 0
        while at < len(data):
            if self._payload_left:
                step = min(self._payload_left, len(data) - at)
                self._payload_left -= step
                at += step
                continue
            if len(data) - at < 2:
                break
            length = data[at + 1] & 0x7F
            if not data[at + 1] & 0x80:
                self._refused = True
                break
            extended = {126: 2, 127: 8}.get(length, 0)
            payload_at = at + 2 + extended + 4
            if len(data) < payload_at:
                break
            self._payload_left = int.from_bytes(data[at + 2 : at + 2 + extended]) if extended else length
            at = payload_at
        return at
