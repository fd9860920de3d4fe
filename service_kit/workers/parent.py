"""The parent of several workers: it starts, watches, replaces and stops them. It serves nothing itself.

The first worker starts alone, and the others when it listens: what keeps a service from starting is so told once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from typing import Final

import structlog

from service_kit.log import set_up_logging
from service_kit.ports import ports_of
from service_kit.settings import ServiceSettings
from service_kit.telemetry.values import Snapshot
from service_kit.workers.doors import Door
from service_kit.workers.link import AskNumbers, FromWorker, Link, Numbers, Ready, Report, StopNow, parents_end
from service_kit.workers.patience import Patience
from service_kit.workers.post import VARIABLE, Post
from service_kit.workers.totals import left_by, total

TICK_SECONDS: Final = 1.0


def tend(name: str, settings: ServiceSettings, patience: Patience | None = None) -> int:
    """Run the workers of a service until it is asked to stop; its exit status."""
    with contextlib.ExitStack() as open_doors:
        doors = [open_doors.enter_context(contextlib.closing(Door(port))) for port in ports_of(settings)]
        set_up_logging(name, settings.log_level)
        return asyncio.run(_run(name, settings, doors, patience or Patience()))


async def _run(name: str, settings: ServiceSettings, doors: list[Door], patience: Patience) -> int:
    return await Parent(name, settings, doors, patience).run()


class _Child:
    """A worker's process, as its parent sees it.

    Attributes:
        listens: whether it ever reported.
        is_ready: as it last reported, as are its numbers.
        silent_for: how many ticks ago that was. Ticks, not a clock: who stops both for a while kills nobody.
    """

    def __init__(self, number: int, process: Process, link: Link[FromWorker]) -> None:
        self.number = number
        self.process = process
        self.link = link
        self.born_at = asyncio.get_running_loop().time()
        self.listens = False
        self.is_ready = False
        self.numbers = Snapshot()
        self.silent_for = 0

    @property
    def age(self) -> float:
        """In seconds."""
        return asyncio.get_running_loop().time() - self.born_at

    def kill(self) -> None:
        """End it as it stands."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    def stop(self, *, at_once: bool) -> None:
        """Let it drain, or not; one that does not listen yet has nothing to drain, and cannot be told."""
        if self.listens:
            self.link.send(StopNow(at_once))
        else:
            self.kill()


