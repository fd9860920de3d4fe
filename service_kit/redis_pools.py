"""Connections to one Redis: a server at a fixed address, or whichever is the primary now, as sentinels know.

A pool hands out so many connections and no more; who wants another waits for it, within the question's deadline.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Sentinel
from redis.asyncio.connection import AbstractConnection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedConnection
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from service_kit.redis_address import Nodes, without_tls_options
from service_kit.redis_connections import TlsConnection, TlsConnectionToPrimary
from service_kit.tls import with_files

DEADLINE_SECONDS: Final = 1.0
MAX_CONNECTIONS: Final = 64
SENTINEL_SECONDS: Final = 0.25
"""For one sentinel to answer: a question's second must be enough for the next two, where the first is gone."""
_SENTINEL_DEADLINES: Final = {
    "socket_timeout": SENTINEL_SECONDS,
    "socket_connect_timeout": SENTINEL_SECONDS,
    "protocol": 3,
}


def no_retry() -> Retry:
    """A command whose answer was lost may have been carried out."""
    return Retry(NoBackoff(), 0)


def deadlines() -> dict[str, Any]:
    """What every connection of ours is made with.

    No ``socket_timeout``: whoever asks has a deadline for all of it, and for each command redis-py would make a task.
    """
    return {"socket_timeout": None, "socket_connect_timeout": DEADLINE_SECONDS, "protocol": 3}


def context_for(options: Mapping[str, Any], tls: ssl.SSLContext) -> ssl.SSLContext:
    """What Redis is dialled with: ``tls``, unless its address names files, which are for Redis alone."""
    files = {name: options.get(f"ssl_{name}") for name in ("ca_certs", "certfile", "keyfile", "password")}
    return with_files(tls, **files) if any(files.values()) else tls


def pool_of_server(url: str, tls: ssl.SSLContext, logins: CredentialProvider | None) -> ConnectionPool:
    """Connections to ``redis://``, ``rediss://`` or ``unix://``."""
    options: dict[str, Any] = dict(parse_url(url))
    if options.get("connection_class") is SSLConnection:
        own = {"connection_class": TlsConnection, "tls": context_for(options, tls)}
        options = without_tls_options(options) | own
    return _Pool(
        max_connections=MAX_CONNECTIONS,
        timeout=DEADLINE_SECONDS,
        retry=no_retry(),
        credential_provider=logins,
        **deadlines(),
        **options,
    )


def pool_of_primary(nodes: Nodes, tls: ssl.SSLContext, logins: CredentialProvider | None) -> ConnectionPool:
    """Connections to the primary; each new one asks the sentinels where that is."""
    sentinels = Sentinel(  # type: ignore[no-untyped-call] # redis-py's own signature
        nodes.hosts,
        sentinel_kwargs={**_SENTINEL_DEADLINES, "retry": no_retry(), **nodes.sentinel_options},
    )
    own: dict[str, Any] = {"connection_class": SentinelManagedConnection}
    if nodes.has_tls:
        tls = context_for(nodes.options, tls)
        own = {"connection_class": TlsConnectionToPrimary, "tls": tls}
        for sentinel in sentinels.sentinels:  # which has no place for a class of connections
            sentinel.connection_pool.connection_class = TlsConnection
            sentinel.connection_pool.connection_kwargs["tls"] = tls
    return _PrimaryPool(  # type: ignore[no-untyped-call]
        nodes.service,
        sentinels,
        max_connections=MAX_CONNECTIONS,
        timeout=DEADLINE_SECONDS,
        retry=no_retry(),
        credential_provider=logins,
        **own,
        **deadlines(),
        **without_tls_options(nodes.options),
    )


class _Pool(BlockingConnectionPool):
    """redis-py's pool, past its locks, timers and statistics where a connection is idle and nobody waits for one.

    These take as long as a question and its answer.
    """

    _waiting = 0

    async def get_connection(self, command_name: object = None, *keys: object, **options: object) -> Any:
        """A connection that can be written to; an idle one at once."""
        if self._waiting or self._in_maintenance or not self._available_connections:
            self._waiting += 1
            try:
                return await super().get_connection()  # type: ignore[no-untyped-call] # redis-py's own signature
            finally:
                self._waiting -= 1
        connection = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        """Take it back."""
        if self._waiting or self._in_maintenance or connection.should_reconnect():  # type: ignore[no-untyped-call]
            await super().release(connection)
            return
        self._in_use_connections.remove(connection)
        self._available_connections.append(connection)


class _PrimaryPool(SentinelConnectionPool, _Pool):
    """redis-py's pool for sentinels refuses where all connections are in use; this one waits, like the other.

    And where many connections are to be made at once, the sentinels are asked once for all of them: each question is a
    connection of its own, and they have a quarter of a second.
    """

    _looking: asyncio.Task[tuple[str, int]] | None = None

    async def get_master_address(self) -> tuple[str, int]:
        """Where the primary is, by what the sentinels say from now on or said to somebody who asked a moment ago."""
        if self._looking is None:
            self._looking = asyncio.create_task(super().get_master_address(), name="who is the primary")  # type: ignore[no-untyped-call]
            self._looking.add_done_callback(self._looked)
        return await asyncio.shield(self._looking)

    def _looked(self, looking: asyncio.Task[tuple[str, int]]) -> None:
        self._looking = None
        if not looking.cancelled():
            looking.exception()  # those that still wait have it; else nobody wants it

    async def aclose(self) -> None:
        """Close the connections to the sentinels too, which belong to no one else."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        await super().aclose()
        await self.sentinel_manager.aclose()
