"""The client of a cluster: each key has its node, which changes by failovers and by slots that move."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from redis import exceptions
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterNode, PipelineCommand, RedisCluster
from redis.credentials import CredentialProvider

from service_kit.redis_address import Nodes, without_tls_options
from service_kit.redis_asking import Asking, Command, any_old_login
from service_kit.redis_connections import TlsConnection
from service_kit.redis_pools import MAX_CONNECTIONS, context_for, deadlines, no_retry

MOST_REDIRECTIONS: Final = 4

T = TypeVar("T")


class ClusterClient(Asking, RedisCluster):  # type: ignore[misc] # redis-py's classes disagree among themselves
    """A client of a cluster. What the cluster redirects is sent again, for it was not carried out; nothing else is."""

    def __init__(self, nodes: Nodes, tls: ssl.SSLContext, logins: CredentialProvider | None) -> None:
        RedisCluster.__init__(
            self,
            startup_nodes=[ClusterNode(host, port) for host, port in nodes.hosts],
            # One question uses one connection to a node at a time. redis-py refuses where there is none left, so those
            # that ask wait for their turn here.
            max_connections=2 * MAX_CONNECTIONS,
            # At every fifth slot that moved redis-py would cut all connections, with the questions that are under way.
            reinitialize_steps=0,
            retry=no_retry(),
            credential_provider=logins,
            **deadlines(),
            **without_tls_options(nodes.options),
        )
        if nodes.has_tls:  # redis-py has no place for a class of connections
            tls = context_for(nodes.options, tls)
            self.connection_kwargs |= {"connection_class": TlsConnection, "tls": tls}  # which new nodes get
            for node in self.nodes_manager.startup_nodes.values():
                node.connection_class = TlsConnection
                node.connection_kwargs["tls"] = tls
        Asking.__init__(self)
        self._turns = asyncio.Semaphore(MAX_CONNECTIONS)

    async def leave(self) -> None:
        """See ``Asking``; the next question also asks who is who in the cluster."""
        await asyncio.gather(*(node.disconnect_free_connections() for node in self.get_nodes()))
        self._initialize = True

    def doubt(self) -> None:
        """See ``Asking``."""
        self._initialize = True

    async def aclose(self) -> None:
        """Close every connection; redis-py closes none where it has yet to ask who is who again."""
        await super().aclose()
        for nodes in ("nodes_cache", "startup_nodes"):
            await self.nodes_manager.aclose(nodes)

    async def together(self, key: str, *commands: Command) -> list[Any]:
        """See ``Asking``. redis-py itself sends redirected commands apart, and ASKING over any connection."""
        there: ClusterNode | None = None
        sent: list[PipelineCommand] = []
        for _ in range(MOST_REDIRECTIONS):
            await self.initialize()
            node = there or self.get_node_from_key(key)
            if node is None:
                raise exceptions.SlotNotCoveredError
            sent = [PipelineCommand(place, *command) for place, command in enumerate(commands)]
            await node.execute_pipeline([PipelineCommand(0, "ASKING"), *sent] if there else sent)
            match sent[0].result:
                case exceptions.MovedError() as moved:
                    there = None
                    await self.nodes_manager.move_slot(moved)
                case exceptions.AskError() as asked:  # for this once: the slot is on its way
                    there = self._node_at(asked.host, asked.port)
                case _:
                    break
        return [command.result for command in sent]

    async def several(self, commands: Sequence[tuple[str, Command]]) -> list[Any]:
        """See ``Asking``. Each node is asked what is its own; what is redirected is asked again, on its own."""
        await self.initialize()
        asked = [(key, PipelineCommand(place, *command)) for place, (key, command) in enumerate(commands)]
        by_node: dict[str, tuple[ClusterNode, list[PipelineCommand]]] = {}
        for key, command in asked:
            node = self.get_node_from_key(key)
            if node is None:
                raise exceptions.SlotNotCoveredError
            by_node.setdefault(node.name, (node, []))[1].append(command)
        done = await asyncio.gather(
            *(node.execute_pipeline(own) for node, own in by_node.values()), return_exceptions=True
        )
        for failure in done:
            if isinstance(failure, BaseException):
                raise failure
        for key, command in asked:
            if isinstance(command.result, (exceptions.MovedError, exceptions.AskError)):
                (command.result,) = await self.together(key, command.args)
        return [command.result for _, command in asked]

    async def _subscription(self) -> PubSub:
        """Any node will do, replicas too: the cluster carries what is published to all of them.

        Another one each time, so that one that is gone costs a single try.
        """
        await self.initialize()
        return self.pubsub(node=self.get_random_node())

    def _idle_logins(self) -> list[Awaitable[None]]:
        # Those that the address names have connections of their own, and equal those of the same name found since.
        nodes = [*self.nodes_manager.nodes_cache.values(), *self.nodes_manager.startup_nodes.values()]
        all_idle = [(node, node._free) for node in nodes]  # noqa: SLF001 - redis-py has no public list
        return [self._log_in_one(node) for node, idle in all_idle if any_old_login(idle) for _ in idle]

    async def _log_in_one(self, node: ClusterNode) -> None:
        connection = node.acquire_connection()
        try:
            await connection.check_health()  # type: ignore[no-untyped-call] # redis-py's own signature
        finally:
            node.release(connection)

    def _node_at(self, host: str, port: int) -> ClusterNode:
        node = self.get_node(host, port)
        if node is None:  # it joined after we asked who is who
            node = ClusterNode(host, port, "primary", **self.connection_kwargs)
            self.nodes_manager.set_nodes(self.nodes_manager.nodes_cache, {node.name: node})
        return node

    async def _leaving_the_dead(self, question: Callable[[], Awaitable[T]]) -> T:
        async with self._turns:
            return await super()._leaving_the_dead(question)

    async def _ping(self) -> None:
        await self.execute_command("PING")
