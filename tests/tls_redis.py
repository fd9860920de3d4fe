"""Debian's Redis over TLS, in each mode: alone, as a cluster of one node, and under a sentinel."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.leash import leashed
from local_cloud.ports import free_port
from local_cloud.redis_server import RedisServer
from service_kit.redis_address import RedisMode
from tests.redis_cluster import ClusterNode

REDIS_SERVER = shutil.which("redis-server")
needs_redis_server = pytest.mark.skipif(REDIS_SERVER is None, reason="redis-server, which alone has TLS, is missing")
SERVICE = "mymaster"
READY_SECONDS = 20
Options = dict[str, str]


def tls_options(authority: ThrowAwayAuthority, *names: str) -> Options:
    """What a server needs to listen on one more port, with TLS and a certificate for these names."""
    certificate, key = authority.issue(*names)
    files = {"tls-cert-file": certificate, "tls-key-file": key, "tls-ca-cert-file": authority.ca_file}
    # With the last two, sentinels speak TLS to the server and cluster nodes name the port that has it.
    return {name: str(path) for name, path in files.items()} | {
        "tls-port": str(free_port()),
        "tls-auth-clients": "no",
        "tls-replication": "yes",
        "tls-cluster": "yes",
    }


@contextmanager
def tls_redis(mode: RedisMode, authority: ThrowAwayAuthority, **more: str) -> Iterator[tuple[str, RedisServer]]:
    """The ``REDIS_URL`` for the mode, and the server, whose plain port is for the test alone."""
    assert REDIS_SERVER is not None
    binary = Path(REDIS_SERVER)
    options = tls_options(authority) | {name.replace("_", "-"): value for name, value in more.items()}
    server = ClusterNode(binary) if mode == "cluster" else RedisServer(binary=binary)
    server.options |= options
    with server, contextlib.ExitStack() as more_servers:
        port = int(options["tls-port"])
        if mode == "sentinel":
            port = more_servers.enter_context(_sentinel(binary, port, tls_options(authority), authority))
        query = f"/0?service={SERVICE}" if mode == "sentinel" else ""
        yield f"rediss://127.0.0.1:{port}{query}", server


@contextmanager
def _sentinel(binary: Path, primary: int, options: Options, authority: ThrowAwayAuthority) -> Iterator[int]:
    lines = [f"{name} {value}" for name, value in ({"port": "0", "bind": "127.0.0.1"} | options).items()]
    lines.append(f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 1")
    file = authority.ca_file.parent / "sentinel.conf"
    file.write_text("\n".join([*lines, f"dir {file.parent}", f"logfile {file.parent}/sentinel.log", ""]))
    process = subprocess.Popen(leashed([str(binary), str(file), "--sentinel"]))
    port = int(options["tls-port"])
    try:
        until = time.monotonic() + READY_SECONDS
        with Redis(port=port, ssl=True, ssl_ca_certs=str(authority.ca_file)) as redis:
            while True:
                with contextlib.suppress(RedisError, OSError):
                    if redis.execute_command("SENTINEL", "get-master-addr-by-name", SERVICE):
                        break
                assert time.monotonic() < until, "the sentinel does not come up"
                time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()
