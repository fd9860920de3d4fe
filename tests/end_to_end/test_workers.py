"""Both services with several workers each: one port, one set of limits, one answer, whoever serves."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from local_cloud.application_insights import ApplicationInsights
from local_cloud.ports import free_port
from local_cloud.realtime import Simulator
from local_cloud.redis_server import RedisServer
from relay.memory import scrubbing_environment
from tests.end_to_end.clients import Json, Minted, Talk, connect, mint, readiness, refused_status
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.test_metrics import Samples
from tests.end_to_end.traces import Traces, until
from tests.stack import Process, Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

WORKERS = 2
MOST = 16
"""Sessions that an address may have."""
LEASE_SECONDS = 3
KEY = "op_a-key-for-this-test"
PORT = free_port()
RELAY_MODULE = "tests.altered_relay"
SETTINGS = {
    "WORKERS": str(WORKERS),
    "MAX_SESSIONS_PER_ADDRESS": str(MOST),
    "ALTERED_LEASE_SECONDS": str(LEASE_SECONDS),
    "ALTERED_RENEW_SECONDS": "1",
    "OPERATOR_PORT": str(PORT),
    "OPERATOR_KEYS": json.dumps([{"name": "ops", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]),
}
OPERATOR = {"Authorization": f"Bearer {KEY}"}
SECONDS = 20.0


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def clean(stack: Stack, traces: Traces, http: aiohttp.ClientSession) -> AsyncIterator[None]:
    """No session of another test, and every worker there."""
    await until(lambda: not traces.leases(), SECONDS)
    for url in (stack.mint_base_url, *stack.relay_base_urls):
        await workers_ready(http, url, WORKERS)
    yield


async def workers_ready(http: aiohttp.ClientSession, base_url: str, number: int) -> None:
    """Wait until so many workers of a service are ready, as any of them tells."""
    deadline = time.monotonic() + SECONDS
    while True:
        async with http.get(f"{base_url.removesuffix('/v1')}/readyz", headers={"Connection": "close"}) as answer:
            told = (await answer.json()).get("workers", {})
        if told == {"ready": number, "of": WORKERS}:
            return
        assert time.monotonic() < deadline, told
        await asyncio.sleep(0.05)


def pids(traces: Traces, process: str = "relay-0") -> dict[int, int]:
    """Of the workers that were started last, by number."""
    return {line["worker"]: line["pid"] for line in traces.lines("worker.start", process)}


def worker_of(traces: Traces, minted: Minted) -> int:
    """Who has a token's session, by its log line."""
    (line,) = traces.lines("session.start", token_id=minted.token_id)
    return int(line["worker"])


async def live_sessions(http: aiohttp.ClientSession) -> list[Json]:
    """As the operators' list has them."""
    url = f"http://127.0.0.1:{PORT}/v1/operator/sessions"
    async with http.get(url, headers=OPERATOR | {"Connection": "close"}) as answer:
        assert answer.status == 200
        sessions: list[Json] = (await answer.json())["sessions"]
        return sessions