class Parent:
    """Keeps as many places filled as the settings have workers. Use :meth:`run` once."""

    def __init__(self, name: str, settings: ServiceSettings, doors: list[Door], patience: Patience) -> None:
        self._name = name
        self._settings = settings
        self._doors = doors
        self._patience = patience
        self._leash = os.pipe()  # nobody writes: it ends when this process does
        self._children: dict[int, _Child] = {}
        self._of_the_dead = Snapshot()
        self._ready: list[int] = []
        self._failed_starts = 0
        self._status = 0
        self._first_listens = asyncio.Event()
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        self._empty = asyncio.Event()
        self._log = structlog.get_logger()

    async def run(self) -> int:
        """Until a signal, or until it is of no use; the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        watching = asyncio.create_task(self._watch(), name="watch")
        places = asyncio.gather(*(self._fill(number) for number in range(1, self._settings.workers + 1)))
        places.add_done_callback(lambda _: self._empty.set())
        try:
            await _one_of(self._stopping, self._empty)
            limit = self._settings.drain_seconds + self._patience.beyond_drain
            await _one_of(self._empty, self._at_once, seconds=limit)
            if self._at_once.is_set():
                await _one_of(self._empty, seconds=self._patience.at_once)
        finally:
            for child in self._children.values():
                child.kill()
            watching.cancel()
        await places
        self._log.info("drain.end")
        return self._status

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            self._stop(at_once=True)
        else:
            self._log.info("drain.start")
            self._stop(at_once=False)

    def _stop(self, *, at_once: bool) -> None:
        self._stopping.set()
        if at_once:
            self._at_once.set()
        for child in self._children.values():
            child.stop(at_once=at_once)

    async def _watch(self) -> None:
        """Kill who hangs: connects would still be given to it."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for child in self._children.values():
                child.silent_for += 1
                if child.silent_for == self._patience.silent:
                    self._log.warning("worker.silent", worker=child.number, pid=child.process.pid)
                    child.kill()

    async def _fill(self, number: int) -> None:
        """One worker after another in one place, until the service stops."""
        if number > 1:
            await _one_of(self._first_listens, self._stopping)
        short_lives, replaces = 0, False
        while not self._stopping.is_set():
            child = await self._start(number, replaces=replaces)
            if child is not None:
                await self._hear(child)
            if child is None or not child.listens:
                self._note_failed_start(child)
            else:
                replaces = True
            is_steady = child is not None and child.listens and child.age >= self._patience.steady
            short_lives = 0 if is_steady else short_lives + 1
            if pause := self._patience.pause(short_lives):
                self._leave(number)
                await _one_of(self._stopping, seconds=pause)
        self._leave(number)

    def _leave(self, number: int) -> None:
        for door in self._doors:
            door.leave(number)

    async def _start(self, number: int, *, replaces: bool) -> _Child | None:
        """A new worker; None where the machine has no room for one."""
        ours, theirs = socket.socketpair()
        try:
            sockets = {door.variable: [each.fileno() for each in door.sockets_of(number)] for door in self._doors}
            post = Post(number, self._settings.workers, replaces, sockets, theirs.fileno(), self._leash[0])
            process = await asyncio.create_subprocess_exec(
                *_command(self._name),
                # It must not see another number of them than its parent did, whatever became of .env.
                env=os.environ | {VARIABLE: post.for_environment(), "WORKERS": str(self._settings.workers)},
                pass_fds=post.descriptors,
                stdin=DEVNULL,
                start_new_session=True,  # Ctrl-C is for the parent, which passes it on
            )
        except OSError as error:
            ours.close()
            self._log.warning("worker.failed", worker=number, error=type(error).__name__)
            return None
        finally:
            theirs.close()
        child = self._children[number] = _Child(number, process, await parents_end(ours))
        self._log.info("worker.start", worker=number, pid=process.pid)
        if self._stopping.is_set():  # while it was being started
            child.kill()
        return child

    async def _hear(self, child: _Child) -> None:
        """Take what a worker says, until it is gone."""
        async for message in child.link.messages():
            child.silent_for = 0
            match message:
                case Report(failing=failing, numbers=numbers):
                    child.numbers = numbers
                    self._note_report(child, is_ready=not failing)
                case AskNumbers(own=own):
                    child.numbers = own
                    living = (each.numbers for each in self._children.values())
                    child.link.send(Numbers(total([self._of_the_dead, *living])))
        child.link.close()
        status = await child.process.wait()
        del self._children[child.number]
        self._of_the_dead = left_by(total([self._of_the_dead, child.numbers]))
        self._tell_ready()
        self._note_end(child, status)

    def _note_report(self, child: _Child, *, is_ready: bool) -> None:
        if not child.listens:
            child.listens = True
            self._failed_starts = 0
            self._first_listens.set()
            child.link.send(Ready(self._ready))
        if child.is_ready != is_ready:
            child.is_ready = is_ready
            self._tell_ready()

    def _tell_ready(self) -> None:
        ready = sorted(child.number for child in self._children.values() if child.is_ready)
        if ready != self._ready:
            self._ready = ready
            for child in self._children.values():
                child.link.send(Ready(ready))

    def _note_end(self, child: _Child, status: int) -> None:
        is_meant = self._stopping.is_set() and (status == 0 or not child.listens)
        self._log.log(
            logging.INFO if is_meant else logging.WARNING,
            "worker.end",
            worker=child.number,
            pid=child.process.pid,
            reason=f"signal {-status}" if status < 0 else f"status {status}",
            seconds=round(child.age, 3),
        )
        if self._stopping.is_set() and not is_meant:
            self._status = self._status or 1

    def _note_failed_start(self, child: _Child | None) -> None:
        """Give up when there is nobody left, and nobody can be started."""
        if self._stopping.is_set():
            return
        self._failed_starts += 1
        patience = self._patience.failed_starts if self._first_listens.is_set() else 1
        if self._failed_starts >= patience and not any(each.listens for each in self._children.values()):
            self._log.warning("worker.none")
            status = 1 if child is None else child.process.returncode or 1
            self._status = status if status > 0 else 128 - status  # as a shell tells of a signal
            self._stop(at_once=True)


def _command(name: str) -> list[str]:
    """What this process was started by, once more."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return [sys.executable, "-m", spec.name if spec else name, *sys.argv[1:]]


async def _one_of(*events: asyncio.Event, seconds: float | None = None) -> None:
    """Wait until one of them is set, for so long at most."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
