"""What the simulator remembers of one connection, for tests to look at and to wait for."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping

from local_cloud.realtime.events import Json
from local_cloud.realtime.handshake import offered_protocols

MOST_AUDIO_BYTES = 8 << 20
MOST_FRAME_BYTES = 8 << 20
_HEAVY = {"input_audio_buffer.append", "response.output_audio.delta"}


class Recording:
    """The events that went one way, up to ``MOST_FRAME_BYTES``.

    Past that bound frames that carry audio are counted but not kept; past twice the bound nothing is.
    """

    def __init__(self, changed: Callable[[], None], *, keep: bool) -> None:
        self.events: list[Json] = []
        self.counts: Counter[str] = Counter()
        self._changed = changed
        self._keep = keep
        self._bytes = 0

    def add(self, event: Json, size: int) -> bool:
        """Record an event whose text has ``size`` characters; True if it is kept."""
        event_type = str(event.get("type"))
        self.counts[event_type] += 1
        bound = MOST_FRAME_BYTES if event_type in _HEAVY else 2 * MOST_FRAME_BYTES
        kept = self._keep and self._bytes + size <= bound
        if kept:
            self.events.append(event)
            self._bytes += size
        self._changed()
        return kept

    def of_type(self, event_type: str) -> list[Json]:
        """Return the kept events of one type."""
        return [event for event in self.events if event.get("type") == event_type]

    @property
    def types(self) -> list[str]:
        """The types of the kept events, in order."""
        return [str(event.get("type")) for event in self.events]


class Connection:
    """One connection a client made, and hands to act on it.

    Attributes:
        number: counts connections from 0.
        path: without the query.
        headers: as received; looked up in any case.
        protocols: the subprotocols offered, in order.
        received: what the client sent, decoded.
        received_raw: the same as texts, what was no JSON included.
        received_audio: the audio of all appends, joined.
        audio_format: its format, as last configured.
        sent: what it was sent, frames by faults excluded.
        close_code: how it ended: the code received, or the code we closed with first; 1006 for a lost connection.
        ended: whether it is over.
    """

    def __init__(
        self, number: int, path: str, query: Mapping[str, str], headers: Mapping[str, str], *, keep: bool
    ) -> None:
        self.number = number
        self.path = path
        self.query = dict(query)
        self.headers = headers
        self.protocols = offered_protocols(headers)
        self.received = Recording(self._changed, keep=keep)
        self.received_raw: list[str] = []
        self.received_audio = bytearray()
        self.audio_format = "audio/pcm"
        self.sent = Recording(self._changed, keep=keep)
        self.close_code: int | None = None
        self.close_reason = ""
        self.ended = False
        self.emit: Callable[[Json], None] = _not_connected
        self.close: Callable[[int, str], None] = _not_connected
        self.abort: Callable[[], None] = _not_connected
        self.pause_reading: Callable[[], None] = _not_connected
        self.resume_reading: Callable[[], None] = _not_connected
        self._keep = keep
        self._waiting: list[asyncio.Future[None]] = []

    def hear(self, text: str) -> None:
        """Record a text frame from the client."""
        if not self._keep:
            return
        event = _decoded(text)
        if event is None or self.received.add(event, len(text)):
            self.received_raw.append(text[:MOST_FRAME_BYTES])

    def hear_audio(self, audio: bytes) -> None:
        """Record appended audio."""
        if self._keep and len(self.received_audio) + len(audio) <= MOST_AUDIO_BYTES:
            self.received_audio += audio

    def end(self, code: int | None, reason: str = "") -> None:
        """Record how it ended."""
        self.close_code, self.close_reason, self.ended = code, reason, True
        self._changed()

    async def wait_received(self, event_type: str, count: int = 1, timeout: float = 5) -> Json:
        """Return the ``count``-th event of a type from the client, waiting for it if need be.

        Raises:
            TimeoutError: it did not come.
        """
        await self.wait_for(lambda: len(self.received.of_type(event_type)) >= count, timeout)
        return self.received.of_type(event_type)[count - 1]

    async def wait_sent(self, event_type: str, count: int = 1, timeout: float = 5) -> Json:
        """Return the ``count``-th event of a type to the client, waiting for it if need be.

        Raises:
            TimeoutError: it was not sent.
        """
        await self.wait_for(lambda: len(self.sent.of_type(event_type)) >= count, timeout)
        return self.sent.of_type(event_type)[count - 1]

    async def wait_ended(self, timeout: float = 5) -> int | None:
        """Return the close code once the connection is over."""
        await self._wait_for(lambda: self.ended, timeout)
        return self.close_code

    async def wait_for(self, condition: Callable[[], bool], timeout: float = 5) -> None:
        """Wait until something was recorded that makes ``condition`` true.

        Raises:
            TimeoutError: nothing did.
            RuntimeError: nothing is recorded.
        """
        if not self._keep:
            raise RuntimeError("the simulator does not record")
        await self._wait_for(condition, timeout)

    async def _wait_for(self, condition: Callable[[], bool], timeout: float) -> None:
        async with asyncio.timeout(timeout):
            while not condition():
                change = asyncio.get_running_loop().create_future()
                self._waiting.append(change)
                await change

    def _changed(self) -> None:
        for change in self._waiting:
            if not change.done():
                change.set_result(None)
        self._waiting.clear()

    def summary(self) -> Json:
        """Return what the control API tells, but for events and audio."""
        return {
            "number": self.number,
            "path": self.path,
            "query": self.query,
            "headers": dict(self.headers),
            "received_counts": self.received.counts,
            "sent_counts": self.sent.counts,
            "audio_format": self.audio_format,
            "received_audio_bytes": len(self.received_audio),
            "ended": self.ended,
            "close_code": self.close_code,
            "close_reason": self.close_reason,
        }


def _decoded(text: str) -> Json | None:
    """Return a text frame as a JSON object, or None if it is none."""
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _not_connected(*_: object) -> None:
    raise RuntimeError("the connection was refused before it became a WebSocket")
