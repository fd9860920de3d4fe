"""Redis that lets in by Entra ID over TLS, as Azure Managed Redis does: a front before an ordinary server.

A connection says ``AUTH <object id> <access token>``, or the same within ``HELLO``. The front checks the token itself,
and passes on everything else; the server behind it sees a connection that needs no login. When the token with which a
connection last logged in expires, the front cuts it, as Azure does.
"""

import asyncio
import contextlib
import ssl
import time
from types import TracebackType
from typing import Final, Self

from local_cloud.access_tokens import InvalidAccessToken, read

RESOURCE: Final = "https://redis.azure.com"
_MAX_BYTES: Final = 1 << 20
_AS_ANYBODY: Final = [b"AUTH", b"default", b"whatever"]
_AS_NOBODY: Final = [b"AUTH", b"nobody", b"wrong"]
"""What the server, which knows no users, answers with ``OK``, and with ``WRONGPASS``."""


class EntraRedis:
    """Listens on a loopback port in front of a server on another, while the ``async with`` block runs.

    Attributes:
        port: where it listens, with TLS.
        logins: how often a connection has logged in, for each connection there ever was, in their order.
        cut: how many connections were cut because their token had expired.
        refused: how many logins were refused.
    """

    def __init__(self, server_port: int, tls: ssl.SSLContext) -> None:
        self._server_port = server_port
        self._tls = tls
        self.logins: list[int] = []
        self.cut = 0
        self.refused = 0
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """The ``REDIS_URL``."""
        return f"rediss://127.0.0.1:{self.port}/0"

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        self._connections.add(task)
        number = len(self.logins)
        self.logins.append(0)
        to_server: asyncio.StreamWriter | None = None
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
                await _Connection(self, number, from_client, to_client, from_server, to_server).run()
        finally:
            self._connections.discard(task)
            for writer in (to_client, to_server):
                if writer is not None:
                    writer.close()


class _Connection:
    """One connection: what the client says, command by command, and what the server answers."""

    def __init__(
        self,
        front: EntraRedis,
        number: int,
        from_client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self._front = front
        self._number = number
        self._from_client = from_client
        self._to_client = to_client
        self._from_server = from_server
        self._to_server = to_server
        self._expires_at: int | None = None
        self._has_logged_in = asyncio.Event()

    async def run(self) -> None:
        """Carry on until one side is gone, or the token has expired."""
        ways = [asyncio.create_task(way) for way in (self._ask(), self._answer(), self._watch())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _watch(self) -> None:
        await self._has_logged_in.wait()
        while self._expires_at is not None and (left := self._expires_at - time.time()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)  # it may have logged in again by then
        self._front.cut += 1

    async def _answer(self) -> None:
        while answer := await self._from_server.read(65_536):
            self._to_client.write(answer)
            await self._to_client.drain()

    async def _ask(self) -> None:
        while True:
            words = await _read_command(self._from_client)
            match [words[0].upper(), *words[1:]]:
                # The server answers the logins too, so that all answers keep their order.
                case [b"AUTH", user, token]:
                    words = _AS_ANYBODY if self._log_in(user, token) else _AS_NOBODY
                case [b"HELLO", version, b"AUTH", user, token]:
                    words = [b"HELLO", version] if self._log_in(user, token) else _AS_NOBODY
                case _ if self._expires_at is None:
                    words = _AS_NOBODY
            self._to_server.write(_command(words))
            await self._to_server.drain()

    def _log_in(self, user: bytes, token: bytes) -> bool:
        try:
            holder = read(token.decode(), RESOURCE)
        except (InvalidAccessToken, UnicodeDecodeError):
            holder = None
        if holder is None or holder.object_id.encode() != user:
            self._front.refused += 1
            return False
        self._expires_at = holder.expires_at
        self._front.logins[self._number] += 1
        self._has_logged_in.set()
        return True


async def _read_command(reader: asyncio.StreamReader) -> list[bytes]:
    """One command in the form that clients send it: an array of strings."""
    count = int((await reader.readuntil(b"\r\n"))[1:])
    words = []
    for _ in range(count):
        length = int((await reader.readuntil(b"\r\n"))[1:])
        if length > _MAX_BYTES:
            raise OSError("too long")
        words.append((await reader.readexactly(length + 2))[:-2])
    return words


def _command(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
