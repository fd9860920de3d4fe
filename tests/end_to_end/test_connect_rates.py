"""How often an address may connect: what is refused is bounded without Redis, and so is what asks Redis."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from local_cloud.realtime import Simulator
from local_cloud.redis_server import RedisServer
from service_kit.redis_client import Pseudonyms
from service_kit.session_token import TOKEN_ID_BYTES, SessionToken, SessionTokenCodec
from tests.end_to_end.clients import CARRIAGES, Carriage, Json, connect, handshake, mint, refused_events, refused_status
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.traces import Traces
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

LIMIT = 5
ON_BOTH_LIBRARIES = True
SETTINGS = {"CONNECTS_PER_MINUTE_PER_ADDRESS": str(LIMIT), "TRUSTED_EDGE": "127.0.0.0/8"}
_addresses = iter(f"198.51.100.{number}" for number in range(1, 255))


@asynccontextmanager
async def someone(address: str | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    """A client at an address of its own, as a trusted edge tells it."""
    told = {"X-Forwarded-For": address or next(_addresses)}
    async with aiohttp.ClientSession(headers=told, connector=aiohttp.TCPConnector(limit=0)) as http:
        yield http


def forged(number: int = 0) -> str:
    """A token of another key's making."""
    codec = SessionTokenCodec(("another key, which is not the service's at all",), "development")
    return codec.encode(SessionToken(number.to_bytes(TOKEN_ID_BYTES), int(time.time()) + 60), time.time())


def expired(stack: Stack) -> str:
    codec = SessionTokenCodec((stack.environment["TOKEN_SIGNING_KEYS"],), "development")
    return codec.encode(SessionToken(bytes(TOKEN_ID_BYTES), int(time.time()) - 60), time.time() - 120)


def scripts_run(traces: Traces) -> int:
    """How often Redis ran one of ours; every question about a token is one."""
    stats: dict[str, Any] = traces.redis.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("eval", "evalsha"))


async def use_up(http: aiohttp.ClientSession, stack: Stack, traces: Traces) -> None:
    """Connect as often as an address may, with a genuine token that is of no use any more."""
    minted = await mint(http, stack)
    traces.redis.hset(f"airlock:development:token:{minted.token_id}", "state", "revoked")
    for _ in range(LIMIT):
        status, error, _ = await refused_status(http, stack, minted)
        assert (status, error["code"]) == (401, "token_revoked")


async def refused(
    http: aiohttp.ClientSession, stack: Stack, token: Any, carriage: Carriage
) -> tuple[int | None, Json, str | None]:
    """The status or close code, the error, and the Retry-After header if there is one."""
    if carriage == "header":
        status, error, headers = await refused_status(http, stack, token)
        return status, error, headers["Retry-After"]
    return *(await refused_events(http, stack, token)), None


async def test_forged_tokens_are_bounded_by_address_without_redis_and_hold_up_no_genuine_one(
    stack: Stack, traces: Traces
) -> None:
    async with someone() as http:
        asked = scripts_run(traces)
        answers = await asyncio.gather(*(refused_status(http, stack, forged(number)) for number in range(50)))
        assert scripts_run(traces) == asked
        codes = [(status, error["code"]) for status, error, _ in answers]
        assert codes.count((401, "invalid_token")) == LIMIT
        assert codes.count((429, "rate_limited")) == 50 - LIMIT
        held = [(error, headers) for status, error, headers in answers if status == 429]
        assert {error["retry"] for error, _ in held} == {"after retry_after"}
        assert all(1 <= error["retry_after"] == int(headers["Retry-After"]) <= 60 for error, headers in held)

        minted = await mint(http, stack)
        async with await connect(http, stack, minted) as talk:
            await talk.until("session.created")
            assert await talk.ask()
        await traces.session_end(minted.token_id)  # it asks no more
    async with someone() as http:  # an address of its own
        status, error, _ = await refused_status(http, stack, forged())
        assert (status, error["code"]) == (401, "invalid_token")


async def test_a_browser_with_a_forged_token_is_upgraded_neither_way(stack: Stack) -> None:
    async with someone() as http:
        statuses = []
        for _ in range(LIMIT + 2):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await connect(http, stack, forged())
            statuses.append(caught.value.status)
    assert statuses == [401] * LIMIT + [429] * 2


async def test_whatever_is_refused_before_its_token_is_looked_at_counts_too(stack: Stack) -> None:
    async with someone() as http:
        for wrong in (
            {"origin": "https://evil.example"},
            {"query": {"call_id": "call_1"}},
            {"query": {"token": "x"}},
            {"origin": "null"},
            {"query": {"api_key": "x"}},
        ):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await connect(http, stack, forged(), **wrong)
            assert caught.value.status in (400, 403)
        async with http.get(f"{stack.relay_base_urls[0]}/realtime") as answer:  # no upgrade at all
            assert answer.status == 429


