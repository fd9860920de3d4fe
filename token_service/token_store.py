"""Stores the record of a fresh token in Redis, so that a relay can redeem it once."""

from __future__ import annotations

from service_kit.redis_client import RedisClient
from service_kit.session_token import Claims, TokenKeys
from service_kit.token_record import minted_fields, record_key


class TokenStore:
    """The token records of one environment."""

    def __init__(self, redis: RedisClient, environment: str) -> None:
        self._redis = redis
        self._environment = environment

    async def put(self, keys: TokenKeys, claims: Claims, nonce: bytes) -> None:
        """Store one record for the token's lifetime. Raises RedisUnavailable; then no such token must be given out."""
        key = record_key(self._environment, keys.token_id)
        fields = minted_fields(keys, claims, nonce)
        # One transaction: a record never exists without its expiry.
        async with self._redis.pipeline(transaction=True) as transaction:
            transaction.hset(key, mapping=dict(fields.items()))
            transaction.expire(key, claims.expires_at - claims.issued_at)
            await self._redis.ask(transaction.execute)
