"""nginx before the services, as Azure Front Door and the ingress of Container Apps stand before them in production.

It ends TLS, sends each path where Front Door's routes send it, and sets the headers that Front Door sets: what a client
sends under those names does not get through (Microsoft Learn, "Protocol support for HTTP headers in Azure Front Door",
2026-11). What it cannot do is said in the docs: no firewall, no four hours' end, one place instead of many.
"""

import os
import shutil
import signal
import ssl
from collections.abc import Sequence
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from local_cloud.child_server import ChildServer, ServerWillNotStart

RELAY_PATHS = ("/v1/realtime", "/openai/v1/realtime", "/openai/realtime")
IDLE_SECONDS = 300  # of Front Door: no data in either direction for so long ends a connection
_UP = "/.edge"


class EdgeWillNotStart(ServerWillNotStart):
    """nginx did not come up; the text says why and what to do."""


class Edge(ChildServer):
    """One nginx on one loopback port, ``https``. A context manager.

    ``certificate`` are the PEM files of a chain for ``localhost`` and of its key. ``token_services`` and ``relays`` are
    the ports of the services on 127.0.0.1; new connections go to them in turn.
    """

    name = "nginx"
    failure = EdgeWillNotStart

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
        super().__init__(port)
        self.url = f"https://localhost:{port}"
        self._certificate = certificate
        self._front_door_id = front_door_id
        self._services = (tuple(token_services), tuple(relays))
        self._idle_seconds = idle_seconds
        self._version = 0

    def start(self) -> None:
        """See ``ChildServer``. Raises EdgeWillNotStart."""
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if nginx is None:
            raise EdgeWillNotStart("nginx was not found. Install it, for example with: apt-get install nginx")
        self._path = self._make_folder() / "nginx.conf"
        self._write()
        self._run([nginx, "-p", str(self._path.parent), "-e", "stderr", "-c", str(self._path)])
        self._wait_for_version()

    def route(self, *, token_services: Sequence[int], relays: Sequence[int]) -> None:
        """From now on send new connections there; those that exist stay where they are, as when replicas change."""
        process = self._running()
        self._services = (tuple(token_services), tuple(relays))
        self._write()
        before = _children(process.pid)
        process.send_signal(signal.SIGHUP)
        self._wait_until(lambda: all(map(_accepts_no_more, before)), self.name)
        self._wait_for_version()

    def cut(self) -> None:
        """Break every connection off without a goodbye, as maintenance of the edge may; new ones are served."""
        process = self._running()
        workers = _children(process.pid)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        self._wait_until(lambda: bool(set(_children(process.pid)) - set(workers)), self.name)  # others, in their place
        self._wait_for_version()

    def _write(self) -> None:
        self._version += 1
        self._path.write_text(
            configuration(
                port=self.port,
                folder=self._path.parent,
                certificate=self._certificate,
                front_door_id=self._front_door_id,
                token_services=self._services[0],
                relays=self._services[1],
                idle_seconds=self._idle_seconds,
                version=self._version,
            ),
            encoding="utf-8",
        )

    def _wait_for_version(self) -> None:
        """Wait until what was written last is what answers."""
        self._wait_until(lambda: self._answer() == str(self._version), self.name)

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
