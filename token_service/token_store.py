"""Stores the record of a fresh token in Redis, so that a relay can redeem it once."""

from __future__ import annotations

from typing import Final

from service_kit.redis_client import RedisClient, Script
from service_kit.session_token import Claims, TokenKeys
from service_kit.token_record import minted_fields, record_key

_PUT: Final = """
-- KEYS[1]  the token's record          ARGV  its lifetime in seconds, then its fields and their values
-- A record never exists without its expiry.
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""


class TokenStore:
    """The token records of one environment."""

    def __init__(self, redis: RedisClient, environment: str) -> None:
        self._put = Script(redis, _PUT)
        self._environment = environment

    async def put(self, keys: TokenKeys, claims: Claims, nonce: bytes) -> None:
        """Store one record for the token's lifetime. Raises RedisUnavailable; then no such token must be given out."""
        key = record_key(self._environment, keys.token_id)
        fields = [part for field in minted_fields(keys, claims, nonce).items() for part in field]
        await self._put(key, claims.expires_at - claims.issued_at, *fields)
