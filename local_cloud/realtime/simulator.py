"""The server: handshake, models, and for each WebSocket a session."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from aiohttp import WSMsgType, web

from local_cloud.realtime.answers import Answer
from local_cloud.realtime.behaviour import Behaviour
from local_cloud.realtime.control import Control
from local_cloud.realtime.events import Json, Refused, error_event
from local_cloud.realtime.faults import (
    DropHandshake,
    Faults,
    HttpStatus,
    Interject,
    NoGreeting,
    RejectAfterUpgrade,
    SessionFault,
    StallHandshake,
    StopReading,
)
from local_cloud.realtime.handshake import MODELS, NO_SUCH_CALL, Rejection, check_dialect, check_key
from local_cloud.realtime.link import Link
from local_cloud.realtime.record import Connection
from local_cloud.realtime.session import Session

_MOST_MESSAGE_BYTES = 32 << 20
_CLOSE_SECONDS = 1.0
_AZURE_PREFIX = "/openai"
_OF_THE_ACCOUNT = {"OpenAI-Organization": "org-simulator", "OpenAI-Project": "proj-simulator"}
"""Headers with which the service answers an upgrade."""


class Simulator:
    """Stands in for OpenAI; ``async with Simulator() as simulator`` listens until the block ends.

    Args:
        host: address to listen on.
        port: 0 takes a free one.
        behaviour: of the service; the default records, and answers four times faster than it plays.
        keep_connections: how many connections stay in `connections`; older ones are forgotten.
        tls: what to serve with, for ``https`` and ``wss``.

    Attributes:
        faults: what shall go wrong.
        answers: what the next responses, of any session, say or call; then the simulator thinks of its own again.
        connections: the records, oldest first.
        accepts: whether a key, or an access token, is good.
    """

    def __init__(
        self,
        behaviour: Behaviour = Behaviour(),  # noqa: B008 - frozen
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keep_connections: int = 256,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.faults = Faults()
        self.answers: deque[Answer] = deque()
        self.connections: deque[Connection] = deque(maxlen=keep_connections)
        self.accepts: Callable[[str], bool] = lambda key: self._behaviour.api_key in (None, key)
        self._behaviour = behaviour
        self._host = host
        self._port = port
        self._tls = tls
        self._count = 0
        self._connected = asyncio.Condition()
        self._links: set[Link] = set()
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def origin(self) -> str:
        """``http://host:port``, or ``https://``: what an Azure endpoint is configured with."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}"

    @property
    def base_url(self) -> str:
        """``http://host:port/v1``, or ``https://``: what OpenAI's SDK is configured with."""
        return f"{self.origin}/v1"

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
        for prefix in ("/v1", f"{_AZURE_PREFIX}/v1"):
            app.router.add_get(f"{prefix}/realtime", self._realtime)
            app.router.add_get(f"{prefix}/models", self._models)
            app.router.add_get(f"{prefix}/models/{{id}}", self._model)
        Control(self.connections, self.faults, self.answers).add_routes(app.router)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSE_SECONDS)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, backlog=1024, ssl_context=self._tls)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close every connection with 1001 and stop listening."""
        self._stopping.set()
        for link in self._links:
            link.close(1001, "")
        await self._runner.cleanup()

    async def connection(self, number: int = 0, timeout: float = 5) -> Connection:
        """Return the connection that was made as the ``number``-th, from 0, waiting for it if need be.

        Raises:
            TimeoutError: it was not made.
            LookupError: it was made, and is forgotten.
        """
        async with asyncio.timeout(timeout), self._connected:
            await self._connected.wait_for(lambda: self._count > number)
        for connection in self.connections:
            if connection.number == number:
                return connection
        raise LookupError(f"connection {number} is no longer kept")

    async def _models(self, request: web.Request) -> web.Response:
        rejection = check_key(request.headers, request.query, self.accepts)
        if rejection:
            return _refused(rejection)
        return web.json_response({"object": "list", "data": [_model(name) for name in MODELS]})

    async def _model(self, request: web.Request) -> web.Response:
        rejection = check_key(request.headers, request.query, self.accepts)
        if rejection:
            return _refused(rejection)
        name = request.match_info["id"]
        if name not in MODELS:
            return _refused(Rejection("model_not_found", f"The model '{name}' does not exist", 4000, 404))
        return web.json_response(_model(name))

    async def _realtime(self, request: web.Request) -> web.StreamResponse:
        connection = await self._remember(request)
        rejection = check_key(request.headers, request.query, self.accepts)
        rejection = rejection or check_dialect(request.headers, request.query)
        fault = self.faults.take_handshake()
        match fault:
            case HttpStatus():
                connection.end(None)
                return _faulty_answer(fault)
            case DropHandshake():
                connection.end(None)
                if request.transport:
                    request.transport.abort()
                return web.Response()
            case StallHandshake():
                await self._stopping.wait()
                connection.end(None)
                return web.Response(status=503)
            case RejectAfterUpgrade():
                rejection = Rejection(fault.code, fault.message, fault.close_code, type=fault.type)
            case None if rejection and (request.path.startswith(_AZURE_PREFIX) or rejection is NO_SUCH_CALL):
                connection.end(None)
                return _refused(rejection)
        socket = web.WebSocketResponse(
            protocols=("realtime",), compress=False, max_msg_size=_MOST_MESSAGE_BYTES, timeout=_CLOSE_SECONDS
        )
        socket.headers.update(_OF_THE_ACCOUNT)
        await socket.prepare(request)
        if isinstance(fault, NoGreeting):
            await _greet_wrongly(request, socket, connection, fault)
            return socket
        await self._converse(request, socket, connection, rejection)
        return socket

    async def _remember(self, request: web.Request) -> Connection:
        connection = Connection(self._count, request.path, request.query, request.headers, keep=self._behaviour.record)
        self.connections.append(connection)
        async with self._connected:
            self._count += 1
            self._connected.notify_all()
        return connection

    async def _converse(
        self, request: web.Request, socket: web.WebSocketResponse, connection: Connection, rejection: Rejection | None
    ) -> None:
        """Run one WebSocket from its first event to its end."""
        faults = [] if rejection else self.faults.take_session()
        link = Link(socket, request.transport, connection, [fault for fault in faults if isinstance(fault, Interject)])
        connection.emit, connection.close, connection.abort = link.emit, link.close, link.abort
        if request.transport:
            connection.pause_reading = request.transport.pause_reading
            connection.resume_reading = request.transport.resume_reading
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(link.write(), name="writer")
                if rejection:
                    link.send(error_event(rejection.error))
                    link.close(rejection.close_code, rejection.close_reason)
                    await writer
                else:
                    model = None if request.query.get("intent") == "transcription" else request.query["model"]
                    session = Session(link, connection, tasks, self._behaviour, model, faults, self.answers)
                    session.start()
                    try:
                        await _hear(socket, link, connection, session, faults)
                    finally:
                        session.end()
                        if link.ended_with is None:  # else the writer is closing, and the client may answer
                            writer.cancel()
        finally:
            self._links.discard(link)
            connection.end(*(link.ended_with or (socket.close_code, "")))


async def _hear(
    socket: web.WebSocketResponse, link: Link, connection: Connection, session: Session, faults: Sequence[SessionFault]
) -> None:
    """Give the session what the client sends, until either side closes."""
    deaf = next((fault for fault in faults if isinstance(fault, StopReading)), None)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            connection.hear(message.data)
            session.handle(message.data)
            await link.drained()
            if deaf and connection.sent.counts[deaf.after]:
                await asyncio.sleep(deaf.seconds)  # aiohttp's queue fills, and then it stops reading, too
                deaf = None
        elif message.type is WSMsgType.BINARY:
            link.send(error_event(Refused("Binary frames are not part of the protocol.", "invalid_event").error))


async def _greet_wrongly(
    request: web.Request, socket: web.WebSocketResponse, connection: Connection, fault: NoGreeting
) -> None:
    """Begin no session, and stay until the connection is over."""
    if fault.text is not None:
        await socket.send_str(fault.text)
    if fault.then == "close":
        await socket.close(code=fault.close_code)
    elif fault.then == "abort" and request.transport:
        request.transport.abort()
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            connection.hear(message.data)
    connection.end(fault.close_code if fault.then == "close" else socket.close_code)


def _faulty_answer(fault: HttpStatus) -> web.Response:
    headers = {}
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    if fault.location is not None:
        headers["Location"] = fault.location
    error: Json = {"type": "simulated_fault", "code": fault.code, "message": fault.message, "param": None}
    return web.json_response({"error": error}, status=fault.status, headers=headers)


def _refused(rejection: Rejection) -> web.Response:
    return web.json_response({"error": rejection.error}, status=rejection.status)


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": 1_756_339_200, "owned_by": "simulator"}
