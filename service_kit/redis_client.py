"""The Redis connection: one server, the primary that sentinels name, or a cluster; and scripts as questions to it.

How questions are put, and what becomes of those without an answer, stands in :mod:`service_kit.redis_asking`.
"""

from __future__ import annotations

import hmac
import ssl
from collections.abc import Awaitable, Sequence
from hashlib import sha1
from typing import Any, Final, TypeAlias

from hiredis import pack_command
from redis import exceptions
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.connection import AbstractConnection
from redis.credentials import CredentialProvider

from service_kit.client_address import limited_as
from service_kit.redis_address import RedisMode, read_nodes
from service_kit.redis_asking import Asking, Command, Question, RedisUnavailable, first_error, has_old_login
from service_kit.redis_cluster import ClusterClient
from service_kit.redis_connections import TlsConnection
from service_kit.redis_pools import pool_of_primary, pool_of_server
from service_kit.redis_trips import Trips
from service_kit.tls import client_context

__all__ = ["ClusterClient", "DirectClient", "Pseudonyms", "RedisClient", "RedisUnavailable", "Script", "connect"]

WAIT_MS: Final = 100
"""How long replicas have to confirm."""


class DirectClient(Asking, Redis):  # type: ignore[misc] # redis-py's classes disagree among themselves
    """A client of one server, or of the primary that sentinels name."""

    def __init__(self, pool: ConnectionPool) -> None:
        Redis.__init__(self, connection_pool=pool)
        Asking.__init__(self)
        self.auto_close_connection_pool = True
        self._trips = Trips(self)

    async def ask_all(self, *questions: Question) -> list[Any]:
        """See ``Asking``; together with what others ask at the same time."""
        return await self._trips.ask(questions)

    async def leave(self) -> None:
        """See ``Asking``."""
        await self.connection_pool.disconnect(inuse_connections=False)

    def doubt(self) -> None:
        """See ``Asking``. The connection that waited in vain is closed, and the pool hands it out first: made anew."""

    async def together(self, key: str, *commands: Command) -> list[Any]:
        """See ``Asking``."""
        return await self._over_one_connection(commands)

    async def several(self, commands: Sequence[tuple[str, Command]]) -> list[Any]:
        """See ``Asking``."""
        return await self._over_one_connection([command for _, command in commands])

    async def _over_one_connection(self, commands: Sequence[Command]) -> list[Any]:
        """Past redis-py's commands and pipelines, which take half as much of our time again, and twice as much."""
        connection = await self.connection_pool.get_connection()  # type: ignore[no-untyped-call] # redis-py's own
        try:
            # redis-py packs in Python where it is not asked to, which is half of what a question costs.
            packed = b"".join([pack_command(command) for command in commands])  # type: ignore[arg-type] # any length
            await connection.send_packed_command(packed)
            return await _answers(connection, len(commands))
        finally:
            await self.connection_pool.release(connection)

    async def _subscription(self) -> PubSub:
        return self.pubsub()

    def _idle_logins(self) -> list[Awaitable[None]]:
        idle = self.connection_pool._available_connections  # noqa: SLF001 - redis-py has no public list
        return [self._log_in_one(connection) for connection in idle if has_old_login(connection)]

    async def _log_in_one(self, connection: TlsConnection) -> None:
        """This one: the pool gives what came back last, again and again, and might never get to the others."""
        pool = self.connection_pool
        if connection not in pool._available_connections:  # noqa: SLF001 - as above
            return  # somebody uses it, and it logs in before the next command
        pool._available_connections.remove(connection)  # noqa: SLF001
        pool._in_use_connections.add(connection)  # noqa: SLF001
        try:
            await connection.check_health()
        finally:
            await pool.release(connection)

    async def _ping(self) -> None:
        await self.execute_command("PING")  # type: ignore[no-untyped-call] # redis-py's own signature


async def _answers(connection: AbstractConnection, number: int) -> list[Any]:
    """So many answers, errors among them.

    From the connection's parser: what stands before that in redis-py, time-outs that we have not and the raising of
    what Redis answers, is paid once for all of them here.
    """
    parser: Any = connection._parser  # noqa: SLF001 - redis-py has no public way to it
    try:
        return [await parser.read_response() for _ in range(number)]
    except OSError as error:
        await connection.disconnect(nowait=True)
        raise exceptions.ConnectionError(f"while reading: {error}") from error
    except BaseException:  # whatever comes now is the answer to what was asked before
        await connection.disconnect(nowait=True)
        raise


RedisClient: TypeAlias = DirectClient | ClusterClient


def connect(
    url: str, mode: RedisMode = "single", *, tls: ssl.SSLContext | None = None, logins: CredentialProvider | None = None
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


class Script:
    """A Lua script as a question to Redis; what goes in and comes out stands at the top of each script."""

    def __init__(self, redis: RedisClient, source: str) -> None:
        self._redis = redis
        self._source = source
        self._sha = sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, key: str, *args: str | bytes | int) -> Any:
        """Run on one key, so that it also works in a cluster. Raises RedisUnavailable."""
        (answer,) = await self._redis.ask_all(self.question(key, *args))
        return answer

    def question(self, key: str, *args: str | bytes | int) -> Question:
        """To run it on one key, beside other questions."""
        arguments = (1, key, *args)
        return Question(key, ("EVALSHA", self._sha, *arguments), ("EVAL", self._source, *arguments))

    async def confirmed(self, replicas: int, key: str, *args: str | bytes | int) -> tuple[Any, bool]:
        """Run, and learn whether so many replicas have what it wrote. Raises RedisUnavailable."""
        return await self._redis.ask(lambda: self._run_and_wait(replicas, self.question(key, *args)))

    async def _run_and_wait(self, replicas: int, question: Question) -> tuple[Any, bool]:
        """``WAIT`` is about the writes of its own connection, so both go over one, and together."""
        wait = ("WAIT", replicas, WAIT_MS)
        answers = await self._redis.together(question.key, question.command, wait)
        if isinstance(answers[0], exceptions.NoScriptError) and question.in_full:
            answers = await self._redis.together(question.key, question.in_full, wait)
        if error := first_error(answers):
            raise error
        answer, reached = answers
        if reached < replicas:
            # It may be a primary that was replaced and does not know yet.
            self._redis.complain("NotReplicated")
            await self._redis.leave()
        return answer, reached >= replicas


class Pseudonyms:
    """Keyed names for subjects and addresses, for Redis keys and logs: equal in both services, and one-way."""

    def __init__(self, key: str) -> None:
        self._keyed = hmac.new(key.encode(), digestmod="sha256")

    def of(self, tenant: str, subject: str) -> str:
        """The pseudonym of a subject within its tenant (no subject can collide with another tenant's)."""
        message = len(tenant).to_bytes(4) + tenant.encode() + subject.encode()
        keyed = self._keyed.copy()
        keyed.update(message)
        return keyed.hexdigest()[:32]

    def of_address(self, address: str) -> str:
        """The pseudonym of a client's address, or of the network that limits count it as."""
        return self.of("anonymous", limited_as(address))
