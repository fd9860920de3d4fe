"""Redis is slow, full, demoted, replaced or restarted empty: nobody is let in on a guess, live sessions go on.

The services reach Redis through a proxy, so that its address can lead elsewhere. That Redis is gone altogether stands
in ``test_redis_outage``.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from redis import Redis

from local_cloud.realtime import Simulator
from local_cloud.redis_server import RedisServer
from tests.end_to_end.clients import (
    Json,
    Minted,
    connect,
    mint,
    readiness,
    refused_events,
    refused_status,
    talking,
)
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.traces import Traces, until
from tests.stack import Stack
from tests.tcp_proxy import TcpProxy

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

API_KEY = "sk-shop-0123456789"
KEY = {
    "name": "shop",
    "sha256": sha256(API_KEY.encode()).hexdigest(),
    "tenant": "acme",
    "profiles": ["default"],
    "max_sessions_per_subject": 3,
}
RENEW_SECONDS = 1
MOST_SESSIONS = 3
"""As the key says."""
SLACK_SECONDS = 0.5
"""For a busy machine; the figure is 1.2 s, and Redis takes 2."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy() -> AsyncIterator[TcpProxy]:
    async with TcpProxy(0) as proxy:
        yield proxy


@pytest.fixture
def redis(proxy: TcpProxy) -> Iterator[RedisServer]:
    """A fresh server, to which the services' address leads."""
    with RedisServer() as redis:
        proxy.target = redis.port
        yield redis


