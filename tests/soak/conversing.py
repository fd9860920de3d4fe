"""Clients that speak in real time to a model that echoes, and notice the smallest loss."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

import aiohttp
import msgspec

from tests.end_to_end.clients import Talk, connect, mint
from tests.stack import Stack

DELTA = "response.output_audio.delta"
ECHO = ("--echo", "--no-record")
"""The simulator's arguments for a model that answers every append with the same audio."""


class _Echo(msgspec.Struct):
    type: str
    delta: str = ""


_read_echo = msgspec.json.Decoder(_Echo).decode


class Speaker:
    """One session; every piece of audio it sends is unlike all others.

    Attributes:
        latencies: of each piece from being sent to being heard, in seconds.
    """

    def __init__(self, talk: Talk, number: int, piece_ms: int) -> None:
        self.latencies: list[float] = []
        self._talk = talk
        self._number = number
        self._piece_seconds = piece_ms / 1_000
        self._filler = "A" * (piece_ms * 64 - 12)
        self._loop = asyncio.get_running_loop()
        self._sent_at: list[float] = []

    async def converse(self, pieces: int) -> Self:
        """Send the pieces in real time, and hear all of them, in order and whole."""
        speaking = asyncio.create_task(self._speak(pieces))
        try:
            async with asyncio.timeout(pieces * self._piece_seconds + 30):
                for index in range(pieces):
                    message = await self._talk.socket.receive()
                    heard_at = self._loop.time()
                    assert message.type is aiohttp.WSMsgType.TEXT, (message, self._talk.socket.close_code)
                    echo = _read_echo(message.data)
                    assert (echo.type, echo.delta) == (DELTA, self._audio(index)), (
                        "lost, or out of order",
                        index,
                        message.data[:500],
                    )
                    self.latencies.append(heard_at - self._sent_at[index])
        finally:
            speaking.cancel()
            await asyncio.wait([speaking])
        return self

    async def _speak(self, pieces: int) -> None:
        loop = self._loop
        started_at = loop.time() + self._number % 100 * self._piece_seconds / 100  # not all in the same moment
        for index in range(pieces):
            await asyncio.sleep(started_at + index * self._piece_seconds - loop.time())  # as a microphone does
            self._sent_at.append(loop.time())
            await self._talk.socket.send_str(
                '{"type":"input_audio_buffer.append","audio":"' + self._audio(index) + '"}'
            )

    def _audio(self, index: int) -> str:
        return f"{self._number:04}{index:08}{self._filler}"


@asynccontextmanager
async def speakers(
    http: aiohttp.ClientSession, stack: Stack, count: int, *, piece_ms: int
) -> AsyncIterator[Sequence[Speaker]]:
    """So many live sessions."""
    async with AsyncExitStack() as talks:
        made = []
        for number in range(count):
            talk = await talks.enter_async_context(await connect(http, stack, await mint(http, stack)))
            await talk.until("session.created")
            made.append(Speaker(talk, number, piece_ms))
        yield made


def percentiles_ms(latencies: Sequence[float]) -> str:
    """For people: the median and the 99th percentile."""
    ordered = sorted(latencies)
    return json.dumps({f"p{p}": round(ordered[len(ordered) * p // 100] * 1_000, 2) for p in (50, 99)})
