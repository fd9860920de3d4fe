"""Three hundred people talk for two minutes: nothing is lost, and the relay does not grow.

Resident memory is only reported: on a machine that is busy with other things, what waits in bounded buffers for a
moment stays resident. What the relay holds at its emptiest moments cannot grow but by a leak.
"""

import asyncio
import contextlib

import aiohttp
import pytest

from tests.soak.conversing import ECHO, percentiles_ms, speakers
from tests.soak.measure import Held, at_rest, complaints, held, settled
from tests.stack import Stack

pytestmark = pytest.mark.soak

SESSIONS = 300
PIECE_MS = 100
SECONDS = 120
WINDOW_SECONDS = 30
MOST_GROWTH_BYTES = 1 << 20
"""From one window to the next: 90,000 pieces are relayed in one, so that even 12 bytes lost with each would show."""


@pytest.fixture
def simulator_arguments() -> tuple[str, ...]:
    return ECHO


async def test_300_sessions_lose_nothing_in_two_minutes_and_memory_stays_flat(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    samples: list[Held] = []

    async def watch() -> None:
        while True:
            samples.append(await held(stack))
            await asyncio.sleep(1)  # one sample a second

    base = await settled(stack)
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
    earlier, later = samples[-2 * WINDOW_SECONDS : -WINDOW_SECONDS], samples[-WINDOW_SECONDS:]
    floors = [min(held.allocated_bytes for held in window) for window in (earlier, later)]
    most = max(sample.resident_bytes for sample in samples)
    print(  # noqa: T201 - figures
        f"\n{len(heard)} pieces, latency in ms {percentiles_ms(heard)}; MiB resident and allocated: "
        f"before {base.mib}, at the end {samples[-1].mib}, after {after.mib}; most resident {most / 2**20:.1f}; "
        f"least allocated in the last two half minutes {[round(floor / 2**20, 2) for floor in floors]}"
    )

    assert len(heard) == SESSIONS * SECONDS * 1_000 // PIECE_MS
    assert len(earlier) == WINDOW_SECONDS
    assert floors[1] - floors[0] <= MOST_GROWTH_BYTES
    assert after.countable == base.countable
    assert complaints(stack) == []
