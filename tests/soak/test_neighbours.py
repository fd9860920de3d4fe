"""What one session does takes nothing from those beside it: they lose nothing, and the attacker is stopped."""

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from tests.end_to_end.clients import Talk, connect, mint
from tests.end_to_end.traces import Traces
from tests.soak.conversing import ECHO, percentiles_ms, speakers
from tests.soak.measure import complaints
from tests.stack import Stack

pytestmark = pytest.mark.soak

HONEST = 20
PIECE_MS = 20
SECONDS = 15
HUGE = {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(600_000)).decode()}

Attack = Callable[[Talk], Awaitable[None]]


async def read_to_the_end(talk: Talk) -> None:
    """A flood can lose the close frame to a TCP reset, so the code is looked up in the receipt."""
    while (await talk.socket.receive()).type is aiohttp.WSMsgType.TEXT:
        pass


async def send_what_is_refused(talk: Talk) -> None:
    await asyncio.gather(read_to_the_end(talk), flood(talk, {"type": "no.such.event", "filler": "x" * 10_000}))


async def send_pings_of_ours(talk: Talk) -> None:
    await asyncio.gather(read_to_the_end(talk), flood(talk, {"type": "airlock.ping"}))


async def flood(talk: Talk, event: dict[str, str]) -> None:
    with contextlib.suppress(ConnectionError):
        while not talk.socket.closed:
            await talk.send(event)
            await asyncio.sleep(0)  # give way to the reader


async def send_websocket_pings(talk: Talk) -> None:
    async def ping() -> None:
        with contextlib.suppress(ConnectionError):
            while not talk.socket.closed:
                await talk.socket.ping(b"x" * 125)
                await asyncio.sleep(0)  # give way to the reader

    await asyncio.gather(read_to_the_end(talk), ping())


async def read_nothing(talk: Talk) -> None:
    """Ask for megabytes of echo and take none of it."""
    talk.pause_reading()
    with contextlib.suppress(ConnectionError):
        for _ in range(40):
            await talk.send(HUGE)
        while True:
            await talk.socket.ping()
            await asyncio.sleep(0.1)  # until the connection is cut, which a writer alone can see


ATTACKS: dict[Attack, tuple[str, str | None, int]] = {
    send_what_is_refused: ("policy", "policy_violation", 1008),
    send_pings_of_ours: ("policy", "rate_limited", 4429),
    send_websocket_pings: ("policy", "rate_limited", 4429),
    read_nothing: ("slow_consumer", "slow_consumer", 4408),
}


async def converse(http: aiohttp.ClientSession, stack: Stack) -> list[float]:
    """Twenty honest sessions; their latencies."""
    async with speakers(http, stack, HONEST, piece_ms=PIECE_MS) as people, asyncio.TaskGroup() as talking:
        tasks = [talking.create_task(person.converse(SECONDS * 1_000 // PIECE_MS)) for person in people]
    return [latency for task in tasks for latency in task.result().latencies]


async def attack_until(
    honest_are_done: asyncio.Event, attack: Attack, http: aiohttp.ClientSession, stack: Stack
) -> list[str]:
    """Attack again and again, with a new token each time; the tokens' ids."""
    token_ids = []
    while not honest_are_done.is_set():
        minted = await mint(http, stack)
        token_ids.append(minted.token_id)
        async with await connect(http, stack, minted, speaks_airlock=True) as talk:
            await talk.until("session.created")
            await attack(talk)
    return token_ids


@pytest.fixture
def simulator_arguments() -> tuple[str, ...]:
    return ECHO


async def test_beside_any_attacker_20_honest_sessions_lose_nothing_and_the_attacker_ends_with_its_own_code(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    figures = {"nobody": percentiles_ms(await converse(http, stack))}
    with Traces(stack) as traces:
        for attack, ending in ATTACKS.items():
            done = asyncio.Event()
            attacking = asyncio.create_task(attack_until(done, attack, http, stack))
            heard = await converse(http, stack)
            done.set()
            token_ids = await attacking
            figures[f"{attack.__name__} ({len(token_ids)} sessions)"] = percentiles_ms(heard)
            assert len(heard) == HONEST * SECONDS * 1_000 // PIECE_MS
            for token_id in token_ids:
                receipt = await traces.session_end(token_id, 15)
                assert (receipt["ending"], receipt["code"], receipt["close_code"]) == ending
    print("\nlatency of the honest in ms, beside", *map(str, figures.items()), sep="\n")  # noqa: T201 - figures
    assert complaints(stack) == []
