"""A relay hears orders, also when its subscription broke meanwhile, and nothing it cannot read harms it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from local_cloud.redis_server import RedisServer
from relay import control
from relay.control import heard_orders
from service_kit.redis_client import RedisClient, connect
from service_kit.revocation import Identity, Kind, Revocations, Target, Why


class FakeSession:
    """Writes down why it was ended."""

    def __init__(self, number: int) -> None:
        self.identity = Identity(f"sess_{number}", f"token_{number}", f"subject_{number}", "tenant", 0)
        self.ended: asyncio.Queue[Why] = asyncio.Queue()

    def revoke(self, why: Why) -> None:
        self.ended.put_nowait(why)

    async def why(self) -> Why:
        async with asyncio.timeout(5):
            return await self.ended.get()


async def listened_to(redis: RedisClient) -> None:
    """Wait until Redis has a subscription, which is another connection's doing."""
    async with asyncio.timeout(10):
        while not (await redis.pubsub_numsub("airlock:development:orders"))[0][1]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@asynccontextmanager
async def relay(redis: RedisClient, *sessions: FakeSession) -> AsyncIterator[Revocations]:
    """A listening relay; the subscription stands when the block begins."""
    revocations = Revocations(redis, "development")
    async with heard_orders(redis, revocations, sessions):
        await listened_to(redis)
        yield revocations


async def test_an_order_reaches_whom_it_means_and_nobody_else(redis: RedisClient) -> None:
    one, two = FakeSession(1), FakeSession(2)
    async with relay(redis, one, two) as revocations:
        await revocations.end(Target(Kind.SUBJECT, "subject_1"))
        await revocations.block(Target(Kind.TENANT, "tenant"), 60)
        assert [await one.why(), await one.why(), await two.why()] == [Why.REVOKED, Why.BLOCKED, Why.BLOCKED]
        assert one.ended.empty()
        assert two.ended.empty()


@pytest.mark.parametrize("message", ["", "revoked", "hushed session sess_1 1", "revoked session sess_1 soon"])
async def test_an_unknown_message_is_passed_over(redis: RedisClient, message: str) -> None:
    session = FakeSession(1)
    async with relay(redis, session) as revocations:
        await redis.publish(revocations.channel, message)
        await revocations.end(Target(Kind.SESSION, "sess_1"), Why.REPLAYED)
        assert await session.why() is Why.REPLAYED


async def test_what_was_ordered_while_nobody_listened_is_made_up_for(
    server: RedisServer, redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "AGAIN_SECONDS", 0.2)
    one, two = FakeSession(1), FakeSession(2)
    async with relay(redis, one, two) as revocations:
        # Cut off and told while away, in one step.
        async with Redis.from_url(server.url) as direct, direct.pipeline(transaction=True) as transaction:
            transaction.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            transaction.set("airlock:development:ended:session:sess_1", "1 revoked")
            await transaction.execute()
        assert await one.why() is Why.REVOKED
        await revocations.end(Target(Kind.SESSION, "sess_2"))
        assert await two.why() is Why.REVOKED


async def test_a_redis_that_comes_back_is_listened_to_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "AGAIN_SECONDS", 0.1)
    session = FakeSession(1)
    with RedisServer() as server:
        redis = connect(server.url)
        async with heard_orders(redis, Revocations(redis, "development"), [session]):
            server.stop()
            server.start()
            await listened_to(redis)
            await Revocations(redis, "development").end(Target(Kind.SESSION, "sess_1"))
            assert await session.why() is Why.REVOKED
        await redis.aclose()


async def test_a_bug_does_not_make_the_relay_deaf(redis: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "AGAIN_SECONDS", 0.1)

    class Broken(FakeSession):
        def revoke(self, why: Why) -> None:
            super().revoke(why)
            raise ZeroDivisionError

    broken, well = Broken(1), FakeSession(2)
    async with relay(redis, broken, well) as revocations:
        await revocations.end(Target(Kind.SESSION, "sess_1"))
        await broken.why()
        await revocations.end(Target(Kind.SESSION, "sess_2"))
        assert await well.why() is Why.REVOKED


async def test_listening_leaves_no_task_and_no_connection_behind(server: RedisServer, redis: RedisClient) -> None:
    before = asyncio.all_tasks()
    async with relay(redis, FakeSession(1)):
        pass
    assert asyncio.all_tasks() == before
    assert (await redis.pubsub_numsub("airlock:development:orders"))[0][1] == 0
