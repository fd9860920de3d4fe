"""What operators see of live sessions: one entry per session, written by its relay, gone 30 s after the last renewal.

An entry holds numbers and pseudonyms, never content, tokens or addresses. The index says which entries may exist; both
run out by themselves, so a relay that dies takes its sessions off the list within 30 s.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from service_kit.redis_asking import Question
from service_kit.redis_client import RedisClient, Script

ENTRY_SECONDS: Final = 30

_INDEX: Final = """
-- KEYS[1]  session ids, scored by when their entries run out (Redis' clock, milliseconds)
-- ARGV     session id, its entry's time in milliseconds
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""


class LiveEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One live session, as of its last renewal (DESIGN: "Other shapes", operator list). Times are Unix seconds.

    ``subject`` is the pseudonym of tenant and subject together.
    """

    id: str
    token_id: str
    subject: str
    tenant: str
    profile: str
    model: str
    started_at: float
    ends_at: float
    audio_in_seconds: float
    audio_out_seconds: float
    tokens: int
    cost_usd: float | None
    replica: str


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(LiveEntry).decode


class LiveEntries:
    """The entries of one environment."""

    def __init__(self, redis: RedisClient, environment: str) -> None:
        self._redis = redis
        self._prefix = f"airlock:{environment}:live"
        self._index = Script(redis, _INDEX)

    async def put(self, entry: LiveEntry) -> None:
        """Write or renew one entry. Raises RedisUnavailable."""
        key = self._key(entry.id)
        await self._redis.ask_all(
            Question(key, ("SET", key, _encode(entry), "EX", ENTRY_SECONDS)),
            self._index.question(self._prefix, entry.id, ENTRY_SECONDS * 1000),
        )

    async def remove(self, session_id: str) -> None:
        """Take one off the list. Raises RedisUnavailable."""
        key = self._key(session_id)
        await self._redis.ask_all(
            Question(self._prefix, ("ZREM", self._prefix, session_id)), Question(key, ("DEL", key))
        )

    async def list(self) -> list[LiveEntry]:
        """All of them, the oldest session first. Raises RedisUnavailable."""
        ids: list[Any] = await self._redis.ask(lambda: self._redis.zrange(self._prefix, 0, -1))
        keys = [self._key(session_id.decode()) for session_id in ids]
        found = await self._redis.ask_all(*(Question(key, ("GET", key)) for key in keys)) if keys else []
        return sorted(map(_decode, filter(None, found)), key=lambda entry: (entry.started_at, entry.id))

    def _key(self, session_id: str) -> str:
        return f"{self._prefix}:{session_id}"
