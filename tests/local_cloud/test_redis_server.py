"""The embedded server and Debian's own behave alike: they start, say what is wrong, and leave nothing behind."""

import importlib.util
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.redis_server import RedisServer, RedisWillNotStart, find_binary

DEBIAN_REDIS = shutil.which("redis-server")

both_binaries = pytest.mark.parametrize(
    "binary",
    [
        pytest.param(None, id="embedded"),
        pytest.param(
            DEBIAN_REDIS and Path(DEBIAN_REDIS),
            id="redis-server",
            marks=pytest.mark.skipif(DEBIAN_REDIS is None, reason="redis-server is not installed"),
        ),
    ],
)


def open_client(url: str) -> Redis:
    return Redis.from_url(url, retry=None, socket_timeout=5)


@both_binaries
def test_server_answers_refuses_to_evict_and_persists_nothing(binary: Path | None) -> None:
    with RedisServer(binary=binary) as server, open_client(server.url) as client:
        assert client.set("name", "value", ex=10)
        assert client.get("name") == b"value"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}


@both_binaries
def test_nothing_answers_once_it_has_stopped(binary: Path | None) -> None:
    with RedisServer(binary=binary) as server:
        pass
    assert server.wait() == 0
    with open_client(server.url) as client, pytest.raises(RedisConnectionError):
        client.ping()


@both_binaries
def test_taken_port_is_named_with_the_reason(binary: Path | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with (
            pytest.raises(RedisWillNotStart, match=rf"(?s)port {port}.*Address already in use"),
            RedisServer(port=port, binary=binary),
        ):
            pass


def test_another_servers_answer_on_the_port_is_not_taken_for_ours() -> None:
    with RedisServer() as first:
        second = RedisServer(port=first.port)
        with pytest.raises(RedisWillNotStart, match="Address already in use"), second:
            pass
        with open_client(first.url) as client:
            assert client.ping()


def test_missing_binary_is_named() -> None:
    with pytest.raises(RedisWillNotStart, match="/nowhere/redis-server is not there"):
        RedisServer(binary=Path("/nowhere/redis-server")).start()


def test_platform_without_a_server_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RedisWillNotStart, match="set REDIS_URL"):
        find_binary()


def test_server_dies_with_a_parent_that_is_killed() -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux ties a child to its parent")
    starter = (
        "from local_cloud.redis_server import RedisServer\n"
        "server = RedisServer(); server.start()\n"
        "print(server._process.pid, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        server = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.send_signal(signal.SIGKILL)
            ended, _, _ = select.select([server], [], [], 10)
            assert ended == [server]
        finally:
            os.close(server)


@pytest.mark.skipif(DEBIAN_REDIS is None, reason="redis-server is not installed")
def test_with_a_certificate_it_speaks_tls_alone(tmp_path: Path) -> None:
    authority = ThrowAwayAuthority(tmp_path)
    with RedisServer(binary=Path(DEBIAN_REDIS or ""), certificate=authority.issue()) as server:
        with Redis.from_url(server.url, retry=None, ssl_ca_certs=str(authority.ca_file)) as trusting:
            assert trusting.ping()
        with (
            Redis.from_url(server.url.replace("rediss", "redis"), retry=None, socket_timeout=5) as plain,
            pytest.raises(RedisConnectionError),
        ):
            plain.ping()
        with open_client(server.url) as stranger, pytest.raises(RedisConnectionError, match="certificate"):
            stranger.ping()
