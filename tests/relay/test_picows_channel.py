"""What the picows channel does beyond the other, and the insides of picows that it relies on."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from relay import picows_channel
from relay.channel import ChannelEnd, How, NotConnected
from relay.picows_channel import PicowsWebSockets
from tests.relay.test_channels import CLOSE, HANDSHAKE, INVALID, LARGEST, PING, TEXT, Line, client_frame, line, serving

__all__ = ["line"]


@pytest.fixture
def websockets() -> PicowsWebSockets:
    return PicowsWebSockets("test")


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


# --- TLS ---


def self_signed(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """The certificate of a server called localhost, and what it serves with."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(hours=1), now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    path.write_bytes(
        certificate.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return path, context


async def test_a_dialled_server_must_show_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    path, serves_with = self_signed(tmp_path)
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
    websockets = PicowsWebSockets("test")
    with pytest.raises(NotConnected):
        await websockets.connect(url, {}, heard.put_nowait, max_message_bytes=LARGEST)
    websockets._tls.load_verify_locations(path)
    async with (
        asyncio.timeout(5),
        await websockets.connect(url, {}, heard.put_nowait, max_message_bytes=LARGEST) as channel,
    ):
        for size in (0, 1_330, 9_000, 60_000):
            channel.send(b"x" * size)
        assert [len(await heard.get()) for _ in range(4)] == [0, 1_330, 9_000, 60_000]
        await channel.close(1000, "")
    await runner.cleanup()


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
