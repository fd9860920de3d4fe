"""What an upstream can do wrong, below HTTP too: told to the client in time, one dial each, the slot free again.

Each profile has a model that only one upstream has: the simulator, a name that no DNS knows, a server that is no
WebSocket server. What two upstreams do for each other stands in ``test_upstreams``.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from local_cloud.realtime import Simulator, faults
from local_cloud.redis_server import RedisServer
from tests.end_to_end.clients import MODEL, Json, mint, refused_events, talking, text_item, upstream_of
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.test_endings import check_spent
from tests.end_to_end.traces import Traces
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

HTTP_101 = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
Behaving = Callable[[asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """Reads the head of a request, then does what it was told to do, and counts who came."""

    def __init__(self) -> None:
        self.dials = 0
        self.behave: Behaving = says(b"")

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.dials += head.startswith(b"GET /v1/realtime")  # the relay's look at the models, at its start, is none
        await self.behave(writer)
        writer.close()


def says(answer: bytes) -> Behaving:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return behave


def goes_on(beginning: bytes, more: bytes) -> Behaving:
    """Answer without end, and hang up no sooner than the relay does."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(more)
                await writer.drain()
                await asyncio.sleep(0.001)  # the tests run in this loop too

    return behave


async def resets(writer: asyncio.StreamWriter) -> None:
    """Send a TCP reset in place of an answer."""
    its: socket.socket = writer.get_extra_info("socket")
    its.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def raw_server() -> RawServer:
    return RawServer()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    running_simulator: Simulator, raw_server: RawServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    server = await asyncio.start_server(raw_server, "127.0.0.1", 0)
    places = {
        MODEL: ("default", running_simulator.base_url),
        "gpt-realtime-2.1-mini": ("unknown", "http://nobody.invalid/v1"),
        "gpt-realtime": ("raw", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"),
    }
    folder = tmp_path_factory.mktemp("stack")
    (folder / "profiles.toml").write_text(
        "".join(
            f'[profiles.{name}]\nmodel = "{model}"\ncallers = ["anonymous"]\n' for model, (name, _) in places.items()
        )
        + "".join(
            f'[[upstreams]]\nname = "{name}"\nkind = "openai"\nbase_url = "{url}"\nauth = "secret:openai-api-key"\n'
            f'models = {{ "{model}" = "{model}" }}\n'
            for model, (name, url) in places.items()
        )
    )
    with RedisServer() as redis:
        settings = {**DEFAULTS, "AIRLOCK_PROFILES": str(folder / "profiles.toml")}
        stack = Stack(folder, openai_base_url="http://127.0.0.1:1/v1", redis=redis, **settings)
        await asyncio.to_thread(stack.__enter__)
        try:
            yield stack
        finally:
            await asyncio.to_thread(stack.__exit__)
            server.close()


async def be_refused(
    http: aiohttp.ClientSession, stack: Stack, traces: Traces, seconds: float, **body: Any
) -> tuple[int | None, Json]:
    """Connect and be told within this time that there is no model; the slot is free and the token back."""
    minted = await mint(http, stack, **body)
    started_at = asyncio.get_running_loop().time()
    close_code, error = await refused_events(http, stack, minted)
    assert asyncio.get_running_loop().time() - started_at < seconds
    receipt = await traces.session_end(minted.token_id)
    assert (receipt["ending"], receipt["code"], receipt["close_code"]) == ("model_failed", error["code"], close_code)
    assert traces.token(minted.token_id) == {"state": "minted", "gave_back": "1"}
    return close_code, error


async def test_a_name_that_dns_does_not_know(stack: Stack, traces: Traces, http: aiohttp.ClientSession) -> None:
    close_code, error = await be_refused(http, stack, traces, 11, airlock={"profile": "unknown"})
    assert (close_code, error["code"]) == (1011, "upstream_unavailable")
    assert "nobody.invalid" not in str(error)


@pytest.mark.parametrize(
    "behave",
    [
        pytest.param(says(b""), id="closes"),
        pytest.param(resets, id="resets"),
        pytest.param(says(b"\x16\x03\x01 this is no HTTP\r\n\r\n"), id="garbage"),
        pytest.param(says(b"SSH-2.0-OpenSSH_9.2\r\n"), id="another protocol"),
        pytest.param(says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), id="no upgrade"),
        pytest.param(says(HTTP_101 + b"Sec-WebSocket-Accept: d3Jvbmc=\r\n\r\n"), id="an upgrade for another key"),
        pytest.param(says(HTTP_101 + b"\r\n"), id="an upgrade without a key"),
        pytest.param(goes_on(b"HTTP/1.1 503 ", b"x" * 10_000), id="an endless line"),
        pytest.param(goes_on(b"HTTP/1.1 502 Bad Gateway\r\n", b"X: y\r\n" * 1_000), id="endless headers"),
        pytest.param(says(b"HTTP/1.1 502 Bad Gateway\r\n" + b"X: y\r\n" * 20_000 + b"\r\n"), id="many headers"),
    ],
)
async def test_a_server_that_is_no_websocket_server(
    stack: Stack, raw_server: RawServer, traces: Traces, http: aiohttp.ClientSession, behave: Behaving
) -> None:
    raw_server.dials, raw_server.behave = 0, behave
    close_code, error = await be_refused(http, stack, traces, 2.5, airlock={"profile": "raw"})
    assert (close_code, error["code"]) == (1011, "upstream_unavailable")
    assert raw_server.dials == 1
    assert not traces.lines("internal_error")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 429, 500, 502, 503, 504])
