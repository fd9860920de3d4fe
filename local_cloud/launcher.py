"""Runs a list of services as child processes: starts, watches, shows their logs, and stops them in reverse order."""

import asyncio
import json
import signal
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import aiohttp

from local_cloud.child_server import ChildServer
from local_cloud.leash import leashed
from local_cloud.plan import Service

Show = Callable[[str], None]

READY_SECONDS = 60.0
STOP_MARGIN_SECONDS = 5.0  # what a service may take to leave, beyond its drain
LONGEST_LOG_LINE = 1_048_576
QUIET_LEVELS = {"debug", "info"}


class ServiceFailed(Exception):
    """A service ended by itself or never became ready; the text is for the person at the terminal."""


class _StopAsked(Exception):
    """Somebody wants everything to end: an ordinary way out."""


def readable(line: str, *, verbose: bool) -> str | None:
    """Return a line of a service's log as a person reads it; None for one that is shown only when ``verbose``."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line  # not one of ours: perhaps a traceback
    if not isinstance(entry, dict):
        return line
    level = str(entry.pop("level", "info")).lower()
    if level in QUIET_LEVELS and not verbose:
        return None
    event = str(entry.pop("event", ""))
    entry.pop("timestamp", None)
    details = [f"{name}={json.dumps(value)}" for name, value in entry.items()]
    return " ".join([level, event, *details])


class Child:
    """A running service: its process, and the task that reads its log until the end."""

    def __init__(self, service: Service, process: asyncio.subprocess.Process, show: Show, *, verbose: bool) -> None:
        self.service = service
        self.process = process
        self._last_lines: deque[str] = deque(maxlen=20)
        self._reading = asyncio.create_task(self._read_log(show, verbose=verbose), name=f"log of {service.name}")

    @classmethod
    async def start(cls, service: Service, folder: Path, show: Show, *, verbose: bool) -> Self:
        """Start the service in ``folder``, out of reach of the terminal's Ctrl-C: the launcher ends it in its turn."""
        process = await asyncio.create_subprocess_exec(
            *leashed(service.command),
            cwd=folder,
            env=service.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LONGEST_LOG_LINE,
            start_new_session=True,
        )
        return cls(service, process, show, verbose=verbose)

    async def _read_log(self, show: Show, *, verbose: bool) -> None:
        assert self.process.stdout is not None  # noqa: S101 - for the type checker: it was started with a pipe
        while True:
            try:
                line = await self.process.stdout.readline()
            except ValueError:
                continue  # longer than a log line can be: left out
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            self._last_lines.append(readable(text, verbose=True) or text)
            shown = readable(text, verbose=verbose)
            if shown is not None:
                show(f"{self.service.name:<13} | {shown}")

    async def watch(self) -> None:
        """Raise ``ServiceFailed`` with the last lines as soon as the service ends, which it should not do by itself."""
        code = await self.process.wait()
        await self._finish_log()
        lines = "\n".join(f"  {line}" for line in self._last_lines) or "  (it wrote nothing)"
        raise ServiceFailed(f"The {self.service.name} ended by itself (exit code {code}). Its last lines:\n{lines}")

    async def wait_until_ready(self) -> None:
        """Return once the service says that it is ready; raise ``ServiceFailed`` if that takes too long."""
        url, answer, ca_file = self.service.ready_url, "nothing", self.service.ca_file
        # A certificate of the user's own is good or not for those who come by its name; here it is only waited for.
        tls = ssl.create_default_context(cafile=ca_file) if ca_file else False
        try:
            async with (
                asyncio.timeout(READY_SECONDS),
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as client,
            ):
                while True:
                    with suppress(aiohttp.ClientError, TimeoutError):
                        async with client.get(url, ssl=tls) as response:
                            if response.status < 500:
                                return
                            answer = f"{response.status} {(await response.text())[:500]}"
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise ServiceFailed(
                f"The {self.service.name} was not ready within {READY_SECONDS:g} s; {url} answered: {answer}"
            ) from None

    async def stop(self, grace_seconds: float) -> None:
        """Ask the service to end; after ``grace_seconds`` make it."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.terminate()
        try:
            # Not asyncio.timeout: that of Python 3.11.2 (Debian 12) fails in a task whose TaskGroup had a failed child.
            await asyncio.wait_for(self.process.wait(), grace_seconds)
        except TimeoutError:
            self.kill()
            await self.process.wait()
        await self._finish_log()

    def kill(self) -> None:
        """End the service at once, if it still runs."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()

    async def _finish_log(self) -> None:
        # Bounded: a process that the service left behind could hold the pipe open.
        await asyncio.wait({self._reading}, timeout=1)
        self._reading.cancel()


async def launch(
    services: Sequence[Service],
    *,
    servers: Sequence[ChildServer] = (),
    folder: Path,
    on_ready: Callable[[], None],
    show: Show = print,
    verbose: bool = False,
    drain_seconds: float,
) -> None:
    """Run the services, and the started ``servers``, until SIGINT, SIGTERM or SIGHUP; a second signal kills.

    Raises:
        ServiceFailed: one of them ended or never became ready; the others have been stopped.
    """
    children: list[Child] = []
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            for child in children:
                child.kill()
        elif children:
            show("Stopping. A live session may take until its drain ends; Ctrl-C again ends it at once.")
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)

    failures: list[BaseException] = []
    try:
        async with asyncio.TaskGroup() as watches:
            watches.create_task(_raise_when_set(stop))
            for server in servers:
                watches.create_task(_watch(server))
            for service in services:
                child = await Child.start(service, folder, show, verbose=verbose)
                children.append(child)
                watches.create_task(child.watch())
                await child.wait_until_ready()
            on_ready()
    except* _StopAsked:
        pass
    except* ServiceFailed as group:
        failures.extend(group.exceptions)
    finally:
        for child in reversed(children):
            await child.stop(drain_seconds + STOP_MARGIN_SECONDS)
        for server in servers:
            server.stop()  # here, because the thread that watches it must end before the loop can
    if failures:
        raise failures[0]


async def _raise_when_set(stop: asyncio.Event) -> None:
    await stop.wait()
    raise _StopAsked


async def _watch(server: ChildServer) -> None:
    code = await asyncio.to_thread(server.wait)
    raise ServiceFailed(f"{server.name} ended by itself (exit code {code}). Its last lines:\n{server.last_lines()}")
