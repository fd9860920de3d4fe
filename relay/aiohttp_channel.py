"""Channels on plain aiohttp: a read loop that calls the frame callback, and writes without a task switch."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Literal

import aiohttp
from aiohttp import WSMsgType, hdrs, web

from relay.channel import (
    CLOSE_SECONDS,
    DRAINED_BYTES,
    HEARTBEAT_SECONDS,
    MAX_UNWRITTEN_BYTES,
    MEASURING,
    ChannelEnd,
    How,
    NotConnected,
    OpenChannel,
    ignore,
    is_utf8,
    sendable_code,
)
from service_kit.errors import close_reason

_DRAIN_POLL_SECONDS: Final = 0.01


class AiohttpChannel:
    """A :class:`relay.channel.Channel` over an aiohttp WebSocket of either side; use as ``async with``.

    The socket must have been made with ``decode_text=False``, ``autoclose=False``, ``autoping=False`` and a writer that
    never waits (``writer_limit``), so that a send completes at once and this class alone decides about congestion.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse[Any] | aiohttp.ClientWebSocketResponse[Any],
        transport: asyncio.WriteTransport,
    ) -> None:
        self._socket = socket
        self._transport = transport
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._reader: asyncio.Task[None] | None = None
        self._drain_timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.on_frame: Callable[[bytes], None] = ignore
        self.on_control: Callable[[], None] = ignore
        self.on_congestion: Callable[[bool], None] = ignore
        self.round_trip: float | None = None
        self._measured_at: float | None = None
        self.ended: asyncio.Future[ChannelEnd] = self._loop.create_future()

    async def __aenter__(self) -> AiohttpChannel:
        self._reader = asyncio.create_task(self._read(), name="channel reader")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drain_timer is not None:
            self._drain_timer.cancel()
        await self._stop_reading()
        if not self._socket.closed or self._transport.get_write_buffer_size():
            self._transport.abort()  # who reads nothing would keep what is unwritten, and the socket, for ever
        _end_heartbeat(self._socket)
        if isinstance(self._socket, UpstreamSocket):
            self._socket.let_go()
        # Nobody may be left to look at it, and an unseen exception would be logged.
        if self.ended.done() and not self.ended.cancelled():
            self.ended.exception()
        self.on_frame = self.on_control = self.on_congestion = ignore

    def send(self, frame: bytes) -> None:
        """Write one text message; silently nothing once the channel is gone."""
        self._write(frame, WSMsgType.TEXT)
        if self._drain_timer is None and self._transport.get_write_buffer_size() > MAX_UNWRITTEN_BYTES:
            self.on_congestion(True)
            self._watch_drain()

    def _write(self, payload: bytes, kind: Literal[WSMsgType.TEXT, WSMsgType.PING, WSMsgType.PONG]) -> None:
        writing = self._socket.send_frame(payload, kind)
        try:
            writing.send(None)
        except StopIteration:
            pass
        except (ConnectionError, RuntimeError):
            pass  # it is gone, and the reader will say how
        else:
            raise RuntimeError("the writer waited: the socket was made without a large writer_limit")

    def measure(self) -> None:
        """Send a ping for ``round_trip``, unless the one before is still unanswered."""
        if self._measured_at is None:
            self._measured_at = time.perf_counter()  # the loop knows only whole milliseconds
            self._write(MEASURING, WSMsgType.PING)

    def _take_pong(self, payload: bytes) -> None:
        if self._measured_at is not None and payload == MEASURING:
            self.round_trip, self._measured_at = time.perf_counter() - self._measured_at, None

    def _answer_ping(self, payload: bytes) -> None:
        """Answer, unless more is waiting to be written than the bound: pongs for one who does not read pile up."""
        if self._transport.get_write_buffer_size() <= MAX_UNWRITTEN_BYTES:
            self._write(payload, WSMsgType.PONG)

    def _watch_drain(self) -> None:
        """Look again until the buffer has drained: only while congested, so that the usual send costs nothing."""
        if self._transport.get_write_buffer_size() > DRAINED_BYTES and not self.ended.done():
            self._drain_timer = self._loop.call_later(_DRAIN_POLL_SECONDS, self._watch_drain)
        else:
            self._drain_timer = None
            self.on_congestion(False)

    def pause(self) -> None:
        """Stop reading; what has arrived waits in aiohttp's bounded queue, then TCP holds the sender back."""
        self._may_read.clear()

    def resume(self) -> None:
        """Read on."""
        self._may_read.set()

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye and let go of the connection, within two seconds."""
        # With a read under way aiohttp would not wait for the answer, but cut the connection; and TCP would then drop
        # the goodbye of one who is still sending.
        await self._stop_reading()
        with contextlib.suppress(TimeoutError, ConnectionError, RuntimeError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._socket.close(code=sendable_code(code), message=close_reason(reason))

    async def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])

    async def _read(self) -> None:
        try:
            end = await self._read_frames()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits the channel's end
            if not self.ended.done():
                self.ended.set_exception(error)
        else:
            if not self.ended.done():
                self.ended.set_result(end)

    async def _read_frames(self) -> ChannelEnd:
        while True:
            if not self._may_read.is_set():
                await self._may_read.wait()
            message = await self._socket.receive()
            if message.type is WSMsgType.TEXT:
                if not is_utf8(message.data):
                    return ChannelEnd(How.INVALID, int(aiohttp.WSCloseCode.INVALID_TEXT))
                self.on_frame(message.data)
            elif message.type is WSMsgType.PING:
                self.on_control()
                self._answer_ping(message.data)
            elif message.type is WSMsgType.PONG:
                self.on_control()
                self._take_pong(message.data)
            elif message.type is WSMsgType.BINARY:
                return ChannelEnd(How.INVALID, int(aiohttp.WSCloseCode.UNSUPPORTED_DATA))
            elif message.type is WSMsgType.CLOSE:
                return ChannelEnd(How.CLOSED, message.data or None)
            elif message.type is WSMsgType.ERROR and isinstance(message.data, aiohttp.WebSocketError):
                return ChannelEnd(How.INVALID, int(message.data.code))
            else:
                return ChannelEnd(How.VANISHED)


def _end_heartbeat(socket: web.WebSocketResponse[Any] | aiohttp.ClientWebSocketResponse[Any]) -> None:
    """End it for good: the other side's goodbye set it anew, and its timer would keep the socket for 30 s more."""
    socket._heartbeat = None  # noqa: SLF001 - aiohttp has no public switch
    socket._cancel_heartbeat()  # noqa: SLF001


