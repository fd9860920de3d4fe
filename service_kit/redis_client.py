"""The Redis connection: short deadlines, no silent retries, one error for every way of not answering.

One server, the primary that sentinels name, or a cluster: what stands here holds for each. We spend money on what Redis
says, so a question without an answer is a refusal (fail closed), and a command is never repeated: a redemption whose
answer was lost may have happened. When to ask at all is decided in :mod:`service_kit.breaker`.
"""

from __future__ import annotations

import asyncio
import hmac
import ssl
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from hashlib import sha1, sha256
from typing import Any, Final, TypeAlias, TypeVar

import structlog
from redis import exceptions
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, PipelineCommand, RedisCluster

from service_kit.breaker import SLOW_SECONDS, Breaker, Verdict
from service_kit.client_address import limited_as
from service_kit.redis_address import Nodes, RedisMode, read_nodes, without_tls_options
from service_kit.redis_connections import Logins, TlsConnection
from service_kit.redis_pools import (
    DEADLINE_SECONDS,
    MAX_CONNECTIONS,
    context_for,
    deadlines,
    no_retry,
    pool_of_primary,
    pool_of_server,
)
from service_kit.tls import client_context

COMPLAIN_SECONDS: Final = 10.0
"""No more than one ``redis.down`` in this time, however many questions fail."""
WAIT_MS: Final = 100
"""How long replicas have to confirm."""
MOST_REDIRECTIONS: Final = 3

T = TypeVar("T")
Command: TypeAlias = tuple[str | bytes | int, ...]


class RedisUnavailable(Exception):
    """Redis was not asked because it is slow, did not answer in time, or answered with an error."""


class Asking:
    """What our clients add to redis-py's: answers are awaited for at most a second, and nobody insists."""

    def __init__(self) -> None:
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
            self.complain(type(error).__name__)
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

    def complain(self, error: str) -> None:
        """Log ``redis.down``, unless that was done a moment ago."""
        now = asyncio.get_running_loop().time()
        if now - self._complained_at >= COMPLAIN_SECONDS:
            self._complained_at = now
            structlog.get_logger().error("redis.down", error=error)

    @abstractmethod
    async def leave(self) -> None:
        """Let go of the connections that nobody uses: where they lead may be no primary any more."""

    @abstractmethod
    async def pair(self, key: str, first: Command, second: Command) -> tuple[Any, Any]:
        """Send two commands together, over one connection to where the key is; errors of Redis are answers, too."""

    @abstractmethod
    async def _ping(self) -> None:
        """Raises what redis-py raises, where Redis does not answer."""

    async def _probe(self) -> None:
        async with asyncio.timeout(SLOW_SECONDS):
            await self._ping()
        self._breaker.probe_answered(asyncio.get_running_loop().time())

    async def _leaving_the_dead(self, question: Callable[[], Awaitable[T]]) -> T:
        """Await the answer; a server that is gone, or is a replica now, must not keep our other connections.

        Each of them would cost a question to find out. A failover moves the address that we know to another server,
        and connections that exist still lead to the old one.
        """
        try:
            return await question()
        except (exceptions.ConnectionError, exceptions.ReadOnlyError, OSError):
            await self.leave()
            raise


class DirectClient(Asking, Redis):  # type: ignore[misc] # redis-py's classes disagree among themselves
    """A client of one server, or of the primary that sentinels name."""

    def __init__(self, pool: ConnectionPool) -> None:
        Redis.__init__(self, connection_pool=pool)
        Asking.__init__(self)
        self.auto_close_connection_pool = True

    async def leave(self) -> None:
        """See ``Asking``."""
        await self.connection_pool.disconnect(inuse_connections=False)

    async def pair(self, key: str, first: Command, second: Command) -> tuple[Any, Any]:
        """See ``Asking``."""
        async with self.pipeline(transaction=False) as pipeline:
            pipeline.execute_command(*first)
            pipeline.execute_command(*second)
            one, two = await pipeline.execute(raise_on_error=False)
        return one, two

    async def _ping(self) -> None:
        await self.execute_command("PING")  # type: ignore[no-untyped-call] # redis-py's own signature


