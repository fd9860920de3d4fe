"""Nodes of a cluster hand slots over: what is redirected was not carried out, and is sent where it belongs."""

import asyncio
import os
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from local_cloud.redis_server import RedisServer, find_binary
from relay import control
from relay.control import heard_orders
from relay.redemption import Redemptions
from service_kit.errors import Refusal
from service_kit.redis_client import ClusterClient, RedisUnavailable, Script, connect
from service_kit.redis_pools import MAX_CONNECTIONS
from service_kit.revocation import Revocations
from tests.examples import claims
from tests.redis_cluster import Cluster, ClusterNode, cluster_options
from tests.tcp_proxy import TcpProxy
from tests.token_store.test_token_states import ENVIRONMENT, S, Token

KEY = "airlock:test:count"
COUNT = "return redis.call('INCR', KEYS[1])"
BINARY = Path(shutil.which("redis-server") or find_binary())


@pytest.fixture(scope="module")
def running_cluster() -> Iterator[Cluster]:
    with Cluster(BINARY, masters=2) as cluster:
        yield cluster


@pytest.fixture
async def client(running_cluster: Cluster) -> AsyncIterator[ClusterClient]:
    client = connect(running_cluster.url, "cluster")
    assert isinstance(client, ClusterClient)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def cluster(running_cluster: Cluster) -> Iterator[Cluster]:
    """The first node has the key's slot, and so has it again afterwards."""
    first = running_cluster.masters[0]
    running_cluster.hand_over(KEY, first)
    yield running_cluster
    for master in running_cluster.masters:
        running_cluster.tell(master, "FLUSHALL")
    running_cluster.hand_over(KEY, first)


async def warm(client: ClusterClient) -> None:
    """Open several connections to every node."""
    await asyncio.gather(*(node.execute_command("PING") for node in client.get_nodes() for _ in range(4)))


async def test_a_script_follows_its_slot_and_runs_once(cluster: Cluster, client: ClusterClient) -> None:
    second = cluster.masters[1]
    cluster.hand_over(KEY, second)
    assert await Script(client, COUNT)(KEY) == 1
    assert cluster.tell(second, "GET", KEY) == "1"


@pytest.mark.parametrize("has_arrived", [False, True])
async def test_of_several_questions_those_whose_slot_moves_are_answered_once_too(
    cluster: Cluster, client: ClusterClient, *, has_arrived: bool
) -> None:
    second = cluster.masters[1]
    script, elsewhere = Script(client, COUNT), [f"airlock:test:other:{number}" for number in range(8)]
    asked = [script.question(key) for key in (KEY, *elsewhere)]
    assert await client.ask_all(*asked) == [1] * 9
    cluster.begin_to_move(KEY, second)
    cluster.move(KEY, second)
    if has_arrived:
        cluster.hand_over(KEY, second)
    assert await client.ask_all(*asked) == [2] * 9
    cluster.hand_over(KEY, second)
    assert cluster.tell(second, "GET", KEY) == "2"


async def test_a_script_and_its_wait_follow_their_slot_together(cluster: Cluster, client: ClusterClient) -> None:
    second = cluster.masters[1]
    cluster.hand_over(KEY, second)
    # Nobody replicates, so none of the two nodes may be taken for a replica that confirmed.
    assert await Script(client, COUNT).confirmed(1, KEY) == (1, False)
    assert cluster.tell(second, "GET", KEY) == "1"


@pytest.mark.parametrize("is_confirmed", [False, True])
async def test_a_script_finds_its_key_wherever_it_is_while_its_slot_moves(
    cluster: Cluster, client: ClusterClient, *, is_confirmed: bool
) -> None:
    async def count() -> int:
        script = Script(client, COUNT)
        answer: int = (await script.confirmed(1, KEY))[0] if is_confirmed else await script(KEY)
        return answer

    second = cluster.masters[1]
    await warm(client)
    assert await count() == 1
    cluster.begin_to_move(KEY, second)
    assert await count() == 2  # not on its way yet
    cluster.move(KEY, second)
    for number in range(3, 9):  # whichever of the connections is taken
        assert await count() == number
    cluster.hand_over(KEY, second)
    assert await count() == 9
    assert cluster.tell(second, "GET", KEY) == "9"


