"""Two nodes of a cluster hand a slot over: what is redirected was not carried out, and is sent where it belongs."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from local_cloud.redis_server import RedisServer, find_binary
from service_kit.redis_client import ClusterClient, Script, connect
from service_kit.redis_pools import MAX_CONNECTIONS
from tests.redis_cluster import SLOTS, ClusterNode

KEY = "airlock:test:count"
COUNT = "return redis.call('INCR', KEYS[1])"


class TwoNodes:
    """The first owns every slot, until it is told otherwise."""

    def __init__(self, first: ClusterNode, second: RedisServer) -> None:
        self.servers = (first, second)
        self.nodes = [Redis(port=server.port, decode_responses=True) for server in self.servers]

    async def meet(self) -> None:
        second = self.servers[1]
        bus = second.options["cluster-port"]
        await self.nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", second.port, bus)  # type: ignore[no-untyped-call]
        await self.agree(len(self.servers), SLOTS)

    async def agree(self, nodes: int, slots: int) -> None:
        """Wait until both know each other and where the slots are."""
        async with asyncio.timeout(30):
            for node in self.nodes:
                while True:
                    told = await node.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]
                    known, assigned = int(told["cluster_known_nodes"]), int(told["cluster_slots_assigned"])
                    if told["cluster_state"] == "ok" and (known, assigned) == (nodes, slots):
                        break
                    await asyncio.sleep(0.05)

    async def hand_over(self, key: str) -> None:
        """Give the key's slot, which is empty, to the second node."""
        owner = await self.nodes[1].execute_command("CLUSTER", "MYID")  # type: ignore[no-untyped-call]
        for node in reversed(self.nodes):
            await node.execute_command("CLUSTER", "SETSLOT", key_slot(key.encode()), "NODE", owner)  # type: ignore[no-untyped-call]


@pytest.fixture
async def cluster() -> AsyncIterator[TwoNodes]:
    binary = Path(shutil.which("redis-server") or find_binary())
    with ClusterNode(binary) as first, RedisServer(binary=binary, options=ClusterNode(binary).options) as second:
        cluster = TwoNodes(first, second)
        await cluster.meet()
        yield cluster
        for node in cluster.nodes:
            await node.aclose()


@pytest.fixture
async def client(cluster: TwoNodes) -> AsyncIterator[ClusterClient]:
    client = connect(cluster.servers[0].url, "cluster")
    assert isinstance(client, ClusterClient)
    assert await client.answers()
    yield client
    await client.aclose()


async def test_a_script_follows_its_slot_and_runs_once(cluster: TwoNodes, client: ClusterClient) -> None:
    await cluster.hand_over(KEY)
    assert await Script(client, COUNT)(KEY) == 1
    assert await cluster.nodes[1].get(KEY) == "1"


async def test_a_script_and_its_wait_follow_their_slot_together(cluster: TwoNodes, client: ClusterClient) -> None:
    await cluster.hand_over(KEY)
    # Nobody replicates, so none of the two nodes may be taken for a replica that confirmed.
    assert await Script(client, COUNT).confirmed(1, KEY) == (1, False)
    assert await cluster.nodes[1].get(KEY) == "1"


async def test_an_order_given_at_one_node_is_heard_at_the_other(cluster: TwoNodes, client: ClusterClient) -> None:
    async with cluster.nodes[1].pubsub() as subscription, asyncio.timeout(10):
        await subscription.subscribe("airlock:test:orders")
        assert (await subscription.get_message(timeout=5))["type"] == "subscribe"
        await Script(client, "return redis.call('PUBLISH', ARGV[1], ARGV[2])")(KEY, "airlock:test:orders", "end")
        assert (await subscription.get_message(timeout=5))["data"] == "end"


async def test_more_questions_than_connections_wait_for_their_turn(client: ClusterClient) -> None:
    script = Script(client, COUNT)
    answers = await asyncio.gather(*(script(KEY) for _ in range(6 * MAX_CONNECTIONS)))
    assert sorted(answers) == list(range(1, 6 * MAX_CONNECTIONS + 1))


async def test_a_node_that_is_gone_is_a_refusal_at_once_and_no_retry() -> None:
    with ClusterNode() as node:
        client = connect(node.url, "cluster")
        assert await client.answers()
    assert not await client.answers()
    node.start()
    async with asyncio.timeout(10):
        while not await client.answers():  # noqa: ASYNC110 - it is another process's doing
            await asyncio.sleep(0.05)
    assert await Script(client, COUNT)(KEY) == 1
    await client.aclose()
    node.stop()
