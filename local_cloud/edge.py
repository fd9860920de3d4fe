"""nginx before the services, as Azure Front Door and the ingress of Container Apps stand before them in production.

It ends TLS, sends each path where Front Door's routes send it, and sets the headers that Front Door sets: what a client
sends under those names does not get through (Microsoft Learn, "Protocol support for HTTP headers in Azure Front Door",
2026-11). What it cannot do is said in the docs: no firewall, no four hours' end, one place instead of many.
"""

import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.error import HTTPError, URLError
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from local_cloud.leash import leashed

RELAY_PATHS = ("/v1/realtime", "/openai/v1/realtime", "/openai/realtime")
IDLE_SECONDS = 300  # of Front Door: no data in either direction for so long ends a connection
READY_SECONDS = 10.0
STOP_SECONDS = 5.0
_UP = "/.edge"


class EdgeWillNotStart(Exception):
    """nginx did not come up; the text says why and what to do."""


class Edge:
    """One nginx on one loopback port, ``https``. A context manager.

    ``certificate`` are the PEM files of a chain for ``localhost`` and of its key. ``token_services`` and ``relays`` are
    the ports of the services on 127.0.0.1; new connections go to them in turn.
    """

    name = "nginx"

    def __init__(
        self,
        port: int,
        *,
        certificate: tuple[Path, Path],
        front_door_id: str,
        token_services: Sequence[int],
        relays: Sequence[int],
        idle_seconds: int = IDLE_SECONDS,
    ) -> None:
        self.port = port
        self.url = f"https://localhost:{port}"
        self._certificate = certificate
        self._front_door_id = front_door_id
        self._services = (tuple(token_services), tuple(relays))
        self._idle_seconds = idle_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._log: IO[bytes] | None = None
        self._version = 0

    def start(self) -> None:
        """Return when nginx answers; raise ``EdgeWillNotStart`` with its reason when it does not."""
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if nginx is None:
            raise EdgeWillNotStart("nginx was not found. Install it, for example with: apt-get install nginx")
        self._folder = tempfile.TemporaryDirectory()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as nginx
        path = self._write()
        self._process = subprocess.Popen(
            leashed([nginx, "-p", self._folder.name, "-e", "stderr", "-c", str(path)]),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._wait_for_version()

    def route(self, *, token_services: Sequence[int], relays: Sequence[int]) -> None:
        """From now on send new connections there; those that exist stay where they are, as when replicas change."""
        process = self._running()
        self._services = (tuple(token_services), tuple(relays))
        self._write()
        before = _children(process.pid)
        process.send_signal(signal.SIGHUP)
        self._wait_until(lambda: all(map(_accepts_no_more, before)))
        self._wait_for_version()

    def cut(self) -> None:
        """Break every connection off without a goodbye, as maintenance of the edge may; new ones are served."""
        process = self._running()
        workers = _children(process.pid)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        self._wait_until(lambda: bool(set(_children(process.pid)) - set(workers)))  # others, in their place
        self._wait_for_version()

    def wait(self) -> int:
        """Block until nginx ends; its exit code."""
        return self._running().wait()

    def stop(self) -> None:
        """End nginx, and every connection through it."""
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
        self._process = None

    def last_lines(self, count: int = 10) -> str:
        """The end of what nginx has logged."""
        if self._log is None or self._log.closed:
            return ""
        text = os.pread(self._log.fileno(), 65_536, 0).decode(errors="replace")
        return "\n".join(text.splitlines()[-count:])

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the edge was not started")
        return self._process

    def _write(self) -> Path:
        assert self._folder is not None  # noqa: S101 - for the type checker: made by start()
        self._version += 1
        folder = Path(self._folder.name)
        path = folder / "nginx.conf"
        path.write_text(
            configuration(
                port=self.port,
                folder=folder,
                certificate=self._certificate,
                front_door_id=self._front_door_id,
                token_services=self._services[0],
                relays=self._services[1],
                idle_seconds=self._idle_seconds,
                version=self._version,
            ),
            encoding="utf-8",
        )
        return path

    def _wait_for_version(self) -> None:
        """Wait until what was written last is what answers."""
        self._wait_until(lambda: self._answer() == str(self._version))

    def _wait_until(self, happened: Callable[[], bool]) -> None:
        process = self._running()
        deadline = time.monotonic() + READY_SECONDS
        while not happened():
            code = process.poll()
            if code is not None or time.monotonic() > deadline:
                reason = "did not answer in time" if code is None else f"ended (exit code {code})"
                lines = self.last_lines()
                self.stop()
                raise EdgeWillNotStart(f"nginx {reason} on port {self.port}. Its last lines:\n{lines}")
            time.sleep(0.01)

    def _answer(self) -> str:
        # Whether the certificate is good is the clients' business; here nginx only says which rules it follows.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
            with opener.open(f"https://127.0.0.1:{self.port}{_UP}", timeout=1) as answer:
                return str(answer.read().decode())
        except (HTTPError, URLError, OSError):
            return ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()


def configuration(
    *,
    port: int,
    folder: Path,
    certificate: tuple[Path, Path],
    front_door_id: str,
    token_services: Sequence[int],
    relays: Sequence[int],
    idle_seconds: int,
    version: int,
) -> str:
    """nginx's configuration for one edge."""
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers cannot write to the folder
    temporary = "\n".join(
        f"    {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    relay_routes = "\n".join(
        f"        location = {path} {{ proxy_pass http://relays; proxy_read_timeout {idle_seconds}s;"
        f" proxy_send_timeout {idle_seconds}s; }}"
        for path in RELAY_PATHS
    )
    return f"""{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    server_tokens off;
{temporary}
{_group("token_services", token_services)}
{_group("relays", relays)}
    map $http_upgrade $connection_to_origin {{ default upgrade; "" ""; }}
    # Front Door believes the client about this one; nobody else should.
    map $http_x_forwarded_for $claimed_address {{ default $remote_addr; "~^ *(?<first>[^, ]+)" $first; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        listen [::1]:{port} ssl;
        ssl_certificate {certificate[0]};
        ssl_certificate_key {certificate[1]};
        ssl_protocols TLSv1.2 TLSv1.3;
        client_max_body_size 0;
        client_header_timeout 5s;
        absolute_redirect off;
        proxy_http_version 1.1;
        proxy_buffering off;
        proxy_request_buffering off;
        proxy_read_timeout 240s;
        proxy_next_upstream off;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_to_origin;
        proxy_set_header X-Azure-FDID "{front_door_id}";
        proxy_set_header X-Azure-SocketIP $remote_addr;
        proxy_set_header X-Azure-ClientIP $claimed_address;
        proxy_set_header X-Azure-Ref $request_id;
        proxy_set_header X-FD-HealthProbe "";
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Proto https;
        location = {_UP} {{ default_type text/plain; return 200 "{version}"; }}
{relay_routes}
        location / {{ proxy_pass http://token_services; }}
    }}
}}
"""


def _group(name: str, ports: Sequence[int]) -> str:
    # No server is ever taken for dead by its failures: which ones there are is told by route().
    servers = "".join(f" server 127.0.0.1:{port} max_fails=0;" for port in ports)
    return f"    upstream {name} {{{servers} }}"


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _accepts_no_more(worker: int) -> bool:
    """Whether a worker is gone, or stays only for the connections that it has."""
    try:
        return b"shutting down" in Path(f"/proc/{worker}/cmdline").read_bytes()
    except OSError:
        return True
