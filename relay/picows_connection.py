"""picows' connection as the relay uses it: it frames, and neither speaks HTTP, nor says goodbye, nor logs.

What goes wrong is told to the channel, which then still has its say. Upgrades are somebody else's work: aiohttp's on
the browser's side, on the model's :mod:`relay.picows_websockets`'; only the request for the latter is written here.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, NoReturn

import picows.picows as picows  # by this name, since the .pxd names its C structures so
from aiohttp import hdrs, web
from multidict import CIMultiDict
from picows import WSAutoPingStrategy, WSProtocolError, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows.picows import WSProtocol  # type: ignore[attr-defined] # not documented: tests/relay/test_picows_channel.py

from relay.picows_burst import burst

_FIRST_BUFFER_BYTES: Final = 2_048
"""What a connection reads into at first. picows doubles it when it is nine tenths full, and never makes it smaller."""
_MOST_READ_BYTES: Final = 32_768
"""Taken at once; were it as much as fits, a burst of small frames could double the buffer again and again."""
_MOST_BUFFER_BYTES: Final = 131_072
"""Only frames larger than 80 KiB need more than this; the buffer is given up once it is seen larger, and empty. That is
when something more comes, be it the answer to a ping."""
# Twice per message: looking them up by super() would cost more than what they do.
_get_buffer: Final = WSProtocol.get_buffer
_buffer_updated: Final = WSProtocol.buffer_updated
_WEBSOCKET_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ANSWERED_REQUEST: Final = (
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
"""An upgrade for picows' parser, which begins with one, where somebody else has answered the real one."""


def accept_key(key: str) -> str:
    """The ``Sec-WebSocket-Accept`` that answers a ``Sec-WebSocket-Key``."""
    return base64.b64encode(hashlib.sha1(key.encode() + _WEBSOCKET_GUID, usedforsecurity=False).digest()).decode()


class Told(picows.WSListener):
    """A listener whom a connection tells more than picows would: a channel.

    Attributes:
        unparsed: how many bytes picows holds of a frame that is not whole; set with each frame.
        was_heard: set when bytes come, of whatever kind.
        is_deaf: nothing more is to be looked at.
    """

    def __init__(self) -> None:
        self.unparsed = 0
        self.was_heard = False
        self.is_deaf = False

    def on_close(self, code: int | None) -> None:
        """A close frame came."""
        raise NotImplementedError

    def on_violation(self, code: int) -> None:
        """The other side broke the protocol; ``code`` says how."""
        raise NotImplementedError

    def on_failure(self, error: Exception) -> None:
        """A callback raised."""
        raise NotImplementedError

    def on_lost(self) -> None:
        """The connection is gone."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Dial:
    """What a client's upgrade asks for."""

    host: str = ""
    resource: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # the key is among them


