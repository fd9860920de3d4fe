"""The Redis connection: short deadlines, no silent retries, one error for every way of not answering.

We spend money on what Redis says, so a question without an answer is a refusal (fail closed), and a command is never
repeated: a redemption whose answer was lost may have happened. When to ask at all is decided in
:mod:`service_kit.breaker`.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, Final, TypeVar

import structlog
from redis import exceptions
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from service_kit.breaker import SLOW_SECONDS, Breaker, Verdict
from service_kit.client_address import limited_as

DEADLINE_SECONDS: Final = 1.0
MAX_CONNECTIONS: Final = 64
COMPLAIN_SECONDS: Final = 10.0
"""No more than one ``redis.down`` in this time, however many questions fail."""

T = TypeVar("T")


class RedisUnavailable(Exception):
    """Redis was not asked because it is slow, did not answer in time, or answered with an error."""


class RedisClient(Redis):
    """A Redis client whose answers are awaited for at most a second, and which does not insist."""

    def __init__(self, pool: ConnectionPool) -> None:
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self._breaker = Breaker()
        self._complained_at = -COMPLAIN_SECONDS

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """Put one question, a command or a script; it is called once or not at all. Raises RedisUnavailable."""
        loop = asyncio.get_running_loop()
        verdict, number = self._breaker.ask(loop.time())
        if verdict is Verdict.REFUSE:
            raise RedisUnavailable("not asked")
        cancelled_before = _times_cancelled()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                if verdict is Verdict.PROBE_FIRST:
                    await self._probe()
                return await self._leaving_the_dead(question)
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            self._breaker.failed(number, loop.time())
            self._complain(error, loop.time())
            raise RedisUnavailable(type(error).__name__) from error
        finally:
            self._breaker.done(number)
            if _times_cancelled() > cancelled_before:  # redis-py 8 on Python 3.11 swallows most cancellations
                raise asyncio.CancelledError

    async def answers(self) -> bool:
        """Whether Redis answers."""
        try:
            await self.ask(self._ping)
        except RedisUnavailable:
            return False
        return True

    async def _probe(self) -> None:
        async with asyncio.timeout(SLOW_SECONDS):
            await self._ping()
        self._breaker.probe_answered(asyncio.get_running_loop().time())

    async def _ping(self) -> None:
        await self.execute_command("PING")  # type: ignore[no-untyped-call] # redis-py's own signature

    async def _leaving_the_dead(self, question: Callable[[], Awaitable[T]]) -> T:
        """Await the answer; a server that is gone, or is a replica now, must not keep our other connections.

        Each of them would cost a question to find out. A failover moves the address that we know to another server,
        and connections that exist still lead to the old one.
        """
        try:
            return await question()
        except (exceptions.ConnectionError, exceptions.ReadOnlyError, OSError):
            await self.connection_pool.disconnect(inuse_connections=False)
            raise

    def _complain(self, error: Exception, now: float) -> None:
        if now - self._complained_at >= COMPLAIN_SECONDS:
            self._complained_at = now
            structlog.get_logger().error("redis.down", error=type(error).__name__)


def connect(url: str) -> RedisClient:
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
    return RedisClient(pool)


def _times_cancelled() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0


class Script:
    """A Lua script as a question to Redis; what goes in and comes out stands at the top of each script."""

    def __init__(self, redis: RedisClient, source: str) -> None:
        self._redis = redis
        self._script = redis.register_script(source)

    async def __call__(self, key: str, *args: str | bytes | int) -> Any:
        """Run on one key, so that it also works in a cluster. Raises RedisUnavailable."""
        return await self._redis.ask(lambda: self._script(keys=[key], args=list(args)))


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
