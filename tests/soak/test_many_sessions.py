"""Three hundred people talk for two minutes: nothing is lost, and the relay does not grow."""

import asyncio
import contextlib

import aiohttp
import pytest

from tests.soak.conversing import ECHO, percentiles_ms, speakers
from tests.soak.measure import at_rest, complaints, held
from tests.stack import Stack

pytestmark = pytest.mark.soak

SESSIONS = 300
PIECE_MS = 100
SECONDS = 120
LAST_SECONDS = 60


@pytest.fixture
def simulator_arguments() -> tuple[str, ...]:
    return ECHO


async def test_300_sessions_lose_nothing_in_two_minutes_and_memory_stays_flat(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    resident: list[int] = []

    async def watch() -> None:
        while True:
            resident.append((await held(stack)).resident_bytes)
            await asyncio.sleep(1)  # one sample a second

    base = await held(stack)
    async with speakers(http, stack, SESSIONS, piece_ms=PIECE_MS) as people:
        watching = asyncio.create_task(watch())
        try:
            async with asyncio.TaskGroup() as talking:
                tasks = [talking.create_task(person.converse(SECONDS * 1_000 // PIECE_MS)) for person in people]
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
    after = await at_rest(stack, base)
    heard = [latency for task in tasks for latency in task.result().latencies]
    last = resident[-LAST_SECONDS:]
    mib = [round(size / 2**20, 1) for size in (base.resident_bytes, min(last), max(last), after.resident_bytes)]
    print(f"\n{len(heard)} pieces, latency in ms {percentiles_ms(heard)}; RSS base, last minute, after: {mib} MiB")  # noqa: T201 - figures

    assert len(heard) == SESSIONS * SECONDS * 1_000 // PIECE_MS
    assert len(last) == LAST_SECONDS
    assert max(last) <= min(last) * 1.05
    assert after.countable == base.countable
    assert complaints(stack) == []
