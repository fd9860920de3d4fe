"""Counts of the last hours, per minute and shared by all processes: what the operator page draws.

Each process counts in memory and adds what it has to Redis every few seconds, so that a flood of refusals costs one
write, not one each. Names come from our own tables, so that nobody can invent any.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from service_kit.redis_client import RedisClient, RedisUnavailable

FLUSH_SECONDS: Final = 3.0
KEPT_SECONDS: Final = 2 * 3_600
_MICRODOLLARS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Minute:
    """What was counted in one minute, which began at ``at`` (Unix seconds)."""

    at: int
    counts: dict[str, int]


class Tally:
    """The counts of one process, on their way to Redis."""

    def __init__(self, redis: RedisClient, environment: str) -> None:
        self._redis = redis
        self._prefix = f"airlock:{environment}:tally"
        self._waiting: Counter[str] = Counter()

    def count(self, name: str, number: int = 1) -> None:
        """Add to a count of this minute."""
        self._waiting[name] += number

    def refused(self, code: str) -> None:
        """Count a refusal that somebody was told, by its public code."""
        self.count(f"refused:{code}")

    def spend(self, usd: float | None) -> None:
        """Add to the money spent; None, where there is no price, adds nothing."""
        if usd:
            self.count("spend_microusd", round(usd * _MICRODOLLARS))

    @contextlib.asynccontextmanager
    async def flushing(self) -> AsyncIterator[None]:
        """Add to Redis every few seconds while the block runs, and a last time at its end."""
        flushes = asyncio.create_task(self._keep_flushing(), name="tally")
        try:
            yield
        finally:
            flushes.cancel()
            await asyncio.wait([flushes])
            with contextlib.suppress(RedisUnavailable):
                await self.flush()

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            with contextlib.suppress(RedisUnavailable):
                await self.flush()

    async def flush(self) -> None:
        """Add what was counted since the last time. Raises RedisUnavailable; the counts then wait for the next."""
        counts, self._waiting = self._waiting, Counter()
        if not counts:
            return
        key = self._key(_minute(time.time()))
        try:
            async with self._redis.pipeline(transaction=True) as transaction:
                for name, number in counts.items():
                    transaction.hincrby(key, name, number)
                transaction.expire(key, KEPT_SECONDS)
                await self._redis.ask(transaction.execute)
        except RedisUnavailable:
            self._waiting += counts
            raise

    async def read(self, minutes: int) -> list[Minute]:
        """What all processes counted in the last minutes, oldest first. Raises RedisUnavailable."""
        last = _minute(time.time())
        starts = range(last - 60 * (minutes - 1), last + 1, 60)
        async with self._redis.pipeline(transaction=False) as pipeline:
            for at in starts:
                pipeline.hgetall(self._key(at))
            found = await self._redis.ask(pipeline.execute)
        return [
            Minute(at, {name.decode(): int(number) for name, number in counts.items()})
            for at, counts in zip(starts, found, strict=True)
        ]

    def _key(self, at: int) -> str:
        return f"{self._prefix}:{at}"


def _minute(now: float) -> int:
    return int(now) // 60 * 60
