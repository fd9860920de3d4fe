from __future__ import annotations

import asyncio
import socket
import time

import pytest
from redis.asyncio import Redis

from service_kit.redis_client import Pseudonyms, RedisUnavailable, Script, connect


async def test_ping_and_script_on_a_real_server(redis: Redis, redis_server: str) -> None:
    client = connect(redis_server)
    try:
        assert await client.answers()
        script = Script(client, "return redis.call('SET', KEYS[1], ARGV[1], 'EX', 10)")
        await script("airlock:test:key", b"\xff\0")
        assert await redis.get("airlock:test:key") == b"\xff\0"
        with pytest.raises(RedisUnavailable):
            await Script(client, "return redis.call('NO SUCH COMMAND', KEYS[1])")("key")
    finally:
        await client.aclose()


async def test_nobody_listening_is_unavailable_at_once() -> None:
    client = connect("redis://127.0.0.1:1")
    try:
        assert not await client.answers()
    finally:
        await client.aclose()


async def test_a_silent_server_is_given_up_after_a_second() -> None:
    """It accepts and never answers; the handshake, the command and the pool share the one second."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = connect(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        try:
            assert not await client.answers()
        finally:
            await client.aclose()
        assert time.monotonic() - started < 1.5


async def test_cancellation_is_not_an_answer(redis_server: str) -> None:
    client = connect(redis_server)
    never = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(client.ask(lambda: never))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await client.aclose()


def test_pseudonyms_are_keyed_and_kept_apart_by_tenant() -> None:
    names = Pseudonyms("a" * 32)
    assert names.of("acme", "bob") == Pseudonyms("a" * 32).of("acme", "bob")
    assert names.of("acme", "bob") != names.of("acm", "ebob")
    assert names.of("acme", "bob") != names.of("other", "bob")
    assert names.of("acme", "bob") != Pseudonyms("b" * 32).of("acme", "bob")
    assert "bob" not in names.of("acme", "bob")
