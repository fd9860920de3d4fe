"""What one session does takes nothing from those beside it: they lose nothing, and the offender is stopped, cheaply."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.end_to_end.traces import Traces, resident_mib
from tests.soak.conversing import ECHO, Speaker, percentiles_ms, speakers
from tests.soak.measure import at_rest, complaints, settled
from tests.soak.offenders import OFFENCES, offenders
from tests.stack import Stack

pytestmark = pytest.mark.soak

HONEST = 20
PIECE_MS = 20
SECONDS = 15
SAMPLE_SECONDS = 0.05


async def converse(people: Sequence[Speaker]) -> list[float]:
    """All of them speak and hear all of it; the latencies."""
    async with asyncio.TaskGroup() as talking:
        tasks = [talking.create_task(person.converse(SECONDS * 1_000 // PIECE_MS)) for person in people]
    return [latency for task in tasks for latency in task.result().latencies]


@asynccontextmanager
async def most_resident(stack: Stack) -> AsyncIterator[list[float]]:
    """The relay's memory, in MiB, looked at again and again."""
    sizes = [resident_mib(stack)]

    async def watch() -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)  # samples of another process
            sizes.append(resident_mib(stack))

    watching = asyncio.create_task(watch())
    try:
        yield sizes
    finally:
        watching.cancel()
        await asyncio.wait([watching])


@pytest.fixture
def simulator_arguments() -> tuple[str, ...]:
    return ECHO


async def test_beside_any_offender_20_honest_sessions_lose_nothing_and_the_offender_ends_with_its_own_code(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    async with speakers(http, stack, HONEST, piece_ms=PIECE_MS) as people:
        figures = {"nobody": percentiles_ms(await converse(people))}
    base = await settled(stack)
    too_dear = []
    with Traces(stack) as traces:
        for name, offence in OFFENCES.items():
            started_at = time.monotonic()
            async with (
                speakers(http, stack, HONEST, piece_ms=PIECE_MS) as people,
                most_resident(stack) as sizes,
                offenders(name, http, stack) as token_ids,
            ):
                heard = await converse(people)
            growth = (max(sizes) - sizes[0]) / offence.at_once
            if growth > offence.most_mib:
                too_dear.append(name)
            figures[name] = (
                f"{percentiles_ms(heard)}, {len(token_ids)} offending sessions, "
                f"{sizes[0]:.1f} MiB + {growth:.2f} per offender, {time.monotonic() - started_at:.0f} s"
            )
            assert len(heard) == HONEST * SECONDS * 1_000 // PIECE_MS
            for token_id in token_ids:
                receipt = await traces.session_end(token_id, 15, free_within=15)
                assert (receipt["ending"], receipt["code"], receipt["close_code"]) == offence.ending
    print("\nlatency of the honest in ms, beside", *(f"{name}: {told}" for name, told in figures.items()), sep="\n")  # noqa: T201 - figures
    assert too_dear == [], figures
    assert (await at_rest(stack, base)).countable == base.countable
    assert complaints(stack) == []
