"""A worker's side: it reports to its parent, obeys it, and speaks for all workers to whoever asks it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import structlog

from service_kit.errors import Refusal
from service_kit.http_server import Stop
from service_kit.telemetry import Recorder
from service_kit.telemetry.values import Snapshot
from service_kit.web import Readiness
from service_kit.workers.link import AskNumbers, FromParent, Link, Numbers, Ready, Report, StopNow, workers_end
from service_kit.workers.post import Post

REPORT_SECONDS: Final = 1.0
ASK_SECONDS: Final = 5.0
"""The parent waits for nobody before it answers, so a later answer is none."""


class Worker:
    """This process, one of several.

    Attributes:
        number: which one, from 1.
        of: how many there are.
    """

    def __init__(self, post: Post, telemetry: Recorder) -> None:
        self.number = post.number
        self.of = post.of
        self._post = post
        self._telemetry = telemetry
        self._ready: frozenset[int] = frozenset()
        self._readiness = Readiness()
        self._asked: deque[asyncio.Future[Snapshot]] = deque()
        self._link: Link[FromParent] | None = None
        self._reporting: asyncio.Task[None] | None = None

    def sockets(self, variable: str) -> list[socket.socket]:
        """The listening sockets of one port."""
        return [socket.socket(fileno=descriptor) for descriptor in self._post.sockets[variable]]

    @contextlib.asynccontextmanager
    async def at_work(self, stop: Stop) -> AsyncIterator[None]:
        """Be on the line for as long as the block runs; ``stop`` is what the parent orders."""
        self._link = await workers_end(socket.socket(fileno=self._post.link))
        obeying = asyncio.create_task(self._obey(self._link, stop), name="orders of the parent")
        try:
            yield
        finally:
            for task in filter(None, (self._reporting, obeying)):
                task.cancel()
                await asyncio.wait([task])
            self._link.send(Report(["draining"], self._telemetry.values.look()))
            self._link.close()

    def is_listening(self) -> None:
        """There are listeners from now on: tell the parent, and go on telling it how things are."""
        if self._post.replaces:
            self._telemetry.count("airlock_workers_replaced_total")
            structlog.get_logger().error("worker.replaced")
        self._reporting = asyncio.create_task(self._report(), name="reports to the parent")

    def stands_for_all(self, readiness: Readiness) -> None:
        """Tell the others of this readiness from now on, and it of theirs."""
        self._readiness = readiness
        readiness.workers = self

    @property
    def others_ready(self) -> int:
        """How many of the others are ready, as far as is known."""
        return len(self._ready - {self.number})

    async def numbers_of_all(self) -> Snapshot:
        """The numbers of all workers: this one's of now, the others' of a second ago at most. Raises Refusal."""
        answer: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        assert self._link is not None  # noqa: S101 - nobody asks before there are listeners
        self._asked.append(answer)
        self._link.send(AskNumbers(self._telemetry.values.look()))
        try:
            return await asyncio.wait_for(answer, ASK_SECONDS)
        except TimeoutError as error:
            raise Refusal("unavailable") from error

    async def _report(self) -> None:
        assert self._link is not None  # noqa: S101 - see above
        while True:
            failing = await self._readiness.failing()
            self._link.send(Report(failing, self._telemetry.values.look()))
            await asyncio.sleep(REPORT_SECONDS)

    async def _obey(self, link: Link[FromParent], stop: Stop) -> None:
        async for message in link.messages():
            match message:
                case StopNow(at_once=at_once):
                    stop.ask(at_once=at_once)
                case Ready(workers=workers):
                    self._ready = frozenset(workers)
                case Numbers(of_all=of_all):
                    answer = self._asked.popleft()
                    if not answer.done():
                        answer.set_result(of_all)
        structlog.get_logger().error("parent.gone")
        stop.ask(at_once=True)
