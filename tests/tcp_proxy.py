"""Stands in front of a server and does to the connection what networks do: delays, cuts, and leads elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class TcpProxy:
    """Listens on a free loopback port while its ``async with`` block runs.

    Attributes:
        port: where it listens.
        target: the port that new connections lead to; those that exist stay where they are.
        delay_seconds: how much later the server's answers come through.
        most_waiting: how many connections waited for an answer at the same time, at most; may be set back.
        accepted: how many connections were made.
        holds: a request with these bytes in it is not passed on until ``release`` is called.
        held: set as soon as there is one.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_seconds = 0.0
        self.most_waiting = 0
        self.accepted = 0
        self.holds: bytes | None = None
        self.held = asyncio.Event()
        self._released = asyncio.Event()
        self._waiting: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self.cut()
        await self._server.wait_closed()

    def release(self) -> None:
        """Pass on what was held, and hold nothing more."""
        self.holds = None
        self._released.set()

    async def cut(self) -> None:
        """End every connection."""
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _carry(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        to_server: asyncio.StreamWriter | None = None
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                from_server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
                ways = [
                    asyncio.create_task(self._ask(from_client, to_server, to_client)),
                    asyncio.create_task(self._answer(from_server, to_client)),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
        finally:
            self._connections.discard(task)
            self._waiting.discard(to_client)
            for writer in (to_client, to_server):
                if writer is not None:
                    writer.close()

    async def _ask(
        self, from_client: asyncio.StreamReader, to_server: asyncio.StreamWriter, to_client: asyncio.StreamWriter
    ) -> None:
        while asked := await from_client.read(65_536):
            self._waiting.add(to_client)
            self.most_waiting = max(self.most_waiting, len(self._waiting))
            if self.holds is not None and self.holds in asked:
                self.held.set()
                await self._released.wait()
            to_server.write(asked)
            await to_server.drain()

    async def _answer(self, from_server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        while answered := await from_server.read(65_536):
            await asyncio.sleep(self.delay_seconds)
            self._waiting.discard(to_client)
            to_client.write(answered)
            await to_client.drain()
