"""Each test runs on the embedded server and, where it is installed, on Debian's own, alone and as a cluster."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from local_cloud.redis_server import RedisServer
from service_kit import redis_asking, redis_pools
from service_kit.redis_client import RedisClient
from tests.redis_cluster import ClusterNode, client_of

DEBIAN_REDIS = shutil.which("redis-server")
NEEDS_DEBIAN_REDIS = pytest.mark.skipif(DEBIAN_REDIS is None, reason="redis-server is not installed")


@pytest.fixture(
    scope="session",
    params=[
        pytest.param((RedisServer, None), id="embedded"),
        pytest.param((RedisServer, DEBIAN_REDIS), id="redis-server", marks=NEEDS_DEBIAN_REDIS),
        pytest.param((ClusterNode, DEBIAN_REDIS), id="cluster", marks=NEEDS_DEBIAN_REDIS),
    ],
)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    kind, binary = request.param
    with kind(binary=binary and Path(binary)) as server:
        yield server


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may need longer for an answer than a service waits for it."""
    for module in (redis_asking, redis_pools):
        monkeypatch.setattr(module, "DEADLINE_SECONDS", 20.0)


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[RedisClient]:
    """A client as the services make it, of an empty server."""
    redis = client_of(server)
    await redis.flushall()
    yield redis
    await redis.aclose()