class ClusterClient(Asking, RedisCluster):  # type: ignore[misc] # as above
    """A client of a cluster. What the cluster redirects is sent again, for it was not carried out; nothing else is."""

    def __init__(self, nodes: Nodes, tls: ssl.SSLContext, logins: Logins | None = None) -> None:
        RedisCluster.__init__(
            self,
            startup_nodes=[ClusterNode(host, port) for host, port in nodes.hosts],
            # One question uses one connection to a node at a time. redis-py refuses where there is none left, so those
            # that ask wait for their turn here.
            max_connections=2 * MAX_CONNECTIONS,
            retry=no_retry(),
            credential_provider=logins,
            **deadlines(),
            **without_tls_options(nodes.options),
        )
        if nodes.has_tls:  # redis-py has no place for a class of connections
            own = {"connection_class": TlsConnection, "tls": context_for(nodes.options, tls)}
            self.connection_kwargs.update(own)  # of nodes that are yet to be found
            for node in self.startup_nodes:
                node.connection_class = TlsConnection
                node.connection_kwargs["tls"] = own["tls"]
        Asking.__init__(self)
        self._turns = asyncio.Semaphore(MAX_CONNECTIONS)

    async def leave(self) -> None:
        """See ``Asking``; the next question also asks who is who in the cluster."""
        await asyncio.gather(*(node.disconnect_free_connections() for node in self.get_nodes()))
        self._initialize = True

    async def aclose(self) -> None:
        """Close every connection; redis-py closes none where it has yet to ask who is who again."""
        await super().aclose()
        for nodes in ("nodes_cache", "startup_nodes"):
            await self.nodes_manager.aclose(nodes)

    async def pair(self, key: str, first: Command, second: Command) -> tuple[Any, Any]:
        """See ``Asking``. redis-py's own pipeline would send the first elsewhere, alone, where it is redirected."""
        for _ in range(MOST_REDIRECTIONS):
            await self.initialize()
            node = self.get_node_from_key(key)
            if node is None:
                raise exceptions.SlotNotCoveredError
            one, two = PipelineCommand(0, *first), PipelineCommand(1, *second)
            await node.execute_pipeline([one, two])
            if not isinstance(one.result, exceptions.MovedError):
                break
            await self.nodes_manager.move_slot(one.result)
        return one.result, two.result

    async def _leaving_the_dead(self, question: Callable[[], Awaitable[T]]) -> T:
        async with self._turns:
            return await super()._leaving_the_dead(question)

    async def _ping(self) -> None:
        await self.execute_command("PING")


RedisClient: TypeAlias = DirectClient | ClusterClient


def connect(
    url: str, mode: RedisMode = "single", *, tls: ssl.SSLContext | None = None, logins: Logins | None = None
) -> RedisClient:
    """A client for a ``REDIS_URL``; it connects on first use, over ``tls`` if it is to be TLS.

    ``logins``, if given, says who logs in, in place of the address.
    """
    tls = tls or client_context(None)
    if mode == "cluster":
        return ClusterClient(read_nodes(url, mode), tls, logins)
    if mode == "sentinel":
        return DirectClient(pool_of_primary(read_nodes(url, mode), tls, logins))
    return DirectClient(pool_of_server(url, tls, logins))


def _times_cancelled() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0


class Script:
    """A Lua script as a question to Redis; what goes in and comes out stands at the top of each script."""

    def __init__(self, redis: RedisClient, source: str) -> None:
        self._redis = redis
        self._source = source
        self._sha = sha1(source.encode(), usedforsecurity=False).hexdigest()
        self._script = redis.register_script(source)

    async def __call__(self, key: str, *args: str | bytes | int) -> Any:
        """Run on one key, so that it also works in a cluster. Raises RedisUnavailable."""
        return await self._redis.ask(lambda: self._script(keys=[key], args=list(args)))

    async def confirmed(self, replicas: int, key: str, *args: str | bytes | int) -> tuple[Any, bool]:
        """Run, and learn whether so many replicas have what it wrote. Raises RedisUnavailable."""
        return await self._redis.ask(lambda: self._run_and_wait(replicas, (1, key, *args)))

    async def _run_and_wait(self, replicas: int, arguments: Command) -> tuple[Any, bool]:
        """``WAIT`` is about the writes of its own connection, so both go over one, and together."""
        key, wait = str(arguments[1]), ("WAIT", replicas, WAIT_MS)
        answer, reached = await self._redis.pair(key, ("EVALSHA", self._sha, *arguments), wait)
        if isinstance(answer, exceptions.NoScriptError):  # nothing ran
            answer, reached = await self._redis.pair(key, ("EVAL", self._source, *arguments), wait)
        for outcome in (answer, reached):
            if isinstance(outcome, Exception):
                raise outcome
        if reached < replicas:
            # It may be a primary that was replaced and does not know yet.
            self._redis.complain("NotReplicated")
            await self._redis.leave()
        return answer, reached >= replicas


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
