"""What is measured: how each contender is started and addressed. Which measurement takes which is for the scenarios."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench import process_tree
from bench.environments import Environment, NotInstalled
from bench.orders import Mint, Place
from local_cloud.application_insights import INSTRUMENTATION_KEY
from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.child_server import READY_SECONDS, ChildServer, ServerWillNotStart
from local_cloud.ports import free_port
from local_cloud.redis_server import RedisServer, find_binary

ROOT: Final = Path(__file__).parent.parent
PROFILES: Final = ROOT / "bench/profiles.toml"
MODEL: Final = "gpt-realtime-2.1"
KEY: Final = f"sk-{secrets.token_hex(32)}"
"""Opens the model, and LiteLLM, which accepts none that is easily guessed."""
SERVICE_SECONDS: Final = 60.0
LITELLM_SECONDS: Final = 120.0
RAISED: Final = {
    "CONNECTS_PER_MINUTE_PER_ADDRESS": "1000000",
    "MAX_SESSIONS": "2000",
    "MAX_SESSIONS_PER_TENANT": "2000",
    "MINTS_PER_MINUTE_PER_TENANT": "1000000",
    "MINTS_PER_MINUTE_PER_SUBJECT": "1000",
}
"""Limits of the services whose numbers are raised until the load fits; those of a session stand in PROFILES."""


def raised_by_profile() -> dict[str, str]:
    """The limits of a session that are not as shipped."""
    shipped, ours = (
        tomllib.loads(path.read_text("utf-8"))["profiles"]["default"]["limits"]
        for path in (ROOT / "profiles.toml", PROFILES)
    )
    return {name: str(value) for name, value in ours.items() if shipped[name] != value}


class CannotRun(Exception):
    """A contender is not to be had here; the text says why."""


class Program(ChildServer):
    """A server of our own choice; it is up once it answers below 500 under ``ready``, or takes connections."""

    def __init__(
        self,
        name: str,
        port: int,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        ready: str | None = None,
        files: Mapping[str, str] | None = None,
        ready_seconds: float = READY_SECONDS,
    ) -> None:
        super().__init__(port)
        self.name = name
        self.ready_seconds = ready_seconds
        self._command = command
        self._environment = dict(environment or {})
        self._ready = ready
        self._files = files or {}

    def start(self) -> None:
        """See ``ChildServer``. It runs in a new folder, which ``{folder}`` in command and files stands for."""
        folder = self._make_folder()
        for name, text in self._files.items():
            (folder / name).write_text(text.replace("{folder}", str(folder)), encoding="utf-8")
        # A folder of its own: a .env of this machine is not to be read.
        self._run(
            [word.replace("{folder}", str(folder)) for word in self._command], _shell() | self._environment, folder
        )
        self._wait_until(self._answers, self.name)

    def _answers(self) -> bool:
        try:
            if self._ready is None:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return True
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{self._ready}", timeout=1) as answer:
                return bool(answer.status < 500)
        except urllib.error.HTTPError as error:
            return error.code < 500
        except OSError:
            return False


class Surroundings:
    """What the contenders stand between or upon: the model's ends, Redis, the token service, telemetry's receiver.

    A context manager.

    Attributes:
        redis: a real one.
        upstream, tls_upstream: the model, over ``ws://`` and over ``wss://``.
    """

    def __init__(self) -> None:
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as running:
            folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
            authority = ThrowAwayAuthority(folder)
            self.ca_file = authority.ca_file
            chain, key = authority.issue()
            self.upstream = running.enter_context(_python("upstream", "bench.upstream"))
            self.tls_upstream = running.enter_context(
                _python("TLS upstream", "bench.upstream", "--certificate", str(chain), str(key))
            )
            installed = shutil.which("redis-server")
            self.redis_binary = Path(installed) if installed else find_binary()
            self.redis = running.enter_context(RedisServer(binary=self.redis_binary))
            insights = running.enter_context(_python("telemetry", "local_cloud.application_insights"))
            self.api_key = f"ak_{secrets.token_urlsafe(32)}"
            caller = {
                "name": "bench",
                "sha256": hashlib.sha256(self.api_key.encode()).hexdigest(),
                "tenant": "bench",
                "profiles": ["default"],
            }
            self.signing_key = secrets.token_urlsafe(32)
            self.services = {
                "AIRLOCK_PROFILES": str(PROFILES),
                "APPLICATIONINSIGHTS_CONNECTION_STRING": (
                    f"InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint=http://127.0.0.1:{insights.port}/"
                ),
                "CALLERS": "api_key",
                "CALLER_API_KEYS": json.dumps([caller]),
                "DRAIN_SECONDS": "4",
                "EXTRA_CA_FILE": str(self.ca_file),
                "OPENAI_API_KEY": KEY,
                "OPENAI_BASE_URL": f"http://127.0.0.1:{self.upstream.port}/v1",
                "PSEUDONYM_KEY": secrets.token_urlsafe(32),
                "REDIS_URL": self.redis.url,
                "TOKEN_SIGNING_KEYS": self.signing_key,
                **RAISED,
            }
            self.token_service = running.enter_context(_service("token service", "token_service", self.services))
            self._running = running.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def mint(self) -> Mint:
        """Where tokens come from."""
        return Mint(f"http://127.0.0.1:{self.token_service.port}/v1/realtime/client_secrets", self.api_key)

    def base_url(self, *, tls: bool) -> str:
        """The model's address, as SDKs take it."""
        return f"https://127.0.0.1:{self.tls_upstream.port}/v1" if tls else f"http://127.0.0.1:{self.upstream.port}/v1"


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those compared.

    Attributes:
        start: makes a server of it, not started yet; None where browsers meet the model directly. Raises CannotRun.
        needs_token: it admits who shows a fresh session token.
        least_processes: how many it must consist of to be what it says.
    """

    name: str
    start: Callable[[Surroundings], ChildServer] | None
    tls: bool = False
    needs_token: bool = False
    least_processes: int = 1

    def start_server(self, around: Surroundings) -> ChildServer | None:
        """It, started. Raises CannotRun."""
        if self.start is None:
            return None
        try:
            server = self.start(around)
            server.start()
        except (ServerWillNotStart, NotInstalled) as error:
            raise CannotRun(str(error)) from error
        processes = len(list(process_tree.members(server.pid)))
        if processes < self.least_processes:
            server.stop()
            raise CannotRun(f"it should have {self.least_processes} processes or more, and has {processes}")
        return server

    def place(self, around: Surroundings, server: ChildServer | None) -> Place:
        """Where to find it."""
        port = around.upstream.port if server is None else server.port
        return Place(
            url=f"ws://127.0.0.1:{port}/v1/realtime?model={MODEL}",
            pid=None if server is None else server.pid,
            headers={} if self.needs_token else {"Authorization": f"Bearer {KEY}"},
            mint=around.mint if self.needs_token else None,
        )


def _shell() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


def _python(name: str, module: str, *arguments: str) -> Program:
    port = free_port()
    command = (sys.executable, "-m", module, "--port", str(port), *arguments)
    return Program(name, port, command, environment={"PYTHONPATH": str(ROOT)}, ready_seconds=SERVICE_SECONDS)


def _service(name: str, module: str, environment: Mapping[str, str]) -> Program:
    port = free_port()
    own = {"PORT": str(port), "PYTHONPATH": str(ROOT)}
    return Program(
        name,
        port,
        (sys.executable, "-m", module),
        environment={**environment, **own},
        ready="/readyz",
        ready_seconds=SERVICE_SECONDS,
    )


def _nginx(*, tls: bool) -> Callable[[Surroundings], ChildServer]:
    def start(around: Surroundings) -> ChildServer:
        binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if binary is None:
            raise CannotRun("nginx was not found; install it, for example with: apt-get install nginx")
        port = free_port()
        text = _nginx_configuration(port, around.base_url(tls=tls).removesuffix("/v1"), around.ca_file)
        command = (binary, "-p", "{folder}", "-e", "stderr", "-c", "{folder}/nginx.conf")
        return Program("nginx", port, command, files={"nginx.conf": text})

    return start


def _nginx_configuration(port: int, upstream: str, ca_file: Path) -> str:
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers cannot write to the folder
    temporary = "\n".join(
        f"    {kind}_temp_path {{folder}}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {{folder}}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
{temporary}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass {upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_buffer_size 16k;
            proxy_buffers 8 16k;
            proxy_read_timeout 300s;
            proxy_ssl_trusted_certificate {ca_file};
            proxy_ssl_verify on;
            proxy_ssl_name localhost;
        }}
    }}
}}
"""


