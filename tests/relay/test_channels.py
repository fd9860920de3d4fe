"""The channels on real sockets, of both libraries on both event loops: frames, holding back, and every end there is."""

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from relay import aiohttp_channel, picows_channel
from relay.aiohttp_channel import AiohttpChannel, AiohttpWebSockets, open_client
from relay.channel import MAX_UNWRITTEN_BYTES, MEASURING, ChannelEnd, How, NotConnected, OpenChannel, WebSockets
from relay.picows_websockets import PicowsWebSockets
from service_kit.tls import client_context

BOTH_LOOPS = True

LARGEST = 65_536
SIZES = [0, 1, 125, 126, 1_330, 8_192, 8_193, 60_000, 65_535, 65_536, 9_000, 300_000, 10] * 30
"""Of messages that are more together than the kernel takes at once."""
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


def client_frame(opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0) -> bytes:
    """One masked frame, with a mask of zeros."""
    head = bytes([(0x80 if fin else 0) | reserved | opcode])
    size = len(payload)
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65_536:
        head += bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size)
    return head + bytes(4) + payload


class Line:
    """One connection: our channel on one end, a raw socket on the other that says exactly what a test wants.

    Attributes:
        heard: the frames our channel was called with.
        left: set when the server's handler is over.
    """

    def __init__(self, websockets: WebSockets, *, max_message_bytes: int = LARGEST) -> None:
        self._websockets = websockets
        self._max_message_bytes = max_message_bytes
        self.ready = asyncio.Event()
        self.let_go = asyncio.Event()
        self.left = asyncio.Event()
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.server: web.Server
        self.channel: OpenChannel
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def handle(self, request: web.Request) -> web.StreamResponse:
        response, channel = await self._websockets.accept(
            request, subprotocol=None, max_message_bytes=self._max_message_bytes
        )
        channel.on_frame = self.heard.put_nowait
        self.channel = channel
        async with channel:
            self.ready.set()
            await self.let_go.wait()
        self.left.set()
        return response

    def unwritten(self) -> int:
        """How many bytes wait to be written to the client."""
        transport: asyncio.Transport = self.channel._transport  # type: ignore[attr-defined]
        return transport.get_write_buffer_size()

    def write(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def frame(self) -> tuple[int, bytes]:
        """The next frame of the server: opcode and payload."""
        async with asyncio.timeout(5):
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(size)

    async def end(self) -> ChannelEnd:
        async with asyncio.timeout(5):
            return await self.channel.ended

    async def read_to_the_end(self) -> int:
        """How many bytes still come before the connection is gone, which must be soon."""
        size = 0
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(3):
                while chunk := await self.reader.read(65_536):
                    size += len(chunk)
        return size


@pytest.fixture(params=["aiohttp", "picows"])
async def websockets(request: pytest.FixtureRequest) -> AsyncIterator[WebSockets]:
    if request.param == "picows":
        yield PicowsWebSockets("test", client_context(None))
    else:
        async with open_client("test", client_context(None)) as http:
            yield AiohttpWebSockets(http)


@pytest.fixture
def short_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (aiohttp_channel, picows_channel):
        monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.2)


