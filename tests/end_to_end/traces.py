"""What the services leave behind, read from outside: log lines, and entries in Redis."""

import asyncio
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis import Redis

from tests.stack import Stack

Json = dict[str, Any]
POLL_SECONDS = 0.02
AUDITED = ("admin.", "edge.", "limits.", "mint.", "redeem.", "session.")


class Traces:
    """The traces of one stack; a context manager, as it holds a Redis connection.

    ``redis`` is a client of what the stack has for Redis, where that is more than one server.
    """

    def __init__(self, stack: Stack, redis: Redis | None = None) -> None:
        self._stack = stack
        self._read: dict[str, tuple[int, list[Json]]] = {}
        self.redis = redis or Redis.from_url(stack.redis.url, decode_responses=True, retry=None)

    def __enter__(self) -> "Traces":
        return self

    def __exit__(self, *_: object) -> None:
        self.redis.close()

    def lines(self, event: str, process: str = "relay-0", **fields: object) -> list[Json]:
        """The log lines of one event that carry all these fields."""
        wanted = {"event": event, **fields}.items()
        return [
            line for line in self._all_lines(process) if wanted <= {key: line.get(key) for key, _ in wanted}.items()
        ]

    def audit(self, process: str) -> list[Json]:
        """Every line of its audit trail."""
        return [line for line in self._all_lines(process) if line["event"].startswith(AUDITED)]

    def _all_lines(self, process: str) -> list[Json]:
        """What a process logged so far; each line is read once, since a long test looks often."""
        offset, lines = self._read.get(process, (0, []))
        with self._stack.processes[process].log_path.open("rb") as log:
            log.seek(offset)
            whole, _, _ = log.read().rpartition(b"\n")
        if whole:
            lines += map(json.loads, whole.splitlines())
            self._read[process] = (offset + len(whole) + 1, lines)
        return lines

    def token(self, token_id: str) -> dict[str, str]:
        """A token's record without what is sealed; empty if there is none."""
        names = ("state", "session", "gave_back", "ended", "replayed")
        values: list[Any] = self.redis.hmget(f"airlock:development:token:{token_id}", *names)
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}

    def leases(self) -> set[str]:
        """The ids of the sessions that hold a lease."""
        held: set[str] = set()
        for key in self.redis.scan_iter("airlock:development:lease:*"):
            held.update(map(str, self.redis.zrange(key, 0, -1)))
        return held

    def leases_in_force(self) -> set[str]:
        """The ids of the sessions whose lease has not run out by Redis' clock."""
        seconds, microseconds = self.redis.time()
        now = seconds * 1000 + microseconds // 1000
        return {
            str(session_id)
            for key in self.redis.scan_iter("airlock:development:lease:*")
            for session_id in self.redis.zrangebyscore(key, now, "+inf")
        }

    async def session_end(self, token_id: str, seconds: float = 5, *, free_within: float = 5) -> Json:
        """The receipt of a token's session, once its lease is free too; fails if there are several."""
        await until(lambda: bool(self.lines("session.end", token_id=token_id)), seconds)
        session_id = self.lines("session.end", token_id=token_id)[0]["session_id"]
        await until(lambda: session_id not in self.leases(), free_within)
        (receipt,) = self.lines("session.end", token_id=token_id)
        return receipt


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait until something is seen of another process, which cannot be awaited."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(POLL_SECONDS)


def resident_mib(stack: Stack) -> float:
    """The relay's resident memory."""
    pages = Path(f"/proc/{stack.processes['relay-0'].popen.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize() / 2**20