async def test_a_host_cannot_evade_it_by_changing_its_ipv6_address(stack: Stack) -> None:
    statuses = []
    for number in range(LIMIT + 1):
        async with someone(f"2001:db8:1:2::{number + 1:x}") as http:
            statuses.append((await refused_status(http, stack, forged()))[0])
    assert statuses == [401] * LIMIT + [429]
    async with someone("2001:db8:1:3::1") as http:
        assert (await refused_status(http, stack, forged()))[0] == 401


@pytest.mark.parametrize("carriage", CARRIAGES)
async def test_a_genuine_token_beyond_the_rate_asks_redis_nothing_and_stays_good(
    stack: Stack, traces: Traces, carriage: Carriage
) -> None:
    async with someone() as http:
        minted = await mint(http, stack)
        await use_up(http, stack, traces)
        asked = scripts_run(traces)
        for _ in range(3):
            told, error, header = await refused(http, stack, minted, carriage)
            assert told == (429 if carriage == "header" else 4429)
            assert (error["code"], error["type"], error["retry"]) == (
                "rate_limited",
                "rate_limit_error",
                "after retry_after",
            )
            assert 1 <= error["retry_after"] <= 60
            assert header == (str(error["retry_after"]) if carriage == "header" else None)
        assert scripts_run(traces) == asked
        assert traces.token(minted.token_id) == {"state": "minted"}
        assert not traces.lines("redeem.ok", token_id=minted.token_id)
    async with someone() as elsewhere, await connect(elsewhere, stack, minted, carriage) as talk:
        await talk.until("session.created")
    await traces.session_end(minted.token_id)  # it asks no more


@pytest.mark.parametrize("carriage", CARRIAGES)
async def test_an_expired_token_asks_redis_nothing_and_is_bounded_too(
    stack: Stack, traces: Traces, carriage: Carriage
) -> None:
    async with someone() as http:
        asked = scripts_run(traces)
        answers = []
        for _ in range(LIMIT):
            if carriage == "header":
                answers.append((await refused_status(http, stack, expired(stack)))[1]["code"])
            else:
                answers.append((await refused_events(http, stack, expired(stack)))[1]["code"])
        told, error, _ = await refused(http, stack, expired(stack), carriage)
        assert answers == ["token_expired"] * LIMIT
        assert (told, error["code"]) == (429 if carriage == "header" else 4429, "rate_limited")
        assert scripts_run(traces) == asked


async def test_an_address_that_insists_leaves_one_line_a_minute_without_the_address(
    stack: Stack, traces: Traces
) -> None:
    pseudonyms = Pseudonyms(stack.environment["PSEUDONYM_KEY"])
    for flood in ("forged", "genuine"):
        address = next(_addresses)
        async with someone(address) as http:
            if flood == "genuine":
                await use_up(http, stack, traces)
                minted = await mint(http, stack)
                held = [(await refused_status(http, stack, minted))[0] for _ in range(10)]
            else:
                held = [(await refused_status(http, stack, forged()))[0] for _ in range(LIMIT + 10)][LIMIT:]
        assert held == [429] * 10
        (line,) = traces.lines("redeem.limited", address=pseudonyms.of_address(address))
        assert (line["code"], line["reason"], line["level"]) == ("rate_limited", "address", "warning")
        assert line.get("token_id") == (minted.token_id if flood == "genuine" else None)
        assert address not in stack.logs()


@pytest.mark.parametrize("carriage", CARRIAGES)
async def test_when_the_time_is_over_the_same_token_works(
    running_simulator: Simulator, websocket_library: str, tmp_path: Path, carriage: Carriage
) -> None:
    seconds = 2
    settings = DEFAULTS | SETTINGS | {"ALTERED_CONNECT_SECONDS": str(seconds), "WEBSOCKETS": websocket_library}
    with RedisServer() as redis:
        stack = Stack(
            tmp_path,
            openai_base_url=running_simulator.base_url,
            redis=redis,
            relay_module="tests.altered_relay",
            **settings,
        )
        await asyncio.to_thread(stack.__enter__)
        try:
            async with someone() as http, asyncio.timeout(30):
                minted = await mint(http, stack)
                used = await mint(http, stack)
                async with await connect(http, stack, used) as talk:
                    await talk.until("session.created")
                while (answer := await refused_status(http, stack, used))[1]["code"] != "rate_limited":
                    assert answer[1]["code"] == "token_used"
                assert 1 <= int(answer[2]["Retry-After"]) <= seconds
                # What is left of it is told in whole seconds, rounded up: when they have passed it is over.
                await asyncio.sleep(int(answer[2]["Retry-After"]))
                headers, protocols = handshake(minted.token, carriage, origin=stack.page_url)
                url = f"{stack.relay_base_urls[0]}/realtime"
                async with http.ws_connect(url, headers=headers, protocols=protocols) as socket:
                    assert (await socket.receive_json(timeout=5))["type"] == "session.created"
        finally:
            await asyncio.to_thread(stack.__exit__)
