"""A stopped service says so at once, lets nobody new in, says goodbye to everybody, and exits with 0 in time."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from local_cloud.realtime import Simulator, faults
from local_cloud.redis_server import RedisServer
from tests.end_to_end.clients import connect, mint, readiness, refused_events, refused_status
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.traces import Traces
from tests.stack import Process, Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

SESSIONS = 50


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as redis:
        yield redis


async def exit_code(process: Process, seconds: float) -> int:
    """Its exit status, which must come within this time."""
    async with asyncio.timeout(seconds):
        return await asyncio.to_thread(process.popen.wait, seconds)


async def test_sigterm_drains_50_live_sessions_and_exits_with_0_in_time(
    tmp_path: Path, redis: RedisServer, simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    first = simulator.connections[-1].number + 1 if simulator.connections else 0
    with (
        Stack(tmp_path, openai_base_url=simulator.base_url, redis=redis, **DEFAULTS) as stack,
        Traces(stack) as traces,
    ):
        talks = [
            await connect(http, stack, await mint(http, stack), speaks_airlock=bool(number % 2))
            for number in range(SESSIONS)
        ]
        for talk in talks:
            await talk.until("session.created")
        late = [await mint(http, stack) for _ in range(2)]
        relay = stack.processes["relay-0"]
        ended = [asyncio.create_task(talk.until_closed(10)) for talk in talks]
        stopped_at = time.monotonic()
        relay.terminate()

        while await readiness(http, stack.relay_base_urls[0]) != 503:
            assert time.monotonic() - stopped_at < 0.25
        assert not any(task.done() for task in ended)
        status, error, headers = await refused_status(http, stack, late[0])
        assert (status, error["code"], headers["Retry-After"]) == (503, "draining", "2")
        code, error = await refused_events(http, stack, late[1])
        assert (code, error["code"]) == (1012, "draining")
        assert [traces.token(minted.token_id) for minted in late] == [{"state": "minted"}] * 2

        for number, (talk, (code, _)) in enumerate(zip(talks, await asyncio.gather(*ended), strict=True)):
            assert code == 1012
            types = [event["type"] for event in talk.seen]
            told = talk.seen[types.index("error")]["error"]
            assert (told["code"], told["retry_after"]) == ("draining", 2)
            airlock = [name for name in types if name.startswith("airlock.")]
            assert airlock == (
                ["airlock.session.started", "airlock.session.draining", "airlock.session.ended"] if number % 2 else []
            )
        assert await exit_code(relay, 4) == 0
        assert time.monotonic() - stopped_at < 4
        receipts = traces.lines("session.end")
        assert [receipt["ending"] for receipt in receipts] == ["draining"] * SESSIONS
        assert len({receipt["session_id"] for receipt in receipts}) == SESSIONS
        assert not traces.leases()
        for number in range(first, first + SESSIONS):
            assert await (await simulator.connection(number)).wait_ended() == 1000


async def test_sessions_that_end_by_themselves_let_the_relay_exit_early(
    tmp_path: Path, redis: RedisServer, simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    settings = DEFAULTS | {"DRAIN_SECONDS": "25"}
    with Stack(tmp_path, openai_base_url=simulator.base_url, redis=redis, **settings) as stack:
        async with await connect(http, stack, await mint(http, stack), speaks_airlock=True) as talk:
            await talk.until("session.created")
            stack.processes["relay-0"].terminate()
            draining = await talk.until("airlock.session.draining")
            assert 20 < draining["ends_at"] - time.time() <= 22
            assert await talk.ask() == 'You said: "Good day"'  # it may finish what it is doing
        assert await exit_code(stack.processes["relay-0"], 4) == 0


async def test_a_second_sigterm_ends_at_once(
    tmp_path: Path, redis: RedisServer, simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    settings = DEFAULTS | {"DRAIN_SECONDS": "25"}
    with Stack(tmp_path, openai_base_url=simulator.base_url, redis=redis, **settings) as stack:
        async with await connect(http, stack, await mint(http, stack), speaks_airlock=True) as talk:
            await talk.until("session.created")
            relay = stack.processes["relay-0"]
            relay.terminate()
            await talk.until("airlock.session.draining")
            relay.terminate()
            code, _ = await talk.until_closed(2)
            assert code == 1012
        assert await exit_code(relay, 3) == 0


async def test_sessions_that_are_not_live_yet_are_drained_too_and_keep_their_token(
    tmp_path: Path, redis: RedisServer, simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    simulator.faults.add(faults.StallHandshake())
    with (
        Stack(tmp_path, openai_base_url=simulator.base_url, redis=redis, **DEFAULTS) as stack,
        Traces(stack) as traces,
    ):
        minted = await mint(http, stack)
        async with await connect(http, stack, minted) as talk:
            stack.processes["relay-0"].terminate()
            code, (told,) = await talk.until_closed()
        assert (code, told["error"]["code"]) == (1012, "draining")
        assert await exit_code(stack.processes["relay-0"], 4) == 0
        assert traces.token(minted.token_id) == {"state": "minted", "gave_back": "1"}


async def test_a_relay_without_sessions_exits_at_once(tmp_path: Path, redis: RedisServer, simulator: Simulator) -> None:
    settings = DEFAULTS | {"DRAIN_SECONDS": "25"}
    with Stack(tmp_path, openai_base_url=simulator.base_url, redis=redis, **settings) as stack:
        stack.processes["relay-0"].terminate()
        # Far less than it would wait for sessions; a process takes its time to end on a busy machine.
        assert await exit_code(stack.processes["relay-0"], 10) == 0


async def test_the_token_service_answers_what_was_asked_and_exits_with_0(
    tmp_path: Path, redis: RedisServer, simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    with Stack(tmp_path, openai_base_url=simulator.base_url, redis=redis, **DEFAULTS) as stack:
        url = urlsplit(stack.page_url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        head = (
            f"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: {url.netloc}\r\nOrigin: {stack.page_url}\r\n"
            "Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + b"{")
        await writer.drain()
        # A second request on another connection is answered after the first was heard.
        assert await readiness(http, stack.mint_base_url) == 200
        token_service = stack.processes["token_service"]
        token_service.terminate()
        async with asyncio.timeout(0.5):
            while await readiness(http, stack.mint_base_url) != 503:
                pass
        writer.write(b"}")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"value":"ek_' in answer
        assert await exit_code(token_service, 4) == 0


async def test_a_killed_relay_holds_its_leases_for_30_seconds_at_most(
    tmp_path: Path, redis: RedisServer, simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    with (
        Stack(tmp_path, openai_base_url=simulator.base_url, redis=redis, **DEFAULTS) as stack,
        Traces(stack) as traces,
    ):
        async with await connect(http, stack, await mint(http, stack)) as talk:
            await talk.until("session.created")
            stack.processes["relay-0"].popen.kill()
            await exit_code(stack.processes["relay-0"], 2)
        assert traces.leases()
        keys = list(traces.redis.scan_iter("airlock:development:lease:*"))
        assert len(keys) == 2
        for key in keys:
            ttl_ms = traces.redis.pttl(key)
            assert isinstance(ttl_ms, int)
            assert 0 < ttl_ms <= 30_000
