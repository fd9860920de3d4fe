"""Redis goes away and comes back: nobody new is let in meanwhile, live sessions go on for as long as their lease."""

import asyncio
import time
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.clients import Talk, connect, mint, refused_events, refused_status, talking
from tests.end_to_end.traces import Traces, until
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

LEASE_SECONDS = 30
RENEW_SECONDS = 10


async def readiness(http: aiohttp.ClientSession, base_url: str) -> int:
    async with http.get(f"{base_url.removesuffix('/v1')}/readyz") as answer:
        return answer.status


async def recovered(http: aiohttp.ClientSession, stack: Stack) -> None:
    """Return when both services are ready again, which takes at most five seconds."""
    async with asyncio.timeout(5):
        while {await readiness(http, url) for url in (stack.mint_base_url, stack.relay_base_urls[0])} != {200}:
            await asyncio.sleep(0.02)


async def minting_status(http: aiohttp.ClientSession, stack: Stack) -> tuple[int, str, str]:
    url = f"{stack.mint_base_url}/realtime/client_secrets"
    async with http.post(url, json={}, headers={"Origin": stack.page_url}) as answer:
        return answer.status, (await answer.json())["error"]["code"], answer.headers["Retry-After"]


async def test_without_redis_all_is_refused_with_503_and_live_sessions_go_on_until_their_lease_runs_out(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    unused = await mint(http, stack)
    survivor_token = await mint(http, stack)
    async with await connect(http, stack, survivor_token) as survivor:
        await survivor.until("session.created")
        used = survivor_token
        stack.redis.stop()
        stopped_at = time.monotonic()
        try:
            await within(2, check_all_is_refused(http, stack, unused))
            assert await survivor.ask("Are you there?") == 'You said: "Are you there?"'
        finally:
            stack.redis.start()
        await recovered(http, stack)

        # It came back empty: what it knew of tokens is gone, so none of them is good any more.
        for old in (unused, used):
            status, error, _ = await refused_status(http, stack, old)
            assert (status, error["code"]) == (401, "token_expired")
        async with talking(http, stack) as (talk, _):
            assert await talk.ask() == 'You said: "Good day"'
        (start,) = traces.lines("session.start", token_id=used.token_id)
        await until(lambda: start["session_id"] in traces.leases(), RENEW_SECONDS + 2)
        assert await survivor.ask("Still?") == 'You said: "Still?"'

        stack.redis.stop()
        stopped_at = time.monotonic()
        try:
            code, (told,) = await survivor.until_closed(LEASE_SECONDS + 3)
            seconds = time.monotonic() - stopped_at
            assert LEASE_SECONDS - RENEW_SECONDS - 2 < seconds < LEASE_SECONDS + 2
            assert (code, told["error"]["code"]) == (1013, "lease_lost")
        finally:
            stack.redis.start()
        (receipt,) = traces.lines("session.end", token_id=used.token_id)
        assert (receipt["ending"], receipt["close_code"]) == ("lease_lost", 1013)
        await recovered(http, stack)
        async with talking(http, stack) as (talk, _):
            assert await talk.ask() == 'You said: "Good day"'


async def check_all_is_refused(http: aiohttp.ClientSession, stack: Stack, unused: Any) -> None:
    """Mint, both ways to connect, and both readiness probes, at the same time."""
    (minting, refused, closed, *ready) = await asyncio.gather(
        minting_status(http, stack),
        refused_status(http, stack, unused),
        refused_events(http, stack, unused),
        readiness(http, stack.mint_base_url),
        readiness(http, stack.relay_base_urls[0]),
    )
    assert minting == (503, "unavailable", "1")
    assert (refused[0], refused[1]["code"], refused[2]["Retry-After"]) == (503, "unavailable", "2")
    assert (closed[0], closed[1]["code"]) == (1013, "unavailable")
    assert ready == [503, 503]


async def within(seconds: float, step: Any) -> None:
    async with asyncio.timeout(seconds):
        await step
