"""A cluster of one node, which owns every slot."""

from __future__ import annotations

import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from local_cloud.ports import free_port
from local_cloud.redis_server import RedisServer
from service_kit.redis_client import RedisClient, connect

SLOTS = 16_384
READY_SECONDS = 20


class ClusterNode(RedisServer):
    """A server in cluster mode, once started."""

    def __init__(self, binary: Path | None = None) -> None:
        # Its port for other nodes would else be 10,000 higher than its own, which need not exist.
        super().__init__(binary=binary, options={"cluster-enabled": "yes", "cluster-port": str(free_port())})

    def start(self) -> None:
        """Return when the cluster is up."""
        super().start()
        with Redis(port=self.port) as redis:
            redis.execute_command("CLUSTER", "ADDSLOTS", *range(SLOTS))
            until = time.monotonic() + READY_SECONDS
            while redis.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                if time.monotonic() > until:
                    self.stop()
                    raise RedisError("the cluster does not come up")
                time.sleep(0.02)


def client_of(server: RedisServer) -> RedisClient:
    """A client as the services make it, in the mode that fits the server."""
    return connect(server.url, "cluster" if isinstance(server, ClusterNode) else "single")
