"""A relay hears orders, also when its subscription broke meanwhile, and nothing it cannot read harms it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog
from redis.asyncio import Redis

from local_cloud.redis_server import RedisServer
from relay import control
from relay.control import heard_orders
from service_kit.redis_client import RedisClient, connect
from service_kit.revocation import Identity, Kind, Revocations, Target, Why
from tests.redis_cluster import client_of
from tests.tcp_proxy import TcpProxy


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


async def test_listening_may_be_the_first_that_a_relay_asks_of_redis(server: RedisServer, redis: RedisClient) -> None:
    fresh, session = client_of(server), FakeSession(1)
    async with heard_orders(fresh, Revocations(fresh, "development"), [session]):
        await listened_to(redis)
        await Revocations(redis, "development").end(Target(Kind.SESSION, "sess_1"))
        assert await session.why() is Why.REVOKED
    await fresh.aclose()


async def test_a_server_that_hangs_is_left_for_the_one_that_took_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """It breaks no connection; it only says nothing any more."""
    monkeypatch.setattr(control, "AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(control, "QUIET_SECONDS", 0.2)
    session = FakeSession(1)
    with RedisServer() as hanging, RedisServer() as other:
        async with TcpProxy(hanging.port) as proxy:
            redis, direct = connect(f"redis://127.0.0.1:{proxy.port}"), connect(other.url)
            async with heard_orders(redis, Revocations(redis, "development"), [session]):
                before = connect(hanging.url)
                await listened_to(before)
                await before.aclose()
                os.kill(hanging.pid, signal.SIGSTOP)
                proxy.target = other.port
                await listened_to(direct)
                await Revocations(direct, "development").end(Target(Kind.SESSION, "sess_1"))
                assert await session.why() is Why.REVOKED
            await redis.aclose()
            await direct.aclose()
            os.kill(hanging.pid, signal.SIGCONT)


async def test_silence_alone_breaks_no_subscription(redis: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "QUIET_SECONDS", 0.05)
    session = FakeSession(1)
    with structlog.testing.capture_logs() as logs:
        async with relay(redis, session) as revocations:
            await asyncio.sleep(0.5)  # silence is what is tested
            await revocations.end(Target(Kind.SESSION, "sess_1"))
            assert await session.why() is Why.REVOKED
    assert logs == []


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
