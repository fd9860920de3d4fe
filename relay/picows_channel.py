"""Channels on picows: frames are parsed and masked in C, and come by callback, without a task or a queue.

picows checks frame headers (masks, opcodes, lengths); what it leaves to its user is done here: the order and size of
fragments, reserved bits, UTF-8, and silence after a close frame. Its own goodbyes, pongs and pings are not used, so
that a session can still say why it ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, cast

import picows.picows as picows  # by this name, since the .pxd names its C structures so
from aiohttp import web

from relay.channel import (
    CLOSE_SECONDS,
    DRAINED_BYTES,
    HEARTBEAT_SECONDS,
    MAX_UNWRITTEN_BYTES,
    MEASURING,
    ChannelEnd,
    How,
    ignore,
    is_utf8,
    sendable_code,
)
from relay.picows_burst import HEADER_ROOM, Masking, burst, header
from relay.picows_connection import Connection, Told
from relay.picows_masks import masks
from service_kit.errors import close_reason

MESSAGE_SECONDS: Final = 10.0
"""A message in pieces must be complete this long after its first."""
_MAX_PLAIN_SEND_BYTES: Final = 8_192
_PROTOCOL_ERROR: Final = 1002
_UNSUPPORTED_DATA: Final = 1003
_INVALID_TEXT: Final = 1007
_TOO_BIG: Final = 1009
# Looking up an enum's member costs more than comparing it.
_TEXT: Final = picows.WSMsgType.TEXT
_CONTINUATION: Final = picows.WSMsgType.CONTINUATION
_PING: Final = picows.WSMsgType.PING
_PONG: Final = picows.WSMsgType.PONG
_CLOSE: Final = picows.WSMsgType.CLOSE
_masking: Final = Masking()


class PicowsChannel(Told):
    """A :class:`relay.channel.Channel` over a picows connection of either side; use as ``async with``.

    With ``request``, an upgrade that aiohttp has answered, its connection is taken over at the start of the block.
    """

    def __init__(self, max_message_bytes: int, request: web.Request | None = None) -> None:
        super().__init__()
        self._max_message_bytes = max_message_bytes
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._picows: picows.WSTransport | None = None
        self._is_client = request is None
        self._transport: asyncio.Transport
        self._message: bytearray | None = None
        self._message_timer: asyncio.TimerHandle | None = None
        self._heartbeat: asyncio.TimerHandle | None = None
        self._is_paused = False
        self._is_closing = False
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self.on_frame: Callable[[bytes], None] = ignore
        self.on_control: Callable[[], None] = ignore
        self.on_congestion: Callable[[bool], None] = ignore
        self.round_trip: float | None = None
        self._measured_at: float | None = None
        self.ended: asyncio.Future[ChannelEnd] = self._loop.create_future()

    @property
    def is_connected(self) -> bool:
        """Whether the handshake is done and the connection not lost."""
        return self._picows is not None and not self._lost.done()

    async def __aenter__(self) -> PicowsChannel:
        if self._request is not None:
            self._take_over(self._request)
            self._request = None
        if self.is_connected:
            self._heartbeat = self._loop.call_later(HEARTBEAT_SECONDS, self._ping)
        return self

    def _take_over(self, request: web.Request) -> None:
        """Read the connection in aiohttp's stead, beginning with what it has read already."""
        transport, http = request.transport, request.protocol
        if transport is None or transport.is_closing():
            self.on_lost()
            return
        connection = Connection(self, self._max_message_bytes, http=http)
        connection.take_over(transport)
        read_already = _ReadAlready()
        # Not our own set_parser, which looks for unmasked frames: picows does.
        web.RequestHandler.set_parser(http, read_already)  # type: ignore[arg-type] # asks for no more than that
        connection.feed_data(read_already.take())
        http.keep_alive(False)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cancel_timers()
        if self.is_connected:
            self._transport.abort()
        # Nobody may be left to look at it, and an unseen exception would be logged.
        if self.ended.done() and not self.ended.cancelled():
            self.ended.exception()
        self.on_frame = self.on_control = self.on_congestion = ignore
        self._picows = None  # its buffers hold what was last said

    def send(self, frame: bytes) -> None:
        """Write one text message; silently nothing once the channel is gone."""
        if self._picows is None:
            return
        if len(frame) <= _MAX_PLAIN_SEND_BYTES:
            if self._is_client:
                masks.choose_next()
            if not burst.is_on or self._is_closing:
                self._picows.send(_TEXT, frame)
            elif self._is_client:
                burst.add(self._transport, _masking.frame(frame))
            else:
                burst.add(self._transport, frame, after=header(len(frame)))
        else:
            self._prepare()
            # picows 2.3.1 gives a server's larger messages to the transport with a header that its next send
            # overwrites, and uvloop has not written it yet. What is sent this way is copied, header and all.
            self._picows.send_reuse_external_bytearray(_TEXT, bytearray(HEADER_ROOM) + frame, HEADER_ROOM)

    def measure(self) -> None:
        """Send a ping for ``round_trip``, unless the one before is still unanswered."""
        if self._picows is not None and self._measured_at is None:
            self._measured_at = time.perf_counter()  # the loop knows only whole milliseconds
            self._prepare()
            self._picows.send_ping(MEASURING)

    def _take_pong(self, payload: bytes) -> None:
        if self._measured_at is not None and payload == MEASURING:
            self.round_trip, self._measured_at = time.perf_counter() - self._measured_at, None

    def _prepare(self) -> None:
        """Belongs before each frame that is sent past a burst: it comes after that, and a client's is masked."""
        if burst.is_on:
            burst.write()
        if self._is_client:
            masks.choose_next()

    def pause(self) -> None:
        """Stop reading; what was read already, at most a buffer of picows, still comes."""
        if self.is_connected and not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._is_paused and not self._transport.is_closing():
            self._transport.resume_reading()
        self._is_paused = False
        self.was_heard = True  # what came meanwhile, perhaps an awaited pong, is only now looked at

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye and let go of the connection, within two seconds."""
        if self._picows is None or not self.is_connected:
            return
        self.on_frame = ignore
        if not self._is_closing:
            self._is_closing = True
            self._prepare()
            self._picows.send_close(cast("picows.WSCloseCode", sendable_code(code)), close_reason(reason))
            self.resume()  # or the answer would not be seen
            if self.is_deaf:
                self._hang_up()
        await asyncio.wait([self._lost], timeout=CLOSE_SECONDS)
        if not self._lost.done():
            self._transport.abort()

    def _hang_up(self) -> None:
        """End the connection after our close frame.

        Closing it with something unread would make TCP drop the close frame; so to one who may still be sending,
        only our side is closed, and theirs is read until it is too.
        """
        if self._transport.is_closing():
            return
        has_said_goodbye = self.ended.exception() is None and self.ended.result().how is How.CLOSED
        if has_said_goodbye or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()

    def _stop_hearing(self) -> None:
        """Take nothing more from the other side, once ``ended`` says why."""
        self.is_deaf = True
        self._message = None
        self._cancel_timers()
        if self._is_closing:
            self._hang_up()

    def _end(self, end: ChannelEnd) -> None:
        if not self.ended.done():
            self.ended.set_result(end)
            self._stop_hearing()

    def _cancel_timers(self) -> None:
        for timer in (self._message_timer, self._heartbeat):
            if timer is not None:
                timer.cancel()

    # What picows tells.

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """The handshake is done, or picows starts anew on the same connection."""
        if self._picows is None:
            self._transport = transport.underlying_transport
            self._transport.set_write_buffer_limits(high=MAX_UNWRITTEN_BYTES, low=DRAINED_BYTES)
        self._picows = transport
        for handshake in (transport.request, transport.response):  # which picows keeps, the key in it too
            handshake.headers.clear()

    def pause_writing(self) -> None:
        """More is waiting to be written than the bound."""
        self.on_congestion(True)

    def resume_writing(self) -> None:
        """It drained."""
        self.on_congestion(False)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """A frame came; its payload is there only until this returns."""
        self.unparsed = frame.tail_size
        if self.unparsed:
            burst.is_on = True
        if self.is_deaf:
            return
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self.on_violation(_PROTOCOL_ERROR)
            return
        if kind is _TEXT and frame.fin and self._message is None:
            message: bytes | None = frame.get_payload_as_bytes()
        elif kind is _TEXT or kind is _CONTINUATION:
            message = self._assemble(frame)
        else:
            self._heed(transport, frame)
            return
        if message is None:
            return
        # Not a method of its own: a call costs a twentieth of what all this does with a frame.
        if not message.isascii() and not is_utf8(message):
            self.on_violation(_INVALID_TEXT)
            return
        try:
            self.on_frame(message)
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits the channel's end
            self.on_failure(error)

    def _heed(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """A frame that is no text."""
        kind = frame.msg_type
        if kind is _PING:
            self.on_control()
            # Pongs for one who does not read would pile up.
            if self._transport.get_write_buffer_size() <= MAX_UNWRITTEN_BYTES:
                self._prepare()
                transport.send_pong(frame.get_payload_as_bytes())
        elif kind is _CLOSE:
            self.on_close(int.from_bytes(frame.get_payload_as_bytes()[:2]) if frame.payload_size else None)
        elif kind is _PONG:
            self.on_control()
            self._take_pong(frame.get_payload_as_bytes())
        else:
            self.on_violation(_UNSUPPORTED_DATA)

    def on_close(self, code: int | None) -> None:
        """A close frame came; picows has checked its reason."""
        if code is None or _may_be_sent(code):
            self._end(ChannelEnd(How.CLOSED, code))
        else:
            self.on_violation(_PROTOCOL_ERROR)

    def on_violation(self, code: int) -> None:
        """The other side broke the protocol; ``code`` says how."""
        self._end(ChannelEnd(How.INVALID, code))

    def on_failure(self, error: Exception) -> None:
        """A callback raised."""
        if not self.ended.done():
            self.ended.set_exception(error)
            self._stop_hearing()

    def on_lost(self) -> None:
        """The connection is gone."""
        self._end(ChannelEnd(How.VANISHED))
        if not self._lost.done():
            self._lost.set_result(None)

    def _assemble(self, frame: picows.WSFrame) -> bytes | None:
        """A piece of a message, which is returned when it is whole.

        Copied into one buffer, so that many tiny pieces take no more memory than few.
        """
        if (frame.msg_type is _TEXT) is (self._message is not None):
            self.on_violation(_PROTOCOL_ERROR)  # a message within another, or a continuation of nothing
            return None
        if self._message is None:
            self._message = bytearray()
            self._message_timer = self._loop.call_later(MESSAGE_SECONDS, self._message_is_late)
        if len(self._message) + frame.payload_size > self._max_message_bytes:
            self.on_violation(_TOO_BIG)
            return None
        self._message += frame.get_payload_as_memoryview()
        if not frame.fin:
            return None
        message, self._message = bytes(self._message), None
        if self._message_timer is not None:
            self._message_timer.cancel()
        return message

    def _message_is_late(self) -> None:
        if self._is_paused:  # it is we who do not read
            self._message_timer = self._loop.call_later(MESSAGE_SECONDS, self._message_is_late)
        else:
            self.on_violation(_PROTOCOL_ERROR)

    # Heartbeat: picows' own would answer silence with a close frame, and a paused channel with the same.

    def _ping(self) -> None:
        if self._picows is not None:
            self.was_heard = False
            self._prepare()
            self._picows.send_ping(b"")
            self._heartbeat = self._loop.call_later(HEARTBEAT_SECONDS / 2, self._expect_pong)

    def _expect_pong(self) -> None:
        if self.was_heard or self._is_paused:
            self._heartbeat = self._loop.call_later(HEARTBEAT_SECONDS / 2, self._ping)
        else:
            self._transport.abort()
            self._end(ChannelEnd(How.VANISHED))


class _ReadAlready:
    """In place of a parser for aiohttp: it is given what aiohttp has read beyond the request, and never more."""

    def __init__(self) -> None:
        self._data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes; not the end."""
        self._data += data
        return False, b""

    def feed_eof(self) -> None:
        """Do nothing: aiohttp calls it when it learns that the connection is gone."""

    def take(self) -> bytes:
        """Hand them out, and keep nothing."""
        data, self._data = self._data, b""
        return data


def _may_be_sent(code: int) -> bool:
    """Whether a close frame may carry this code (RFC 6455 §7.4)."""
    return code in range(1000, 1004) or code in range(1007, 1015) or code in range(3000, 5000)
