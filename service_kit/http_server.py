"""The listening process: connection deadlines that aiohttp leaves open, signals, and an orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from aiohttp import hdrs, web
from structlog.typing import FilteringBoundLogger

from service_kit.errors import Refusal
from service_kit.masked_frames import MaskedFrames
from service_kit.web import CODE_BY_STATUS, new_request_id, refusal_response, refuse_expectation

HEADER_SECONDS: Final = 5.0
KEEPALIVE_SECONDS: Final = 75.0
MAX_HEADER_BYTES: Final = 8_190
MAX_HEADERS: Final = 64
MAX_SILENT_CONNECTIONS: Final = 1_000
"""Connections that have not sent a complete request yet; one more is closed at once."""
SHUTDOWN_SECONDS: Final = 2.0


_AnyHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class _Connection(web.RequestHandler):
    """aiohttp's connection with a deadline for its first request, and our error shape for what is not HTTP at all.

    Later requests of a kept-alive connection fall under aiohttp's keep-alive timer.
    """

    _header_timer: asyncio.TimerHandle | None = None

    def __init__(self, server: _Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._silent = server.silent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._silent) >= MAX_SILENT_CONNECTIONS:
            self.force_close()
            return
        self._silent.add(self)
        self._header_timer = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._header_deadline)

    def headers_complete(self) -> None:
        """The first request arrived."""
        self._silent.discard(self)
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def set_parser(self, parser: Any, data_received_cb: Callable[[], None] | None = None) -> None:
        """Read WebSocket frames from here on, and refuse those that a client did not mask."""
        super().set_parser(MaskedFrames(parser), data_received_cb)  # type: ignore[arg-type] # asks for no more than that

    def connection_lost(self, exc: BaseException | None) -> None:
        self.headers_complete()
        super().connection_lost(exc)

    def _header_deadline(self) -> None:
        self._header_timer = None
        if self.transport is not None:
            self.transport.write(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a malformed request; aiohttp's own answer names its version and repeats the request."""
        self.headers_complete()
        too_large = type(exc).__name__ == "LineTooLong"
        code = "headers_too_large" if too_large else CODE_BY_STATUS.get(status, "invalid_request")
        response = refusal_response(Refusal("internal_error" if status >= 500 else code), new_request_id())
        response.headers[hdrs.SERVER] = "airlock"
        response.force_close()
        return response


class _Server(web.Server):
    """aiohttp's connection factory, making our connections.

    Attributes:
        silent: connections whose first request is not complete.
        successor: who serves new connections in our place, if anybody.
    """

    successor: _Server | None = None

    def __init__(self, server: web.Server, **options: Any) -> None:
        super().__init__(_with_our_refusal(server.request_handler), request_factory=server.request_factory, **options)
        self._options = options
        self.silent: set[_Connection] = set()

    def __call__(self) -> _Connection:
        if self.successor is not None:
            return self.successor()
        return _Connection(self, loop=asyncio.get_running_loop(), **self._options)