@contextlib.asynccontextmanager
async def connected(
    line: Line, *, serves_with: ssl.SSLContext | None = None, trusts: ssl.SSLContext | None = None
) -> AsyncIterator[Line]:
    before = asyncio.all_tasks()
    app = web.Application()
    app.router.add_get("/", line.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server is not None
    line.server = runner.server
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serves_with).start()
    line.reader, line.writer = await asyncio.open_connection("localhost", runner.addresses[0][1], ssl=trusts)
    line.writer.write(HANDSHAKE)
    assert (await line.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    await line.ready.wait()
    yield line
    line.let_go.set()
    line.writer.close()
    async with asyncio.timeout(5):
        await line.left.wait()
    await runner.cleanup()
    with contextlib.suppress(ConnectionError):
        await line.writer.wait_closed()
    assert asyncio.all_tasks() - before <= {asyncio.current_task()}, "a task was left running"


@pytest.fixture
async def line(websockets: WebSockets) -> AsyncIterator[Line]:
    async with connected(Line(websockets)) as line:
        yield line


# --- frames ---


async def test_frames_arrive_in_order_and_as_bytes(line: Line) -> None:
    sent = [f"frame {number} ü".encode() for number in range(200)]
    line.write(*(client_frame(TEXT, frame) for frame in sent))
    async with asyncio.timeout(5):
        assert [await line.heard.get() for _ in sent] == sent


async def test_frames_are_sent_in_order_as_text(line: Line) -> None:
    sent = [b'{"n":%d}' % number for number in range(200)]
    for frame in sent:
        line.channel.send(frame)
    assert [await line.frame() for _ in sent] == [(TEXT, frame) for frame in sent]


async def test_answers_to_frames_that_came_together_keep_their_order(line: Line) -> None:
    def answer(frame: bytes) -> None:
        for size in (1, 8_192, 8_193, 2):
            line.channel.send(frame * size)

    line.channel.on_frame = answer
    letters = [b"a", b"b", b"c", b"d"]
    line.write(*(client_frame(TEXT, letter) for letter in letters))
    for letter in letters:
        for size in (1, 8_192, 8_193, 2):
            assert await line.frame() == (TEXT, letter * size)


async def test_what_was_sent_before_a_callback_raised_arrives(line: Line) -> None:
    def answer(frame: bytes) -> None:
        if frame == b"c":
            raise LookupError("bug")
        line.channel.send(frame)

    line.channel.on_frame = answer
    line.write(*(client_frame(TEXT, letter) for letter in (b"a", b"b", b"c", b"d")))
    assert [await line.frame(), await line.frame()] == [(TEXT, b"a"), (TEXT, b"b")]
    with pytest.raises(LookupError):
        await line.end()


async def test_a_message_in_pieces_arrives_whole(line: Line) -> None:
    line.write(client_frame(TEXT, b"a\xc3", fin=False), client_frame(PING, b"x"), client_frame(0, b"\xbcb"))
    async with asyncio.timeout(5):
        assert await line.heard.get() == "aüb".encode()
    assert await line.frame() == (PONG, b"x")


async def test_a_round_trip_is_measured_one_ping_at_a_time(line: Line) -> None:
    for _ in range(2):
        line.channel.measure()
        line.channel.measure()
        assert await line.frame() == (PING, MEASURING)
        measured, line.channel.round_trip = line.channel.round_trip, None
        line.write(client_frame(PONG), client_frame(PONG, b"another"), client_frame(TEXT, b"after them"))
        await line.heard.get()
        assert line.channel.round_trip is None
        line.write(client_frame(PONG, MEASURING), client_frame(TEXT, b"after it"))
        await line.heard.get()
        assert 0 < line.channel.round_trip < 5  # type: ignore[operator]
    assert measured is not None


async def test_a_ping_is_answered_and_a_pong_is_not(line: Line) -> None:
    line.write(client_frame(PONG, b"nobody asked"), client_frame(PING, b"hello"), client_frame(TEXT, b"x"))
    assert await line.frame() == (PONG, b"hello")
    assert await line.heard.get() == b"x"


async def test_pings_and_pongs_are_told_apart_from_frames_and_close(line: Line) -> None:
    told = 0

    def count() -> None:
        nonlocal told
        told += 1

    line.channel.on_control = count
    line.write(client_frame(PONG), client_frame(PING, b"a"), client_frame(TEXT, b"x"), client_frame(PING, b"b"))
    assert [await line.frame(), await line.frame()] == [(PONG, b"a"), (PONG, b"b")]
    assert (told, line.heard.qsize()) == (3, 1)
    line.write(client_frame(CLOSE, struct.pack("!H", 1000)))
    await line.end()
    assert told == 3


# --- holding back ---


async def test_a_paused_channel_hears_nothing_and_holds_the_sender_back(line: Line) -> None:
    line.write(client_frame(TEXT, b"first"))
    assert await line.heard.get() == b"first"
    line.channel.pause()
    line.write(client_frame(TEXT, b"at most one was under way"))
    message = client_frame(TEXT, b"x" * 60_000)

    async def pour() -> None:
        while True:
            line.write(message)
            await line.writer.drain()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pour(), 1)  # TCP's buffers fill up, and then the sender waits: for ever
    assert line.writer.transport.get_write_buffer_size() > 0
    assert line.heard.qsize() <= 1
    line.channel.resume()
    async with asyncio.timeout(5):
        await line.writer.drain()
        assert await line.heard.get() == b"at most one was under way"
        assert await line.heard.get() == b"x" * 60_000


