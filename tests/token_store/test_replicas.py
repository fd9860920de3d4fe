"""``REDIS_WAIT_REPLICAS``: a redemption that the replicas did not confirm admits nobody, and is not taken back."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from local_cloud.redis_server import RedisServer
from relay.redemption import Redemptions
from service_kit import redis_client
from service_kit.errors import Refusal, Retry
from service_kit.redis_client import RedisClient, connect
from tests.examples import claims
from tests.token_store.test_token_states import ENVIRONMENT, S, Token


@pytest.fixture
async def replica(server: RedisServer, redis: RedisClient) -> AsyncIterator[RedisServer]:
    """A replica that has all its primary has."""
    await redis.config_set("repl-diskless-sync-delay", "0")
    with RedisServer(options={"replicaof": f"127.0.0.1 {server.port}"}) as replica:
        await confirming(redis, 1)
        yield replica
    await confirming(redis, 0)


async def confirming(redis: RedisClient, replicas: int) -> None:
    """Wait until so many replicas confirm two writes in a row.

    One says nothing: before a primary's first replica has come there is no offset to reach, and a replica that has
    only begun to copy confirms all that was written until then.
    """
    in_a_row = 0
    async with asyncio.timeout(20):
        while in_a_row < 2:
            async with redis.pipeline(transaction=False) as pipeline:
                pipeline.set("airlock:test:replicas", "1", px=1)
                pipeline.wait(max(replicas, 1), 50)
                in_a_row = in_a_row + 1 if (await pipeline.execute())[1] == replicas else 0
            await asyncio.sleep(0.02)


@contextmanager
def stopped(server: RedisServer) -> Iterator[None]:
    """Its connections stay, and it does nothing."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine's replica may take longer than 100 ms."""
    monkeypatch.setattr(redis_client, "WAIT_MS", 900)


@pytest.fixture
async def token(redis: RedisClient) -> Token:
    token = Token(redis, claims())
    token.redemptions = Redemptions(redis, ENVIRONMENT, wait_replicas=1)
    await token.mint()
    return token


@pytest.mark.usefixtures("patient")
async def test_a_redemption_that_a_replica_confirms_admits_once(
    token: Token, replica: RedisServer, redis: RedisClient
) -> None:
    redemption = await token.redeem()
    assert redemption.claims == token.claims
    copy = connect(replica.url)
    assert await copy.hget(token.key, "state") == b"redeemed"
    await copy.aclose()
    assert await token.refusal() == "token_used"
    assert await token.record() == {"state": "redeemed", "session": S, "replayed": "1"}


@pytest.mark.usefixtures("patient")
async def test_a_script_that_redis_forgot_is_sent_again_and_redeems_once(token: Token, replica: RedisServer) -> None:
    await token.redis.script_flush()
    await token.redeem()
    assert await token.record() == {"state": "redeemed", "session": S}


async def test_without_a_replica_nobody_is_admitted_and_the_token_stays_spent(token: Token) -> None:
    with pytest.raises(Refusal) as caught:
        await token.redeem("sess_other")
    assert (caught.value.code, caught.value.retry) == ("unavailable", Retry.NEW_TOKEN)
    assert await token.record() == {"state": "redeemed", "session": "sess_other"}
    assert await token.refusal() == "token_used"


async def test_a_replica_that_does_not_confirm_in_time_admits_nobody(token: Token, replica: RedisServer) -> None:
    """It is connected, so only a ``WAIT`` over the redemption's own connection can tell."""
    await asyncio.gather(*(token.redis.answers() for _ in range(10)))
    await confirming(token.redis, 1)  # so all that the other connections know of is confirmed
    with stopped(replica):
        asked_at = time.monotonic()
        assert await token.refusal() == "unavailable"
        assert time.monotonic() - asked_at > 0.09
    await confirming(token.redis, 1)
    assert await token.refusal() == "token_used"


async def test_two_must_confirm_where_two_are_wanted(token: Token, replica: RedisServer) -> None:
    token.redemptions = Redemptions(token.redis, ENVIRONMENT, wait_replicas=2)
    assert await token.refusal() == "unavailable"


async def test_a_refusal_needs_no_replica(token: Token) -> None:
    assert await token.refusal(origin="https://evil.example") == "origin_not_allowed"
    assert (await token.record())["state"] == "minted"