def _with_our_refusal(handler: _AnyHandler) -> _AnyHandler:
    """``handler``, with our answer for the one refusal that aiohttp gives before our middlewares."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPExpectationFailed:
            if isinstance(request.protocol, _Connection):
                request.protocol.headers_complete()
            return refuse_expectation(request)

    return handle


class _Runner(web.AppRunner):
    """Runs an application on our connections."""

    async def _make_server(self) -> web.Server:
        return _Server(
            await super()._make_server(),
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_SECONDS,
            max_field_size=MAX_HEADER_BYTES,
            max_line_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )


@web.middleware
async def note_headers(request: web.Request, handler: Callable[[web.Request], Awaitable[Any]]) -> Any:
    """End the header deadline: this request is complete. Belongs first among the middlewares."""
    if isinstance(request.protocol, _Connection):
        request.protocol.headers_complete()
    return await handler(request)


class Stop:
    """The process was asked to stop; a second signal asks for haste."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()

    def heed_signals(self) -> None:
        """Let SIGTERM and SIGINT ask from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: self.ask(at_once=self.asked.is_set()))

    def ask(self, *, at_once: bool) -> None:
        """Stop, and be quick about it or not."""
        if at_once:
            self.at_once.set()
        self.asked.set()


Drain = Callable[[asyncio.Event], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Listener:
    """Where an application listens: bound sockets, of one host and port, and what to end TLS with, if anything."""

    host: str
    sockets: Sequence[socket.socket]
    tls: ssl.SSLContext | None = None

    async def start(self, app: web.Application, log: FilteringBoundLogger) -> web.AppRunner:
        """Listen; whoever calls this cleans the runner up."""
        runner = await _run(app)
        for each in self.sockets:
            await _Site(runner, each, ssl_context=self.tls).start()
        log.info("listening", host=self.host, port=runner.addresses[0][1])
        return runner


class _Site(web.SockSite):
    """aiohttp's, with our deadline for the TLS handshake; asyncio's own is a minute."""

    async def start(self) -> None:
        await web.BaseSite.start(self)
        server = self._runner.server
        assert server is not None  # noqa: S101 - the runner was set up
        self._server = await asyncio.get_running_loop().create_server(
            server,
            sock=self._sock,
            ssl=self._ssl_context,
            ssl_handshake_timeout=HEADER_SECONDS if self._ssl_context else None,
            backlog=self._backlog,
        )


async def _run(app: web.Application) -> web.AppRunner:
    runner = _Runner(app, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    return runner


@dataclass(frozen=True, slots=True)
class Service:
    """What is served, and how its work is ended.

    Attributes:
        apps: one for each listener. The first owns what the others use: it is opened first and closed last.
        drain: called when the process is asked to stop, with the event of a second signal.
    """

    apps: Sequence[web.Application]
    drain: Drain


@dataclass(frozen=True, slots=True)
class Waiting:
    """Who answers before there can be a service, and what ends that."""

    app: Callable[[], web.Application]
    is_over: Callable[[], Awaitable[None]]


async def serve(
    listeners: Sequence[Listener],
    make: Callable[[], Service],
    stop: Stop,
    *,
    waiting: Waiting | None,
    listening: Callable[[], None],
) -> None:
    """Serve what ``make`` makes until it is to stop, then drain it and close everything.

    With ``waiting`` the listeners are open before it is made; new connections go to it as soon as it is there.
    ``listening`` is called as soon as they are open.
    """
    log = structlog.get_logger()
    async with contextlib.AsyncExitStack() as running:
        running.callback(log.info, "drain.end")
        if waiting is None:
            service = make()
            for listener, app in zip(listeners, service.apps, strict=True):
                runner = await listener.start(app, log)
                running.push_async_callback(runner.cleanup)
            listening()
        else:
            doors = []
            for listener in listeners:
                doors.append(await listener.start(waiting.app(), log))
                running.push_async_callback(doors[-1].cleanup)
            listening()
            if not await _comes_before(waiting.is_over, stop.asked):
                log.info("drain.start")
                return
            service = make()
            for door, app in zip(doors, service.apps, strict=True):
                runner = await _run(app)
                running.push_async_callback(runner.cleanup)
                _hand_over(door, runner)
            running.push_async_callback(_stop_listening, doors)
        # What is there now stays: looking through it for garbage again and again would take a tenth of our time, and
        # everybody would wait for it.
        gc.collect()
        gc.freeze()
        await stop.asked.wait()
        log.info("drain.start")
        await service.drain(stop.at_once)


async def _comes_before(first: Callable[[], Awaitable[None]], other: asyncio.Event) -> bool:
    """Whether the one happens and the other has not yet."""

    async def happens() -> None:
        await first()

    waits = [asyncio.create_task(happens()), asyncio.create_task(other.wait())]
    done, late = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in late:
        task.cancel()
    for task in done:
        task.result()
    return waits[1] not in done


def _hand_over(door: web.AppRunner, runner: web.AppRunner) -> None:
    old, new = door.server, runner.server
    assert isinstance(old, _Server)  # noqa: S101 - both are made above
    assert isinstance(new, _Server)  # noqa: S101 - the same
    old.successor = new


async def _stop_listening(doors: Sequence[web.AppRunner]) -> None:
    for door in doors:
        for site in list(door.sites):
            await site.stop()


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a service's main coroutine on uvloop where it exists (Linux and macOS)."""

    async def entry() -> None:
        await main()

    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(entry())
