"""What a session takes of the relay's memory: so much that a machine holds a thousand, and little of it by chance."""

import contextlib

import aiohttp
import pytest

from tests.altered_relay import held_by
from tests.end_to_end.clients import connect, mint
from tests.end_to_end.conftest import LIBRARY
from tests.stack import Stack

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(LIBRARY != "picows", reason="aiohttp keeps what it is made of"),
]

RELAY_MODULE = "tests.altered_relay"
SESSIONS = 100
MOST_BYTES = 36 * 1024
"""Of an idle one, as the C library counts. The target of docs/performance.md is what is resident where audio flows."""


async def allocated(stack: Stack) -> int:
    bytes_: int = (await held_by(stack.relay_base_urls[0]))["allocated_bytes"]
    return bytes_


async def test_a_session_takes_no_more_than_36_kb(stack: Stack, http: aiohttp.ClientSession) -> None:
    async with contextlib.AsyncExitStack() as sessions:

        async def open_many() -> int:
            for _ in range(SESSIONS):
                talk = await sessions.enter_async_context(await connect(http, stack, await mint(http, stack)))
                await talk.until("session.created")
            return await allocated(stack)

        before = await open_many()  # what is only made once, is made by these
        grown = (await open_many() - before) / SESSIONS
    print(f"\n{grown / 1024:.1f} KB a session")  # noqa: T201 - a figure
    assert grown < MOST_BYTES
