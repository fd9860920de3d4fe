"""Somebody else's server as a child process: Redis, nginx. It has a folder of its own, and leaves nothing behind."""

import os
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Self

from local_cloud.leash import leashed

READY_SECONDS = 10.0
STOP_SECONDS = 5.0
_LOG_BYTES = 16_384


class ServerWillNotStart(Exception):
    """The server did not come up; the text says why and what to do."""


class ChildServer(ABC):
    """One server on one loopback port. A context manager.

    Attributes:
        name: what people call it.
        failure: what is raised where it does not come up.
        ready_seconds: how long that may take.
    """

    name: str
    failure: ClassVar[type[ServerWillNotStart]] = ServerWillNotStart
    ready_seconds: float = READY_SECONDS

    def __init__(self, port: int) -> None:
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @abstractmethod
    def start(self) -> None:
        """Return when this very server answers; raise its ``failure`` with the reason when it does not."""

    def wait(self) -> int:
        """Block until the server ends, by itself or by ``stop``; return its exit code."""
        return self._running().wait()

    def stop(self) -> None:
        """End the server, if it runs."""
        if self._process is None or self._log is None or self._folder is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        self._folder.cleanup()

    def kill(self) -> None:
        """End the server as a crash does: nothing more is sent to anybody."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    @property
    def pid(self) -> int:
        """The process, once started."""
        return self._running().pid

    def last_lines(self, count: int = 10) -> str:
        """Return the end of what the running, or just ended, server has logged."""
        if self._log is None or self._log.closed:
            return ""
        # Read by position: the server's own writes share this file's offset.
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), _LOG_BYTES, max(0, size - _LOG_BYTES)).decode(errors="replace")
        return "\n".join(text.splitlines()[-count:])

    def _make_folder(self) -> Path:
        """A new folder, which goes when the server does."""
        self._folder = tempfile.TemporaryDirectory()
        return Path(self._folder.name)

    def _run(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        # A nameless file: unlike a pipe it needs no reader.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        self._process = subprocess.Popen(
            leashed(command),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=cwd,
            start_new_session=True,  # Ctrl-C is for the launcher, which stops it last
        )

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process

    def _wait_until(self, happened: Callable[[], bool], called: str) -> None:
        """Wait until something is so of the running server, which a failure calls so."""
        process, deadline = self._running(), time.monotonic() + self.ready_seconds
        while not happened():
            try:
                code = process.wait(timeout=0.01)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
                reason = f"did not answer within {self.ready_seconds:g} s"
            else:
                reason = f"ended (exit code {code})"
            lines = self.last_lines()
            self.stop()
            raise self.failure(f"{called} {reason} on port {self.port}. Its last lines:\n{lines}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()