async def scraped(http: aiohttp.ClientSession, url: str) -> Samples:
    """``/metrics`` over a connection of its own, so of any worker."""
    async with http.get(f"{url}/metrics", headers=OPERATOR | {"Connection": "close"}) as answer:
        assert answer.status == 200
        lines = [line for line in (await answer.text()).splitlines() if not line.startswith("#")]
    return {(name,): float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@contextlib.asynccontextmanager
async def sessions_on_all(
    http: aiohttp.ClientSession, stack: Stack, traces: Traces, *, speaks_airlock: bool = False
) -> AsyncIterator[dict[int, list[Talk]]]:
    """Live sessions, at least one on each worker: the kernel decides which."""
    async with contextlib.AsyncExitStack() as open_ones:
        talks: dict[int, list[Talk]] = {}
        for _ in range(MOST):
            minted = await mint(http, stack)
            talk = await open_ones.enter_async_context(
                await connect(http, stack, minted, speaks_airlock=speaks_airlock)
            )
            await talk.until("session.created")
            talks.setdefault(worker_of(traces, minted), []).append(talk)
            if len(talks) == WORKERS:
                yield talks
                return
    raise AssertionError("all of them went to one worker")  # by chance: one in 32,768


async def test_an_operator_sees_and_ends_the_sessions_of_all_workers(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with sessions_on_all(http, stack, traces) as talks:
        number = sum(map(len, talks.values()))
        async with asyncio.timeout(5):
            while len(listed := await live_sessions(http)) < number:
                pass
        assert {int(entry["replica"].rpartition(":")[2]) for entry in listed} == set(pids(traces).values())
        url = f"http://127.0.0.1:{PORT}/v1/operator/sessions?tenant=anonymous"
        async with http.delete(url, headers=OPERATOR) as answer:
            assert sorted((await answer.json())["ended"]) == sorted(entry["id"] for entry in listed)
        for talk in (talk for each in talks.values() for talk in each):
            assert (await talk.until_closed(2))[0] == 4403
    await until(lambda: not traces.leases())


async def test_of_40_connects_at_once_as_many_get_in_as_an_address_may(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    minted = [await mint(http, stack) for _ in range(40)]
    talks = await asyncio.gather(*(connect(http, stack, each) for each in minted))

    async def first_event(talk: Talk) -> str:
        event = await talk.next(15)
        return str(event["error"]["code"] if event["type"] == "error" else event["type"])

    events = await asyncio.gather(*map(first_event, talks))
    unanswered = events.count("unavailable")  # by Redis, in time, on a busy machine
    assert events.count("session.created") + events.count("too_many_sessions") + unanswered == 40
    assert MOST - unanswered <= events.count("session.created") <= MOST
    assert len(traces.leases()) == events.count("session.created")
    await asyncio.gather(*(talk.socket.close() for talk in talks))


async def test_a_killed_worker_takes_its_sessions_and_no_others_and_is_replaced(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    before = pids(traces)
    async with sessions_on_all(http, stack, traces) as talks:
        leases = len(traces.leases())
        os.kill(before[2], signal.SIGKILL)
        killed_at = time.monotonic()
        for talk in talks[2]:
            message = await talk.socket.receive(5)
            assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        for talk in talks[1]:
            assert await talk.ask() == 'You said: "Good day"'
        assert await readiness(http, stack.relay_base_urls[0]) == 200
        await workers_ready(http, stack.relay_base_urls[0], WORKERS)
        assert time.monotonic() - killed_at < 15  # "within seconds", on a busy machine
        assert pids(traces) == before | {2: pids(traces)[2]} != before
        assert len(traces.lines("worker.replaced", worker=2)) == 1
        # Its slots are free when its leases have run out; the living keep theirs.
        await until(lambda: len(traces.leases_in_force()) == leases - len(talks[2]), LEASE_SECONDS + 5)
        for talk in talks[1]:
            assert await talk.ask() == 'You said: "Good day"'


async def test_a_killed_worker_of_the_token_service_is_replaced_while_the_other_mints(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    before = pids(traces, "token_service")
    os.kill(before[1], signal.SIGKILL)
    await until(lambda: bool(traces.lines("worker.replaced", "token_service", worker=1)), SECONDS)
    assert pids(traces, "token_service")[2] == before[2]
    assert {(await mint(http, stack)).token[:3] for _ in range(10)} == {"ek_"}


async def test_workers_are_started_as_the_relay_is(stack: Stack, traces: Traces) -> None:
    """Freed memory is overwritten, there are no core dumps, and what they are told holds no secret."""
    for pid in pids(traces).values():
        process = Path(f"/proc/{pid}")
        environment = dict(each.split("=", 1) for each in process.joinpath("environ").read_text().split("\0") if each)
        assert scrubbing_environment(environment) == {}
        (core,) = [line for line in process.joinpath("limits").read_text().splitlines() if line.startswith("Max core")]
        assert core.split()[4:6] == ["0", "0"]
        assert process.joinpath("cmdline").read_text().split("\0")[1:] == ["-m", RELAY_MODULE, ""]
        told = json.loads(environment["AIRLOCK_WORKER"])
        assert told.keys() == {"number", "of", "replaces", "sockets", "link", "leash"}


# --- Services of their own ---


@contextlib.asynccontextmanager
async def own_stack(tmp_path: Path, simulator: Simulator, **settings: str) -> AsyncIterator[tuple[Stack, Traces]]:
    """Another stack with several workers; all of them ready."""
    given = DEFAULTS | {"WORKERS": str(WORKERS)} | settings
    with RedisServer() as redis:
        stack = Stack(tmp_path, openai_base_url=simulator.base_url, redis=redis, **given)
        await asyncio.to_thread(stack.__enter__)
        try:
            with Traces(stack) as traces:
                async with aiohttp.ClientSession() as http:
                    for url in (stack.mint_base_url, *stack.relay_base_urls):
                        await workers_ready(http, url, WORKERS)
                yield stack, traces
        finally:
            await asyncio.to_thread(stack.__exit__)


async def exit_code(process: Process, seconds: float) -> int:
    """Its exit status, which must come within this time."""
    return await asyncio.to_thread(process.popen.wait, seconds)


async def test_a_stop_drains_the_sessions_of_all_workers(
    tmp_path: Path, simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    async with (
        own_stack(tmp_path, simulator, DRAIN_SECONDS="6") as (stack, traces),
        sessions_on_all(http, stack, traces, speaks_airlock=True) as talks,
    ):
        late = await mint(http, stack)
        relay = stack.processes["relay-0"]
        relay.terminate()
        for talk in (talk for each in talks.values() for talk in each):
            await talk.until("airlock.session.draining")
        for _ in range(10):
            async with http.get(f"{stack.relay_base_urls[0].removesuffix('/v1')}/readyz") as answer:
                assert (answer.status, (await answer.json())["failing"]) == (503, ["draining"])
        status, error, _ = await refused_status(http, stack, late)
        assert (status, error["code"]) == (503, "draining")
        for talk in (talk for each in talks.values() for talk in each):
            assert await talk.ask() == 'You said: "Good day"'  # it may finish what it is doing
        for talk in (talk for each in talks.values() for talk in each):
            assert (await talk.until_closed(10))[0] == 1012
        assert await exit_code(relay, 15) == 0
        ends = traces.lines("session.end")
        assert [end["ending"] for end in ends] == ["draining"] * sum(map(len, talks.values()))
        assert {end["worker"] for end in ends} == {1, 2}
        assert not traces.leases()
        token_service = stack.processes["token_service"]
        token_service.terminate()
        assert await exit_code(token_service, 15) == 0


async def test_numbers_are_the_sum_over_all_workers_and_survive_one(tmp_path: Path, simulator: Simulator) -> None:
    port = free_port()
    operators = {"OPERATOR_PORT": str(port), "OPERATOR_KEYS": SETTINGS["OPERATOR_KEYS"]}
    async with own_stack(tmp_path, simulator, **operators) as (stack, traces), aiohttp.ClientSession() as http:
        token_service, relay = f"http://127.0.0.1:{port}", stack.relay_operator_urls[0]

        async def told(url: str, name: str, number: float) -> None:
            deadline = time.monotonic() + SECONDS
            while (now := (await scraped(http, url))[name,]) != number:
                assert time.monotonic() < deadline, (name, now, number)

        for _ in range(16):
            async with http.post(
                f"{stack.mint_base_url}/realtime/client_secrets",
                json={},
                headers={"Origin": stack.page_url, "Connection": "close"},
            ) as answer:
                assert answer.status == 200
        assert {line["worker"] for line in traces.lines("mint.ok", "token_service")} == {1, 2}
        await told(token_service, "airlock_mints_total", 16)
        async with sessions_on_all(http, stack, traces) as talks:
            number = sum(map(len, talks.values()))
            await told(relay, "airlock_live_sessions", number)
            await told(relay, "airlock_sessions_started_total", number)
            before = await scraped(http, relay)
            assert before["airlock_workers_replaced_total",] == 0
            os.kill(pids(traces)[2], signal.SIGKILL)
            await told(relay, "airlock_live_sessions", len(talks[1]))
            await told(relay, "airlock_workers_replaced_total", 1)
            after = await scraped(http, relay)
            for key in before:
                if key[0].partition("{")[0].endswith(("_total", "_count", "_bucket", "_sum")):
                    assert after[key] >= before[key], key


async def test_rates_and_places_hold_over_all_workers(tmp_path: Path, simulator: Simulator) -> None:
    limits = {
        "CONNECTS_PER_MINUTE_PER_ADDRESS": "7",
        "MAX_SESSIONS": "2",
        "MINTS_PER_MINUTE_PER_ADDRESS": "20",
        "TRUSTED_EDGE": "127.0.0.0/8",
    }
    async with own_stack(tmp_path, simulator, **limits) as (stack, traces):

        def from_address(address: str) -> aiohttp.ClientSession:
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            return aiohttp.ClientSession(headers={"X-Forwarded-For": address}, connector=connector)

        async with from_address("198.51.100.1") as http:
            url, origin = f"{stack.mint_base_url}/realtime/client_secrets", {"Origin": stack.page_url}

            async def minted() -> int:
                async with http.post(url, json={}, headers=origin) as answer:
                    return answer.status

            statuses = await asyncio.gather(*(minted() for _ in range(60)))
            assert statuses.count(200) == 20

        # Each worker lets through its share, rounded up: 4 of 7 for each of two.
        async with from_address("198.51.100.2") as http:
            answers = await asyncio.gather(*(refused_status(http, stack, "ek_forged") for _ in range(60)))
            assert [status for status, _, _ in answers].count(401) == 8

        # Places are each worker's own: a process that is full is full.
        async with contextlib.AsyncExitStack() as open_ones:
            live: list[int] = []
            for number in range(40):
                http = await open_ones.enter_async_context(from_address(f"198.51.101.{number}"))
                token = await mint(http, stack)
                talk = await open_ones.enter_async_context(await connect(http, stack, token))
                event = await talk.next()
                if event["type"] == "error":
                    assert event["error"]["code"] == "unavailable"
                else:
                    live.append(worker_of(traces, token))
            assert sorted(live) == [1, 1, 2, 2]


async def test_telemetry_tells_the_workers_apart(tmp_path: Path, simulator: Simulator) -> None:
    async with ApplicationInsights() as ingestion:
        telemetry = {
            "APPLICATIONINSIGHTS_CONNECTION_STRING": ingestion.connection_string,
            "TELEMETRY_INTERVAL_SECONDS": "0.5",
        }
        async with own_stack(tmp_path, simulator, **telemetry) as (_, traces):
            wanted = {*pids(traces).values(), *pids(traces, "token_service").values()}

            def heard() -> set[int]:
                return {int(item["tags"]["ai.cloud.roleInstance"].rpartition(":")[2]) for item in ingestion.envelopes}

            await until(lambda: heard() == wanted, SECONDS)
