"""`make run-cloud` as somebody starts it, and what its announcement says."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from local_cloud.ports import free_port

ROOT = Path(__file__).parent.parent
READY_SECONDS = 120.0
STOP_SECONDS = 60.0
_READY = "Ctrl-C stops it."


class Cloud:
    """The launcher's process, from its announcement on; a context manager.

    Attributes:
        page_url: the page's origin.
        ca_file: who vouches for it.
        caller_key: mints by API.
        operator_key: of the operators' listeners.
        operator_urls: the token service's, then each relay's.
        insights_url: where telemetry goes.
    """

    def __init__(self, folder: Path) -> None:
        self._log_path = folder / "cloud.log"
        port, operator_port = free_port(), free_port()
        with self._log_path.open("wb") as log:
            self.popen = subprocess.Popen(
                [
                    *(sys.executable, "-m", "local_cloud.cloud", "--verbose"),
                    *("--port", str(port), "--operator-port", str(operator_port)),
                ],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env=os.environ | {"OPENAI_API_KEY": "sk-of-who-started-it"},
            )

    def __enter__(self) -> Self:
        deadline = time.monotonic() + READY_SECONDS
        while _READY not in self.log():
            if time.monotonic() > deadline or self.popen.poll() is not None:
                self.interrupt()
                raise AssertionError(f"never ready:\n{self.log()}")
            time.sleep(0.05)  # polling another process' words
        self.page_url = self._told(r"page +(https://\S+)")
        self.ca_file = Path(self._told(r"authority in (\S+)"))
        self.caller_key = self._told(r"Bearer (ak_[\w-]+)")
        self.operator_key = self._told(r"with the key (op_[\w-]+)")
        self.insights_url = self._told(r"telemetry +(http://[\w.:]+)")
        self.operator_urls = re.findall(r"(http://[\w.:]+)/metrics", self.log())
        return self

    def __exit__(self, *_: object) -> None:
        self.interrupt()

    @property
    def trust(self) -> ssl.SSLContext:
        """What trusts the run's authority."""
        return ssl.create_default_context(cafile=self.ca_file)

    @property
    def vault_secrets(self) -> dict[str, str]:
        """What stands in the vault at the start."""
        values: dict[str, str] = json.loads((self.ca_file.parent / "vault.json").read_text())
        return values

    def log(self) -> str:
        """Everything it printed so far."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def interrupt(self) -> int:
        """Press Ctrl-C; its exit status."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGINT)
        try:
            return self.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()

    def processes(self) -> list[int]:
        """The launcher's children, which all run in sessions of their own."""
        pid = self.popen.pid
        return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in _words(task / "children")]

    def _told(self, pattern: str) -> str:
        found = re.search(pattern, self.log())
        assert found is not None, f"{pattern} in:\n{self.log()}"
        return found[1]


def _words(path: Path) -> list[str]:
    return path.read_text().split()
