"""What the picows channel does beyond the other, and the insides of picows that it relies on."""

import asyncio
import contextlib
import ctypes
import functools
import operator
import platform
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from picows.picows import WSProtocol  # type: ignore[attr-defined] # not documented

from relay import picows_burst, picows_channel, picows_masks
from relay.channel import ChannelEnd, How, NotConnected, OpenChannel, ignore
from relay.picows_burst import burst
from relay.picows_connection import accept_key
from relay.picows_websockets import PicowsWebSockets
from service_kit.tls import client_context
from tests.certificates import vouched_for
from tests.relay.test_channels import (
    CLOSE,
    HANDSHAKE,
    INVALID,
    LARGEST,
    PING,
    PONG,
    SIZES,
    TEXT,
    Line,
    client_frame,
    connected,
    line,
    serving,
)

__all__ = ["line"]

BOTH_LOOPS = True

ROOMY = 4 * 1024 * 1024
"""A limit for messages that outgrow a connection's buffer."""


@pytest.fixture
def websockets() -> PicowsWebSockets:
    return PicowsWebSockets("test", client_context(None))


# --- what goes wrong, and what can still be said then ---


@pytest.mark.parametrize("name", sorted(INVALID))
async def test_an_error_can_be_told_before_the_close(line: Line, name: str) -> None:
    sent, code = INVALID[name]
    line.write(sent)
    assert await line.end() == ChannelEnd(How.INVALID, code)
    line.channel.send(b"what was wrong")
    closing = asyncio.create_task(line.channel.close(code, "invalid_frame"))
    assert await line.frame() == (TEXT, b"what was wrong")
    assert await line.frame() == (CLOSE, code.to_bytes(2) + b"invalid_frame")
    assert await line.read_to_the_end() == 0
    line.writer.close()
    await closing


async def test_it_is_told_to_one_who_goes_on_sending(line: Line) -> None:
    """Closing with something unread would reset the connection, and the close frame be lost with it."""
    line.write(client_frame(0, b"x"))
    await line.end()
    line.write(client_frame(TEXT, b"x" * 60_000) * 20)
    await asyncio.sleep(0.1)  # until it has arrived
    closing = asyncio.create_task(line.channel.close(1002, ""))
    assert (await line.frame())[0] == CLOSE
    line.write(client_frame(TEXT, b"x" * 60_000) * 20)
    assert await line.read_to_the_end() == 0
    line.writer.close()
    async with asyncio.timeout(1):
        await closing
    assert line.heard.empty()


@pytest.mark.parametrize("frame", [b"\x81\x01x", b"\x81\x00", b"\x89\x00"])
async def test_an_unmasked_frame_is_refused(line: Line, frame: bytes) -> None:
    line.write(frame)
    assert await line.end() == ChannelEnd(How.INVALID, 1002)
    assert line.heard.empty()


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535])
async def test_a_close_code_that_nobody_may_send_is_refused(line: Line, code: int) -> None:
    line.write(client_frame(CLOSE, code.to_bytes(2)))
    assert await line.end() == ChannelEnd(How.INVALID, 1002)


@pytest.mark.parametrize("after", [client_frame(CLOSE), client_frame(0x3), b"\x81\x00", client_frame(TEXT, b"x")])
async def test_what_comes_with_a_close_frame_changes_nothing(line: Line, after: bytes) -> None:
    line.write(client_frame(CLOSE, (4001).to_bytes(2)) + after)
    assert await line.end() == ChannelEnd(How.CLOSED, 4001)
    assert line.heard.empty()


async def test_a_message_in_pieces_has_a_deadline(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picows_channel, "MESSAGE_SECONDS", 0.2)
    line.write(client_frame(TEXT, b"a", fin=False), client_frame(0, b"b"))
    line.write(client_frame(TEXT, b"c", fin=False))
    for _ in range(5):
        line.write(client_frame(0, b"d", fin=False), client_frame(PING))
        await asyncio.sleep(0.05)
    assert await line.end() == ChannelEnd(How.INVALID, 1002)
    assert await line.heard.get() == b"ab"


async def test_the_deadline_does_not_run_while_it_is_we_who_do_not_read(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picows_channel, "MESSAGE_SECONDS", 0.2)
    line.write(client_frame(TEXT, b"a", fin=False), client_frame(PING))
    await line.frame()
    line.channel.pause()
    line.write(client_frame(0, b"b"))
    await asyncio.sleep(0.3)
    line.channel.resume()
    async with asyncio.timeout(1):
        assert await line.heard.get() == b"ab"


