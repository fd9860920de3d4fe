"""A client that can be as wrong as it likes: it writes handshake and frames byte by byte, and remembers what it hears.

No library, since what one hides, refuses to send or tidies up is what is judged here.
"""

import asyncio
import contextlib
import json
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from yarl import URL

from local_cloud.conformance.frames import CLOSE, CONTINUATION, PING, PONG, TEXT, FrameReader, client_frame, close_frame

Json = dict[str, Any]

MOST_HEAD_BYTES = 1 << 16
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 20.0
_GOODBYE_SECONDS = 1.0


class NoAnswer(Exception):
    """The relay did not answer a handshake, or not in HTTP."""


class Client:
    """One connection to the relay, upgraded or not.

    Attributes:
        status: of the HTTP answer; 101 for an upgrade.
        headers: of that answer, in order.
        body: of that answer, unless it is an upgrade.
        events: what the relay sent since, decoded.
        raw: the same as it came, what was no JSON object or no text included.
        pongs: payloads of the pongs.
        close: code and reason of the relay's close frame; a frame without a code is 1005.
        over: whether the connection is gone, or about to be.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Callable[[bytes], None]):
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.events: list[Json] = []
        self.raw: list[bytes] = []
        self.pongs: list[bytes] = []
        self.close: tuple[int, str] | None = None
        self.over = False
        self._reader = reader
        self._writer = writer
        self._heard = heard
        self._news = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def connect(
        cls,
        url: URL,
        lines: Sequence[str],
        *,
        tls: ssl.SSLContext | None,
        heard: Callable[[bytes], None],
        method: str = "GET",
        version: str = "HTTP/1.1",
        after: bytes = b"",
    ) -> Self:
        """Ask for an upgrade with these header lines, ``after`` following in the same write.

        Raises:
            NoAnswer: nothing came back that is HTTP.
        """
        reader, writer = await open_tcp(url, tls)
        client = cls(reader, writer, heard)
        head = "\r\n".join((f"{method} {url.raw_path_qs} {version}", *lines, "", ""))
        try:
            with contextlib.suppress(ConnectionError):  # a refusal may come before all is written
                writer.write(head.encode("latin-1") + after)
                await writer.drain()
            async with asyncio.timeout(_ANSWER_SECONDS):
                await client._read_answer()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            await client.leave()
            raise NoAnswer(f"no HTTP answer ({type(error).__name__})") from error
        except BaseException:
            await client.leave()
            raise
        if client.status == 101:
            client._reading = asyncio.create_task(client._read())
        else:
            client.over = True
        return client

    async def _read_answer(self) -> None:
        head = await self._reader.readuntil(b"\r\n\r\n")
        self._heard(head)
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        self.status = int(first.split(" ", 2)[1])
        self.headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        if self.status != 101:
            length = self.header("Content-Length")
            with contextlib.suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError):
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    wanted = min(int(length), MOST_HEAD_BYTES) if length and length.isdigit() else None
                    self.body = await (self._reader.read(MOST_HEAD_BYTES) if wanted is None
                                       else self._reader.readexactly(wanted))  # fmt: skip
            self._heard(self.body)

    def header(self, name: str) -> str | None:
        """The first value of a header of the answer."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def is_open(self) -> bool:
        """Whether it was upgraded, and nobody ended it since."""
        return self.status == 101 and not self.over

    async def _read(self) -> None:
        frames, message = FrameReader(), bytearray()
        try:
            while data := await self._reader.read(1 << 16):
                self._heard(data)
                for frame in frames.feed(data):
                    if frame.opcode == CLOSE:
                        code = struct.unpack("!H", frame.payload[:2])[0] if len(frame.payload) >= 2 else 1005
                        self.close = code, frame.payload[2:].decode(errors="replace")
                        return
                    if frame.opcode == PING:
                        self._writer.write(client_frame(PONG, frame.payload))
                    elif frame.opcode == PONG:
                        self.pongs.append(frame.payload)
                    else:
                        message = message if frame.opcode == CONTINUATION else bytearray()
                        message += frame.payload
                        if frame.fin:
                            self._take(bytes(message))
                self._tell()
        except ConnectionError:
            pass
        finally:
            self.over = True
            self._tell()

    def _take(self, message: bytes) -> None:
        self.raw.append(message)
        try:
            event = json.loads(message)
        except (ValueError, RecursionError):
            return
        if isinstance(event, dict):
            self.events.append(event)

    def _tell(self) -> None:
        self._news.set()

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until something heard makes ``condition`` true, or the connection is over; whether it is true."""
        ends_at = time.monotonic() + seconds
        while not condition() and not self.over:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), max(0.0, ends_at - time.monotonic()))
            except TimeoutError:
                break
        return condition()

    async def until_over(self, seconds: float) -> bool:
        """Wait until the relay ends the connection; whether it did."""
        return await self.until(lambda: self.over, seconds)

    async def until_event(self, event_type: str, seconds: float, count: int = 1) -> bool:
        """Wait for the ``count``-th event of a type; whether it came."""
        return await self.until(lambda: self.count(event_type) >= count, seconds)

    def count(self, event_type: str) -> int:
        """How many events of a type came."""
        return len(self.of_type(event_type))

    def of_type(self, event_type: str) -> list[Json]:
        """The events of a type that came."""
        return [event for event in self.events if event.get("type") == event_type]

    async def send(self, *events: Json) -> None:
        """Send events."""
        for event in events:
            await self.send_text(json.dumps(event))

    async def send_text(self, text: str) -> None:
        """Send a text message, whatever it says."""
        await self.write(client_frame(TEXT, text.encode()))

    async def write(self, data: bytes) -> None:
        """Send bytes; nothing, once the relay has ended the connection, or takes no more."""
        if self.is_open and not self._writer.transport.is_closing():
            with contextlib.suppress(ConnectionError):
                self._writer.write(data)
                await self._writer.drain()

    def vanish(self) -> None:
        """Cut the TCP connection."""
        self._writer.transport.abort()

    async def leave(self, code: int = 1000) -> None:
        """Say goodbye, if there still is anybody, and hang up."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            if self.is_open and self._reading is not None:
                self._writer.write(close_frame(code))
                await asyncio.wait([self._reading], timeout=_GOODBYE_SECONDS)
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        self._writer.close()
        self.over = True

    def said(self) -> str:
        """How the relay ended it, in a few words."""
        if self.status != 101:
            return f"HTTP {self.status}"
        if self.close is None:
            return "the connection was cut without a close frame" if self.over else "nothing was said"
        told = f"error event {self.errors()[-1]['error'].get('code')} and " if self.errors() else ""
        return f"{told}close {self.close[0]}"

    def errors(self) -> list[Json]:
        """The ``error`` events in OpenAI's shape that came."""
        return [event for event in self.of_type("error") if isinstance(event.get("error"), dict)]


async def open_tcp(
    url: URL, tls: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:  # fmt: skip
    """A connection to the relay, before anything is said.

    Raises:
        NoAnswer: nobody listens.
    """
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await asyncio.open_connection(url.host, url.port, ssl=tls, limit=MOST_HEAD_BYTES)
    except OSError as error:
        raise NoAnswer(f"nobody listens at {url.host}:{url.port}") from error
