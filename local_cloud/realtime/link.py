"""The sending half of one WebSocket: takes events without waiting, writes them in order, and commits the faults that
strike between two frames.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence

import msgspec
from aiohttp import ClientConnectionResetError, WSMsgType, web

from local_cloud.realtime.events import Json, new_id
from local_cloud.realtime.faults import Interject
from local_cloud.realtime.record import Connection

_ENOUGH_BYTES = 256 * 1024
_encode = msgspec.json.Encoder().encode


class Link:
    """Sends to one client.

    Args:
        socket: a prepared WebSocket.
        connection: where what is sent is recorded.
        interjections: the faults to commit.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        connection: Connection,
        interjections: Sequence[Interject] = (),
    ) -> None:
        self._closed_with: tuple[int, str] | None = None
        self._socket = socket
        self._transport = transport
        self._connection = connection
        self._interjections = interjections
        self._sent: Counter[str] = Counter()
        self._stalled = self._aborted = False
        self._frames: deque[tuple[bytes, WSMsgType]] = deque()
        self._waiting_bytes = 0
        self._to_write = asyncio.Event()
        self._written = asyncio.Event()

    def send(self, event: Json) -> None:
        """Send an event, with an ``event_id`` unless it brings one, and do what faults want done after it."""
        if self._silent:
            return
        event = {"type": event["type"], "event_id": new_id("event"), **event}
        text = _encode(event)
        self._queue(text, WSMsgType.TEXT)
        self._connection.sent.add(event, len(text))
        if self._interjections:
            self._sent[event["type"]] += 1
            for fault in self._interjections:
                if (fault.after, fault.nth) == (event["type"], self._sent[event["type"]]):
                    self._interject(fault)

    def emit(self, event: Json) -> None:
        """Send an event exactly as given."""
        if not self._silent:
            text = _encode(event)
            self._queue(text, WSMsgType.TEXT)
            self._connection.sent.add(event, len(text))

    def close(self, code: int, reason: str) -> None:
        """Close after what is queued; a reason longer than the protocol's 123 bytes is cut."""
        if self._closed_with is None:
            self._closed_with = code, reason.encode()[:123].decode(errors="ignore")
            self._to_write.set()

    @property
    def ended_with(self) -> tuple[int, str] | None:
        """The code and reason we ended the connection with; None if we did not."""
        return (1006, "") if self._aborted else self._closed_with

    def abort(self) -> None:
        """Cut the TCP connection after what is queued."""
        self._stalled = self._aborted = True
        self._to_write.set()

    async def drained(self) -> None:
        """Return once at most ``_ENOUGH_BYTES`` wait to be written."""
        while self._waiting_bytes > _ENOUGH_BYTES and not self._socket.closed:
            self._written.clear()
            await self._written.wait()

    async def write(self) -> None:
        """Write what is sent, until closed or cancelled; a client that is gone is for the reading side to notice."""
        try:
            while True:
                await self._to_write.wait()
                self._to_write.clear()
                while self._frames:
                    data, kind = self._frames.popleft()
                    await self._socket.send_frame(data, kind)
                    self._waiting_bytes -= len(data)
                    self._written.set()
                if self._aborted:
                    if self._transport:
                        self._transport.abort()
                    return
                if self._closed_with:
                    code, reason = self._closed_with
                    await self._socket.close(code=code, message=reason.encode())
                    return
        except ClientConnectionResetError:
            return
        finally:
            self._waiting_bytes = 0
            self._stalled = True
            self._written.set()

    @property
    def _silent(self) -> bool:
        return self._stalled or self._closed_with is not None

    def _queue(self, data: bytes, kind: WSMsgType) -> None:
        self._frames.append((data, kind))
        self._waiting_bytes += len(data)
        self._to_write.set()

    def _interject(self, fault: Interject) -> None:
        for event in fault.events:
            self._queue(_encode(event), WSMsgType.TEXT)
        if fault.text is not None:
            self._queue(fault.text.encode(), WSMsgType.TEXT)
        if fault.binary is not None:
            self._queue(fault.binary, WSMsgType.BINARY)
        match fault.then:
            case "close":
                self.close(fault.close_code, fault.close_reason)
            case "abort":
                self.abort()
            case "stall":
                self._stalled = True