async def test_a_close_frame_within_ours_ends_the_connection_at_once(line: Line) -> None:
    closing = asyncio.create_task(line.channel.close(4408, "idle_timeout"))
    await line.frame()
    line.write(client_frame(TEXT, b"too late"), client_frame(CLOSE, (4408).to_bytes(2)))
    async with asyncio.timeout(0.5):
        await closing
    assert await line.read_to_the_end() == 0
    assert line.heard.empty()


async def test_a_violation_after_our_close_ends_the_connection_too(line: Line) -> None:
    closing = asyncio.create_task(line.channel.close(1000, ""))
    await line.frame()
    line.write(client_frame(0x3))
    assert await line.read_to_the_end() == 0
    line.writer.close()
    async with asyncio.timeout(0.5):
        await closing


# --- taking over ---


@pytest.mark.parametrize("read_by_aiohttp", [1, 3, 8, 9, 20])
async def test_what_aiohttp_has_read_already_is_heard(websockets: PicowsWebSockets, read_by_aiohttp: int) -> None:
    """Also where it ends within a frame."""
    sent = client_frame(TEXT, b"first") + client_frame(TEXT, b"second")
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def handle(request: web.Request) -> web.StreamResponse:
        response, channel = await websockets.accept(request, subprotocol=None, max_message_bytes=LARGEST)
        channel.on_frame = heard.put_nowait
        async with channel:
            await channel.ended
        return response

    async with serving(handle) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(HANDSHAKE + sent[:read_by_aiohttp])
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent[read_by_aiohttp:])
        async with asyncio.timeout(2):
            assert [await heard.get(), await heard.get()] == [b"first", b"second"]
        writer.close()


async def test_aiohttp_learns_that_the_connection_is_gone(line: Line) -> None:
    """Or it would count it for ever, and wait for it when it stops."""
    server = line.server
    assert len(server.connections) == 1
    line.writer.transport.abort()
    await line.end()
    line.let_go.set()
    async with asyncio.timeout(1):
        while server.connections:  # noqa: ASYNC110 - its handler's end cannot be awaited
            await asyncio.sleep(0)


async def test_stopping_aiohttp_ends_a_connection_that_was_handed_over(websockets: PicowsWebSockets) -> None:
    ends: asyncio.Queue[ChannelEnd] = asyncio.Queue()

    async def handle(request: web.Request) -> web.StreamResponse:
        response, channel = await websockets.accept(request, subprotocol=None, max_message_bytes=LARGEST)
        async with channel:
            ends.put_nowait(await asyncio.shield(channel.ended))
        return response

    async with asyncio.timeout(3):
        async with serving(handle) as url:
            _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
            writer.write(HANDSHAKE)
            await asyncio.sleep(0.1)  # for the upgrade
        writer.close()


# --- memory ---


def buffer_bytes(channel: OpenChannel) -> int:
    """How much room picows has to read into, as long as it holds no part of a frame."""
    connection = channel._transport.get_protocol()  # type: ignore[attr-defined]
    return len(WSProtocol.get_buffer(connection, -1))


async def settle(line: Line) -> None:
    """Wait until our side has seen all that was sent, and what was read last is dealt with."""
    line.write(client_frame(PING, b"settle"))
    assert await line.frame() == (PONG, b"settle")
    await asyncio.sleep(0)