def _with_one_line_of_subprotocols(request: web.Request) -> web.Request:
    """The request as aiohttp must see it: it reads only the first line of offers, and logs that one, token included."""
    lines = request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, ())
    if len(lines) < 2:
        return request
    headers = request.headers.copy()
    headers[hdrs.SEC_WEBSOCKET_PROTOCOL] = ",".join(lines)
    return request.clone(headers=headers)


class UpstreamSocket(aiohttp.ClientWebSocketResponse[Any]):
    """aiohttp's client socket with its transport within reach and a writer that never waits.

    aiohttp offers no setting for the writer's limit on this side; the class is its documented place to extend.
    """

    def __init__(self, reader: Any, writer: Any, *args: Any, **options: Any) -> None:
        super().__init__(reader, writer, *args, **options)
        writer._limit = sys.maxsize  # noqa: SLF001 - see the class
        self.transport: asyncio.WriteTransport = writer.transport

    def let_go(self) -> None:
        """Tell the connector that the connection is done with; an aborted one would count as forgotten."""
        self._response.close()


class AiohttpWebSockets:
    """Channels of both sides on aiohttp; ``http`` is the client that dials (see :func:`open_client`)."""

    hand_over = False

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def accept(
        self, request: web.Request, *, subprotocol: str | None, max_message_bytes: int
    ) -> tuple[web.StreamResponse, OpenChannel]:
        """Answer an admitted upgrade: the response, and the client's end. Raises ConnectionError when it is gone."""
        socket: web.WebSocketResponse[Any] = web.WebSocketResponse(
            timeout=CLOSE_SECONDS,
            heartbeat=HEARTBEAT_SECONDS,
            autoclose=False,
            autoping=False,
            protocols=(subprotocol,) if subprotocol else (),
            compress=False,
            max_msg_size=max_message_bytes + 1,  # it refuses what is as large as that
            writer_limit=sys.maxsize,
            decode_text=False,
        )
        await socket.prepare(_with_one_line_of_subprotocols(request))
        if request.transport is None:
            raise ConnectionResetError
        return socket, AiohttpChannel(socket, request.transport)

    async def connect(
        self, url: str, headers: Mapping[str, str], on_frame: Callable[[bytes], None], *, max_message_bytes: int
    ) -> OpenChannel:
        """Dial once, without redirects or proxies; ``on_frame`` gets the frames from the first. Raises NotConnected."""
        try:
            socket = await self._http.ws_connect(
                url,
                headers=headers,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
                autoclose=False,
                autoping=False,
                heartbeat=HEARTBEAT_SECONDS,
                max_msg_size=max_message_bytes + 1,  # it refuses what is as large as that
                decode_text=False,
            )
        except aiohttp.WSServerHandshakeError as error:
            retry_after = error.headers.get(hdrs.RETRY_AFTER, "") if error.headers else ""
            raise NotConnected(type(error).__name__, error.status, retry_after) from error
        except (aiohttp.ClientError, OSError) as error:
            raise NotConnected(type(error).__name__) from error
        assert isinstance(socket, UpstreamSocket)  # noqa: S101 - the client session makes no other
        channel = AiohttpChannel(socket, socket.transport)
        channel.on_frame = on_frame
        return channel


def open_client(user_agent: str, tls: ssl.SSLContext) -> aiohttp.ClientSession:
    """The HTTP client that dials upstreams: no cookies, no redirects, no second try."""

    async def refuse_redirect(*_: Any) -> None:
        raise aiohttp.ClientError("redirects are off")

    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(refuse_redirect)
    client = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True, ssl=tls),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": user_agent},
        timeout=aiohttp.ClientTimeout(total=None),
        trace_configs=[tracing],
        trust_env=False,
        ws_response_class=UpstreamSocket,
    )
    # aiohttp dials once more, unasked, when the connection breaks before an answer; one dial per client's try is ours.
    client._retry_connection = False  # noqa: SLF001 - aiohttp has no public switch
    return client
