"""Connections that make no request, at the processes as they are: cut after 5 s, and no more than 1,000 at once."""

import asyncio
import contextlib
import resource
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import aiohttp
import pytest

from service_kit.http_server import HEADER_SECONDS, MAX_SILENT_CONNECTIONS
from tests.end_to_end.clients import connect, mint, talking
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

SERVICES = ("token_service", "relay-0")
DESCRIPTORS = 2 * MAX_SILENT_CONNECTIONS + 500
LATE_SECONDS = 4.0
"""How much later than promised it may be seen on a busy machine."""
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(scope="module", autouse=True)
def enough_descriptors() -> Iterator[None]:
    """For this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, DESCRIPTORS)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def base_url(stack: Stack, service: str) -> str:
    return stack.mint_base_url if service == "token_service" else stack.relay_base_urls[0]


async def opened(stack: Stack, service: str) -> Connection:
    return await asyncio.open_connection("localhost", urlsplit(base_url(stack, service)).port)


async def drip(writer: asyncio.StreamWriter) -> None:
    """One more header, again and again, and never the end of them."""
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(b"X-More: 1\r\n")
            await writer.drain()
            await asyncio.sleep(0.5)  # that is the attack


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("sent", [b"", b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"GET / HTTP/1.1\r\n"])
async def test_a_connection_that_completes_no_request_is_cut_after_five_seconds(
    stack: Stack, service: str, sent: bytes
) -> None:
    opened_at = time.monotonic()
    reader, writer = await opened(stack, service)
    writer.write(sent)
    dripping = asyncio.create_task(drip(writer)) if sent.endswith(b"\r\n") else None
    async with asyncio.timeout(HEADER_SECONDS + LATE_SECONDS):
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # what it sent on came after the end
            answer = await reader.read()
    assert time.monotonic() - opened_at > HEADER_SECONDS - 0.1
    assert answer.startswith(b"HTTP/1.1 408 ") or (dripping and not answer)
    if dripping:
        dripping.cancel()
    writer.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_beyond_a_thousand_such_connections_one_more_is_closed_at_once_and_the_live_go_on(
    stack: Stack, http: aiohttp.ClientSession, service: str
) -> None:
    minted = await mint(http, stack)
    async with talking(http, stack) as (talk, _):
        silent = [await opened(stack, service) for _ in range(MAX_SILENT_CONNECTIONS)]
        try:
            assert not any(reader.at_eof() for reader, _ in silent)
            opened_at = time.monotonic()
            reader, writer = await opened(stack, service)
            with contextlib.suppress(ConnectionError):
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert await reader.read() == b""
            assert time.monotonic() - opened_at < HEADER_SECONDS - 1
            assert await talk.ask()
        finally:
            for _, each in [*silent, (reader, writer)]:
                each.close()
    async with asyncio.timeout(LATE_SECONDS):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with await connect(http, stack, minted) as talk:
                    await talk.until("session.created")
                    break
