"""What befalls the process itself: a full disk, no descriptor left, a held-up event loop, a wrong clock, SIGKILL."""

import asyncio
import contextlib
import resource
import socket
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from local_cloud.realtime import Simulator
from tests.altered_relay import meddle
from tests.end_to_end.clients import Talk, connect, mint, refused_status, talking
from tests.end_to_end.traces import Traces, until
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

RELAYS = 2
LEASE_SECONDS, RENEW_SECONDS = 3, 1
SETTINGS = {"ALTERED_LEASE_SECONDS": str(LEASE_SECONDS), "ALTERED_RENEW_SECONDS": str(RENEW_SECONDS)}
RELAY_MODULE = "tests.altered_relay"
NO_LIMIT = resource.RLIM_INFINITY


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def clean(stack: Stack, traces: Traces) -> AsyncIterator[None]:
    """No session of another test."""
    await until(lambda: not traces.leases())
    yield


def limited(stack: Stack, what: int, limit: int) -> contextlib.ExitStack:
    """Set a resource limit of the first relay; the block's end lifts it."""
    pid = stack.processes["relay-0"].popen.pid
    _, most = resource.prlimit(pid, what)
    before = resource.prlimit(pid, what, (limit, most))
    undo = contextlib.ExitStack()
    undo.callback(resource.prlimit, pid, what, before)
    return undo


async def test_a_full_disk_costs_log_lines_and_nothing_else(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    log = stack.processes["relay-0"].log_path
    async with talking(http, stack) as (survivor, used):
        full_at = log.stat().st_size
        with limited(stack, resource.RLIMIT_FSIZE, full_at):
            for _ in range(5):
                async with talking(http, stack) as (talk, _):
                    assert await talk.ask() == 'You said: "Good day"'
            assert (await refused_status(http, stack, used))[1]["code"] == "token_used"
            await until(lambda: len(traces.leases()) == 1)
            assert log.stat().st_size == full_at
        assert await survivor.ask() == 'You said: "Good day"'
    await traces.session_end(used.token_id)
    (line,) = traces.lines("log.dropped")
    assert line["lines"] >= 5 * 3  # redeem.ok, session.start and session.end of each, and the refusal


async def test_without_descriptors_new_ones_are_refused_live_ones_go_on_and_the_log_stays_quiet(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    relay = urlsplit(stack.relay_base_urls[0])
    address = ("127.0.0.1", relay.port)
    async with talking(http, stack) as (survivor, _):
        unused = await mint(http, stack)
        lines_before, since = len(stack.processes["relay-0"].log().splitlines()), time.monotonic()
        with limited(stack, resource.RLIMIT_NOFILE, 64), contextlib.ExitStack() as greedy:
            for _ in range(200):
                taken = greedy.enter_context(socket.create_connection(address))
                taken.sendall(b"GET /v1/realtime HTTP/1.1\r\n")  # and nothing more
            assert await survivor.ask() == 'You said: "Good day"'
            with pytest.raises((aiohttp.ClientError, TimeoutError)):
                async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(1)) as other:
                    await connect(other, stack, unused)
            assert await survivor.ask() == 'You said: "Good day"'
            written = len(stack.processes["relay-0"].log().splitlines()) - lines_before
            assert written <= 10 * (1 + time.monotonic() - since)
            greedy.close()
            async with asyncio.timeout(2):
                while not (admitted := await try_to_connect(http, stack)):
                    pass
            async with admitted as talk:
                assert await talk.ask() == 'You said: "Good day"'
    assert not traces.lines("internal_error")


async def try_to_connect(http: aiohttp.ClientSession, stack: Stack) -> Talk | None:
    """A session, or None where the connection is refused, here or to the model."""
    try:
        talk = await connect(http, stack, await mint(http, stack))
    except aiohttp.ClientError:
        return None
    return talk if (await talk.next())["type"] == "session.created" else None


async def test_an_event_loop_held_up_for_half_a_second_loses_no_lease_and_no_session(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack) as (one, minted), talking(http, stack, "header") as (other, _):
        started_at = time.monotonic()
        held = traces.leases()
        while time.monotonic() - started_at < LEASE_SECONDS + 1:
            await meddle(stack.relay_base_urls[0], "stall?seconds=0.5")
            assert await one.ask() == 'You said: "Good day"'
            assert await other.ask() == 'You said: "Good day"'
        # Longer than a renewal may take, and than Redis has to answer.
        await meddle(stack.relay_base_urls[0], f"stall?seconds={RENEW_SECONDS + 0.5}")
        assert await one.ask() == 'You said: "Good day"'
        assert traces.leases() == held
    assert (await traces.session_end(minted.token_id))["ending"] == "browser_closed"
    assert not traces.lines("session.end", ending="lease_lost")


@pytest.mark.parametrize(
    ("ahead", "refusal"),
    [
        pytest.param(5, None, id="5 s ahead"),
        pytest.param(-5, None, id="5 s behind"),
        pytest.param(306, "token_expired", id="306 s ahead"),
        pytest.param(-301, "invalid_token", id="301 s behind"),
        pytest.param(-7, "invalid_token", id="7 s behind"),
    ],
)
async def test_clocks_may_differ_by_five_seconds_and_not_by_more_than_a_token_s_life(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession, ahead: int, refusal: str | None
) -> None:
    await meddle(stack.relay_base_urls[0], f"clock?ahead={ahead}")
    try:
        minted = await mint(http, stack)
        if refusal is None:
            async with await connect(http, stack, minted) as talk:
                await talk.until("session.created")
                assert await talk.ask() == 'You said: "Good day"'
        else:
            dialled = len(simulator.connections)
            status, error, _ = await refused_status(http, stack, minted)
            assert (status, error["code"]) == (401, refusal)
            assert traces.token(minted.token_id) == {"state": "minted"}
            assert len(simulator.connections) == dialled
    finally:
        await meddle(stack.relay_base_urls[0], "clock?ahead=0")


async def test_a_killed_relay_s_slots_are_free_when_its_leases_run_out_and_the_other_goes_on(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    """The last test of this module: it leaves one relay."""
    async with talking(http, stack) as (survivor, _):
        (kept,) = traces.leases()
        victim = await connect(http, stack, await mint(http, stack), relay=1)
        await victim.until("session.created")
        upstream = simulator.connections[-1]
        stack.processes["relay-1"].popen.kill()
        killed_at = time.monotonic()
        message = await victim.socket.receive(2)
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        await upstream.wait_ended()
        await until(lambda: traces.leases_in_force() == {kept}, LEASE_SECONDS + 1)
        assert time.monotonic() - killed_at < LEASE_SECONDS + 1
        assert await survivor.ask() == 'You said: "Good day"'
    assert not traces.lines("internal_error")
