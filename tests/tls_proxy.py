"""Speaks TLS in front of a server that does not."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes from one side to the other until it has no more."""
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


@asynccontextmanager
async def over_tls(port: int, serves_with: ssl.SSLContext) -> AsyncIterator[int]:
    """A port that speaks TLS in front of one that does not."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, to_behind = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pass_on(reader, to_behind), _pass_on(behind, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=serves_with)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
