"""Clusters as real processes on this machine: of one node, or of several masters, with or without replicas."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from local_cloud.ports import free_port
from local_cloud.redis_server import RedisServer
from service_kit.redis_client import RedisClient, connect
from tests.secured_redis import Security

SLOTS = 16_384
READY_SECONDS = 40


def cluster_options() -> dict[str, str]:
    """What makes a server a node of a cluster."""
    # Its port for other nodes would else be 10,000 higher than its own, which need not exist.
    return {"cluster-enabled": "yes", "cluster-port": str(free_port()), "cluster-node-timeout": "1000"}


class ClusterNode(RedisServer):
    """A cluster of one node, which owns every slot, once started."""

    def __init__(self, binary: Path | None = None) -> None:
        super().__init__(binary=binary, options=cluster_options())

    def start(self) -> None:
        """Return when the cluster is up."""
        super().start()
        with Redis(port=self.port, decode_responses=True) as redis:
            redis.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
            _until(lambda: bool(redis.execute_command("CLUSTER INFO")["cluster_state"] == "ok"))


class Cluster:
    """Masters that share the slots evenly, in their order, for as long as the ``with`` block runs.

    Attributes:
        url: the ``REDIS_URL`` for ``REDIS_MODE=cluster``, with every node in it.
        masters: the servers that are masters when it starts.
        servers: all of them, by their port.
    """

    def __init__(
        self,
        binary: Path,
        masters: int = 3,
        *,
        replicas: int = 0,
        security: Security | None = None,
    ) -> None:
        quickly = {"repl-diskless-sync-delay": "0", "cluster-replica-validity-factor": "0"}
        tls_ports = [free_port() for _ in range(masters * (1 + replicas))]
        nodes = [
            RedisServer(
                binary=binary,
                options=cluster_options()
                | quickly
                | (security.of_server(tls_port) | {"tls-cluster": "yes"} if security else {}),
            )
            for tls_port in tls_ports
        ]
        self.masters = nodes[:masters]
        self.servers = {node.port: node for node in nodes}
        self._login: dict[str, Any] = dict(security.login) if security else {}
        self.url = f"redis://{','.join(f'127.0.0.1:{port}' for port in self.servers)}"
        if security:
            self.url = security.url(tls_ports)
        self._replicas = nodes[masters:]
        self._clients: dict[int, Redis] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as started:
            for port, server in self.servers.items():
                started.callback(server.kill)
                server.start()
                self._clients[port] = started.enter_context(Redis(port=port, decode_responses=True, **self._login))
            self._meet()
            self._cleanup = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def _meet(self) -> None:
        first = self.masters[0]
        for server in list(self.servers.values())[1:]:
            self.tell(server, "CLUSTER", "MEET", "127.0.0.1", first.port, first.options["cluster-port"])
        share = -(-SLOTS // len(self.masters))
        for place, server in enumerate(self.masters):
            self.tell(server, "CLUSTER", "ADDSLOTSRANGE", place * share, min((place + 1) * share, SLOTS) - 1)
        self.agreed()
        for place, server in enumerate(self._replicas):
            self.tell(server, "CLUSTER", "REPLICATE", self.id_of(self.masters[place % len(self.masters)]))
        self.replicated()

    def agreed(self) -> None:
        """Wait until every node knows all others and where the slots are."""
        for server in self.servers.values():
            _until(lambda server=server: self._is_agreed(server))  # type: ignore[misc] # mypy knows no default here

    def _is_agreed(self, server: RedisServer) -> bool:
        told = self.tell(server, "CLUSTER INFO")
        counts = int(told["cluster_known_nodes"]), int(told["cluster_slots_assigned"])
        return told["cluster_state"] == "ok" and counts == (len(self.servers), SLOTS)

    def replicated(self) -> None:
        """Wait until every replica has what its master has."""
        for server in self._replicas:
            _until(lambda server=server: self._is_in_step(server))  # type: ignore[misc] # as above
        if self._replicas:  # whoever is asked must know who replicates whom
            _until(lambda: all(self._knows_replicas(server) for server in self.servers.values()))

    def _is_in_step(self, server: RedisServer) -> bool:
        return bool(self._clients[server.port].info("replication").get("master_link_status") == "up")

    def _knows_replicas(self, server: RedisServer) -> bool:
        held: list[Any] = self.tell(server, "CLUSTER SHARDS")
        return sum(len(shard["nodes"]) for shard in held) == len(self.servers)

    def replica_of(self, master: RedisServer) -> RedisServer:
        """The first that replicates it, as the cluster started."""
        return self._replicas[self.masters.index(master)]

    def tell(self, server: RedisServer, *words: str | int) -> Any:
        """Send one node a command."""
        return self._clients[server.port].execute_command(*words)  # type: ignore[no-untyped-call] # redis-py's own

    def id_of(self, server: RedisServer) -> str:
        """What the nodes call it."""
        return str(self.tell(server, "CLUSTER", "MYID"))

    def owner(self, key: str) -> RedisServer:
        """The node that has the key now, as most recently elected, as far as those that answer know."""
        slot = key_slot(key.encode())
        for server in self.servers.values():
            with contextlib.suppress(RedisError):
                for first, last, (_, port, *_), *_ in self._ranges(server):
                    if first <= slot <= last:
                        return self.servers[int(port)]
        raise LookupError(key)

    def _ranges(self, server: RedisServer) -> list[Any]:
        with Redis(port=server.port, decode_responses=True, **self._login) as redis:
            redis.set_response_callback("CLUSTER SLOTS", lambda answer, **_: answer)
            found: list[Any] = redis.execute_command("CLUSTER SLOTS")
            return found

    def _epoch(self, server: RedisServer, which: str) -> int:
        with Redis(port=server.port, decode_responses=True, **self._login) as redis:
            return int(redis.cluster("INFO")[f"cluster_{which}_epoch"])

    def hand_over(self, key: str, to: RedisServer) -> None:
        """Give the key's slot, which is empty, to another node, for good: its word then is the newest of all."""
        slot, owner = key_slot(key.encode()), self.id_of(to)
        newest = max(self._epoch(each, "my") for each in self.masters)
        _until(lambda: self._epoch(to, "current") >= newest)  # it bumps its own past those that it has heard of
        self.tell(to, "CLUSTER", "BUMPEPOCH")
        for server in (to, *(each for each in self.masters if each is not to)):
            self.tell(server, "CLUSTER", "SETSLOT", slot, "NODE", owner)

    def begin_to_move(self, key: str, to: RedisServer) -> None:
        """Put the key's slot on its way: what is not at the old node any more, or yet, is asked for at the new one."""
        slot, old = key_slot(key.encode()), self.owner(key)
        self.tell(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(old))
        self.tell(old, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(to))

    def move(self, key: str, to: RedisServer) -> None:
        """Move one key of a slot that is on its way."""
        self.tell(self.owner(key), "MIGRATE", "127.0.0.1", to.port, key, 0, 5_000)

    def promoted(self, key: str, before: RedisServer) -> RedisServer:
        """Wait until another node than that one has the key, and takes writes for it; that node."""
        found = before

        def is_another() -> bool:
            nonlocal found
            found = next(
                (server for server in self.servers.values() if server is not before and self._owns(server, key)), before
            )
            return found is not before

        _until(is_another)
        return found

    def _owns(self, server: RedisServer, key: str) -> bool:
        try:
            return bool(self.tell(server, "SET", f"airlock:test:{{{key}}}", "1", "PX", 1))
        except (RedisError, OSError):
            return False


def _until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + READY_SECONDS
    while not is_so():
        if time.monotonic() > until:
            raise RedisError("the cluster does not get there")
        time.sleep(0.02)


def client_of(server: RedisServer) -> RedisClient:
    """A client as the services make it, in the mode that fits the server."""
    return connect(server.url, "cluster" if isinstance(server, ClusterNode) else "single")
