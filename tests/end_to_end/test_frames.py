"""What a browser may do to the WebSocket protocol, frame by frame, and what it is told then."""

import asyncio
import json
import struct

import aiohttp
import pytest

from local_cloud.realtime import Simulator
from tests.end_to_end.clients import CARRIAGES, Carriage, Json, talking, text_item
from tests.end_to_end.test_endings import check_spent
from tests.end_to_end.traces import Traces
from tests.relay.test_channels import BINARY, CLOSE, PING, TEXT, client_frame
from tests.stack import Stack

ON_BOTH_LIBRARIES = True
RELAY_MODULE = "tests.altered_relay"
PIECES_SECONDS = 1.0
SETTINGS = {"ALTERED_MESSAGE_SECONDS": str(PIECES_SECONDS)}
pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

LARGEST = 65_536
"""The profile's ``max_message_bytes``."""


def message(size: int) -> bytes:
    """A typed message that is so many bytes long."""
    frame = json.dumps(text_item(""), separators=(",", ":")).encode()
    return frame.replace(b'"text":""', b'"text":"' + b"x" * (size - len(frame)) + b'"')


def check_told(library: str, events: list[Json], code: str) -> None:
    """Check that the reason came before the close; aiohttp itself closes first for most of them."""
    told = [event["error"]["code"] for event in events]
    assert told == [code] if library == "picows" else told in ([], [code])


INVALID: dict[str, tuple[bytes, int]] = {
    "unmasked text": (b"\x81\x02{}", 1002),
    "unmasked ping": (b"\x89\x00", 1002),
    "unmasked close": (b"\x88\x02\x03\xe8", 1002),
    "a reserved bit": (client_frame(TEXT, b"{}", reserved=0x20), 1002),
    "compressed, which was not agreed": (client_frame(TEXT, b"{}", reserved=0x40), 1002),
    "an unknown opcode": (client_frame(0x3), 1002),
    "an unknown control opcode": (client_frame(0xB), 1002),
    "a ping in pieces": (client_frame(PING, fin=False), 1002),
    "a long ping": (client_frame(PING, b"x" * 126), 1002),
    "a continuation of nothing": (client_frame(0), 1002),
    "a message inside another": (client_frame(TEXT, b"{", fin=False) + client_frame(TEXT, b"{}"), 1002),
    "a close code of one byte": (client_frame(CLOSE, b"x"), 1002),
    "a close code that nobody may send": (client_frame(CLOSE, struct.pack("!H", 1005)), 1002),
    "binary": (client_frame(BINARY, b"{}"), 1003),
    "text that is not UTF-8": (client_frame(TEXT, b"\xc3\x28"), 1007),
    "text that ends within a character": (client_frame(TEXT, b"\xc3"), 1007),
    "a close reason that is not UTF-8": (client_frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
}


@pytest.mark.parametrize("name", INVALID)
async def test_what_breaks_the_protocol_is_told_and_ends_the_session(
    stack: Stack,
    simulator: Simulator,
    traces: Traces,
    http: aiohttp.ClientSession,
    websocket_library: str,
    name: str,
) -> None:
    sent, close_code = INVALID[name]
    async with talking(http, stack) as (talk, minted):
        talk.write_raw(sent)
        code, rest = await talk.until_closed()
    assert code == close_code
    check_told(websocket_library, rest, "invalid_frame")
    await check_spent(traces, minted.token_id, "protocol_error", "invalid_frame", close_code)
    assert simulator.connections[-1].received.types == ["session.update"]


TOO_BIG: dict[str, bytes] = {
    "whole": client_frame(TEXT, message(LARGEST + 1)),
    "in pieces": client_frame(TEXT, message(LARGEST + 1)[:LARGEST], fin=False) + client_frame(0, b"}"),
    "announced": b"\x81\xff" + struct.pack("!Q", 2**40) + bytes(4),
}


@pytest.mark.parametrize("carriage", CARRIAGES)
@pytest.mark.parametrize("name", TOO_BIG)
async def test_a_message_that_is_too_big_is_told_and_ends_the_session(
    stack: Stack,
    simulator: Simulator,
    traces: Traces,
    http: aiohttp.ClientSession,
    websocket_library: str,
    name: str,
    carriage: Carriage,
) -> None:
    async with talking(http, stack, carriage) as (talk, minted):
        talk.write_raw(TOO_BIG[name])
        code, rest = await talk.until_closed()
    assert code == 1009
    check_told(websocket_library, rest, "message_too_big")
    await check_spent(traces, minted.token_id, "protocol_error", "message_too_big", 1009)
    assert simulator.connections[-1].received.types == ["session.update"]


async def test_a_message_of_exactly_the_limit_passes_whole_and_in_pieces(
    stack: Stack, simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    largest = message(LARGEST)
    assert len(largest) == LARGEST
    async with talking(http, stack) as (talk, _):
        talk.write_raw(client_frame(TEXT, largest))
        await talk.until("conversation.item.done")
        talk.write_raw(client_frame(TEXT, largest[:10], fin=False) + client_frame(0, largest[10:]))
        await talk.until("conversation.item.done")
    received = [event for event in simulator.connections[-1].received.events if "item" in event]
    assert received == [json.loads(largest)] * 2


async def test_a_message_in_pieces_that_is_not_finished_in_time_ends_the_session(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, websocket_library: str
) -> None:
    """On picows, and whatever else comes meanwhile; on aiohttp it may take as long as the session."""
    sent = json.dumps(text_item("at last")).encode()
    async with talking(http, stack) as (talk, minted):
        receiving = asyncio.create_task(talk.until_closed(PIECES_SECONDS + 10))
        for at in range(12):
            if receiving.done():
                break
            talk.write_raw(client_frame(TEXT if at == 0 else 0, sent[at : at + 1], fin=False) + client_frame(PING))
            await asyncio.wait([receiving], timeout=PIECES_SECONDS / 8)
        if websocket_library == "aiohttp":
            assert not receiving.done()
            receiving.cancel()
            return
        code, rest = await receiving
        assert code == 1002
        check_told(websocket_library, rest, "invalid_frame")
        receipt = await check_spent(traces, minted.token_id, "protocol_error", "invalid_frame", 1002)
    assert PIECES_SECONDS < receipt["duration_seconds"] < PIECES_SECONDS + 5
