from __future__ import annotations

import asyncio
import json
import socket
import time

import pytest
from redis.asyncio import Redis

from local_cloud.redis_server import RedisServer
from service_kit.log import set_up_logging
from service_kit.redis_client import DirectClient, Pseudonyms, RedisUnavailable, Script, connect
from service_kit.redis_pools import DEADLINE_SECONDS, MAX_CONNECTIONS
from tests.tcp_proxy import TcpProxy


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


async def test_what_is_asked_in_one_turn_goes_one_way(redis: Redis, redis_server: str) -> None:
    async with TcpProxy(int(redis_server.rpartition(":")[2].partition("/")[0])) as proxy:
        client = connect(f"redis://127.0.0.1:{proxy.port}")
        script = Script(client, "return redis.call('INCR', KEYS[1])")
        ways: list[bool] = []
        client.on_answer = lambda _seconds, is_answered: ways.append(is_answered)
        asking = [asyncio.create_task(script("airlock:test:count")) for _ in range(50)]
        asking[0].cancel()
        await asyncio.sleep(0)
        asking[1].cancel()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert answers[2:] == list(range(1, 49))  # who gave up before it left asked nothing
        assert ways == [True]
        assert proxy.accepted == 1
        await client.aclose()


async def test_who_gives_up_on_the_way_keeps_no_answer_from_the_others(redis: Redis, redis_server: str) -> None:
    async with TcpProxy(int(redis_server.rpartition(":")[2].partition("/")[0])) as proxy:
        client = connect(f"redis://127.0.0.1:{proxy.port}")
        script = Script(client, "return redis.call('INCR', KEYS[1])")
        await script("airlock:test:count")
        proxy.holds = b"EVALSHA"
        asking = [asyncio.create_task(script("airlock:test:count")) for _ in range(3)]
        await proxy.held.wait()
        asking[0].cancel()
        proxy.release()
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert answers[1:] == [3, 4]  # and what was asked in vain was done
        await client.aclose()


async def test_a_way_with_an_error_among_its_answers_is_a_failed_one(redis: Redis, redis_server: str) -> None:
    client = connect(redis_server)
    await redis.set("airlock:test:text", "x")
    ways: list[bool] = []
    client.on_answer = lambda _seconds, is_answered: ways.append(is_answered)
    script = Script(client, "return redis.call('INCR', KEYS[1])")
    asked = [script(f"airlock:test:{name}") for name in ("text", "count")]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers[0], RedisUnavailable)
    assert answers[1] == 1
    assert ways == [False]
    await client.aclose()


async def test_who_finds_no_connection_idle_gets_the_next_that_is(redis: Redis, redis_server: str) -> None:
    client = connect(redis_server)
    count = Script(client, "return redis.call('INCR', KEYS[1])")
    ways = [count.confirmed(0, "count") for _ in range(6 * MAX_CONNECTIONS)]  # each alone on its connection
    assert sorted(number for number, _ in await asyncio.gather(*ways)) == list(range(1, len(ways) + 1))
    assert (await count.confirmed(0, "count"))[0] == len(ways) + 1
    await client.aclose()


async def test_an_answer_that_comes_too_late_is_nobody_s(redis_server: str) -> None:
    client = connect(redis_server)
    with pytest.raises(RedisUnavailable):
        await client.ask(lambda: client.together("list", ("BLPOP", "list", 0)))
    async with asyncio.timeout(5):
        assert await client.together("key", ("ECHO", "mine")) == [b"mine"]
    await client.aclose()


async def test_cancellation_is_not_an_answer(redis_server: str) -> None:
    client = connect(redis_server)
    never = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(client.ask(lambda: never))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await client.aclose()


async def test_a_task_that_asks_can_be_cancelled_at_any_moment(redis_server: str) -> None:
    """redis-py looks for unread bytes with a timeout of its own, in which a cancellation is lost."""
    client = connect(redis_server)
    asked = asyncio.Event()

    async def keep_asking() -> None:
        while True:
            await client.answers()
            asked.set()

    for _ in range(50):
        asked.clear()
        task = asyncio.create_task(keep_asking())
        await asked.wait()
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=2)
        assert done
    await client.aclose()


