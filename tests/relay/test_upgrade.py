"""Who serves a client once aiohttp's handler has returned, and what is left of its request then."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs

from relay.channel import WebSockets
from relay.upgrade import Serving, Upgrade
from service_kit.errors import Refusal
from service_kit.web import REQUEST_ID
from tests.relay.test_channels import CLOSE, HANDSHAKE, TEXT, client_frame, websockets
from tests.serving import serving

__all__ = ["websockets"]

BOTH_LOOPS = True


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """So that nothing is forgotten but what nobody refers to, not even itself."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def an_upgrade() -> Upgrade:
    """One that nobody will answer."""
    request = make_mocked_request("GET", "/v1/realtime")
    request[REQUEST_ID] = "req_1"
    return Upgrade(request)


@contextlib.asynccontextmanager
async def upgraded(
    serve: Callable[[Upgrade], Coroutine[None, None, None]], returned: Callable[[web.Request, web.StreamResponse], None]
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client that is served; ``returned`` is told when aiohttp's handler has returned."""
    tasks = Serving()

    async def handle(request: web.Request) -> web.StreamResponse:
        request[REQUEST_ID] = "req_1"
        upgrade = Upgrade(request)
        response = await tasks.serve(upgrade, serve(upgrade))
        returned(request, response)
        return response

    app = web.Application()
    app.router.add_get("/", handle)
    async with asyncio.timeout(5), serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        yield reader, writer
        writer.close()
        await tasks.close()


async def test_the_client_is_heard_to_the_end_and_aiohttp_forgotten_where_it_has_no_part_in_that(
    websockets: WebSockets,
) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    kept: asyncio.Future[list[weakref.ref[object]]] = asyncio.get_running_loop().create_future()

    async def serve(upgrade: Upgrade) -> None:
        channel = await upgrade.accept(websockets, subprotocol=None, max_message_bytes=1024)
        channel.on_frame = heard.put_nowait
        async with channel:
            if websockets.hand_over:
                upgrade.release()
            await channel.ended
            await channel.close(1000, "")

    def returned(request: web.Request, response: web.StreamResponse) -> None:
        kept.set_result([weakref.ref(request), weakref.ref(request.protocol), weakref.ref(response)])

    with without_garbage_collection():
        async with upgraded(serve, returned) as (reader, writer):
            if websockets.hand_over:
                while any(each() is not None for each in await kept):  # noqa: ASYNC110 - aiohttp's tasks end by then
                    await asyncio.sleep(0)
            writer.write(client_frame(TEXT, b"still heard"))
            assert await heard.get() == b"still heard"
            assert kept.done() == websockets.hand_over
            writer.write(client_frame(CLOSE))
            assert await reader.read() == b"\x88\x02\x03\xe8"
            await kept


async def test_a_refusal_before_the_answer_is_raised_in_aiohttp_s_handler() -> None:
    async def refuse() -> None:
        raise Refusal("token_used")

    with pytest.raises(Refusal) as caught:
        await Serving().serve(an_upgrade(), refuse())
    assert caught.value.code == "token_used"


async def test_what_fails_after_the_answer_is_logged() -> None:
    upgrade, answered = an_upgrade(), asyncio.Event()

    async def fail() -> None:
        upgrade.release()
        await answered.wait()
        raise ZeroDivisionError

    serving = Serving()
    with capture_logs() as lines:
        await serving.serve(upgrade, fail())
        answered.set()
        await serving.close()
        await asyncio.sleep(0)
    (line,) = lines
    assert (line["event"], line["request_id"], line["error"]) == ("internal_error", "req_1", "ZeroDivisionError")


async def test_who_is_served_is_cut_off_with_a_handler_that_is_cancelled() -> None:
    begun, cut_off = asyncio.Event(), asyncio.Event()

    async def serve() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut_off.set()

    handling = asyncio.create_task(Serving().serve(an_upgrade(), serve()))
    await begun.wait()
    handling.cancel()
    await asyncio.wait([handling], timeout=5)
    assert handling.cancelled()
    assert cut_off.is_set()


async def test_at_the_end_who_is_about_to_leave_may_and_the_others_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.upgrade.ENDING_SECONDS", 0.2)
    how: list[str] = []
    leave = asyncio.Event()

    async def serve(name: str, upgrade: Upgrade, *, leaves: bool) -> None:
        upgrade.release()
        try:
            await (leave if leaves else asyncio.Event()).wait()
            how.append(f"{name} left")
        except asyncio.CancelledError:
            how.append(f"{name} was cut off")
            raise

    serving = Serving()
    for name, leaves in (("one", True), ("other", False)):
        upgrade = an_upgrade()
        await serving.serve(upgrade, serve(name, upgrade, leaves=leaves))
    before = asyncio.all_tasks()
    asyncio.get_running_loop().call_soon(leave.set)
    async with asyncio.timeout(5):
        await serving.close()
    assert how == ["one left", "other was cut off"]
    assert len(before - asyncio.all_tasks()) == 2
