"""A client's request for a WebSocket, and who serves it.

aiohttp keeps a request, its parser and every handler on the way to ours for as long as ours runs: 10 KB. So a task of
its own serves the client, and the handler returns as soon as aiohttp has handed the connection over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import structlog
from aiohttp import web

from relay.channel import OpenChannel, WebSockets
from service_kit.log import where
from service_kit.web import REQUEST_ID

ENDING_SECONDS: Final = 2.0
"""How long those that are served may take to end by themselves when the process stops, and then to be cut off."""


class Upgrade:
    """One request.

    Attributes:
        request_id: its public name.
        answered: completes when aiohttp has no part in the connection any more.
    """

    def __init__(self, request: web.Request) -> None:
        self._request: web.Request | None = request
        self._response: web.StreamResponse | None = None
        self.request_id = request[REQUEST_ID]
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def request(self) -> web.Request:
        """What is asked for, as long as it is not answered."""
        assert self._request is not None  # noqa: S101 - nobody asks later
        return self._request

    async def accept(self, websockets: WebSockets, *, subprotocol: str | None, max_message_bytes: int) -> OpenChannel:
        """Answer it: the client's end. Raises ConnectionError when the client is gone."""
        self._response, channel = await websockets.accept(
            self.request, subprotocol=subprotocol, max_message_bytes=max_message_bytes
        )
        return channel

    def release(self) -> None:
        """Let aiohttp's handler return."""
        if not self.answered.done():
            self.answered.set_result(None)

    def forget(self) -> web.StreamResponse:
        """Keep nothing of the request; returns its response."""
        response, self._request, self._response = self._response, None, None
        return response or web.Response()


class Serving:
    """The tasks that serve clients, and outlive the handlers of their requests."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, upgrade: Upgrade, serving: Coroutine[Any, Any, None]) -> web.StreamResponse:
        """Serve a client until ``serving`` ends, and return as soon as its upgrade is over. Raises what it raises."""
        task = asyncio.create_task(serving, name="client")
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(task, upgrade))
        try:
            await upgrade.answered
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        return upgrade.forget()

    def _ended(self, task: asyncio.Task[None], upgrade: Upgrade) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            upgrade.release()
        elif not upgrade.answered.done():
            upgrade.answered.set_exception(error)
        else:
            structlog.get_logger().error(
                "internal_error", request_id=upgrade.request_id, error=type(error).__name__, at=where(error)
            )

    async def close(self) -> None:
        """Wait a moment for those that are about to end, and cut the others off."""
        for cut_off in (False, True):
            for task in self._tasks:
                if cut_off:
                    task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=ENDING_SECONDS)
