"""What the stand-ins for Azure's services have in common: they listen on loopback, and are told how to answer."""

import asyncio
import signal
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import msgspec
from aiohttp import web

BehaviourT = TypeVar("BehaviourT", bound=msgspec.Struct)


class StandIn(ABC, Generic[BehaviourT]):
    """``async with`` listens until the block ends; over TLS, where it is given what to serve with.

    Attributes:
        behaviour: how it answers from now on.
    """

    def __init__(self, behaviour: BehaviourT, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.behaviour = behaviour
        self._port = port
        self._tls = tls
        self._news = asyncio.Condition()

    @abstractmethod
    def _application(self) -> web.Application:
        """Its routes."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; a second time on the same port."""
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.1, auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening; requests under way are cut."""
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    async def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until something is true of what it was asked. Raises TimeoutError."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(condition)

    async def _tell(self) -> None:
        """Wake whoever waits for something to be true."""
        async with self._news:
            self._news.notify_all()

    async def _change(self, request: web.Request) -> web.Response:
        """Handle a ``PATCH`` of the behaviour."""
        changes = await decoded(request, dict[str, object])
        try:
            self.behaviour = msgspec.convert(msgspec.to_builtins(self.behaviour) | changes, type=type(self.behaviour))
        except msgspec.ValidationError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.Response(status=204)


class Fault(Protocol):
    """Something that goes wrong so often; always, with None."""

    times: int | None


FaultT = TypeVar("FaultT", bound=Fault)


def next_fault(faults: list[FaultT], is_meant: Callable[[FaultT], bool]) -> FaultT | None:
    """The first that is meant; it is gone when it has happened often enough."""
    for fault in faults:
        if is_meant(fault):
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    faults.remove(fault)
            return fault
    return None


async def decoded(request: web.Request, kind: type[Any]) -> Any:
    """The body, if it is such an object in JSON. Raises HTTPBadRequest."""
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.DecodeError as error:
        raise web.HTTPBadRequest(text=str(error)) from error


async def serve(stand_in: StandIn[Any], announcement: Callable[[], Sequence[str]]) -> None:
    """Serve until SIGINT or SIGTERM, after printing the settings that lead here."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with stand_in:
        print(*announcement(), sep="\n", flush=True)
        await stop.wait()
