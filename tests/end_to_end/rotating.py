"""Sessions that come and go while secrets change."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import aiohttp

from tests.end_to_end.clients import talking
from tests.end_to_end.traces import Traces, until
from tests.stack import Stack

WORKERS = 8
SECONDS = 60.0


class Load:
    """Workers that each mint a token, redeem it, see the session begin and end it, over and over.

    Attributes:
        rounds: how often each worker has done that.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.rounds = [0] * WORKERS
        self._workers: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Work while the block runs; whatever went wrong with a worker is raised."""
        stop = asyncio.Event()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            self._workers = [asyncio.create_task(self._work(number, http, stop)) for number in range(WORKERS)]
            try:
                yield self
            finally:
                stop.set()
                failures = [each for each in await asyncio.gather(*self._workers, return_exceptions=True) if each]
        assert failures == []

    async def _work(self, number: int, http: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        while not stop.is_set():
            async with talking(http, self._stack):
                pass
            self.rounds[number] += 1

    async def go_round(self) -> None:
        """Wait until whatever was begun before is over: each worker has begun and ended a session since."""
        before = list(self.rounds)

        def is_over() -> bool:
            for worker in self._workers:
                if worker.done():
                    worker.result()  # raises what went wrong with it
            return all(now >= then + 2 for now, then in zip(self.rounds, before, strict=True))

        await until(is_over, SECONDS)


def changes(traces: Traces, name: str) -> list[int]:
    """How often each service has put a new version of a secret in force."""
    return [len(traces.lines("secret.changed", process, secret=name)) for process in ("token_service", "relay-0")]


async def in_force(traces: Traces, name: str, set_it: Callable[[], object], *, readers: int) -> None:
    """Change a secret in the vault, and wait until every service that reads it goes by it."""
    before = sum(changes(traces, name))
    set_it()
    await until(lambda: sum(changes(traces, name)) == before + readers, SECONDS)
