"""Each test runs on the embedded server and, where it is installed, on Debian's own."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from local_cloud.redis_server import RedisServer
from service_kit.redis_client import RedisClient, connect

DEBIAN_REDIS = shutil.which("redis-server")


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(None, id="embedded"),
        pytest.param(
            DEBIAN_REDIS,
            id="redis-server",
            marks=pytest.mark.skipif(DEBIAN_REDIS is None, reason="redis-server is not installed"),
        ),
    ],
)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(binary=request.param and Path(request.param)) as server:
        yield server


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[RedisClient]:
    """A client as the services make it, of an empty server."""
    redis = connect(server.url)
    await redis.flushall()
    yield redis
    await redis.aclose()
