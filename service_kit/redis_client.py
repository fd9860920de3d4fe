"""The Redis connection: short deadlines, no silent retries, one error for every way of not answering.

We spend money on what Redis says, so a question without an answer is a refusal (fail closed), and a command is never
repeated: a redemption whose answer was lost may have happened.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable
from hashlib import sha256
from typing import Any, Final, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service_kit.client_address import limited_as

DEADLINE_SECONDS: Final = 1.0
MAX_CONNECTIONS: Final = 64

T = TypeVar("T")


class RedisUnavailable(Exception):
    """Redis did not answer in time, or answered with an error."""


def connect(url: str) -> Redis:
    """A client for ``redis://``, ``rediss://`` or ``unix://``; it connects on first use."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=DEADLINE_SECONDS,
        socket_timeout=DEADLINE_SECONDS,
        socket_connect_timeout=DEADLINE_SECONDS,
        retry=Retry(NoBackoff(), 0),
        protocol=3,
    )
    return Redis.from_pool(pool)


async def answer(question: Awaitable[T]) -> T:
    """Await one command, or a script, for at most a second in all. Raises RedisUnavailable."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await question
    except (RedisError, OSError, TimeoutError) as error:
        raise RedisUnavailable(type(error).__name__) from error


class Script:
    """A Lua script as a question to Redis; what goes in and comes out stands at the top of each script."""

    def __init__(self, redis: Redis, source: str) -> None:
        self._script = redis.register_script(source)

    async def __call__(self, key: str, *args: str | bytes | int) -> Any:
        """Run on one key, so that it also works in a cluster. Raises RedisUnavailable."""
        return await answer(self._script(keys=[key], args=list(args)))


async def ping(redis: Redis) -> bool:
    """Whether Redis answers."""
    try:
        await answer(redis.execute_command("PING"))  # type: ignore[no-untyped-call] # redis-py's own signature
    except RedisUnavailable:
        return False
    return True


class Pseudonyms:
    """Keyed names for subjects and addresses, for Redis keys and logs: equal in both services, and one-way."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def of(self, tenant: str, subject: str) -> str:
        """The pseudonym of a subject within its tenant (no subject can collide with another tenant's)."""
        message = len(tenant).to_bytes(4) + tenant.encode() + subject.encode()
        return hmac.new(self._key, message, sha256).hexdigest()[:32]

    def of_address(self, address: str) -> str:
        """The pseudonym of a client's address, or of the network that limits count it as."""
        return self.of("anonymous", limited_as(address))
