"""The whole product as processes on free loopback ports, for tests that look at it from outside."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Protocol

from local_cloud.plan import compose_environment
from local_cloud.ports import free_port
from local_cloud.redis_server import RedisServer

ROOT = Path(__file__).parent.parent
READY_SECONDS = 20.0
STOP_SECONDS = 40.0
USUAL = {
    "DRAIN_SECONDS": "4",
    # A test mints, and connects, from one address as a town would.
    "CONNECTS_PER_MINUTE_PER_ADDRESS": "1000000",
    "MINTS_PER_MINUTE_PER_ADDRESS": "1000000",
    "MINTS_PER_MINUTE_PER_SUBJECT": "1000000",
    "MINTS_PER_MINUTE_PER_TENANT": "1000000",
}


class Process:
    """One service of the stack; what it prints goes to ``log_path``."""

    def __init__(self, module: str, *arguments: str, environment: dict[str, str], log_path: Path) -> None:
        self.log_path = log_path
        with log_path.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", module, *arguments], cwd=ROOT, env=environment, stdout=log, stderr=log
            )

    def wait_until_ready(self, url: str) -> None:
        """Wait for an answer below 500; fail with the log when the process ends or time is over."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self.popen.poll() is None:
            if status_of(url) < 500:
                return
            time.sleep(0.05)  # polling another process' readiness
        raise AssertionError(f"not ready: {url}\n{self.log()}")

    def log(self) -> str:
        """Everything it printed so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def terminate(self) -> None:
        """Send SIGTERM, without waiting."""
        self.popen.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """End it, asking first; its exit status."""
        if self.popen.poll() is None:
            self.terminate()
        try:
            return self.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()


def status_of(url: str) -> int:
    """The HTTP status of a GET; 599 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - a loopback address of the test's own
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 599


class Addresses(Protocol):
    """Where a client finds the product (see :class:`Stack`)."""

    page_url: str
    mint_base_url: str
    relay_base_urls: list[str]


class Stack:
    """Redis, simulator, token service and relays, started in that order.

    Attributes:
        page_url: the page, ``http://localhost:PORT``; also the one allowed Origin (beside its 127.0.0.1 spelling).
        mint_base_url: for OpenAI's client: ``{page_url}/v1``.
        relay_base_urls: one for each relay, ``http://localhost:PORT/v1``.
        simulator_url: ``http://127.0.0.1:PORT``, the root of the simulator's control API; empty if one was given.
        relay_operator_urls: one for each relay, if OPERATOR_PORT is set.
        processes: by name: ``simulator``, ``token_service``, ``relay-0``, ``relay-1``…
    """

    def __init__(
        self,
        folder: Path,
        *,
        relays: int = 1,
        openai_base_url: str | None = None,  # None starts a simulator; empty leaves it to the environment
        redis: RedisServer | None = None,
        simulator_arguments: tuple[str, ...] = (),
        relay_module: str = "relay",
        **environment: str,
    ) -> None:
        self.folder = folder
        self.processes: dict[str, Process] = {}
        self.simulator_url = ""
        self.relay_operator_urls: list[str] = []
        self._relays = relays
        self._openai_base_url = openai_base_url
        self._redis = redis
        self._simulator_arguments = simulator_arguments
        self._relay_module = relay_module
        self._given = environment
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> "Stack":
        with contextlib.ExitStack() as started:
            started.callback(self._stop_all)
            self.redis = self._redis or started.enter_context(RedisServer())
            page_port, relay_ports = free_port(), [free_port() for _ in range(self._relays)]
            self.page_url = f"http://localhost:{page_port}"
            self.mint_base_url = f"{self.page_url}/v1"
            self.relay_base_urls = [f"http://localhost:{port}/v1" for port in relay_ports]
            base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
            simulator_port = free_port() if self._openai_base_url is None else None
            if simulator_port is not None:
                self.simulator_url = f"http://127.0.0.1:{simulator_port}"
                listen = ("--host", "127.0.0.1", "--port", str(simulator_port), *self._simulator_arguments)
                self.environment = base
                self._start("simulator", "local_cloud.realtime", {}, f"{self.simulator_url}/", *listen)
            self.environment = compose_environment(
                {**base, "OPENAI_BASE_URL": self._openai_base_url or "", **USUAL, **self._given},
                page_port=page_port,
                relay_port=relay_ports[0],
                redis_url=self.redis.url,
                simulator_port=simulator_port,
            )
            self.start_token_service("token_service", page_port)
            for index, port in enumerate(relay_ports):
                self.start_relay(f"relay-{index}", port)
            self._cleanup = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def logs(self) -> str:
        """What all processes printed so far."""
        return "\n".join(process.log() for process in self.processes.values())

    def start_token_service(self, name: str, port: int) -> None:
        """Start one, the first or another beside it, and wait until it is ready."""
        self._start(name, "token_service", {"PORT": str(port)}, f"http://localhost:{port}/readyz")

    def start_relay(self, name: str, port: int) -> None:
        """Start one, and wait until it is ready."""
        ports = {"PORT": str(port)}
        if "OPERATOR_PORT" in self.environment:
            ports["OPERATOR_PORT"] = str(free_port())
            self.relay_operator_urls.append(f"http://127.0.0.1:{ports['OPERATOR_PORT']}")
        self._start(name, self._relay_module, ports, f"http://localhost:{port}/readyz")

    def _start(self, name: str, module: str, environment: dict[str, str], ready_url: str, *arguments: str) -> None:
        environment = {**self.environment, **environment}
        process = Process(module, *arguments, environment=environment, log_path=self.folder / f"{name}.log")
        self.processes[name] = process
        process.wait_until_ready(ready_url)

    def _stop_all(self) -> None:
        for process in reversed(self.processes.values()):
            if process.popen.poll() is None:
                process.terminate()
        for process in reversed(self.processes.values()):
            process.stop()
