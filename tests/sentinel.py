"""Sentinels that watch a primary and its replicas, as real processes, and ways to make the servers change places."""

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
from tests.secured_redis import Security

SERVICE = "mymaster"
QUICKLY = {"repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1"}
PATIENCE_SECONDS = 40
# Half a second is too short: for about one a sentinel has yet to connect to a primary that was just promoted, takes it
# for down, and promotes the other server back. Then for ten seconds both are primaries.
_CONFIGURATION = """
port {port}
bind 127.0.0.1
dir {folder}
logfile {folder}/log
{security}
sentinel monitor {service} 127.0.0.1 {primary} {quorum}
{login}
sentinel down-after-milliseconds {service} 2500
sentinel failover-timeout {service} 2000
"""


class Sentinels:
    """A primary and its replicas under sentinels, most of whom must agree, while the ``async with`` block runs.

    Attributes:
        url: the ``REDIS_URL`` for ``REDIS_MODE=sentinel``, with every sentinel in it.
        servers: those of the data, by the port at which the sentinels know them.
        ports: those of the sentinels.
        tls_ports: the same over TLS, where they are secured.
    """

    def __init__(
        self, binary: Path, *, replicas: int = 1, sentinels: int = 1, security: Security | None = None
    ) -> None:
        self._binary = binary
        self._security = security
        self._folder = tempfile.TemporaryDirectory()
        self._login = security.login if security else {}
        self.servers: dict[int, RedisServer] = {}
        self._primary = self._add_server({})
        for _ in range(replicas):
            self._add_server({"replicaof": f"127.0.0.1 {self._primary}"})
        self.ports = [free_port() for _ in range(sentinels)]
        self.tls_ports = [free_port() for _ in self.ports if security]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._quorum = sentinels // 2 + 1
        self.url = f"redis://{','.join(f'127.0.0.1:{port}' for port in self.ports)}/0?service={SERVICE}"
        if security:
            self.url = security.url(self.tls_ports, service=SERVICE)

    def _add_server(self, options: dict[str, str]) -> int:
        tls_port = free_port()
        secured = self._security.of_server(tls_port) if self._security else {}
        server = RedisServer(binary=self._binary, options=QUICKLY | secured | options)
        port = tls_port if self._security else server.port
        self.servers[port] = server
        return port

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as started:
            started.callback(self._folder.cleanup)
            for server in self.servers.values():
                started.push_async_callback(asyncio.to_thread, server.kill)
                await asyncio.to_thread(server.start)
            for place in range(len(self.ports)):
                started.callback(self._end_sentinel, self._start_sentinel(place))
            await self.settled()
            self._cleanup = started.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._cleanup.aclose()

    def _start_sentinel(self, place: int) -> int:
        port, folder = self.ports[place], Path(self._folder.name) / str(place)
        folder.mkdir(exist_ok=True)
        lines = self._security.of_sentinel(self.tls_ports[place], SERVICE) if self._security else []
        configuration = folder / "sentinel.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                port=port,
                folder=folder,
                service=SERVICE,
                primary=self._primary,
                quorum=self._quorum,
                security="\n".join(line for line in lines if " auth-" not in line),
                login="\n".join(line for line in lines if " auth-" in line),  # of what is monitored by then
            )
        )
        self._processes[port] = subprocess.Popen(leashed([str(self._binary), str(configuration), "--sentinel"]))
        return port

    def _end_sentinel(self, port: int) -> None:
        if process := self._processes.pop(port, None):
            process.kill()
            process.wait()

    def kill_sentinel(self) -> None:
        """End one sentinel for good: the first that a client asks."""
        self._end_sentinel(min(self._processes, key=self.ports.index))

    async def primary(self) -> int:
        """The port of the primary, as far as the sentinels know. Raises where they do not agree."""
        (port,) = {int(port) for _, port in await self._ask_all("get-master-addr-by-name", SERVICE)}
        return port

    async def settled(self, *, as_seen_by_the_sentinels: bool = True) -> int:
        """Wait until there is a primary that its replicas follow; the primary's port.

        The sentinels see it up to ten seconds later, and promote no replica of which they know no good.
        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(RedisError, OSError, ValueError):
                    port = await self.primary()
                    if await self._follow(port) and (not as_seen_by_the_sentinels or await self._is_seen(port)):
                        return port
                await asyncio.sleep(0.05)

    async def order_failover(self) -> None:
        """Have a replica promoted while the primary is well, which goes on taking writes until it is told."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    await self._ask(next(iter(self._processes)), "failover", SERVICE)
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
        """Wait until the sentinels name another primary than that one, and it takes writes."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(RedisError, OSError, ValueError):
                    port = await self.primary()
                    if port != before and await self._takes_writes(port):
                        return port
                await asyncio.sleep(0.05)

    async def bring_back(self, server: RedisServer, primary: int) -> None:
        """Start a server that died, as a replica; empty, as ours all start."""
        server.options["replicaof"] = f"127.0.0.1 {primary}"
        await asyncio.to_thread(server.start)

    async def _ask(self, port: int, *words: str) -> Any:
        login = self._security.sentinel_login if self._security else {}
        async with Redis(port=port, decode_responses=True, **login) as sentinel:  # type: ignore[arg-type] # no type of its options
            return await sentinel.execute_command("SENTINEL", *words)  # type: ignore[no-untyped-call]

    async def _ask_all(self, *words: str) -> list[Any]:
        return [await self._ask(port, *words) for port in self._processes]

    async def _is_seen(self, primary: int) -> bool:
        """Whether every sentinel knows every other, and every replica as good."""
        replicas = {(port, "slave", "ok") for port in self.servers if port != primary}
        for known in await self._ask_all("replicas", SERVICE):
            pairs = map(_pairs, known)
            if {(int(each["port"]), each["flags"], each["master-link-status"]) for each in pairs} != replicas:
                return False
        others = [len(known) for known in await self._ask_all("sentinels", SERVICE)]
        return all(number >= len(self._processes) - 1 for number in others)

    def client_of(self, port: int) -> Redis:
        """A client of one server of the data, over plain TCP."""
        return Redis(port=self.servers[port].port, decode_responses=True, **self._login)  # type: ignore[arg-type] # as above

    async def _follow(self, primary: int) -> bool:
        """Whether all its replicas do."""
        others = len(self.servers) - 1
        async with self.client_of(primary) as redis, redis.pipeline(transaction=False) as pipeline:
            pipeline.set("airlock:test:sentinel", "1", px=1)
            pipeline.wait(others, 50)
            return bool((await pipeline.execute())[1] == others)

    async def _takes_writes(self, port: int) -> bool:
        async with self.client_of(port) as redis:
            return bool(await redis.set("airlock:test:sentinel", "1", px=1))


def _pairs(replica: Any) -> dict[str, str]:
    """What a sentinel says of one, whether as pairs or as a list of both kinds in turn."""
    return dict(replica) if isinstance(replica, dict) else dict(zip(replica[::2], replica[1::2], strict=True))
