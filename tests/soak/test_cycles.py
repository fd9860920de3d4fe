"""However clients come and go, ten thousand times: afterwards the relay holds what it held before."""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.end_to_end.clients import (
    CARRIAGES,
    Carriage,
    connect,
    handshake,
    mint,
    refused_events,
    refused_status,
    text_item,
)
from tests.end_to_end.traces import Traces, until
from tests.soak.measure import at_rest, complaints, settled
from tests.stack import Stack

pytestmark = pytest.mark.soak

CYCLES = 10_000
WARM_UP = 1_000
AT_ONCE = 12
MOST_GROWTH_BYTES = 1 << 20
"""A hundred bytes for each client that came and went would be nearly as much."""

Way = Callable[[aiohttp.ClientSession, Stack, Carriage], Awaitable[None]]


async def close(http: aiohttp.ClientSession, stack: Stack, carriage: Carriage) -> None:
    async with await connect(http, stack, await mint(http, stack), carriage) as talk:
        await talk.until("session.created", 20)


async def converse_and_close(http: aiohttp.ClientSession, stack: Stack, carriage: Carriage) -> None:
    async with await connect(http, stack, await mint(http, stack), carriage) as talk:
        await talk.until("session.created", 20)
        await talk.send({"type": "no.such.event"}, text_item("Good day"))
        await talk.until("conversation.item.done", 20)


async def abort_live(http: aiohttp.ClientSession, stack: Stack, carriage: Carriage) -> None:
    talk = await connect(http, stack, await mint(http, stack), carriage)
    await talk.until("session.created", 20)
    talk.abort()


async def abort_before_the_lock(http: aiohttp.ClientSession, stack: Stack, carriage: Carriage) -> None:
    talk = await connect(http, stack, await mint(http, stack), carriage)
    talk.abort()


async def abort_in_the_handshake(http: aiohttp.ClientSession, stack: Stack, carriage: Carriage) -> None:
    headers, protocols = handshake((await mint(http, stack)).token, carriage, origin=stack.page_url)
    url = urlsplit(stack.relay_base_urls[0])
    headers |= {
        "Host": url.netloc,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    if protocols:
        headers["Sec-WebSocket-Protocol"] = ", ".join(protocols)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    _, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(f"GET {url.path}/realtime HTTP/1.1\r\n{lines}\r\n".encode())
    await writer.drain()
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def abort_mid_response(http: aiohttp.ClientSession, stack: Stack, carriage: Carriage) -> None:
    talk = await connect(http, stack, await mint(http, stack), carriage)
    await talk.until("session.created", 20)
    await talk.send(text_item("count to ninety"), {"type": "response.create"})
    await talk.until("response.output_audio.delta", 20)
    talk.abort()


async def use_a_token_twice(http: aiohttp.ClientSession, stack: Stack, carriage: Carriage) -> None:
    minted = await mint(http, stack)
    async with await connect(http, stack, minted, carriage) as talk:
        await talk.until("session.created", 20)
        if carriage == "header":
            status, error, _ = await refused_status(http, stack, minted)
            assert (status, error["code"]) == (401, "token_used")
        else:
            code, error = await refused_events(http, stack, minted)
            assert (code, error["code"]) == (4401, "token_used")


async def forge_a_token(http: aiohttp.ClientSession, stack: Stack, _: Carriage) -> None:
    status, error, _headers = await refused_status(http, stack, "ek_forged")
    assert (status, error["code"]) == (401, "invalid_token")


WAYS: list[Way] = [
    close, converse_and_close, abort_live, abort_before_the_lock, abort_in_the_handshake, abort_mid_response,
    use_a_token_twice, forge_a_token,
]  # fmt: skip


async def come_and_go(http: aiohttp.ClientSession, stack: Stack, cycles: int) -> None:
    """Every way of leaving, with either carriage, in turn."""
    turns = itertools.islice(itertools.cycle(itertools.product(WAYS, CARRIAGES)), cycles)

    async def work() -> None:
        for leave, carriage in turns:
            await leave(http, stack, carriage)

    async with asyncio.TaskGroup() as workers:
        for _ in range(AT_ONCE):
            workers.create_task(work())


async def test_ten_thousand_clients_that_come_and_go_in_every_way_leave_nothing_behind(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    await come_and_go(http, stack, len(WAYS) * len(CARRIAGES))  # what is made once and kept
    with Traces(stack) as traces:
        await until(lambda: not traces.leases(), 10)
        base = await settled(stack)
        await come_and_go(http, stack, WARM_UP)
        warm = await at_rest(stack, base)
        await come_and_go(http, stack, CYCLES - WARM_UP)
        after = await at_rest(stack, base)
        endings = Counter(line["ending"] for line in traces.lines("session.end"))
        print(f"\nbase {base}\nafter {WARM_UP} {warm}\nafter {CYCLES} {after}\n{dict(endings)}")  # noqa: T201 - figures

        assert after.countable == base.countable
        assert after.allocated_bytes - warm.allocated_bytes <= MOST_GROWTH_BYTES
        await until(lambda: not traces.leases(), 5)
        keys = set(traces.redis.scan_iter(count=1_000))
        assert {key.split(":")[2] for key in keys} <= {"token"}
        pipe = traces.redis.pipeline(transaction=False)
        for key in keys:
            pipe.ttl(key)
        assert all(seconds == -2 or 0 <= seconds <= 300 for seconds in pipe.execute())
    assert set(endings) == {"browser_closed", "browser_vanished"}
    assert complaints(stack) == []
