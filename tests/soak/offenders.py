"""Clients that offend, in a process of their own, so that nobody waits for them but the services.

``python -m tests.soak.offenders NAME ADDRESSES`` commits one of the `OFFENCES`, writes the id of each session's token
to standard output, and begins no more sessions once its standard input ends.
"""

import asyncio
import base64
import contextlib
import functools
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import msgspec

from local_cloud.realtime.faults import SessionFault, StopReading
from tests.end_to_end.clients import Talk, connect, mint
from tests.stack import ROOT, Stack

LARGE_BYTES, HUGE_BYTES = 40_000, 800_000
"""Messages of half a second and of twelve; the profile takes up to a megabyte."""
MOST_BYTES = 30_000_000
"""More than the buffers of all sockets on the way hold, so that the relay's fill up, too."""
BURST, MESSAGES_PER_SECOND = 150, 90
"""Within what the profile allows: 200, and 100 more each second."""
DEAF_SECONDS = 15.0
SECONDS_BETWEEN_SESSIONS = 1.0
"""Tokens for so many sessions are what one address shall be able to get."""


async def read_to_the_end(talk: Talk) -> None:
    """A flood can lose the close frame to a TCP reset, so the code is looked up in the receipt."""
    while (await talk.socket.receive()).type is aiohttp.WSMsgType.TEXT:
        pass


async def send_what_is_refused(talk: Talk) -> None:
    await asyncio.gather(read_to_the_end(talk), flood(talk, {"type": "no.such.event", "filler": "x" * 10_000}))


async def send_pings_of_ours(talk: Talk) -> None:
    await asyncio.gather(read_to_the_end(talk), flood(talk, {"type": "airlock.ping"}))


async def flood(talk: Talk, event: dict[str, str]) -> None:
    text = json.dumps(event)
    with contextlib.suppress(ConnectionError):
        while not talk.socket.closed:
            await talk.socket.send_str(text)
            await asyncio.sleep(0)  # give way to the reader


async def send_websocket_pings(talk: Talk) -> None:
    async def ping() -> None:
        with contextlib.suppress(ConnectionError):
            while not talk.socket.closed:
                await talk.socket.ping(b"x" * 125)
                await asyncio.sleep(0)  # give way to the reader

    await asyncio.gather(read_to_the_end(talk), ping())


def append(size: int) -> str:
    """An append event of about so many characters."""
    return json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(size * 3 // 4)).decode()})


async def speak(talk: Talk, message_bytes: int) -> None:
    """Send megabytes, no faster than the profile allows."""
    message = append(message_bytes)
    with contextlib.suppress(ConnectionError):
        for number in range(MOST_BYTES // message_bytes):
            await talk.socket.send_str(message)
            if number > BURST:
                await asyncio.sleep(1 / MESSAGES_PER_SECOND)


async def read_nothing(talk: Talk, message_bytes: int = LARGE_BYTES) -> None:
    """Ask for megabytes of echo and take none of it."""
    talk.pause_reading()
    await speak(talk, message_bytes)
    with contextlib.suppress(ConnectionError):
        while True:
            await talk.socket.ping()
            await asyncio.sleep(0.1)  # until the connection is cut, which a writer alone can see


async def speak_to_one_who_does_not_listen(talk: Talk) -> None:
    """Send megabytes that the model does not take."""

    speaking = asyncio.create_task(speak(talk, LARGE_BYTES))
    await read_to_the_end(talk)
    speaking.cancel()
    await asyncio.wait([speaking])


@dataclass(frozen=True, slots=True)
class Offence:
    """What offenders do, and how each of their sessions must end."""

    attack: Callable[[Talk], Awaitable[None]]
    ending: tuple[str, str | None, int]
    at_once: int = 1
    again: bool = False
    """Whether each begins anew, with a new token, until the honest are done."""
    fault: SessionFault | None = None
    """How the model of each misbehaves."""
    most_mib: float = 2.0
    """What each may cost the relay, at most."""


OFFENCES = {
    "one floods with what is refused": Offence(send_what_is_refused, ("policy", "policy_violation", 1008), again=True),
    "one floods with our pings": Offence(send_pings_of_ours, ("policy", "rate_limited", 4429), again=True),
    "one floods with WebSocket pings": Offence(send_websocket_pings, ("policy", "rate_limited", 4429), again=True),
    "10 read nothing": Offence(read_nothing, ("slow_consumer", "slow_consumer", 4408), at_once=10),
    "one reads nothing of huge messages": Offence(
        functools.partial(read_nothing, message_bytes=HUGE_BYTES),
        ("slow_consumer", "slow_consumer", 4408),
        most_mib=2 + 8 * HUGE_BYTES / 2**20,  # one is written and one read on each side, and one more is copied
    ),
    "10 have a model that reads nothing": Offence(
        speak_to_one_who_does_not_listen,
        ("model_failed", "upstream_closed", 1011),
        at_once=10,
        fault=StopReading(seconds=DEAF_SECONDS),
    ),
    "50 read nothing": Offence(read_nothing, ("slow_consumer", "slow_consumer", 4408), at_once=50),
}


class Addresses(msgspec.Struct):
    """Where the product is."""

    page_url: str
    mint_base_url: str
    relay_base_urls: list[str]


@asynccontextmanager
async def offenders(name: str, http: aiohttp.ClientSession, stack: Stack) -> AsyncIterator[list[str]]:
    """Let them offend meanwhile; afterwards all are through, and the list holds the ids of their tokens."""
    offence = OFFENCES[name]
    if offence.fault is not None:
        body = msgspec.json.encode({"fault": offence.fault, "times": offence.at_once})
        async with http.post(f"{stack.simulator_url}/_simulator/faults", data=body) as answer:
            assert answer.status < 300, await answer.text()
    addresses = msgspec.json.encode(Addresses(stack.page_url, stack.mint_base_url, stack.relay_base_urls)).decode()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, name, addresses, cwd=ROOT, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    token_ids: list[str] = []
    try:
        yield token_ids
    finally:
        told, _ = await process.communicate(b"")
    assert process.returncode == 0
    token_ids += told.decode().split()


async def main(name: str, addresses: Addresses) -> None:
    """Offend until standard input ends, or until each offender was stopped."""
    offence = OFFENCES[name]
    is_over = asyncio.Event()

    async def offend(http: aiohttp.ClientSession) -> None:
        while True:
            minted = await mint(http, addresses)
            print(minted.token_id)  # noqa: T201 - this is how the parent learns of it
            async with await connect(http, addresses, minted, speaks_airlock=True) as talk:
                await talk.until("session.created", 20)
                await offence.attack(talk)
            if not offence.again:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), SECONDS_BETWEEN_SESSIONS)
            if is_over.is_set():
                return

    async def wait_for_the_end() -> None:
        await asyncio.to_thread(sys.stdin.read)
        is_over.set()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as http:
        await asyncio.gather(wait_for_the_end(), *(offend(http) for _ in range(offence.at_once)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], msgspec.json.decode(sys.argv[2], type=Addresses)))