@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "TLS"])
async def test_the_room_that_a_large_frame_took_is_given_back(
    websockets: PicowsWebSockets, tmp_path: Path, with_tls: bool
) -> None:
    serves_with, trusts = vouched_for(tmp_path)[1:] if with_tls else (None, None)
    async with connected(Line(websockets, max_message_bytes=ROOMY), serves_with=serves_with, trusts=trusts) as line:
        at_first = buffer_bytes(line.channel)
        for size in (ROOMY, 10, ROOMY // 2, ROOMY):
            line.write(client_frame(TEXT, b"x" * size))
            async with asyncio.timeout(5):
                assert len(await line.heard.get()) == size
            await settle(line)
            assert buffer_bytes(line.channel) == at_first
        line.channel.send(b"y" * 300_000)
        assert await line.frame() == (TEXT, b"y" * 300_000)
        line.channel.pause()
        line.channel.resume()
        line.write(client_frame(0x3))
        assert await line.end() == ChannelEnd(How.INVALID, 1002)
        closing = asyncio.create_task(line.channel.close(1002, "x"))
        assert await line.frame() == (CLOSE, (1002).to_bytes(2) + b"x")
        line.writer.close()
        await closing
        line.let_go.set()
        async with asyncio.timeout(1):
            while line.server.connections:  # noqa: ASYNC110 - its handler's end cannot be awaited
                await asyncio.sleep(0)


async def test_nothing_is_lost_where_large_frames_and_small_ones_come_in_any_portions(
    websockets: PicowsWebSockets,
) -> None:
    """The room is given back in between, when nothing is left in it."""
    chance = random.Random(1)
    sent = [bytes([65 + number % 26]) * chance.choice([0, 1, 100, 6_450, 100_000, 700_000]) for number in range(150)]
    frames = b"".join(client_frame(TEXT, frame) for frame in sent)
    async with connected(Line(websockets, max_message_bytes=ROOMY)) as line, asyncio.timeout(20):

        async def pour() -> None:
            at = 0
            while at < len(frames):
                portion = chance.choice([1, 7, 1_000, 70_000, 500_000])
                line.write(frames[at : at + portion])
                at += portion
                await line.writer.drain()
                await asyncio.sleep(0)

        pouring = asyncio.create_task(pour())
        assert [await line.heard.get() for _ in sent] == sent
        await pouring
        await settle(line)
        assert buffer_bytes(line.channel) <= 131_072


async def test_a_frame_that_comes_in_halves_when_the_room_has_just_been_doubled_is_not_lost(
    websockets: PicowsWebSockets,
) -> None:
    async with connected(Line(websockets, max_message_bytes=ROOMY)) as line, asyncio.timeout(5):
        line.write(client_frame(TEXT, b"x" * 120_000))  # doubles it to more than is kept, when it is whole
        assert len(await line.heard.get()) == 120_000
        line.write(client_frame(TEXT, b"second")[:1])
        await asyncio.sleep(0.05)  # so that it arrives on its own
        line.write(client_frame(TEXT, b"second")[1:])
        assert await line.heard.get() == b"second"


async def test_a_burst_of_small_frames_takes_no_more_room_than_one_read(websockets: PicowsWebSockets) -> None:
    async with connected(Line(websockets)) as line:
        left: list[int] = []

        def note(frame: bytes) -> None:
            left.append(buffer_bytes(line.channel))
            line.heard.put_nowait(frame)

        line.channel.on_frame = note
        frame = client_frame(TEXT, b"x" * 1_330)
        line.channel.pause()
        line.write(frame * 1_500)  # 2 MB, as much as the kernel takes of it
        await asyncio.sleep(0.1)  # for it to do so
        line.channel.resume()
        async with asyncio.timeout(5):
            for _ in range(1_500):
                await line.heard.get()
        await settle(line)
        assert max(left) <= 65_536


async def test_the_room_of_a_dialled_channel_is_given_back_too_with_and_without_tls(
    websockets: PicowsWebSockets, tmp_path: Path
) -> None:
    _, serves_with, trusts = vouched_for(tmp_path)
    websockets._tls = trusts

    async def talk(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str("x" * int(message.data))
        return socket

    for context in (None, serves_with):
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        app = web.Application()
        app.router.add_get("/", talk)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        url = f"{'wss' if context else 'ws'}://localhost:{runner.addresses[0][1]}/"
        async with (
            asyncio.timeout(10),
            await websockets.connect(url, {}, heard.put_nowait, max_message_bytes=ROOMY) as channel,
        ):
            at_first = buffer_bytes(channel)
            for size in (ROOMY, 10, ROOMY, 10):
                channel.send(str(size).encode())
                assert len(await heard.get()) == size
            assert buffer_bytes(channel) == at_first
            await channel.close(1000, "")
            assert await channel.ended == ChannelEnd(How.CLOSED, 1000)
        await runner.cleanup()


# --- what is sent while several frames of one read are looked at ---


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames went out with each write of a burst."""
    seen: list[int] = []
    write = picows_burst._write

    def count(transport: asyncio.Transport, pieces: list[bytes]) -> None:
        seen.append(len(pieces) // 2)
        write(transport, pieces)

    monkeypatch.setattr(picows_burst, "_write", count)
    return seen


async def test_answers_to_frames_that_came_together_are_one_write(line: Line, writes: list[int]) -> None:
    line.channel.on_frame = line.channel.send
    line.write(*(client_frame(TEXT, letter) for letter in (b"a", b"b", b"c")))
    assert [await line.frame() for _ in range(3)] == [(TEXT, b"a"), (TEXT, b"b"), (TEXT, b"c")]
    assert writes == [3]
    assert not burst.is_on
    line.write(client_frame(TEXT, b"d"))  # alone, it goes as picows sends
    assert await line.frame() == (TEXT, b"d")
    assert writes == [3]


async def test_frames_of_every_length_s_spelling_arrive_whole(line: Line, writes: list[int]) -> None:
    sizes = (0, 1, 125, 126, 127, 255, 256, 8_192)
    answers = [bytes(97 + n % 26 for n in range(size)) for size in sizes]

    def answer_at_length(_: bytes) -> None:
        for answer in answers:
            line.channel.send(answer)

    line.channel.on_frame = answer_at_length
    line.write(client_frame(TEXT, b"a"), client_frame(TEXT, b"b"))
    assert [await line.frame() for _ in range(2 * len(sizes))] == [(TEXT, answer) for answer in answers] * 2
    assert writes == [2 * len(sizes)]


async def test_pongs_and_pings_keep_their_place_among_them(line: Line) -> None:
    def answer(frame: bytes) -> None:
        line.channel.send(frame)
        line.channel.measure()

    line.channel.on_frame = answer
    line.write(client_frame(TEXT, b"a"), client_frame(PING, b"b"), client_frame(TEXT, b"c"))
    first, _, third, fourth = [await line.frame() for _ in range(4)]
    assert [first, third, fourth] == [(TEXT, b"a"), (PONG, b"b"), (TEXT, b"c")]


async def test_what_was_sent_before_a_violation_arrives(line: Line) -> None:
    line.channel.on_frame = line.channel.send
    line.write(*(client_frame(TEXT, letter) for letter in (b"a", b"b", b"c")), b"\x81\x00")
    # picows looks one frame ahead, so the last one before it is not told.
    assert [await line.frame(), await line.frame()] == [(TEXT, b"a"), (TEXT, b"b")]
    assert await line.end() == ChannelEnd(How.INVALID, 1002)


async def test_congestion_is_noticed_while_one_read_is_looked_at(line: Line) -> None:
    told: list[bool] = []
    line.channel.on_congestion = told.append
    burst.is_on = True
    for _ in range(2_000):  # more than the kernel takes
        line.channel.send(b"x" * 8_192)
    assert told == [True]
    burst.write()


async def test_a_connection_that_was_lost_meanwhile_gets_nothing(line: Line) -> None:
    line.writer.transport.abort()
    await line.end()
    burst.is_on = True
    line.channel.send(b"x")
    burst.write()
    assert not burst._pieces


# --- masks ---


async def test_no_mask_of_a_dialled_channel_follows_from_the_seed_that_c_starts_with(
    websockets: PicowsWebSockets,
) -> None:
    """picows asks C's rand() for them, which is the same in every process unless it is seeded."""
    c = ctypes.CDLL(None)
    masks: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for header_bytes, size in ((4, 9_000), (2, 1), (2, 0), (2, 2)):
            if size == 0:
                writer.write(b"\x89\x00")  # a ping, whose pong is next
            await reader.readexactly(header_bytes)
            masks.put_nowait(await reader.readexactly(4))
            await reader.readexactly(size)

    async with (
        asyncio.timeout(5),
        upstream("Upgrade", listen) as url,
        await websockets.connect(url, {}, ignore, max_message_bytes=LARGEST) as channel,
    ):
        c.srand(1)
        channel.send(b"x" * 9_000)
        seen = [await masks.get()]
        c.srand(1)
        burst.is_on = True
        channel.send(b"x")
        burst.write()
        c.srand(1)
        seen += [await masks.get(), await masks.get()]
        c.srand(1)
        closing = asyncio.create_task(channel.close(1000, ""))
        seen.append(await masks.get())
        await closing
    c.srand(1)
    foretold = {(c.rand() & 0xFFFF_FFFF).to_bytes(4, sys.byteorder) for _ in range(10)}
    assert len(set(seen)) == 4
    assert not foretold & set(seen)


@pytest.mark.parametrize("state", [picows_masks.STATE, None], ids=["state", "call"])
def test_each_mask_has_a_seed_of_its_own_and_31_bits_of_it(state: memoryview | None) -> None:
    c, masks = ctypes.CDLL(None), picows_masks.Masks(state)
    drawn = []
    for _ in range(2_000):
        c.srand(1)
        masks.choose_next()
        drawn.append(c.rand())
    assert len(set(drawn)) > 1_990
    assert functools.reduce(operator.or_, drawn) == 2**31 - 1
    assert functools.reduce(operator.and_, drawn) == 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another library's rand() has no state of ours")
def test_on_glibc_a_seed_is_written_not_worked_in() -> None:
    assert picows_masks.STATE is not None


# --- the answer to a dial ---


@contextlib.asynccontextmanager
async def upstream(
    connection: str,
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    *,
    first: bytes = b"",
    is_split: bool = False,
) -> AsyncIterator[str]:
    """A server below WebSocket: what its answer says of the connection, what comes with it, and what then."""
    left = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        (key,) = (line.split(": ")[1] for line in head.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
        whole = f"HTTP/1.1 101 Switching Protocols\r\nConnection: {connection}\r\nUpgrade: websocket\r\n"
        whole += f"Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n"
        sent = whole.encode() + first
        with contextlib.suppress(ConnectionError, RuntimeError):  # uvloop's, when the other side has hung up
            for at in range(0, len(sent), 1 if is_split else len(sent)):
                writer.write(sent[at : at + (1 if is_split else len(sent))])
                await asyncio.sleep(0)
            await talk(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        left.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await left.wait()


@pytest.mark.parametrize(
    ("connection", "is_upgrade"),
    [
        ("Upgrade", True),
        ("upgrade", True),
        ("keep-alive, Upgrade", True),
        ("Upgrade , keep-alive", True),
        ("keep-alive\r\nConnection: Upgrade", True),
        ("Upgrade\r\nCONNECTION:keep-alive", True),
        ("keep-alive", False),
        ("upgrades", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("is_split", [False, True])
async def test_a_dialled_server_may_say_more_of_the_connection_than_upgrade(
    websockets: PicowsWebSockets, connection: str, is_upgrade: bool, is_split: bool
) -> None:
    """The fallback is as strict here as picows alone."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with asyncio.timeout(5), upstream(connection, wait, first=b"\x81\x05hello", is_split=is_split) as url:
        dialling = websockets.connect(url, {}, heard.put_nowait, max_message_bytes=LARGEST)
        if is_upgrade:
            async with await dialling:
                assert await heard.get() == b"hello"
        else:
            with pytest.raises(NotConnected):
                await dialling


async def test_no_header_of_a_handshake_is_kept(websockets: PicowsWebSockets, line: Line) -> None:
    """picows keeps the request and the answer; the key that a model is dialled with is among them."""

    async def listen(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with (
        upstream("Upgrade", listen) as url,
        await websockets.connect(url, {"Authorization": "Bearer sk-x"}, ignore, max_message_bytes=1_000) as dialled,
    ):
        for channel in (dialled, line.channel):
            assert isinstance(channel, picows_channel.PicowsChannel)
            assert channel._picows is not None
            assert not channel._picows.request.headers
            assert not channel._picows.response.headers


async def test_a_head_without_end_is_no_connection(websockets: PicowsWebSockets) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"x" * 20_000)
            await reader.read()
        writer.close()

    async with asyncio.timeout(5), await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(NotConnected):
            await websockets.connect(url, {}, ignore, max_message_bytes=LARGEST)


# --- TLS ---


async def test_a_dialled_server_must_show_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    _, serves_with, trusts = vouched_for(tmp_path)
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def echo(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/", echo)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serves_with).start()
    url = f"wss://localhost:{runner.addresses[0][1]}/"
    websockets = PicowsWebSockets("test", client_context(None))
    with pytest.raises(NotConnected):
        await websockets.connect(url, {}, heard.put_nowait, max_message_bytes=LARGEST)
    websockets._tls = trusts
    async with (
        asyncio.timeout(5),
        await websockets.connect(url, {}, heard.put_nowait, max_message_bytes=LARGEST) as channel,
    ):
        for size in (0, 1_330, 9_000, 60_000):
            channel.send(b"x" * size)
        assert [len(await heard.get()) for _ in range(4)] == [0, 1_330, 9_000, 60_000]
        await channel.close(1000, "")
    await runner.cleanup()


async def test_messages_of_all_sizes_are_sent_whole_over_tls(websockets: PicowsWebSockets, tmp_path: Path) -> None:
    """Each with its own header, also while all of them wait, as the kernel takes no more."""
    _, serves_with, trusts = vouched_for(tmp_path)
    async with connected(Line(websockets), serves_with=serves_with, trusts=trusts) as line:
        for number, size in enumerate(SIZES):
            line.channel.send(bytes([number % 256]) * size)
        assert line.unwritten() > 0
        for number, size in enumerate(SIZES):
            assert await line.frame() == (TEXT, bytes([number % 256]) * size)


# --- the insides of picows ---


def test_the_insides_are_those_of_this_version() -> None:
    """With another one: look through picows.pyx for what the module relies on, then change this."""
    assert version("picows") == "2.3.1"


async def test_nothing_of_picows_reaches_a_log(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    line.write(client_frame(TEXT, b"what was said"), client_frame(CLOSE, b"x"))
    await line.end()
    await line.channel.close(1002, "")
    assert [record for record in caplog.records if record.name.startswith("picows")] == []
