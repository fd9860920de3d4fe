"""What tests of both services share: a real Redis, and settings that come from nowhere but the test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from local_cloud.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The URL of a server of our own."""
    with RedisServer() as server:
        yield server.url


@pytest.fixture
async def redis(redis_server: str) -> AsyncIterator[Redis]:
    """A client of the server, emptied."""
    async with Redis.from_url(redis_server) as client:
        await client.flushall()
        yield client


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No setting from this machine: an empty environment, in a folder without ``.env``."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - {"HOME", "PATH", "PYTEST_CURRENT_TEST"}:
        monkeypatch.delenv(name)
    return monkeypatch