class Connection(WSProtocol):  # type: ignore[misc] # see the import
    """One connection to a browser or, with a ``dial``, to a model.

    With ``http``, aiohttp's connection that it was before, aiohttp learns when it is gone.
    """

    __slots__ = ("_channel", "_http", "_is_client", "_is_outgrown", "_max_message_bytes")

    def __init__(
        self,
        channel: Told,
        max_message_bytes: int,
        *,
        dial: Dial | None = None,
        http: web.RequestHandler | None = None,
    ) -> None:
        self._channel = channel
        self._max_message_bytes = max_message_bytes
        self._is_client = dial is not None
        self._http = http
        self._is_outgrown = False
        super().__init__(
            dial and dial.host,
            dial and dial.resource,
            self._is_client,
            (lambda: channel) if dial else (lambda _: WSUpgradeResponseWithListener(_already_sent(), channel)),
            _LOG,
            True,  # disconnect_on_exception
            None,  # websocket_handshake_timeout: who dials has a deadline for all of it
            False,  # enable_auto_ping
            0,  # auto_ping_idle_timeout
            0,  # auto_ping_reply_timeout
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,  # enable_auto_pong
            max_message_bytes,
            dial and dial.headers,
            _FIRST_BUFFER_BYTES,
        )

    def take_over(self, transport: asyncio.Transport) -> None:
        """Carry on with a connection that is upgraded already."""
        transport.set_protocol(self)
        if self._is_client:
            without_request = _WithoutRequest(transport)
            self.connection_made(without_request)
            self.feed_data(_answer_to(self.transport.request.headers[hdrs.SEC_WEBSOCKET_KEY]))
            without_request.is_open = True
        else:
            self.connection_made(transport)
            self.feed_data(_ANSWERED_REQUEST)

    def get_buffer(self, size: int) -> memoryview:
        """Where to read into."""
        buffer: memoryview = _get_buffer(self, size)
        if len(buffer) <= _MOST_READ_BYTES:
            return buffer
        if len(buffer) > _MOST_BUFFER_BYTES:
            self._is_outgrown = True
        return buffer[:_MOST_READ_BYTES]

    def buffer_updated(self, size: int) -> None:
        """Bytes came. Those not given to picows are overwritten by the next."""
        channel = self._channel
        channel.was_heard = True
        if channel.is_deaf:
            return
        if self._is_outgrown:
            channel.unparsed = size  # until a frame says better
        try:
            _buffer_updated(self, size)
        except WSProtocolError as problem:
            goodbye = self.transport.close_handshake
            if goodbye is not None and goodbye.recv is not None:
                # picows looks one frame ahead: what is wrong came after a close frame, which it thus did not tell.
                channel.on_close(int(goodbye.recv.code) or None)
            else:
                channel.on_violation(int(problem.code))
        except Exception as error:  # noqa: BLE001 - ends this channel, and nothing else
            channel.on_failure(error)
        else:
            if self._is_outgrown and channel.unparsed == 0:
                self._start_anew()
        finally:
            if burst.is_on:
                burst.write()

    def _start_anew(self) -> None:
        """Leave the transport to a connection like this one whose buffer is small again; this one has nothing left."""
        transport = self.transport.underlying_transport
        if transport.is_closing() or self.transport.close_handshake is not None:
            return
        if isinstance(transport, _WithoutRequest):
            transport = transport.transport
        http, self._http = self._http, None
        successor = Connection(
            self._channel, self._max_message_bytes, dial=Dial() if self._is_client else None, http=http
        )
        successor.take_over(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(error)
        self._channel.on_lost()
        if self._http is not None:
            self._http.connection_lost(error)
            self._http = None

    def abort(self) -> None:
        """Cut the connection, if there is one."""
        if self.transport is not None:
            self.transport.disconnect(graceful=False)

    def feed_data(self, data: bytes) -> None:
        """Take bytes that somebody else has read."""
        left = memoryview(data)
        while left:
            buffer = self.get_buffer(-1)
            size = min(len(buffer), len(left))
            buffer[:size] = left[:size]
            self.buffer_updated(size)
            left = left[size:]


class _WithoutRequest:
    """A transport for picows, which begins with a request; on one that is upgraded already, it must not get out."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.is_open = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Write, once it is open."""
        if self.is_open:
            self.transport.write(data)


class _AlreadySent(WSUpgradeResponse):
    """A response that aiohttp has sent."""

    def to_bytes(self) -> bytearray:
        """Nothing to write."""
        return bytearray()


def _already_sent() -> WSUpgradeResponse:
    response = _AlreadySent()
    response.version, response.status, response.headers = b"HTTP/1.1", HTTPStatus.SWITCHING_PROTOCOLS, CIMultiDict()
    response.body = None
    return response


def _answer_to(key: str) -> bytes:
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n"
    ).encode()


class _RaisingLog(logging.LoggerAdapter[logging.Logger]):
    """A log for picows that keeps nothing, since its lines quote what was said, and raises what picows reports.

    It reports a violation before it answers with a close frame and hangs up; raising leaves both to us.
    """

    def error(self, msg: object, *args: object, **options: Any) -> NoReturn:
        """Raise the exception that picows is handling."""
        raise sys.exception() or RuntimeError("picows failed")

    exception = error


_LOG: Final = _RaisingLog(logging.getLogger("picows"))
_LOG.setLevel(logging.CRITICAL + 1)
