"""The small service as processes, looked at from outside."""

import hashlib
import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from local_cloud.ports import free_port
from tests.examples import KEY
from tests.stack import Process

OPERATOR_KEY = "op_a-key-for-this-test"
SECONDS = 30.0
Json = dict[str, Any]


def eventually(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait until something is seen of other processes, which cannot be awaited."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and not only what is left of one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Small:
    """The running service."""

    def __init__(self, folder: Path, workers: int, **environment: str) -> None:
        self.port, self.operator_port = free_port(), free_port()
        self.death = folder / "death"
        (folder / "profiles.toml").write_text("")
        keys = [{"name": "test", "sha256": hashlib.sha256(OPERATOR_KEY.encode()).hexdigest()}]
        self._log_path = folder / "log"
        self._stalling: list[socket.socket] = []
        self._environment = {
            "PATH": os.environ["PATH"],
            "PORT": str(self.port),
            "OPERATOR_PORT": str(self.operator_port),
            "OPERATOR_KEYS": json.dumps(keys),
            "WORKERS": str(workers),
            "REDIS_URL": "redis://127.0.0.1:1",  # asked by nobody
            "TOKEN_SIGNING_KEYS": KEY,
            "PSEUDONYM_KEY": KEY,
            "DRAIN_SECONDS": "4",
            "SMALL_DEATH": str(self.death),
            **environment,
        }

    def start(self) -> None:
        """Start it, without waiting."""
        module = "tests.service_kit.workers.small_service"
        self.process = Process(module, environment=self._environment, log_path=self._log_path)

    def stop(self) -> None:
        """End it, asking first."""
        self.process.stop()
        for each in self._stalling:
            each.close()

    def lines(self, event: str, **fields: object) -> list[Json]:
        """The log lines of one event that carry all these fields."""
        found = []
        for text in self.process.log().splitlines():
            line = json.loads(text) if text.startswith("{") and text.endswith("}") else {}
            if line.get("event") == event and fields.items() <= line.items():
                found.append(line)
        return found

    def pids(self) -> dict[int, int]:
        """Of the workers that were started last, by number."""
        return {line["worker"]: line["pid"] for line in self.lines("worker.start")}

    def get(
        self, path: str, *, of: int | None = None, port: int | None = None, key: str | None = None
    ) -> tuple[int, str]:
        """Status and text of an answer, 599 for none; each over a connection of its own. Only worker ``of`` acts."""
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.port}{path}")
        if of:
            request.add_header("X-Of", str(of))
        if key:
            request.add_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - a loopback address of the test's own
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 599, "{}"

    def ready(self) -> tuple[int, Json]:
        """What it says of its readiness."""
        status, text = self.get("/readyz")
        return status, json.loads(text)

    def reach(self, worker: int, what: str = "who") -> None:
        """Have one of the workers do something, once. Who is asked the kernel decides, so ask until it is that one."""
        eventually(lambda: json.loads(self.get(f"/{what}", of=worker)[1]).get("worker") == worker)

    def stall(self) -> int:
        """Make one of the workers hang; its number."""
        before = len(self.stalled())
        stalling = socket.create_connection(("127.0.0.1", self.port))
        self._stalling.append(stalling)
        stalling.sendall(b"GET /stall?seconds=600 HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: len(self.stalled()) > before)
        return self.stalled()[-1]

    def stalled(self) -> list[int]:
        """The workers that ever hung."""
        return [int(line.removeprefix("stalling ")) for line in self.process.log().splitlines() if "stalling " in line]

    def metrics(self) -> dict[str, float]:
        """The numbers of all workers, by name; those with dimensions are left out."""
        status, text = self.get("/metrics", port=self.operator_port, key=OPERATOR_KEY)
        assert status == 200, text
        families = text_string_to_metric_families(text)
        return {each.name: each.value for family in families for each in family.samples if not each.labels}


@contextmanager
def small_service(folder: Path, workers: int, **environment: str) -> Iterator[Small]:
    """The service with all its workers ready; whatever is left of it is ended with the block."""
    small = Small(folder, workers, **environment)
    small.start()
    try:
        small.process.wait_until_ready(f"http://127.0.0.1:{small.port}/readyz")
        eventually(lambda: small.ready()[1].get("workers", {}).get("ready", 1) == workers)
        yield small
    finally:
        small.stop()