def _relay(*, tls: bool = False, **settings: str) -> Callable[[Surroundings], ChildServer]:
    def start(around: Surroundings) -> ChildServer:
        environment = {**around.services, "OPENAI_BASE_URL": around.base_url(tls=tls), **settings}
        return _service("relay", "relay", environment)

    return start


def _aiohttp_pump(*, tls: bool) -> Callable[[Surroundings], ChildServer]:
    def start(around: Surroundings) -> ChildServer:
        upstream = f"{around.base_url(tls=tls)}/realtime?model={MODEL}"
        authority = ("--ca", str(around.ca_file)) if tls else ()
        return _python("aiohttp pump", "bench.peers.aiohttp_pump", "--upstream", upstream, *authority)

    return start


def _openai_pump(around: Surroundings) -> ChildServer:
    return _python("openai pump", "bench.peers.openai_pump", "--base-url", around.base_url(tls=False))


def _litellm(around: Surroundings) -> ChildServer:
    command = Environment("litellm").command("litellm")
    port = free_port()
    configuration = {
        "model_list": [
            {
                "model_name": MODEL,
                "litellm_params": {
                    "model": f"openai/{MODEL}",
                    "api_base": around.base_url(tls=False),
                    "api_key": KEY,
                },
            }
        ]
    }
    return Program(
        "LiteLLM",
        port,
        (str(command), "--config", "{folder}/config.json", "--host", "127.0.0.1", "--port", str(port)),
        environment={"LITELLM_MASTER_KEY": KEY},
        ready="/health/liveliness",
        ready_seconds=LITELLM_SECONDS,
        files={"config.json": json.dumps(configuration)},  # JSON is YAML
    )


CONTENDERS: Final = {
    contender.name: contender
    for contender in (
        Contender("direct", None),
        Contender("nginx", _nginx(tls=False)),
        Contender("relay", _relay(), needs_token=True),
        Contender("relay-plain", _relay(PURE_PYTHON="1"), needs_token=True),
        Contender("relay-aiohttp", _relay(WEBSOCKETS="aiohttp"), needs_token=True),
        Contender("relay-workers", _relay(WORKERS="2"), needs_token=True, least_processes=3),
        Contender("aiohttp", _aiohttp_pump(tls=False)),
        Contender("openai", _openai_pump),
        Contender("litellm", _litellm),
        Contender("nginx-tls", _nginx(tls=True), tls=True),
        Contender("relay-tls", _relay(tls=True), tls=True, needs_token=True),
        Contender("aiohttp-tls", _aiohttp_pump(tls=True), tls=True),
    )
}
