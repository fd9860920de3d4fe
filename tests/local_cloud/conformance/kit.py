"""The conformance kit as somebody runs it: a process, judged by what it writes and by its exit status."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local_cloud.conformance.catalogue import CHECKS
from local_cloud.ports import free_port
from tests.stack import ROOT

KEY = "sk-conformance-of-the-tests"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run came to: its exit status, what it printed, and for each check result and evidence."""

    status: int
    printed: str
    outcomes: Mapping[str, tuple[str, str]]

    def named(self, result: str) -> set[str]:
        """The checks with one result."""
        return {name for name, (each, _) in self.outcomes.items() if each == result}


class Kit:
    """One run, whose upstream's address is known before.

    Attributes:
        upstream: the base URL at which the relay under test finds its upstream.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.upstream = f"http://127.0.0.1:{self._port}/v1"

    async def judge(self, *arguments: str) -> Verdict:
        """Run it against the relay that the arguments describe."""
        outcomes = self._folder / f"outcomes-{self._port}.json"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "local_cloud.conformance", "--json", str(outcomes)),
            *("--upstream-port", str(self._port), "--upstream-key", KEY, *arguments),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed = (await process.communicate())[0].decode()
        written = json.loads(outcomes.read_text(encoding="utf-8"))["checks"] if outcomes.is_file() else []
        told = {check["name"]: (check["result"], check["evidence"]) for check in written}
        assert process.returncode is not None
        return Verdict(process.returncode, printed, told)


def names(*groups: str) -> set[str]:
    """The checks of some groups; all of them, if no group is named."""
    return {check.name for check in CHECKS if not groups or check.group in groups}