async def test_congestion_is_told_once_and_again_when_it_cleared(line: Line) -> None:
    told: asyncio.Queue[bool] = asyncio.Queue()
    line.channel.on_congestion = told.put_nowait
    frame = b"x" * 60_000
    sent = 0
    while told.empty():
        line.channel.send(frame)
        sent += 1
        assert sent < 1_000
    for _ in range(3):
        line.channel.send(frame)
    assert told.get_nowait() is True
    assert told.empty()
    for _ in range(sent + 3):
        assert await line.frame() == (TEXT, frame)
    async with asyncio.timeout(5):
        assert await told.get() is False


async def test_pings_of_a_client_that_does_not_read_do_not_pile_up(line: Line) -> None:
    flood = client_frame(PING, b"x" * 125) * 500
    for _ in range(200):  # 12 MB of pings, whose pongs nobody reads
        line.write(flood)
        await line.writer.drain()
    line.write(client_frame(TEXT, b"after them"))
    async with asyncio.timeout(10):
        assert await line.heard.get() == b"after them"
    assert line.unwritten() <= 2 * MAX_UNWRITTEN_BYTES


# --- how the other side goes away ---


@pytest.mark.parametrize(
    ("payload", "code"), [(b"", None), (struct.pack("!H", 1000), 1000), (struct.pack("!H", 4001) + b"bye", 4001)]
)
async def test_a_close_frame_is_heard_with_its_code(line: Line, payload: bytes, code: int | None) -> None:
    line.write(client_frame(CLOSE, payload))
    assert await line.end() == ChannelEnd(How.CLOSED, code)


async def test_a_message_after_the_close_frame_is_not_heard(line: Line) -> None:
    line.write(client_frame(TEXT, b"before"), client_frame(CLOSE), client_frame(TEXT, b"after"))
    assert await line.end() == ChannelEnd(How.CLOSED)
    assert await line.heard.get() == b"before"
    await asyncio.sleep(0)
    assert line.heard.empty()


async def test_a_broken_connection_has_vanished(line: Line) -> None:
    line.writer.transport.abort()
    assert await line.end() == ChannelEnd(How.VANISHED)


async def test_an_end_of_file_without_a_close_frame_has_vanished(line: Line) -> None:
    line.writer.close()
    assert (await line.end()).how is How.VANISHED


