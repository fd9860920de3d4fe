"""Redis by Entra ID: connections outlive their tokens, in each mode, and nothing waits for a token meanwhile."""

import asyncio
import itertools
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis
from structlog.testing import capture_logs

from local_cloud.access_tokens import issue, object_id_of
from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.entra_redis import RESOURCE, EntraRedis
from local_cloud.managed_identity import CLIENT_ID, Behaviour, Fault, ManagedIdentity
from local_cloud.ports import free_port
from local_cloud.redis_server import RedisServer
from service_kit import redis_login
from service_kit.managed_identity import managed_identity
from service_kit.redis_address import RedisMode
from service_kit.redis_client import DirectClient, RedisClient, RedisUnavailable, Script, connect
from service_kit.redis_login import EntraLogins, object_id_in
from service_kit.tls import client_context
from tests.redis_cluster import Cluster
from tests.secured_redis import Security
from tests.sentinel import Sentinels

LIFETIME_SECONDS = 4
DEBIAN_REDIS = shutil.which("redis-server")


class Scene:
    """A client that logs in by Entra, the front that checks it, and the endpoint that has the tokens."""

    def __init__(self, client: RedisClient, logins: EntraLogins, front: EntraRedis, identity: ManagedIdentity) -> None:
        self.client = client
        self.logins = logins
        self.front = front
        self.identity = identity
        self._count = Script(client, "return redis.call('INCR', KEYS[1])")

    async def ask(self) -> None:
        """Put a question that counts. Raises RedisUnavailable."""
        await self._count("airlock:test:count")

    async def ask_at_once(self, times: int) -> None:
        """Put so many, each over a connection of its own."""
        alone = partial(self.client.together, "airlock:test:count", ("INCR", "airlock:test:count"))
        await asyncio.gather(*(self.client.ask(alone) for _ in range(times)))

    async def renewals(self, times: int) -> None:
        """Wait for so many new tokens."""
        for _ in range(times):
            before = self.logins.newest
            await until(lambda before=before: self.logins.newest is not before)

    async def is_answered(self) -> bool:
        """Whether a question is answered."""
        try:
            await self.ask()
        except RedisUnavailable:
            return False
        return True


