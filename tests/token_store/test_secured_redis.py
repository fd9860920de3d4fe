"""TLS, users and passwords, in each mode: what the address says is used, and nothing else gets in."""

import asyncio
import re
import shutil
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.ports import free_port
from local_cloud.redis_server import RedisServer
from relay.redemption import Redemptions
from service_kit.redis_address import RedisMode
from service_kit.redis_client import RedisClient, Script, connect
from service_kit.tls import client_context
from tests.examples import claims
from tests.redis_cluster import Cluster
from tests.secured_redis import Security
from tests.sentinel import Sentinels
from tests.token_store.test_token_states import ENVIRONMENT, Token

DEBIAN_REDIS = shutil.which("redis-server")
pytestmark = [
    pytest.mark.skipif(DEBIAN_REDIS is None, reason="redis-server is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
]
BINARY = Path(DEBIAN_REDIS or "redis-server")


@pytest.fixture(scope="module")
def security(tmp_path_factory: pytest.TempPathFactory) -> Security:
    return Security(tmp_path_factory.mktemp("security"))


@pytest.fixture(scope="module")
def cluster_url(security: Security) -> Iterator[str]:
    with Cluster(BINARY, masters=3, security=security) as cluster:
        yield cluster.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sentinels_url(security: Security) -> AsyncIterator[str]:
    async with Sentinels(BINARY, sentinels=3, security=security) as sentinels:
        yield sentinels.url


@pytest.fixture(scope="module")
def server_url(security: Security) -> Iterator[str]:
    port = free_port()
    with RedisServer(binary=BINARY, options=security.of_server(port)):
        yield security.url([port])


@pytest.fixture(params=["single", "cluster", "sentinel"])
def mode(request: pytest.FixtureRequest) -> RedisMode:
    mode: RedisMode = request.param
    return mode


@pytest.fixture
def url(mode: RedisMode, server_url: str, cluster_url: str, sentinels_url: str) -> str:
    return {"single": server_url, "cluster": cluster_url, "sentinel": sentinels_url}[mode]


def trusting_nobody(url: str) -> str:
    """The address without the certificate that vouches for it."""
    return re.sub(r"ssl_ca_certs=[^&]*&?", "", url)


@asynccontextmanager
async def client_of(url: str, mode: RedisMode, tls: ssl.SSLContext | None = None) -> AsyncIterator[RedisClient]:
    client = connect(url, mode, tls=tls)
    yield client
    await client.aclose()


async def test_a_token_is_minted_and_redeemed_once(url: str, mode: RedisMode) -> None:
    async with client_of(url, mode) as client:
        token = Token(client, claims())
        token.redemptions = Redemptions(client, ENVIRONMENT)
        await token.mint()
        await token.redeem()
        assert await token.refusal() == "token_used"


async def test_an_order_is_heard(url: str, mode: RedisMode) -> None:
    """The subscription has a connection of its own to make."""
    async with client_of(url, mode) as client, await client.subscription() as subscription, asyncio.timeout(10):
        await subscription.subscribe("airlock:test:orders")
        assert (await subscription.get_message(timeout=5))["type"] == "subscribe"
        publish = "return redis.call('PUBLISH', ARGV[1], ARGV[2])"
        await client.ask(lambda: client.together("key", ("EVAL", publish, 1, "key", "airlock:test:orders", "end")))
        assert (await subscription.get_message(timeout=5))["data"] == b"end"


async def test_a_wrong_password_is_no_answer(url: str, mode: RedisMode, security: Security) -> None:
    async with client_of(url.replace(f":{security.password}@", ":wrong@"), mode) as client:
        assert not await client.answers()


async def test_no_user_is_no_answer(url: str, mode: RedisMode, security: Security) -> None:
    async with client_of(url.replace(f"airlock:{security.password}@", ""), mode) as client:
        assert not await client.answers()


async def test_a_wrong_password_of_the_sentinels_is_no_answer(sentinels_url: str, security: Security) -> None:
    async with client_of(sentinels_url.replace(security.sentinel_password, "wrong"), "sentinel") as client:
        assert not await client.answers()


async def test_a_certificate_that_nobody_vouches_for_is_no_answer(url: str, mode: RedisMode) -> None:
    async with client_of(trusting_nobody(url), mode) as client:
        assert not await client.answers()


async def test_without_tls_there_is_no_answer(url: str, mode: RedisMode) -> None:
    async with client_of(trusting_nobody(url).replace("rediss://", "redis://"), mode) as client:
        assert not await client.answers()


async def test_the_extra_authority_is_trusted_too(url: str, mode: RedisMode, security: Security) -> None:
    async with client_of(trusting_nobody(url), mode, client_context(security.certificate)) as client:
        assert await client.answers()


async def test_a_certificate_for_another_name_is_no_answer(security: Security, tmp_path: Path) -> None:
    certificate, key = ThrowAwayAuthority(tmp_path).issue("redis.example")
    port = free_port()
    files = {"tls-cert-file": str(certificate), "tls-key-file": str(key)}
    with RedisServer(binary=BINARY, options=security.of_server(port) | files):
        for trusted in (security.certificate, tmp_path / "ca.pem"):
            async with client_of(trusting_nobody(security.url([port])), "single", client_context(trusted)) as client:
                assert not await client.answers()


async def test_a_certificate_of_ours_is_shown_where_the_address_names_one(security: Security) -> None:
    port = free_port()
    with RedisServer(binary=BINARY, options=security.of_server(port) | {"tls-auth-clients": "yes"}):
        async with client_of(security.url([port]), "single") as client:
            assert not await client.answers()
        certificate, key = security.authority.issue("airlock")
        own = f"{security.url([port])}&ssl_certfile={certificate}&ssl_keyfile={key}"
        async with client_of(own, "single") as client:
            assert await client.answers()


async def test_many_connections_at_once_share_the_process_context(
    url: str, mode: RedisMode, security: Security, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the trusted certificates takes longer than a connection, and nothing else happens meanwhile."""
    tls = client_context(security.certificate)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("another context is made")

    monkeypatch.setattr(ssl, "create_default_context", refuse)
    async with client_of(trusting_nobody(url), mode, tls) as client:
        script = Script(client, "return redis.call('INCR', KEYS[1])")
        await asyncio.gather(*(script(f"airlock:test:{number % 8}") for number in range(40)))
