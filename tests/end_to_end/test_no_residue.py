"""Sessions leave nothing behind in the relay: no descriptor, no task, no lease, no memory that grows."""

import asyncio
import contextlib
import os
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from local_cloud.realtime import Simulator
from relay.app import LIVE, create_app
from tests.configured import configured_relay
from tests.end_to_end.clients import connect, mint, refused_events, refused_status, talking
from tests.end_to_end.traces import Traces, until
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

CYCLES = 300
AT_ONCE = 15


async def live_through(http: aiohttp.ClientSession, stack: Stack, number: int) -> None:
    """One connection that ends in one of six ways."""
    match number % 6:
        case 0:
            async with talking(http, stack) as (talk, _):
                await talk.ask()
        case 1:
            async with talking(http, stack, "header") as (talk, _):
                talk.abort()
        case 2:
            async with talking(http, stack, speaks_airlock=True) as (talk, _):
                await talk.socket.send_bytes(b"")
                await talk.until_closed()
        case 3:
            talk = await connect(http, stack, await mint(http, stack))
            talk.abort()  # at any moment before the lock
        case 4:
            async with talking(http, stack) as (_, minted):
                await refused_status(http, stack, minted)
                await refused_events(http, stack, minted)
        case 5:
            await refused_status(http, stack, "ek_forged")


async def live_through_all(http: aiohttp.ClientSession, stack: Stack, *, cycles: int) -> None:
    for start in range(0, cycles, AT_ONCE):
        await asyncio.gather(*(live_through(http, stack, number) for number in range(start, start + AT_ONCE)))


def descriptors(stack: Stack, pid: int | str = "self") -> list[str]:
    """What a process holds open, but for its pooled connections to Redis."""
    process = Path(f"/proc/{pid}")
    connections = [line.split() for line in (process / "net/tcp").read_text().splitlines()[1:]]
    pooled = {f"socket:[{line[9]}]" for line in connections if int(line[2].split(":")[1], 16) == stack.redis.port}
    held = []
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            held.append(str(descriptor.readlink()))
    return [name for name in held if name not in pooled]


@pytest.mark.skipif(os.geteuid() != 0, reason="the relay lets nobody but root look into it")
async def test_after_300_cycles_descriptors_leases_and_connections_are_where_they_were(
    stack: Stack, simulator: Simulator, traces: Traces
) -> None:
    pid = stack.processes["relay-0"].popen.pid
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
        await live_through_all(http, stack, cycles=2 * AT_ONCE)
        await until(lambda: not traces.leases())
        before = len(descriptors(stack, pid))
        await live_through_all(http, stack, cycles=CYCLES)
    await until(lambda: len(descriptors(stack, pid)) <= before)
    await until(lambda: not traces.leases(), 2)
    starts = {line["session_id"] for line in traces.lines("redeem.ok")}
    await until(lambda: len(traces.lines("session.end")) == len(starts))
    assert starts == {line["session_id"] for line in traces.lines("session.end")}
    assert len(starts) > CYCLES / 2
    assert not traces.lines("internal_error")
    assert not traces.lines("library.log")
    upstream = [connection for connection in simulator.connections if connection.sent.events]
    await until(lambda: all(connection.ended for connection in upstream))


async def test_after_300_cycles_no_task_or_descriptor_is_left(
    stack: Stack, simulator: Simulator, http: aiohttp.ClientSession, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {name.lower(): value for name, value in stack.environment.items()}
    app = create_app(*configured_relay(**environment))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base_url = stack.relay_base_urls[0]
        stack.relay_base_urls[0] = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
            await live_through_all(http, stack, cycles=2 * AT_ONCE)
            await until(lambda: not app[LIVE] and len(asyncio.all_tasks()) < 2 * AT_ONCE)
            before, open_before = asyncio.all_tasks(), len(descriptors(stack))
            await live_through_all(http, stack, cycles=CYCLES)
        await until(lambda: len(asyncio.all_tasks()) <= len(before))
        await until(lambda: len(descriptors(stack)) <= open_before)
        assert len(app[LIVE]) == 0
        stack.relay_base_urls[0] = base_url
    finally:
        await runner.cleanup()
