"""Redis as operators run it for real: a cluster, or a primary and its replica under three sentinels; TLS, passwords."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

from redis import Redis
from redis.cluster import RedisCluster
from redis.sentinel import Sentinel

from local_cloud.redis_server import RedisServer
from tests.redis_cluster import Cluster, ClusterNode
from tests.secured_redis import Security
from tests.sentinel import SERVICE, Sentinels

CHANNEL = "airlock:development:orders"


class Deployment:
    """What a test of the services needs to know of their Redis, and to do to it."""

    mode: ClassVar[str]
    url: str
    servers: list[RedisServer]
    wait_replicas = 1
    """As many as each primary has."""

    def settings(self) -> dict[str, str]:
        """The environment of the services."""
        return {"REDIS_URL": self.url, "REDIS_MODE": self.mode, "REDIS_WAIT_REPLICAS": str(self.wait_replicas)}

    @abstractmethod
    def reader(self) -> Redis:
        """A client that sees all of it, also after a failover."""

    @abstractmethod
    def owner(self, key: str) -> RedisServer:
        """Where a key is."""

    @abstractmethod
    async def fail_over(self, key: str) -> None:
        """Kill the server that has the key; return when another one has it, and has a replica if there is one left."""

    @abstractmethod
    def listeners(self) -> int:
        """How many subscriptions to orders there are, at any server that is up."""


class InCluster(Deployment):
    """A cluster of one node, or of several masters with a replica each."""

    mode = "cluster"

    def __init__(self, cluster: Cluster | ClusterNode, security: Security | None) -> None:
        self.url = cluster.url
        self._login: dict[str, Any] = dict(security.login) if security else {}
        self._cluster = cluster
        if isinstance(cluster, ClusterNode):
            self.servers, self.wait_replicas = [cluster], 0
        else:
            self.servers = list(cluster.servers.values())

    def reader(self) -> Redis:
        """See ``Deployment``."""
        reader: Any = RedisCluster("127.0.0.1", self.servers[-1].port, decode_responses=True, **self._login)
        return reader  # type: ignore[no-any-return] # it has the commands of one

    def owner(self, key: str) -> RedisServer:
        """See ``Deployment``."""
        return self._cluster.owner(key) if isinstance(self._cluster, Cluster) else self._cluster

    async def fail_over(self, key: str) -> None:
        """See ``Deployment``. The dead master stays away: started anew it would be a stranger to the others."""
        assert isinstance(self._cluster, Cluster)
        before = self.owner(key)
        await asyncio.to_thread(before.kill)
        await asyncio.to_thread(self._cluster.promoted, key, before)
        self.servers.remove(before)

    def listeners(self) -> int:
        """See ``Deployment``."""
        return sum(_listeners(server.port, self._login) for server in self.servers)


class UnderSentinels(Deployment):
    """A primary and its replica, under three sentinels."""

    mode = "sentinel"

    def __init__(self, sentinels: Sentinels, security: Security) -> None:
        self.url = sentinels.url
        self.servers = list(sentinels.servers.values())
        self._sentinels = sentinels
        self._security = security

    def reader(self) -> Redis:
        """See ``Deployment``."""
        tls = {"ssl": True, "ssl_ca_certs": str(self._security.certificate)}
        sentinels = [("127.0.0.1", port) for port in self._sentinels.tls_ports]
        watched: Any = Sentinel(sentinels, sentinel_kwargs=self._security.sentinel_login | tls)  # type: ignore[no-untyped-call]
        reader: Redis = watched.master_for(SERVICE, decode_responses=True, **self._security.login, **tls)
        return reader

    def owner(self, key: str) -> RedisServer:
        """See ``Deployment``; it has everything."""
        with self.reader() as reader:
            pool: Any = reader.connection_pool
            return self._sentinels.servers[pool.get_master_address()[1]]

    async def fail_over(self, key: str) -> None:
        """See ``Deployment``. The sentinel that clients ask first dies, too: two of three are enough."""
        before = await self._sentinels.settled()
        await asyncio.to_thread(self._sentinels.kill_sentinel)
        dead = await self._sentinels.kill_primary()
        after = await self._sentinels.promoted(before)
        await self._sentinels.bring_back(dead, after)
        await self._sentinels.settled(as_seen_by_the_sentinels=False)

    def listeners(self) -> int:
        """See ``Deployment``."""
        return sum(_listeners(server.port, dict(self._security.login)) for server in self.servers)


def _listeners(port: int, login: dict[str, Any]) -> int:
    with Redis(port=port, **login) as redis:
        ((_, number),) = redis.pubsub_numsub(CHANNEL)
        return int(number)


@asynccontextmanager
async def deployed(name: str, binary: Path, folder: Path) -> AsyncIterator[Deployment]:
    """One of the three, by its name."""
    security = Security(folder)
    match name:
        case "one-node-cluster":
            with ClusterNode(binary) as node:
                yield InCluster(node, None)
        case "cluster":
            with Cluster(binary, masters=3, replicas=1, security=security) as cluster:
                yield InCluster(cluster, security)
        case "sentinels":
            async with Sentinels(binary, sentinels=3, security=security) as sentinels:
                yield UnderSentinels(sentinels, security)
        case _:
            raise LookupError(name)