async def test_a_token_whose_slot_moves_admits_once(cluster: Cluster, client: ClusterClient) -> None:
    """Redeemed by many at each stage of the move."""
    for stage in range(4):
        token = Token(client, claims())
        first, second = sorted(cluster.masters, key=lambda master: master is not cluster.owner(token.key))
        await token.mint()
        if stage:
            cluster.begin_to_move(token.key, second)
        if stage > 1:
            cluster.move(token.key, second)
        if stage > 2:
            cluster.hand_over(token.key, second)
        other = connect(cluster.url, "cluster")
        racers = [Token(each, token.claims) for each in (client, other)]
        for racer in racers:
            racer.keys, racer.key = token.keys, token.key
        outcomes = await asyncio.gather(
            *(racer.redeem(f"sess_{number}") for number in range(50) for racer in racers), return_exceptions=True
        )
        said = Counter(getattr(outcome, "code", "admitted") for outcome in outcomes)
        # Of those that a busy machine answers too late one may be the one whose redemption counted.
        assert said.keys() <= {"admitted", "token_used", "unavailable"}
        assert said["admitted"] == 1 or (not said["admitted"] and said["unavailable"])
        await other.aclose()
        for master in (first, second):
            cluster.tell(master, "FLUSHALL")
        cluster.hand_over(token.key, second)


async def test_slots_that_move_cut_off_no_question_that_is_under_way(cluster: Cluster, client: ClusterClient) -> None:
    """redis-py's default is to begin anew, with new connections, at every fifth."""
    first, second = cluster.masters
    keys = [key for key in map("airlock:test:moving:{}".format, range(60)) if cluster.owner(key) is second][:10]
    slow = "for n = 1, 3000000 do end; return redis.call('INCR', KEYS[1])"
    await warm(client)
    for key in keys:
        cluster.hand_over(key, first)
    asked = [asyncio.create_task(Script(client, slow)(KEY)) for _ in range(5)]
    # redis-py's own way of following.
    await asyncio.gather(*(client.set(key, "1", ex=60) for key in keys))
    assert sorted(await asyncio.gather(*asked)) == [1, 2, 3, 4, 5]
    for master in cluster.masters:
        cluster.tell(master, "FLUSHALL")
    for key in keys:
        cluster.hand_over(key, second)


async def test_an_order_given_at_one_node_is_heard_at_the_other(cluster: Cluster, client: ClusterClient) -> None:
    async with Redis(port=cluster.masters[1].port, decode_responses=True) as second, second.pubsub() as subscription:
        await subscription.subscribe("airlock:test:orders")
        assert (await subscription.get_message(timeout=5))["type"] == "subscribe"
        await Script(client, "return redis.call('PUBLISH', ARGV[1], ARGV[2])")(KEY, "airlock:test:orders", "end")
        assert (await subscription.get_message(timeout=5))["data"] == "end"


