"""One sentinel that watches a primary and its replica, as real processes, and ways to make them change places."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from local_cloud.leash import leashed
from local_cloud.ports import free_port
from local_cloud.redis_server import RedisServer

SERVICE = "mymaster"
QUICKLY = {"repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1"}
PATIENCE_SECONDS = 40
_CONFIGURATION = """
port {port}
bind 127.0.0.1
dir {folder}
logfile {folder}/log
sentinel monitor {service} 127.0.0.1 {primary} 1
sentinel down-after-milliseconds {service} 500
sentinel failover-timeout {service} 2000
"""


class Sentinel:
    """Two servers under one sentinel, for as long as the ``async with`` block runs.

    Attributes:
        url: the ``REDIS_URL`` for ``REDIS_MODE=sentinel``.
        servers: both, by their port.
    """

    def __init__(self, binary: Path) -> None:
        self._binary = binary
        self._folder = tempfile.TemporaryDirectory()
        primary = RedisServer(binary=binary, options=QUICKLY)
        replica = RedisServer(binary=binary, options=QUICKLY | {"replicaof": f"127.0.0.1 {primary.port}"})
        self.servers = {server.port: server for server in (primary, replica)}
        self._primary = primary.port
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0?service={SERVICE}"

    async def __aenter__(self) -> Self:
        for server in self.servers.values():
            await asyncio.to_thread(server.start)
        configuration = Path(self._folder.name) / "sentinel.conf"
        configuration.write_text(
            _CONFIGURATION.format(port=self._port, folder=self._folder.name, service=SERVICE, primary=self._primary)
        )
        self._process = subprocess.Popen(  # noqa: ASYNC220 - waits for nothing
            leashed([str(self._binary), str(configuration), "--sentinel"])
        )
        self._sentinel = Redis(port=self._port, decode_responses=True)
        await self.settled()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sentinel.aclose()
        self._process.kill()
        self._process.wait()
        for server in self.servers.values():
            await asyncio.to_thread(server.kill)
        self._folder.cleanup()

    async def primary(self) -> int:
        """The port of the primary, as far as the sentinel knows."""
        _, port = await self._ask("get-master-addr-by-name", SERVICE)
        return int(port)

    async def settled(self, *, as_seen_by_the_sentinel: bool = True) -> int:
        """Wait until there is a primary that its replica follows; the primary's port.

        The sentinel sees it up to ten seconds later, and promotes no replica of which it knows no good.
        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(RedisError, OSError):
                    port = await self.primary()
                    if await self._follows(port) and (not as_seen_by_the_sentinel or await self._sees_a_replica(port)):
                        return port
                await asyncio.sleep(0.05)

    async def order_failover(self) -> None:
        """Have the replica promoted while the primary is well, which goes on taking writes until it is told."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    await self._ask("failover", SERVICE)
                except RedisError:  # the last one is not over for the sentinel
                    await asyncio.sleep(0.05)
                else:
                    return

    async def kill_primary(self) -> RedisServer:
        """End the primary as a crash does."""
        server = self.servers[await self.primary()]
        await asyncio.to_thread(server.kill)
        return server

    async def promoted(self, before: int) -> int:
        """Wait until the sentinel names another primary than that one, and it takes writes."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(RedisError, OSError):
                    port = await self.primary()
                    if port != before and await self._takes_writes(port):
                        return port
                await asyncio.sleep(0.05)

    async def bring_back(self, server: RedisServer, primary: int) -> None:
        """Start a server that died, as a replica; empty, as ours all start."""
        server.options["replicaof"] = f"127.0.0.1 {primary}"
        await asyncio.to_thread(server.start)

    async def _ask(self, *words: str) -> Any:
        return await self._sentinel.execute_command("SENTINEL", *words)  # type: ignore[no-untyped-call]

    async def _sees_a_replica(self, primary: int) -> bool:
        (other,) = self.servers.keys() - {primary}
        known = map(_pairs, await self._ask("replicas", SERVICE))
        states = [(int(each["port"]), each["flags"], each["master-link-status"]) for each in known]
        return (other, "slave", "ok") in states

    async def _follows(self, primary: int) -> bool:
        async with Redis(port=primary) as redis, redis.pipeline(transaction=False) as pipeline:
            pipeline.set("airlock:test:sentinel", "1", px=1)
            pipeline.wait(1, 50)
            return bool((await pipeline.execute())[1] == 1)

    async def _takes_writes(self, port: int) -> bool:
        async with Redis(port=port) as redis:
            return bool(await redis.set("airlock:test:sentinel", "1", px=1))


def _pairs(replica: Any) -> dict[str, str]:
    """What the sentinel says of one, whether as pairs or as a list of both kinds in turn."""
    return dict(replica) if isinstance(replica, dict) else dict(zip(replica[::2], replica[1::2], strict=True))
