"""Sentinels say where the primary is: asked once for many, believed two of three, and never for a server that hangs."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local_cloud.redis_server import find_binary
from relay.redemption import Redemptions
from service_kit.redis_client import Script, connect
from tests.examples import claims
from tests.sentinel import SERVICE, Sentinels
from tests.tcp_proxy import TcpProxy
from tests.token_store.test_token_states import ENVIRONMENT, Token

COUNT = "return redis.call('INCR', KEYS[1])"


@pytest.fixture
async def sentinels() -> AsyncIterator[Sentinels]:
    async with Sentinels(Path(shutil.which("redis-server") or find_binary()), sentinels=3) as sentinels:
        yield sentinels


async def test_for_many_connections_at_once_the_sentinels_are_asked_once(sentinels: Sentinels) -> None:
    async with TcpProxy(sentinels.ports[0]) as proxy:
        client = connect(f"redis://127.0.0.1:{proxy.port}/0?service={SERVICE}", "sentinel")
        script = Script(client, COUNT)
        proxy.delay_seconds = 0.05
        cancelled = asyncio.create_task(script("airlock:test:count"))
        asked = [asyncio.create_task(script("airlock:test:count")) for _ in range(50)]
        await asyncio.sleep(0)
        cancelled.cancel()  # whoever asked for all may lose interest
        answers = await asyncio.gather(*asked)
        assert len(set(answers)) == len(answers)
        assert proxy.accepted == 1
        await client.aclose()


async def test_a_primary_that_hangs_is_left_though_one_sentinel_is_dead(sentinels: Sentinels) -> None:
    """It breaks no connection. Two of three sentinels replace it; what it knows is worth nothing when it wakes."""
    client = connect(sentinels.url, "sentinel")
    used, unused = Token(client, claims()), Token(client, claims())
    for token in (used, unused):
        token.redemptions = Redemptions(client, ENVIRONMENT)
        await token.mint()
    await used.redeem()
    script = Script(client, COUNT)
    await asyncio.gather(*(script("airlock:test:count") for _ in range(20)))  # connections to lose
    before = await sentinels.settled()
    sentinels.kill_sentinel()
    os.kill(sentinels.servers[before].pid, signal.SIGSTOP)
    try:
        await sentinels.promoted(before)
        async with asyncio.timeout(10):
            while not await client.answers():  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.1)
        answers = await asyncio.gather(*(script("airlock:test:count") for _ in range(20)))
        assert sorted(answers) == list(range(21, 41))
        assert await used.refusal() == "token_used"
        await unused.redeem()
    finally:
        os.kill(sentinels.servers[before].pid, signal.SIGCONT)
    # Clients that ask anew are led to the new one, and it takes no writes any more.
    fresh = connect(sentinels.url, "sentinel")
    assert await Script(fresh, COUNT)("airlock:test:count") == 41
    for each in (client, fresh):
        await each.aclose()
