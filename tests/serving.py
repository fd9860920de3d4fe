"""Serves an application as ``python -m`` does, on a free port, and speaks to it below HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from service_kit.http_server import _Runner

RAW_SECONDS = 10.0


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[int]:
    """The port it listens on, while the block runs."""
    runner = _Runner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def talk(port: int, sent: bytes, *, until: bytes | None = None) -> bytes:
    """Send raw bytes and return what comes back up to ``until``, or until the server closes."""
    async with asyncio.timeout(RAW_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(sent)
            await writer.drain()
            return await (reader.readuntil(until) if until else reader.read())
        finally:
            writer.close()
