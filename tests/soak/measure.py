"""What a relay holds, and how it comes to rest."""

import asyncio
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.altered_relay import held_by
from tests.stack import Stack

SETTINGS: dict[str, Any] = {
    "AIRLOCK_PROFILES": str(Path(__file__).parent / "profiles.toml"),
    "MAX_SESSIONS_PER_ADDRESS": "10000",
    "SERVE_PAGE": "false",
} | ({"WEBSOCKETS": os.environ["AIRLOCK_TEST_WEBSOCKETS"]} if "AIRLOCK_TEST_WEBSOCKETS" in os.environ else {})
"""The relays' environment; another library carries WebSockets where AIRLOCK_TEST_WEBSOCKETS names it."""
REST_SECONDS = 15.0
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Held:
    """What the relay's process holds.

    Attributes:
        resident_bytes: what the kernel counts: the memory of a busy moment stays resident, so it is only reported.
        allocated_bytes: what the process uses of it.
    """

    tasks: int
    descriptors: int
    sockets: int
    resident_bytes: int
    allocated_bytes: int

    @property
    def mib(self) -> tuple[float, float]:
        """Resident and allocated, for people."""
        return round(self.resident_bytes / 2**20, 1), round(self.allocated_bytes / 2**20, 1)

    @property
    def countable(self) -> tuple[int, int, int]:
        """All but the memory."""
        return self.tasks, self.descriptors, self.sockets


async def held(stack: Stack) -> Held:
    """What the relay holds in this moment."""
    return Held(**await held_by(stack.relay_base_urls[0]))


async def at_rest(stack: Stack, base: Held) -> Held:
    """What the relay holds once it holds as much as at ``base``, or when it still does not after some seconds."""
    deadline = time.monotonic() + REST_SECONDS
    while True:
        now = await held(stack)
        if now.countable == base.countable or time.monotonic() > deadline:
            return now
        await asyncio.sleep(POLL_SECONDS)  # what another process lets go of cannot be awaited


async def settled(stack: Stack) -> Held:
    """What the relay holds when nothing goes on: twice the same, a second apart."""
    before = await held(stack)
    while True:
        await asyncio.sleep(1)  # what another process is about to let go of cannot be awaited
        now = await held(stack)
        if now.countable == before.countable:
            return now
        before = now


def complaints(stack: Stack) -> list[dict[str, Any]]:
    """What the relay logged as a warning or worse."""
    lines = (json.loads(line) for line in stack.processes["relay-0"].log().splitlines())
    return [line for line in lines if line["level"] not in ("debug", "info")]