async def test_a_relay_whose_node_hangs_listens_at_another(
    cluster: Cluster, client: ClusterClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(control, "QUIET_SECONDS", 0.2)

    def listeners(server: RedisServer) -> int:
        return int(cluster.tell(server, "PUBSUB", "NUMSUB", "airlock:development:orders")[1])

    async def listening(servers: list[RedisServer]) -> RedisServer:
        async with asyncio.timeout(20):
            while not (heard := [server for server in servers if listeners(server)]):  # noqa: ASYNC110 - as below
                await asyncio.sleep(0.05)
        return heard[0]

    async with heard_orders(client, Revocations(client, "development"), []):
        hanging = await listening(cluster.masters)
        os.kill(hanging.pid, signal.SIGSTOP)
        try:
            await listening([server for server in cluster.masters if server is not hanging])
        finally:
            os.kill(hanging.pid, signal.SIGCONT)
    await asyncio.to_thread(cluster.agreed)


async def test_more_questions_than_connections_wait_for_their_turn(cluster: Cluster, client: ClusterClient) -> None:
    script = Script(client, COUNT)
    answers = await asyncio.gather(*(script(KEY) for _ in range(6 * MAX_CONNECTIONS)))
    assert sorted(answers) == list(range(1, 6 * MAX_CONNECTIONS + 1))


async def test_a_node_that_is_gone_is_a_refusal_at_once_and_no_retry() -> None:
    with ClusterNode() as node:
        client = connect(node.url, "cluster")
        assert await client.answers()
    for _ in range(3):  # the second finds nobody left who would know of another node
        assert not await client.answers()
        with pytest.raises(RedisUnavailable):
            await Script(client, COUNT)(KEY)
    node.start()
    async with asyncio.timeout(10):
        while not await client.answers():  # noqa: ASYNC110 - it is another process's doing
            await asyncio.sleep(0.05)
    assert await Script(client, COUNT)(KEY) == 1
    await client.aclose()
    node.stop()


async def test_an_answer_that_is_lost_is_a_refusal_and_the_command_is_not_repeated() -> None:
    """The node carries it out, and its answer does not come."""
    async with TcpProxy(0) as proxy:
        options = cluster_options() | {"cluster-announce-port": str(proxy.port)}
        node = ClusterNode(BINARY)
        node.options |= options
        with node:
            proxy.target = node.port
            client = connect(f"redis://127.0.0.1:{proxy.port}", "cluster")
            other, token = (Token(client, claims()) for _ in range(2))
            for each in (other, token):
                await each.mint()
            await other.redeem()  # so that the node knows the scripts
            script = Script(client, COUNT)
            assert await script(KEY) == 1
            assert isinstance(client, ClusterClient)
            await warm(client)
            proxy.delay_seconds = 60
            asked = [asyncio.create_task(script(KEY)), asyncio.create_task(token.redeem(S))]
            async with Redis(port=node.port, decode_responses=True) as redis, asyncio.timeout(5):
                while (await redis.get(KEY), await redis.hget(token.key, "state")) != ("2", "redeemed"):  # noqa: ASYNC110 - another process's doing
                    await asyncio.sleep(0.01)
            proxy.delay_seconds = 0
            await proxy.cut()
            lost, refused = await asyncio.gather(*asked, return_exceptions=True)
            assert isinstance(lost, RedisUnavailable)
            assert getattr(refused, "code", None) == "unavailable"
            assert await script(KEY) == 3
            assert await token.refusal() == "token_used"
            await client.aclose()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
async def test_after_a_failover_the_replica_is_asked_and_no_token_admits_twice(how: signal.Signals) -> None:
    """A master that hangs breaks no connection: it must be left all the same. One redemption it told nobody of."""
    with Cluster(BINARY, masters=3, replicas=1) as cluster:
        client = connect(cluster.url, "cluster")
        tokens = [Token(client, claims()) for _ in range(40)]
        for token in tokens:
            token.redemptions = Redemptions(client, ENVIRONMENT, wait_replicas=1)
            await token.mint()
        master = cluster.masters[0]
        unheard = next(token for token in tokens if cluster.owner(token.key) is master)
        await client.ask(lambda: client.together(unheard.key, ("PERSIST", "none"), ("WAIT", 1, 900)))
        used = [token for token in tokens if token is not unheard and await admits(token)]
        assert any(cluster.owner(token.key) is master for token in used)

        replica = cluster.replica_of(master)
        os.kill(replica.pid, signal.SIGSTOP)
        cluster.tell(master, "CLIENT", "KILL", "TYPE", "replica")
        was_admitted = await admits(unheard)
        os.kill(master.pid, how)
        os.kill(replica.pid, signal.SIGCONT)
        try:
            await asyncio.to_thread(cluster.promoted, unheard.key, master)
            for token in used:
                assert await settled(token) == "token_used"
            unheard.redemptions = Redemptions(client, ENVIRONMENT)  # nobody is left who could confirm
            assert await settled(unheard) == "admitted"
            assert not was_admitted
        finally:
            os.kill(master.pid, signal.SIGCONT)
            await client.aclose()


async def admits(token: Token) -> bool:
    """Whether the token was redeemed, and its replica said so in time."""
    try:
        await token.redeem()
    except Refusal:
        return False
    return True


async def settled(token: Token) -> str:
    """What comes of a redemption once Redis answers: ``admitted``, or the code of the refusal."""
    async with asyncio.timeout(20):
        while True:
            try:
                await token.redeem("sess_again")
            except Refusal as refusal:
                if refusal.code != "unavailable":
                    return refusal.code
                await asyncio.sleep(0.1)
            else:
                return "admitted"