@pytest.fixture
def operator(redis: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(redis.url, decode_responses=True) as operator:
        yield operator


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_stack(
    running_simulator: Simulator, proxy: TcpProxy, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    with RedisServer() as first:
        proxy.target = first.port
        stack = Stack(
            tmp_path_factory.mktemp("stack"),
            openai_base_url=running_simulator.base_url,
            redis=first,
            relay_module="tests.altered_relay",
            REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0",
            ALTERED_RENEW_SECONDS=str(RENEW_SECONDS),
            CALLER_API_KEYS=json.dumps([KEY]),
            **DEFAULTS,
        )
        await asyncio.to_thread(stack.__enter__)
        try:
            yield stack
        finally:
            await asyncio.to_thread(stack.__exit__)


@pytest_asyncio.fixture(loop_scope="module")
async def stack(
    running_stack: Stack, proxy: TcpProxy, redis: RedisServer, http: aiohttp.ClientSession
) -> AsyncIterator[Stack]:
    """The stack, once it has found this test's server."""
    running_stack.redis = redis
    await proxy.cut()
    await recovered(http, running_stack)
    tokens = [await mint(http, running_stack) for _ in range(4)]
    assert await asyncio.gather(*(insist(http, running_stack, minted) for minted in tokens)) == ["admitted"] * 4
    with Traces(running_stack) as traces:
        await until(lambda: not traces.leases())
    yield running_stack
    proxy.delay_seconds = 0


async def recovered(http: aiohttp.ClientSession, stack: Stack, seconds: float = 5) -> None:
    """Return when both services are ready, and a token can be minted."""
    async with asyncio.timeout(seconds):
        for url in (stack.mint_base_url, stack.relay_base_urls[0]):
            while await readiness(http, url) != 200:
                pass
        while (await minting(http, stack))[0] != 200:
            pass


async def minting(http: aiohttp.ClientSession, stack: Stack) -> tuple[int, Json]:
    url = f"{stack.mint_base_url}/realtime/client_secrets"
    async with http.post(url, json={}, headers={"Origin": stack.page_url}) as answer:
        return answer.status, await answer.json()


async def timed(answering: Any) -> tuple[Any, float]:
    """What comes, and how long it took."""
    asked_at = time.monotonic()
    return await answering, time.monotonic() - asked_at


async def check_nobody_is_let_in(
    http: aiohttp.ClientSession, stack: Stack, unused: Minted, simulator: Simulator
) -> None:
    """No mint, and no connection in either form; all told within the figure."""
    dialled = len(simulator.connections)
    answers = await asyncio.gather(
        timed(minting(http, stack)),
        timed(refused_status(http, stack, unused)),
        timed(refused_events(http, stack, unused)),
    )
    (minted, connected, closed), seconds = zip(*answers, strict=True)
    assert (minted[0], minted[1]["error"]["code"]) == (503, "unavailable")
    assert (connected[0], connected[1]["code"], connected[2]["Retry-After"]) == (503, "unavailable", "2")
    assert (closed[0], closed[1]["code"]) == (1013, "unavailable")
    assert max(seconds) < 1.2 + SLACK_SECONDS
    assert len(simulator.connections) == dialled


async def check_admitted_once(http: aiohttp.ClientSession, stack: Stack, minted: Minted) -> None:
    async with await connect(http, stack, minted) as talk:
        await talk.until("session.created")
        assert (await refused_status(http, stack, minted))[1]["code"] == "token_used"


async def insist(http: aiohttp.ClientSession, stack: Stack, minted: Minted) -> str:
    """Connect until it is not for Redis that it fails: ``admitted``, or the code of the refusal.

    Each connection that leads to the old Redis can cost one question, and the first that does is the last.
    """
    for _ in range(3):
        async with await connect(http, stack, minted) as talk:
            first = await talk.next()
            if first["type"] == "session.created":
                return "admitted"
        if first["error"]["code"] != "unavailable":
            break
    return str(first["error"]["code"])


def session_of(traces: Traces, minted: Minted) -> str:
    return str(traces.lines("session.start", token_id=minted.token_id)[0]["session_id"])


async def test_a_slow_redis_makes_nobody_wait_and_spends_no_token(
    stack: Stack, simulator: Simulator, proxy: TcpProxy, traces: Traces, http: aiohttp.ClientSession
) -> None:
    unused = [await mint(http, stack) for _ in range(20)]
    async with talking(http, stack) as (survivor, _):
        proxy.delay_seconds = 2
        # Whoever asks first finds out, within the deadline.
        await check_nobody_is_let_in(http, stack, first := unused.pop(), simulator)
        proxy.most_waiting = 0
        until_seconds = time.monotonic() + 2
        while time.monotonic() < until_seconds:
            answers = await asyncio.gather(
                *(timed(refused_status(http, stack, minted)) for minted in unused),
                *(timed(minting(http, stack)) for _ in range(20)),
            )
            for answer, seconds in answers:
                assert answer[0] == 503
                assert seconds < 1.2 + SLACK_SECONDS
        assert proxy.most_waiting <= 10
        assert await survivor.ask("Are you there?") == 'You said: "Are you there?"'
        assert traces.lines("redis.down", level="error")

        proxy.delay_seconds = 0
        await recovered(http, stack)
        for minted in unused:  # they were never sent, so none is lost
            await check_admitted_once(http, stack, minted)
        assert await survivor.ask() == 'You said: "Good day"'
    # The outcome of the first was not known, so it stays a refusal.
    status, error, _ = await refused_status(http, stack, first)
    assert (status, error["code"]) == (401, "token_used")


async def test_a_full_redis_admits_nobody_and_ends_nobody(
    stack: Stack, simulator: Simulator, operator: Redis, traces: Traces, http: aiohttp.ClientSession
) -> None:
    unused = await mint(http, stack)
    async with talking(http, stack) as (survivor, used):
        operator.config_set("maxmemory", "1")
        await check_nobody_is_let_in(http, stack, unused, simulator)
        (key, *_) = operator.scan_iter("airlock:development:lease:*")
        session_id = session_of(traces, used)
        runs_out = operator.zscore(key, session_id)
        await until(lambda: bool(operator.zscore(key, session_id) > runs_out), RENEW_SECONDS + 3)  # type: ignore[operator] # redis-py's types are for both its clients
        assert await survivor.ask() == 'You said: "Good day"'
        operator.config_set("maxmemory", "0")
        await recovered(http, stack)
        await check_admitted_once(http, stack, unused)
    assert (await traces.session_end(used.token_id))["ending"] == "browser_closed"


async def test_a_redis_that_takes_no_writes_admits_nobody_and_ends_nobody(
    stack: Stack, simulator: Simulator, operator: Redis, traces: Traces, http: aiohttp.ClientSession
) -> None:
    unused = await mint(http, stack)
    async with talking(http, stack) as (survivor, used):
        operator.replicaof("127.0.0.1", "1")  # of nobody: it answers, and takes no writes
        await check_nobody_is_let_in(http, stack, unused, simulator)
        assert await survivor.ask() == 'You said: "Good day"'
        operator.replicaof("NO", "ONE")
        await recovered(http, stack)
        await check_admitted_once(http, stack, unused)
    assert (await traces.session_end(used.token_id))["ending"] == "browser_closed"


@pytest.mark.parametrize("old_primary", ["becomes a replica", "dies"])
async def test_after_a_failover_no_used_token_is_admitted_and_live_sessions_go_on(
    stack: Stack,
    redis: RedisServer,
    operator: Redis,
    proxy: TcpProxy,
    traces: Traces,
    http: aiohttp.ClientSession,
    old_primary: str,
) -> None:
    """Where Redis had passed on what it knew; what it had not is lost with it (see docs/faults.md)."""
    used = [await mint(http, stack) for _ in range(50)]
    for minted in used:
        async with await connect(http, stack, minted) as talk:
            await talk.until("session.created")
    unused = [await mint(http, stack) for _ in range(5)]
    with RedisServer() as other, Redis.from_url(other.url, decode_responses=True) as new_primary:
        async with talking(http, stack) as (survivor, live):
            await until(lambda: traces.token(live.token_id)["state"] == "spent")
            operator.config_set("repl-diskless-sync-delay", "0")
            new_primary.replicaof("127.0.0.1", str(redis.port))
            await until(lambda: new_primary.info("replication")["master_link_status"] == "up")
            operator.set("airlock:test", "1", ex=60)
            await until(lambda: bool(operator.wait(1, 100)))
            proxy.target = other.port
            failed_over_at = time.monotonic()
            new_primary.replicaof("NO", "ONE")
            if old_primary == "dies":
                await asyncio.to_thread(redis.stop)  # it waits for its replica, and the proxy must not
            else:
                operator.replicaof("127.0.0.1", str(other.port))
            await recovered(http, stack, 10)
            assert time.monotonic() - failed_over_at < 10

            assert {await insist(http, stack, minted) for minted in [*used, live]} == {"token_used"}
            for minted in unused:
                assert await insist(http, stack, minted) == "admitted"
                assert await insist(http, stack, minted) == "token_used"
            assert await survivor.ask() == 'You said: "Good day"'
            (key, *_) = new_primary.scan_iter("airlock:development:lease:*")
            session_id = session_of(traces, live)
            runs_out = new_primary.zscore(key, session_id)
            await until(lambda: bool(new_primary.zscore(key, session_id) > runs_out), RENEW_SECONDS + 3)
        await until(lambda: new_primary.hget(f"airlock:development:token:{live.token_id}", "ended") == "1")
    assert [line["ending"] for line in traces.lines("session.end", token_id=live.token_id)] == ["browser_closed"]


async def test_after_a_restart_renewals_rebuild_the_leases_and_limits_hold_again(
    stack: Stack, redis: RedisServer, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async def token() -> Minted:
        return await mint(http, stack, api_key=API_KEY, airlock={"subject": "bob"})

    talks = [await connect(http, stack, await token()) for _ in range(MOST_SESSIONS)]
    for talk in talks:
        await talk.until("session.created")
    one_more = await token()
    assert (await refused_status(http, stack, one_more))[1]["code"] == "too_many_sessions"

    redis.stop()
    redis.start()
    await recovered(http, stack)
    assert (await refused_status(http, stack, one_more))[1]["code"] == "token_expired"
    # Until their renewal nobody knows of the live ones, so as many as the limit may come on top of them; no more.
    for _ in range(3 * MOST_SESSIONS):
        talk = await connect(http, stack, await token())
        if (await talk.next())["type"] == "session.created":
            talks.append(talk)
    assert len(talks) <= 2 * MOST_SESSIONS
    await until(lambda: len(traces.leases()) == len(talks), RENEW_SECONDS + 3)
    assert (await refused_status(http, stack, await token()))[1]["code"] == "too_many_sessions"
    for talk in talks:
        assert await talk.ask() == 'You said: "Good day"'
        await talk.socket.close()
    await until(lambda: not traces.leases(), 10)
    await check_admitted_once(http, stack, await token())
