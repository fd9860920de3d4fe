"""WebSocket frames as bytes (RFC 6455 §5.2), right and wrong ones: a client writes them, and reads a server's. Pure."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_FIN, _MASKED = 0x80, 0x80


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of the server."""

    opcode: int
    payload: bytes
    fin: bool


def client_frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, masked: bool = True
) -> bytes:
    """One frame of a client, with a mask of zeros; ``reserved`` are bits of the first byte."""
    return frame_head(opcode, len(payload), fin=fin, reserved=reserved, masked=masked) + payload


def frame_head(opcode: int, size: int, *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """What comes before the payload of such a frame."""
    mask = _MASKED if masked else 0
    head = bytes([(_FIN if fin else 0) | reserved | opcode])
    if size < 126:
        head += bytes([mask | size])
    elif size < 1 << 16:
        head += bytes([mask | 126]) + struct.pack("!H", size)
    else:
        head += bytes([mask | 127]) + struct.pack("!Q", size)
    return head + (bytes(4) if masked else b"")


def close_frame(code: int, reason: bytes = b"") -> bytes:
    """A client's goodbye; the code may be one that nobody may send."""
    return client_frame(CLOSE, struct.pack("!H", code) + reason)


class FrameReader:
    """Cuts what a server sends into frames."""

    def __init__(self) -> None:
        self._unread = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take more bytes, and give what is complete."""
        self._unread += data
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        unread = self._unread
        if len(unread) < 2:
            return None
        first, size, at = unread[0], unread[1] & 0x7F, 2
        if size == 126:
            at, size = 4, int.from_bytes(unread[2:4])
        elif size == 127:
            at, size = 10, int.from_bytes(unread[2:10])
        if unread[1] & _MASKED:  # a server must not, and what it says is then of no interest
            at += 4
        if len(unread) < at + size:
            return None
        payload = bytes(unread[at : at + size])
        del unread[: at + size]
        return Frame(first & 0x0F, payload, bool(first & _FIN))