INVALID: dict[str, tuple[bytes, int]] = {
    "binary": (client_frame(BINARY, b"{}"), 1003),
    "too big": (client_frame(TEXT, b"x" * (LARGEST + 1)), 1009),
    "too big in pieces": (
        client_frame(TEXT, b"x" * LARGEST, fin=False)
        + client_frame(0, b"x" * LARGEST, fin=False)
        + client_frame(0, b"x"),
        1009,
    ),
    "announced too big": (bytes([0x81, 0xFF]) + struct.pack("!Q", 2**40) + bytes(4), 1009),
    "not UTF-8": (client_frame(TEXT, b"\xff"), 1007),
    "half a character": (client_frame(TEXT, b"a\xc3"), 1007),
    "a surrogate": (client_frame(TEXT, b"\xed\xa0\x80"), 1007),
    "an overlong slash": (client_frame(TEXT, b"\xc0\xaf"), 1007),
    "compressed": (client_frame(TEXT, b"x", reserved=0x40), 1002),
    "a reserved bit": (client_frame(TEXT, b"x", reserved=0x20), 1002),
    "an unknown opcode": (client_frame(0x3, b"x"), 1002),
    "an unknown control opcode": (client_frame(0xB), 1002),
    "a long ping": (client_frame(PING, b"x" * 126), 1002),
    "a ping in pieces": (client_frame(PING, b"x", fin=False), 1002),
    "a continuation of nothing": (client_frame(0, b"x"), 1002),
    "a message inside another": (client_frame(TEXT, b"x", fin=False) + client_frame(TEXT, b"y"), 1002),
    "a close code of one byte": (client_frame(CLOSE, b"x"), 1002),
    "a forbidden close code": (client_frame(CLOSE, struct.pack("!H", 1005)), 1002),
    "a close reason that is not UTF-8": (client_frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
}


@pytest.mark.parametrize("name", sorted(INVALID))
async def test_what_breaks_the_protocol_is_invalid_and_says_how(line: Line, name: str) -> None:
    sent, code = INVALID[name]
    line.write(sent)
    assert await line.end() == ChannelEnd(How.INVALID, code)
    assert line.heard.empty()


async def test_what_the_callback_raises_ends_the_channel_with_it(line: Line) -> None:
    def fail(_: bytes) -> None:
        raise ZeroDivisionError

    line.channel.on_frame = fail
    line.write(client_frame(TEXT, b"x"), client_frame(TEXT, b"y"))
    with pytest.raises(ZeroDivisionError):
        await line.end()


async def test_fragments_interleaved_with_control_frames_and_split_anywhere_are_put_together(line: Line) -> None:
    pieces = client_frame(TEXT, b"a", fin=False) + client_frame(PING, b"1") + client_frame(0, b"", fin=False)
    pieces += (
        client_frame(0, b"b", fin=False) + client_frame(PONG) + client_frame(0, b"c") + client_frame(TEXT, b"next")
    )
    for at in range(len(pieces)):
        line.write(pieces[at : at + 1])
        await asyncio.sleep(0.001)  # so that it arrives on its own
    async with asyncio.timeout(5):
        assert [await line.heard.get(), await line.heard.get()] == [b"abc", b"next"]
    assert await line.frame() == (PONG, b"1")


async def test_the_largest_message_is_heard_whole_or_in_pieces(line: Line) -> None:
    line.write(client_frame(TEXT, b"x" * LARGEST))
    line.write(client_frame(TEXT, b"y" * 1_000, fin=False), client_frame(0, b"y" * (LARGEST - 1_000)))
    async with asyncio.timeout(5):
        assert await line.heard.get() == b"x" * LARGEST
        assert await line.heard.get() == b"y" * LARGEST


async def test_messages_of_all_sizes_are_sent_whole(line: Line) -> None:
    """Each with its own header, also while all of them wait, as the kernel takes no more."""
    for number, size in enumerate(SIZES):
        line.channel.send(bytes([number % 256]) * size)
    assert line.unwritten() > 0
    for number, size in enumerate(SIZES):
        assert await line.frame() == (TEXT, bytes([number % 256]) * size)


async def test_an_answered_ping_keeps_a_silent_channel(short_heartbeat: None, line: Line) -> None:
    for _ in range(3):
        opcode, payload = await line.frame()
        assert opcode == PING
        line.write(client_frame(PONG, payload))
    assert not line.channel.ended.done()


async def test_an_unanswered_ping_ends_it_as_vanished(short_heartbeat: None, line: Line) -> None:
    assert (await line.frame())[0] == PING
    assert await line.end() == ChannelEnd(How.VANISHED)


# --- how we go away ---


async def test_code_and_reason_reach_the_other_side(line: Line) -> None:
    closing = asyncio.create_task(line.channel.close(4408, "idle_timeout"))
    assert await line.frame() == (CLOSE, struct.pack("!H", 4408) + b"idle_timeout")
    line.write(client_frame(CLOSE, struct.pack("!H", 4408)))
    await closing


async def test_a_long_reason_is_cut_between_characters(line: Line) -> None:
    closing = asyncio.create_task(line.channel.close(1000, "ü" * 100))
    assert await line.frame() == (CLOSE, struct.pack("!H", 1000) + ("ü" * 61).encode())
    line.write(client_frame(CLOSE))
    await closing


async def test_what_was_sent_before_the_close_arrives_before_it(line: Line) -> None:
    line.channel.send(b"last words")
    closing = asyncio.create_task(line.channel.close(1000, ""))
    assert await line.frame() == (TEXT, b"last words")
    assert (await line.frame())[0] == CLOSE
    line.write(client_frame(CLOSE))
    await closing


async def test_sending_and_closing_after_the_end_does_nothing(line: Line) -> None:
    line.writer.transport.abort()
    await line.end()
    for _ in range(3):
        line.channel.send(b"x")
        line.channel.pause()
        line.channel.resume()
        await line.channel.close(1000, "x")


async def test_sending_after_our_close_is_silent_and_closing_twice_too(line: Line) -> None:
    closing = asyncio.create_task(line.channel.close(1000, "x"))
    await line.frame()
    line.channel.send(b"too late")
    line.write(client_frame(CLOSE))
    await closing
    await line.channel.close(1011, "again")
    line.channel.send(b"too late")


async def test_a_goodbye_waits_for_the_answer_of_one_who_goes_on_sending(line: Line) -> None:
    """Hanging up at once would reset the connection, and a client that still writes would never read why."""
    line.write(client_frame(TEXT, b"x" * 60_000))
    await line.heard.get()
    closing = asyncio.create_task(line.channel.close(4402, "budget_exhausted"))
    assert await line.frame() == (CLOSE, struct.pack("!H", 4402) + b"budget_exhausted")
    for _ in range(20):
        line.write(client_frame(TEXT, b"x" * 60_000))
        await line.writer.drain()
    assert not closing.done()
    line.write(client_frame(CLOSE, struct.pack("!H", 4402)))
    assert await line.reader.read() == b""
    async with asyncio.timeout(1):
        await closing
    assert line.heard.empty()


async def test_two_closes_at_once_are_one(line: Line) -> None:
    closing = asyncio.gather(line.channel.close(1000, "a"), line.channel.close(1011, "b"))
    assert (await line.frame())[0] == CLOSE
    line.write(client_frame(CLOSE))
    await closing


async def test_a_close_that_nobody_answers_is_over_within_two_seconds(line: Line) -> None:
    async with asyncio.timeout(2):
        await line.channel.close(1000, "x")


async def test_a_paused_channel_can_be_closed(line: Line) -> None:
    line.channel.pause()
    closing = asyncio.create_task(line.channel.close(1000, "x"))
    await line.frame()
    line.write(client_frame(CLOSE))
    async with asyncio.timeout(2):
        await closing


async def test_a_client_that_reads_nothing_is_cut_off(line: Line) -> None:
    """Or its socket and all that waits to be written would stay for as long as it likes."""
    sent = 0
    while line.unwritten() < 4 * MAX_UNWRITTEN_BYTES:
        line.channel.send(b"x" * 60_000)
        sent += 60_000
    async with asyncio.timeout(2):
        await line.channel.close(4408, "slow_consumer")
    line.let_go.set()
    async with asyncio.timeout(1):
        await line.left.wait()
    assert await line.read_to_the_end() < sent


async def test_leaving_without_a_close_cuts_the_connection(line: Line) -> None:
    line.let_go.set()
    assert await line.read_to_the_end() == 0


# --- the upgrade ---


@pytest.mark.parametrize(
    "lines",
    [["realtime"], ["secret, realtime"], ["secret", "realtime"], ["realtime", "secret"], ["secret", "x", "realtime"]],
)
async def test_the_subprotocol_is_selected_wherever_it_was_offered_and_no_offer_is_logged(
    websockets: WebSockets, lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        response, channel = await websockets.accept(request, subprotocol="realtime", max_message_bytes=LARGEST)
        async with channel:
            await channel.close(1000, "")
        return response

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
    offers = "".join(f"Sec-WebSocket-Protocol: {line}\r\n" for line in lines)
    writer.write(HANDSHAKE.replace(b"\r\n\r\n", b"\r\n" + offers.encode() + b"\r\n"))
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.write(client_frame(CLOSE))
    await reader.read()
    writer.close()
    await runner.cleanup()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"sec-websocket-protocol: realtime\r\n" in answer.lower()
    assert caplog.records == []


async def test_an_accepted_channel_that_is_over_is_not_kept_until_its_next_heartbeat(websockets: WebSockets) -> None:
    kept: list[weakref.ref[object]] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        response, channel = await websockets.accept(request, subprotocol=None, max_message_bytes=LARGEST)
        kept.append(weakref.ref(response))
        async with channel:
            await channel.close(1000, "")
        return response

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with asyncio.timeout(5):  # a heartbeat takes 20 s
        async with aiohttp.ClientSession() as http, http.ws_connect(f"http://{host}:{port}/") as client:
            await client.receive()
        while kept[0]() is not None:
            await asyncio.sleep(0)  # until aiohttp notices that the connection is gone
            gc.collect()
    await runner.cleanup()


# --- the other side of a dial ---


@contextlib.asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A server that does what a test wants; its address."""
    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"ws://{host}:{port}/"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def dialled(
    websockets: WebSockets,
    handler: Callable[[web.WebSocketResponse[Any]], Any],
    on_frame: Callable[[bytes], None] = lambda _: None,
) -> AsyncIterator[OpenChannel]:
    """Our channel as a client of a server that does what a test wants."""

    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        await handler(socket)
        return socket

    async with (
        serving(handle) as url,
        await websockets.connect(url, {}, on_frame, max_message_bytes=LARGEST) as channel,
    ):
        yield channel


async def test_a_dialled_channel_sends_hears_and_closes(websockets: WebSockets) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    closed: asyncio.Future[tuple[object, object]] = asyncio.get_running_loop().create_future()

    async def echo(socket: web.WebSocketResponse[Any]) -> None:
        message = await socket.receive()
        await socket.send_str(f"heard {message.data}")
        message = await socket.receive()
        closed.set_result((message.data, message.extra))

    async with asyncio.timeout(5), dialled(websockets, echo, heard.put_nowait) as channel:
        channel.send(b"hello")
        assert await heard.get() == b"heard hello"
        await channel.close(1001, "going")
        assert await closed == (1001, "going")


async def test_a_dialled_channel_answers_pings(websockets: WebSockets) -> None:
    answered = asyncio.Event()

    async def ping(socket: web.WebSocketResponse[Any]) -> None:
        socket._autoping = False
        await socket.ping(b"x")
        message = await socket.receive()
        assert (message.type, bytes(message.data)) == (WSMsgType.PONG, b"x")
        answered.set()

    async with asyncio.timeout(5), dialled(websockets, ping):
        await answered.wait()


async def test_a_dialled_channel_hears_the_close_code(websockets: WebSockets) -> None:
    async def close(socket: web.WebSocketResponse[Any]) -> None:
        await socket.close(code=3000, message=b"no")

    async with asyncio.timeout(5), dialled(websockets, close) as channel:
        assert await channel.ended == ChannelEnd(How.CLOSED, 3000)


async def test_a_dialled_channel_says_what_it_was_told_to_and_asks_for_no_compression(websockets: WebSockets) -> None:
    seen: asyncio.Queue[web.BaseRequest] = asyncio.Queue()

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.put_nowait(request)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        return socket

    async with serving(handle) as url:
        headers = {"Authorization": "Bearer key"}
        async with await websockets.connect(
            f"{url}?model=gpt-realtime-2.1", headers, lambda _: None, max_message_bytes=LARGEST
        ):
            request = await seen.get()
    assert request.raw_path == "/?model=gpt-realtime-2.1"
    assert request.headers["Host"] == url.split("/")[2]
    assert (request.headers["Authorization"], request.headers["User-Agent"]) == ("Bearer key", "test")
    assert not {"Origin", "Cookie", "Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"} & request.headers.keys()


async def test_a_dialled_channel_hears_frames_that_come_with_the_handshake(websockets: WebSockets) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def greet(socket: web.WebSocketResponse[Any]) -> None:
        await socket.send_str("hello")
        await socket.receive()

    async with asyncio.timeout(5), dialled(websockets, greet, heard.put_nowait) as channel:
        assert await heard.get() == b"hello"
        await channel.close(1000, "")


async def test_a_dialled_server_may_not_send_more_than_it_should(websockets: WebSockets) -> None:
    async def pour(socket: web.WebSocketResponse[Any]) -> None:
        await socket.send_str("x" * (LARGEST + 1))
        await socket.receive()

    async with asyncio.timeout(5), dialled(websockets, pour) as channel:
        assert await channel.ended == ChannelEnd(How.INVALID, 1009)


@pytest.mark.parametrize(
    ("status", "retry_after"), [(401, ""), (403, ""), (429, "7"), (500, ""), (503, "soon"), (302, "")]
)
async def test_a_status_instead_of_an_upgrade_is_told(websockets: WebSockets, status: int, retry_after: str) -> None:
    calls = 0

    async def refuse(_: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        return web.Response(status=status, headers={"Retry-After": retry_after, "Location": "/"})

    async with serving(refuse) as url:
        with pytest.raises(NotConnected) as refused:
            await websockets.connect(url, {}, lambda _: None, max_message_bytes=LARGEST)
    assert calls == 1
    if status != 302:  # aiohttp does not say where it stopped
        assert (refused.value.status, refused.value.retry_after) == (status, retry_after)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", id="no upgrade"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", id="no HTTP"),
        pytest.param(b"HTTP/1.1 429\r\n", id="half a response"),
    ],
)
async def test_what_is_no_answer_is_no_connection(websockets: WebSockets, answer: bytes) -> None:
    calls = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server, asyncio.timeout(5):
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NotConnected):
            await websockets.connect(f"ws://127.0.0.1:{port}/", {}, lambda _: None, max_message_bytes=LARGEST)
    assert calls == 1


async def test_nobody_there_is_no_connection(websockets: WebSockets) -> None:
    with socket.socket() as reserved:  # bound, so that nobody else gets the port; not listening, so that it refuses
        reserved.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{reserved.getsockname()[1]}/"
        with pytest.raises(NotConnected):
            await websockets.connect(url, {}, lambda _: None, max_message_bytes=LARGEST)


async def test_a_dial_that_is_given_up_leaves_nothing_behind(websockets: WebSockets) -> None:
    gone = asyncio.Event()

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        gone.set()
        writer.close()

    async with await asyncio.start_server(stay_silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await websockets.connect(f"ws://127.0.0.1:{port}/", {}, lambda _: None, max_message_bytes=LARGEST)
        async with asyncio.timeout(1):
            await gone.wait()


async def test_a_dialled_channel_that_is_over_is_not_kept_until_its_next_heartbeat(websockets: WebSockets) -> None:
    async def wait(socket: web.WebSocketResponse[Any]) -> None:
        await socket.receive()

    async with asyncio.timeout(5):
        async with dialled(websockets, wait) as channel:
            await channel.close(1000, "")
        kept = weakref.ref(channel._socket if isinstance(channel, AiohttpChannel) else channel)
        del channel
        gc.collect()
        assert kept() is None