async def test_a_status_that_refuses_is_told_at_once_after_one_dial(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession, status: int
) -> None:
    dials = simulator.connections[-1].number if simulator.connections else -1
    simulator.faults.add(faults.HttpStatus(status=status))
    close_code, error = await be_refused(http, stack, traces, 2.5)
    busy = status == 429
    assert (close_code, error["code"]) == ((1013, "upstream_busy") if busy else (1011, "upstream_unavailable"))
    assert error.get("retry_after") == (5 if busy else None)
    assert simulator.connections[-1].number == dials + 1


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(1000, 1000), (1001, 1001)]
    + [(code, 1011) for code in (1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4000, 4429, 4999)],
)
async def test_any_close_code_mid_response_is_mapped_by_its_class(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession, theirs: int, ours: int
) -> None:
    simulator.faults.add(faults.close_mid_response(theirs, "the model's own words"))
    async with talking(http, stack) as (talk, minted):
        await talk.send(text_item("count to twenty"), {"type": "response.create"})
        await talk.until("response.output_audio.delta")
        closing_at = asyncio.get_running_loop().time()
        code, rest = await talk.until_closed()
        assert asyncio.get_running_loop().time() - closing_at < 1.5
    told = [event["error"]["code"] for event in rest if event["type"] == "error"]
    assert (code, told) == (ours, [] if theirs == 1000 else ["upstream_closed"])
    assert "the model's own words" not in str(rest) + stack.logs()
    await check_spent(traces, minted.token_id, "model_closed", told[0] if told else None, ours)


async def test_a_frame_of_40_mib_ends_the_session_and_is_not_passed_on(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    simulator.faults.add(faults.huge_frame(40 * 2**20, after="conversation.item.done"))
    talk, upstream = await upstream_of(http, stack, simulator, minted := await mint(http, stack))
    async with talk:
        await talk.until("session.created")
        await talk.send(text_item("Good day"))
        code, rest = await talk.until_closed()
    assert (code, rest[-1]["error"]["code"]) == (1011, "upstream_closed")
    assert "simulator.huge" not in [event["type"] for event in rest]
    await check_spent(traces, minted.token_id, "model_failed", "upstream_closed", 1011)
    await upstream.wait_ended()
