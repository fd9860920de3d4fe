"""What tests of both services share: a real Redis, and settings that come from nowhere but the test."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

import local_cloud.ports
from local_cloud.redis_server import RedisServer
from service_kit.redis_client import RedisClient, connect

# Workers that look for free ports among the same ones sometimes take each other's, so each has its own.
_WORKER, _WORKERS = os.environ.get("PYTEST_XDIST_WORKER", "gw0"), os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")
local_cloud.ports.FREE_PORTS = local_cloud.ports.FREE_PORTS[int(_WORKER.removeprefix("gw")) :: int(_WORKERS)]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The URL of a server of our own."""
    with RedisServer() as server:
        yield server.url


@pytest.fixture
async def redis(redis_server: str) -> AsyncIterator[RedisClient]:
    """A client of the server as the services make it; the server is emptied."""
    client = connect(redis_server)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    """For tests that set logging up: afterwards it is as before, also for the libraries."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No setting from this machine: an empty environment, in a folder without ``.env``."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - {"HOME", "PATH", "PYTEST_CURRENT_TEST"}:
        monkeypatch.delenv(name)
    return monkeypatch