async def until(is_so: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Look until it is so."""
    async with asyncio.timeout(20):
        while True:
            found = is_so()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


@pytest.fixture
def authority(tmp_path: Path) -> ThrowAwayAuthority:
    return ThrowAwayAuthority(tmp_path)


@pytest.fixture
async def identity(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ManagedIdentity]:
    monkeypatch.setattr(redis_login, "SWEEP_SECONDS", 0.2)
    async with ManagedIdentity(Behaviour(lifetimes={RESOURCE: LIFETIME_SECONDS})) as identity:
        for name, value in identity.environment.items():
            monkeypatch.setenv(name, value)
        yield identity


@pytest.fixture
async def scene(identity: ManagedIdentity, authority: ThrowAwayAuthority, redis_server: str) -> AsyncIterator[Scene]:
    port = urlsplit(redis_server).port or 0
    async with (
        EntraRedis(port, authority.server_context()) as front,
        logged_in(front.url, "single", authority.ca_file) as (client, logins),
    ):
        yield Scene(client, logins, front, identity)


@asynccontextmanager
async def logged_in(url: str, mode: RedisMode, ca_file: Path) -> AsyncIterator[tuple[RedisClient, EntraLogins]]:
    tls = client_context(ca_file)
    logins = EntraLogins()
    client = connect(url, mode, tls=tls, logins=logins)
    async with AsyncExitStack() as closing, asyncio.timeout(90):
        closing.push_async_callback(client.aclose)
        credential = await closing.enter_async_context(managed_identity(CLIENT_ID, tls))
        await closing.enter_async_context(logins.renewed(credential, client))
        assert await logins.login()
        yield client, logins


async def test_idle_and_busy_connections_outlive_their_tokens_and_no_question_fails(scene: Scene) -> None:
    await scene.ask_at_once(8)
    connections = len(scene.front.logins)
    assert connections > 1
    renewing = asyncio.create_task(scene.renewals(4))
    while not renewing.done():  # one is busy, the others idle
        await scene.ask()
    await scene.ask_at_once(8)  # which may open more, where some are just logging in
    assert (scene.front.cut, scene.front.refused) == (0, 0)
    assert min(scene.front.logins[:connections]) >= 4


async def test_a_subscription_outlives_its_token_and_misses_nothing(scene: Scene) -> None:
    async def publish_all_the_time() -> None:
        for sent in itertools.count():
            publish = ("EVAL", "return redis.call('PUBLISH', 'news', ARGV[1])", 1, "key", sent)
            await scene.client.ask(partial(scene.client.together, "key", publish))

    async with await scene.client.subscription() as subscription:
        await subscription.subscribe("news")
        assert (await subscription.get_message(timeout=5))["type"] == "subscribe"
        connections = len(scene.front.logins)
        renewing = asyncio.create_task(scene.renewals(3))
        publishing = asyncio.create_task(publish_all_the_time())
        heard = 0
        while not renewing.done():
            message = await subscription.get_message(timeout=5)
            assert message["type"] == "message"
            assert int(message["data"]) == heard
            heard += 1
        publishing.cancel()
        await asyncio.wait([publishing])
        assert heard > 10
        assert len(scene.front.logins) <= connections + 1  # that which publishes
        assert scene.front.logins[0] >= 3
    assert scene.front.cut == 0


async def test_no_question_waits_while_the_endpoint_takes_two_seconds(scene: Scene) -> None:
    scene.identity.behaviour.lifetimes = {RESOURCE: 8}
    await scene.renewals(1)
    scene.identity.behaviour.delay_seconds = 2.0
    renewing = asyncio.create_task(scene.renewals(1))
    longest = 0.0
    while not renewing.done():
        started_at = time.monotonic()
        await scene.ask()
        longest = max(longest, time.monotonic() - started_at)
    assert longest < 1.0


async def test_without_the_endpoint_connections_go_on_until_the_token_expires_and_come_back(scene: Scene) -> None:
    await scene.ask_at_once(4)
    scene.identity.faults.append(Fault(status=400, times=None))
    token = scene.logins.newest
    assert token is not None
    with capture_logs() as lines:
        before_expiry = 0
        while await scene.is_answered():
            before_expiry += 1
        assert before_expiry > 10
        await scene.identity.wait_asked(2, RESOURCE, 400)
    assert "identity.failed" in {line["event"] for line in lines}
    scene.identity.faults.clear()
    await scene.renewals(1)
    await until(scene.client.answers)
    await scene.ask_at_once(4)


async def test_another_s_token_is_refused(
    scene: Scene, authority: ThrowAwayAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    someone, _ = issue(RESOURCE, "00000000-0000-4000-8000-000000000000", 60)
    elsewhere, _ = issue("https://vault.azure.net", CLIENT_ID, 60)
    user = object_id_of(CLIENT_ID)
    for name, password in ((user, someone), (user, elsewhere), (user, "no token"), ("somebody", elsewhere)):
        url = f"rediss://{name}:{password}@127.0.0.1:{scene.front.port}"
        client = connect(url, tls=client_context(authority.ca_file))
        assert not await client.answers()
        await client.aclose()
    client = connect(scene.front.url, tls=client_context(authority.ca_file))
    assert not await client.answers()
    await client.aclose()
    assert scene.front.refused == 4


async def test_a_connection_whose_token_expired_is_cut(scene: Scene, authority: ThrowAwayAuthority) -> None:
    """The front does as Azure does, or the tests above would show nothing."""
    token, _ = issue(RESOURCE, CLIENT_ID, 2)
    url = f"rediss://{object_id_of(CLIENT_ID)}:{token}@127.0.0.1:{scene.front.port}"
    client = connect(url, tls=client_context(authority.ca_file))
    assert isinstance(client, DirectClient)
    assert await client.answers()
    await until(lambda: scene.front.cut > 0)
    assert not await client.answers()
    await client.aclose()


@pytest.mark.skipif(DEBIAN_REDIS is None, reason="redis-server, which alone has TLS, is missing")
@pytest.mark.parametrize("mode", ["single", "cluster", "sentinel"])
async def test_in_each_mode_connections_log_in_again(
    identity: ManagedIdentity, mode: RedisMode, tmp_path: Path
) -> None:
    """Real servers, which take any password of the right user; they count the logins."""
    identity.behaviour.lifetimes = {}
    security = Security(tmp_path)
    user = object_id_of(CLIENT_ID)
    with (tmp_path / "users.acl").open("a") as users:
        users.write(f"user {user} on nopass ~* &* +@all\n")
    async with AsyncExitStack() as servers:
        url, plain_ports = await serve(servers, mode, security)
        url = url.replace(f"airlock:{security.password}@", "")
        async with logged_in(url, mode, security.certificate) as (client, logins):
            keys = [f"airlock:test:{number}" for number in range(12)]

            def connections() -> set[str]:
                return {address for port in plain_ports for address in logins_of(port, security, user)}

            async def ask() -> None:
                """Each question over a connection of its own."""
                alone = (partial(client.together, key, ("INCR", key)) for key in keys)
                await asyncio.gather(*(client.ask(question) for question in alone))

            async with await client.subscription() as subscription:
                await subscription.subscribe("news")
                await ask()
                first = connections()
                assert len(first) > 3
                before = sum(auths(port, security) for port in plain_ports)
                assert logins._token is not None
                assert await logins._token.ask()
                await until(lambda: sum(auths(port, security) for port in plain_ports) >= before + len(first))
                await ask()  # which may open more, where some are just logging in
                assert len(first & connections()) > 3
                assert (await subscription.get_message(timeout=5))["type"] == "subscribe"
                publish = "return redis.call('PUBLISH', 'news', 'good')"
                await client.ask(lambda: client.together("key", ("EVAL", publish, 1, "key")))
                assert (await subscription.get_message(timeout=5))["data"] == b"good"


async def serve(servers: AsyncExitStack, mode: RedisMode, security: Security) -> tuple[str, list[int]]:
    """The address, and the plain ports of the servers of the data."""
    binary = Path(DEBIAN_REDIS or "redis-server")
    if mode == "cluster":
        cluster = servers.enter_context(Cluster(binary, masters=3, security=security))
        return cluster.url, list(cluster.servers)
    if mode == "sentinel":
        sentinels = await servers.enter_async_context(Sentinels(binary, security=security))
        return sentinels.url, [server.port for server in sentinels.servers.values()]
    port = free_port()
    server = servers.enter_context(RedisServer(binary=binary, options=security.of_server(port)))
    return security.url([port]), [server.port]


def auths(port: int, security: Security) -> int:
    """How often somebody has logged in anew at a server."""
    with Redis(port=port, **security.login) as redis:  # type: ignore[arg-type] # no type of its options
        return int(redis.info("commandstats").get("cmdstat_auth", {}).get("calls", 0))


def logins_of(port: int, security: Security, user: str) -> list[str]:
    """The connections of a user at a server."""
    with Redis(port=port, **security.login) as redis:  # type: ignore[arg-type] # as above
        return [client["addr"] for client in redis.client_list() if client["user"] == user]


def test_the_user_is_the_token_s_object_id() -> None:
    token, _ = issue(RESOURCE, CLIENT_ID, 60)
    assert object_id_in(token) == object_id_of(CLIENT_ID)
    with pytest.raises(ValueError, match="does not say whose"):
        object_id_in("opaque")