async def test_a_slow_server_is_asked_by_one_at_a_time_and_by_everybody_when_it_is_quick_again(
    redis: Redis, redis_server: str
) -> None:
    async with TcpProxy(int(redis_server.rpartition(":")[2].partition("/")[0])) as proxy:
        client = connect(f"redis://127.0.0.1:{proxy.port}")
        script = Script(client, "return redis.call('INCR', KEYS[1])")
        await script("airlock:test:count")
        proxy.delay_seconds = 2
        with pytest.raises(RedisUnavailable, match="TimeoutError"):
            await script("airlock:test:count")
        proxy.most_waiting = 0
        until = time.monotonic() + 2
        while time.monotonic() < until:
            asked_at = time.monotonic()
            outcomes = await asyncio.gather(*(script("airlock:test:count") for _ in range(50)), return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {RedisUnavailable}
            assert time.monotonic() - asked_at < 2 * DEADLINE_SECONDS  # the probe's own, not one after another
        assert 1 <= proxy.most_waiting <= 2  # one probe, and a connection that was not let go of yet
        assert await redis.get("airlock:test:count") == b"2"  # nothing that counts was sent while it was slow

        proxy.delay_seconds = 0
        async with asyncio.timeout(5):
            while not await client.answers():
                await redis.ping()  # a refusal gives nobody else a turn
        await asyncio.gather(*(script("airlock:test:count") for _ in range(50)))
        assert await redis.get("airlock:test:count") == b"52"
        await client.aclose()


async def test_after_a_failover_the_primary_is_looked_for_at_the_same_address(redis_server: str) -> None:
    """As a managed service does it: the address leads elsewhere, and the old connections to what is a replica now."""
    with RedisServer() as old:
        async with TcpProxy(old.port) as proxy, Redis.from_url(old.url) as operator:
            client = connect(f"redis://127.0.0.1:{proxy.port}")
            script = Script(client, "return redis.call('SET', KEYS[1], '1', 'EX', 10)")
            await asyncio.gather(*(script("airlock:test:key") for _ in range(20)))
            await operator.replicaof("127.0.0.1", 1)  # it answers, and takes no writes
            proxy.target = int(redis_server.rpartition(":")[2].partition("/")[0])
            with pytest.raises(RedisUnavailable):
                await script("airlock:test:key")
            await asyncio.gather(*(script("airlock:test:key") for _ in range(20)))
            await client.aclose()


async def test_a_connection_that_is_let_go_while_it_is_asked_is_no_answer(redis_server: str) -> None:
    """As a failover lets go of those that somebody is about to write to."""
    client = connect(redis_server)
    assert isinstance(client, DirectClient)
    try:
        await client.ask(client._ping)

        async def ask_over_a_dead_one() -> None:
            connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
            try:
                connection._writer.close()
                connection._writer = None
                await connection._send_packed_command([b"PING"])
            finally:
                await client.connection_pool.disconnect()

        with pytest.raises(RedisUnavailable, match="ConnectionError"):
            await client.ask(ask_over_a_dead_one)
    finally:
        await client.aclose()


@pytest.mark.usefixtures("logging_as_it_was")
async def test_an_outage_is_logged_and_does_not_flood_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("relay", "INFO")
    client = connect("redis://127.0.0.1:1")
    for _ in range(100):
        assert not await client.answers()
    (line,) = map(json.loads, capfd.readouterr().out.splitlines())
    assert (line["event"], line["level"], line["error"]) == ("redis.down", "error", "ConnectionError")
    await client.aclose()


def test_pseudonyms_are_keyed_and_kept_apart_by_tenant() -> None:
    names = Pseudonyms("a" * 32)
    assert names.of("acme", "bob") == Pseudonyms("a" * 32).of("acme", "bob")
    assert names.of("acme", "bob") != names.of("acm", "ebob")
    assert names.of("acme", "bob") != names.of("other", "bob")
    assert names.of("acme", "bob") != Pseudonyms("b" * 32).of("acme", "bob")
    assert "bob" not in names.of("acme", "bob")
