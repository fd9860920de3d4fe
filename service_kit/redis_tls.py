"""TLS to Redis with one context for all connections of a client.

redis-py makes one for each, and reads all the certificates that the machine trusts for it: some 25 ms in which the
process does nothing else. Sixty connections at once would be a second and a half of silence in every session.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import RedisSSLContext, SSLConnection
from redis.asyncio.sentinel import SentinelManagedSSLConnection


class SharedContext:
    """The context that the first connection made; all have the same options."""

    def __init__(self) -> None:
        self._first: RedisSSLContext | None = None

    def of(self, own: RedisSSLContext) -> RedisSSLContext:
        """The shared one, which is the connection's own if there was none."""
        self._first = self._first or own
        return self._first


class TlsConnection(SSLConnection):
    """A connection with the client's context."""

    def __init__(self, *, shared_context: SharedContext, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context = shared_context.of(self.ssl_context)


class TlsConnectionToPrimary(SentinelManagedSSLConnection):
    """The same to whichever server is the primary."""

    def __init__(self, *, shared_context: SharedContext, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call] # redis-py's own signature
        self.ssl_context = shared_context.of(self.ssl_context)


def share_context(pool: ConnectionPool) -> None:
    """Have the pool's connections, if they are to be over TLS, share their context; before it has any."""
    if pool.connection_class is SSLConnection:
        pool.connection_class = TlsConnection
    elif pool.connection_class is SentinelManagedSSLConnection:
        pool.connection_class = TlsConnectionToPrimary
    else:
        return
    pool.connection_kwargs["shared_context"] = SharedContext()


def share_context_of_nodes(cluster: RedisCluster) -> None:
    """Have the connections to all nodes, those not known yet too, share their context; before there are any."""
    options = {"connection_class": TlsConnection, "shared_context": SharedContext()}
    cluster.connection_kwargs |= options  # which new nodes get
    for node in cluster.nodes_manager.startup_nodes.values():
        node.connection_class = TlsConnection
        node.connection_kwargs["shared_context"] = options["shared_context"]
