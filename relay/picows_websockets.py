"""Upgrades for channels on picows: aiohttp answers the browser's and hands the connection over; the model's is ours."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Final, cast
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from picows import WSHandshakeError

from relay.channel import NotConnected, OpenChannel
from relay.memory import give_back
from relay.picows_channel import PicowsChannel
from relay.picows_connection import Connection, Dial, accept_key, replace_protocol

_END_OF_HEAD: Final = b"\r\n\r\n"
_MAX_HEAD_BYTES: Final = 16_384
_CONNECTION_LINE: Final = re.compile(rb"(?i)\r\nconnection:([^\r\n]*)")


class PicowsWebSockets:
    """Channels of both sides on picows, with one TLS context for all that is dialled."""

    hand_over = True

    def __init__(self, user_agent: str, tls: ssl.SSLContext) -> None:
        self._user_agent = user_agent
        self._tls = tls

    async def accept(
        self, request: web.Request, *, subprotocol: str | None, max_message_bytes: int
    ) -> tuple[web.StreamResponse, OpenChannel]:
        """Answer an admitted upgrade: the response, and the client's end. Raises ConnectionError when it is gone."""
        headers = {
            hdrs.UPGRADE: "websocket",
            hdrs.CONNECTION: "upgrade",
            hdrs.SEC_WEBSOCKET_ACCEPT: accept_key(request.headers[hdrs.SEC_WEBSOCKET_KEY].strip()),
        }
        if subprotocol:
            headers[hdrs.SEC_WEBSOCKET_PROTOCOL] = subprotocol
        response = web.StreamResponse(status=101, headers=headers)
        response.force_close()
        await response.prepare(request)
        if request.transport is None:
            raise ConnectionResetError
        return response, PicowsChannel(max_message_bytes, request)

    async def connect(
        self, url: str, headers: Mapping[str, str], on_frame: Callable[[bytes], None], *, max_message_bytes: int
    ) -> OpenChannel:
        """Dial once, without redirects or proxies; ``on_frame`` gets the frames from the first. Raises NotConnected."""
        parts = urlsplit(url)
        is_secure = parts.scheme == "wss"
        channel = PicowsChannel(max_message_bytes)
        channel.on_frame = on_frame
        said = {hdrs.USER_AGENT: self._user_agent, **headers}
        dial = Dial(parts.netloc.rpartition("@")[2], f"{parts.path}?{parts.query}", said)
        # Not picows.ws_connect: it makes protocols of its own class.
        connection = Connection(channel, max_message_bytes, dial=dial)
        with contextlib.ExitStack() as unless_connected:
            unless_connected.callback(connection.abort)
            try:
                if is_secure:
                    await self._dial_tls(_Upgrading(connection), parts.hostname or "", parts.port or 443)
                else:
                    await asyncio.get_running_loop().create_connection(
                        lambda: _Upgrading(connection), parts.hostname or "", parts.port or 80
                    )
                await connection.wait_until_handshake_complete()
            except WSHandshakeError as error:
                raise _not_connected(error) from error
            except OSError as error:
                raise NotConnected(type(error).__name__) from error
            if not channel.is_connected:
                raise NotConnected("connection lost")
            unless_connected.pop_all()
        said.clear()  # picows keeps it for as long as the connection lives
        return channel

    async def _dial_tls(self, protocol: asyncio.Protocol, host: str, port: int) -> None:
        """Connect, then speak TLS: in two steps, since only so the TLS layer and its buffer can be got hold of."""
        loop = asyncio.get_running_loop()
        plain, _ = await loop.create_connection(_BeforeTls, host, port)
        transport = await loop.start_tls(plain, protocol, self._tls, server_hostname=host)
        if transport is None:
            raise ConnectionResetError
        protocol.connection_made(transport)
        layer = cast("asyncio.BufferedProtocol", plain.get_protocol())
        give_back(memoryview(layer.get_buffer(1)))  # 256 KiB, of which a session needs a page or two


class _BeforeTls(asyncio.Protocol):
    """Reads nothing: what comes is for TLS."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).pause_reading()


class _Upgrading(asyncio.Protocol):
    """Reads the head of a server's answer, then leaves the transport to picows' connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._transport: asyncio.Transport | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's derives from nothing
        self._connection.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        if _END_OF_HEAD in self._read or len(self._read) > _MAX_HEAD_BYTES:
            head, end, rest = self._read.partition(_END_OF_HEAD)
            assert self._transport is not None  # noqa: S101 - it was made before anything came
            replace_protocol(self._transport, self._connection)
            self._connection.feed_data(_with_plain_connection(head) + end + rest)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:  # asyncio's TLS also tells of one that was none; picows would crash on it
            self._connection.connection_lost(exc)


def _with_plain_connection(head: bytes) -> bytes:
    """The head as picows wants it: it takes no other Connection option beside ``upgrade``, though HTTP allows them."""
    options = b",".join(_CONNECTION_LINE.findall(head)).lower().split(b",")
    if b"upgrade" not in map(bytes.strip, options):
        return head
    return _CONNECTION_LINE.sub(b"", head) + b"\r\nConnection: Upgrade"


def _not_connected(error: WSHandshakeError) -> NotConnected:
    """What a server answered instead of taking the upgrade; of what is no HTTP there is no response."""
    if error.response is None:
        return NotConnected(type(error).__name__)
    return NotConnected(type(error).__name__, error.response.status, error.response.headers.get(hdrs.RETRY_AFTER, ""))
