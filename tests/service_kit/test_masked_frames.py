"""Frames of a client must be masked; the bytes of those that are pass untouched, however they are cut."""

import os
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from service_kit.masked_frames import MaskedFrames


class RecordingParser:
    """Keeps what it is fed."""

    def __init__(self) -> None:
        self.fed = b""
        self.eof = False

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.fed += data
        return False, b""

    def feed_eof(self) -> None:
        self.eof = True


def frame(payload: bytes, *, masked: bool = True, opcode: int = 1) -> bytes:
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes([0x80 | opcode, bit | size])
    elif size < 65_536:
        head = bytes([0x80 | opcode, bit | 126]) + size.to_bytes(2)
    else:
        head = bytes([0x80 | opcode, bit | 127]) + size.to_bytes(8)
    return head + (os.urandom(4) if masked else b"") + payload


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    for size in [*sizes, len(data)]:
        yield data[at : at + size]
        at += size


payloads = st.lists(st.one_of(st.binary(max_size=300), st.sampled_from([b"x" * 65_535, b"x" * 70_000])), max_size=6)
cuts = st.lists(st.integers(1, 200), max_size=40)


@given(payloads, cuts)
def test_masked_frames_pass_byte_for_byte(payloads: list[bytes], sizes: list[int]) -> None:
    parser = RecordingParser()
    guard = MaskedFrames(parser)
    stream = b"".join(map(frame, payloads))
    for piece in cut(stream, sizes):
        guard.feed_data(piece)
    assert parser.fed == stream


@given(payloads, st.binary(max_size=200), cuts)
def test_an_unmasked_frame_never_reaches_the_parser(payloads: list[bytes], hostile: bytes, sizes: list[int]) -> None:
    parser = RecordingParser()
    guard = MaskedFrames(parser)
    before = b"".join(map(frame, payloads))
    for piece in cut(before + frame(hostile, masked=False) + frame(b"after"), sizes):
        guard.feed_data(piece)
    assert parser.fed == before + b"\xf0\x00"


def test_the_end_of_the_connection_is_passed_on() -> None:
    parser = RecordingParser()
    MaskedFrames(parser).feed_eof()
    assert parser.eof
