"""Markers and orders on real servers: whom they hit, whom they spare, and how long they last."""

import asyncio
from dataclasses import replace

import pytest
from redis import Redis

from local_cloud.ports import free_port
from local_cloud.redis_server import RedisServer
from service_kit.redis_address import RedisMode
from service_kit.redis_client import RedisClient, RedisUnavailable, connect
from service_kit.revocation import END_SECONDS, Identity, Kind, Order, Revocations, Target, Why, read_order
from tests.redis_cluster import ClusterNode

NOBODY = Identity("sess_0", "token_0", "subject_0", "tenant_0", 0)
SOMEBODY = Identity("sess_1", "token_1", "subject_1", "tenant_1", 0)
TARGETS = list(SOMEBODY.targets())
BLOCKABLE = [target for target in TARGETS if target.kind in (Kind.SUBJECT, Kind.TENANT)]


async def now_ms(redis: RedisClient) -> int:
    seconds, microseconds = await redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


@pytest.fixture
def revocations(redis: RedisClient) -> Revocations:
    return Revocations(redis, "development")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.kind)
@pytest.mark.parametrize("why", [Why.REVOKED, Why.REPLAYED])
async def test_an_end_hits_what_was_minted_before_it_and_nobody_else(
    redis: RedisClient, revocations: Revocations, target: Target, why: Why
) -> None:
    before = replace(SOMEBODY, minted_ms=await now_ms(redis) - 10)
    await revocations.end(target, why)
    assert await revocations.find(before) is why
    assert await revocations.find(replace(before, minted_ms=await now_ms(redis) + 1)) is None
    assert await revocations.find(NOBODY) is None


@pytest.mark.parametrize("target", BLOCKABLE, ids=lambda target: target.kind)
async def test_a_block_hits_everything_until_it_is_lifted(
    redis: RedisClient, revocations: Revocations, target: Target
) -> None:
    await revocations.block(target, 60)
    for minted_ms in (0, await now_ms(redis) + 60_000):
        assert await revocations.find(replace(SOMEBODY, minted_ms=minted_ms)) is Why.BLOCKED
    assert await revocations.is_blocked(*BLOCKABLE)
    assert await revocations.find(NOBODY) is None
    assert await revocations.unblock(target)
    assert not await revocations.unblock(target)
    assert not await revocations.is_blocked(*BLOCKABLE)
    assert await revocations.find(SOMEBODY) is None


async def test_markers_run_out(redis: RedisClient, revocations: Revocations) -> None:
    await revocations.end(TARGETS[0])
    (key,) = await redis.keys("*")
    assert 0 <= END_SECONDS * 1000 - await redis.pttl(key) < 5_000
    await redis.flushall()
    await revocations.block(BLOCKABLE[0], 7)
    keys = await redis.keys("*")
    assert len(keys) == 2
    for key in keys:
        assert 0 <= 7_000 - await redis.pttl(key) < 5_000


async def test_a_block_is_stronger_than_an_end(revocations: Revocations) -> None:
    await revocations.end(TARGETS[0])
    await revocations.block(BLOCKABLE[0], 60)
    assert await revocations.find(SOMEBODY) is Why.BLOCKED


async def test_revoking_a_token_that_has_no_record_makes_none_but_ends_its_session(
    redis: RedisClient, revocations: Revocations
) -> None:
    assert not await revocations.revoke_token("token_1")
    assert await redis.keys("*:token:token_1") == [b"airlock:development:ended:token:token_1"]
    assert await revocations.find(SOMEBODY) is Why.REVOKED


async def test_one_environment_s_orders_are_none_in_another(redis: RedisClient, revocations: Revocations) -> None:
    await revocations.end(TARGETS[0])
    await revocations.block(BLOCKABLE[0], 60)
    assert await Revocations(redis, "staging").find(SOMEBODY) is None


async def test_every_marker_is_published_as_an_order(redis: RedisClient, revocations: Revocations) -> None:
    async with redis.pubsub() as subscription, asyncio.timeout(10):
        await subscription.subscribe(revocations.channel)
        assert (await subscription.get_message(timeout=5))["type"] == "subscribe"
        await revocations.end(TARGETS[0], Why.REPLAYED)
        await revocations.revoke_token("token_1")
        await revocations.block(TARGETS[3], 60)
        orders = [read_order((await subscription.get_message(timeout=5))["data"]) for _ in range(3)]
    expected = [(Why.REPLAYED, TARGETS[0]), (Why.REVOKED, TARGETS[1]), (Why.BLOCKED, TARGETS[3])]
    assert [(order.why, order.target) for order in orders] == expected
    minted = await now_ms(redis) - 5_000
    assert all(replace(SOMEBODY, minted_ms=minted).is_meant_by(order) for order in orders)


async def test_without_redis_nobody_is_told_anything() -> None:
    redis = connect(f"redis://127.0.0.1:{free_port()}")
    revocations = Revocations(redis, "development")
    for question in (
        revocations.find(SOMEBODY),
        revocations.end(TARGETS[0]),
        revocations.block(TARGETS[3], 1),
        revocations.unblock(TARGETS[3]),
        revocations.is_blocked(TARGETS[3]),
    ):
        with pytest.raises(RedisUnavailable):
            await question
    await redis.aclose()


@pytest.mark.parametrize("message", [b"", b"revoked session", b"hushed session x 1", b"revoked all x 1", b"\xff a b 1"])
def test_what_is_no_order_is_no_order(message: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever step it fails at
        read_order(message)


@pytest.mark.parametrize(
    ("why", "minted_ms", "is_meant"),
    [
        (Why.REVOKED, 99, True),
        (Why.REVOKED, 100, False),
        (Why.REPLAYED, 99, True),
        (Why.REPLAYED, 100, False),
        (Why.BLOCKED, 99, True),
        (Why.BLOCKED, 100, True),
    ],
)
def test_an_end_spares_what_was_minted_later_and_a_block_nobody(why: Why, minted_ms: int, is_meant: bool) -> None:
    for target in TARGETS:
        assert replace(SOMEBODY, minted_ms=minted_ms).is_meant_by(Order(why, target, 100)) is is_meant
        assert not replace(NOBODY, minted_ms=minted_ms).is_meant_by(Order(why, target, 100))


async def test_a_block_that_redis_would_not_list_is_not_in_force(server: RedisServer, revocations: Revocations) -> None:
    """So no operator overlooks one: of its two steps Redis refuses the list's here."""
    mode: RedisMode = "cluster" if isinstance(server, ClusterNode) else "single"
    listless = connect(server.url.replace("://", "://listless:any@"), mode)
    with Redis(port=server.port) as administrator:
        administrator.acl_setuser(
            "listless", enabled=True, nopass=True, keys="*", channels="*", categories=["+@all"], commands=["-zadd"]
        )
        with pytest.raises(RedisUnavailable):
            await Revocations(listless, "development").block(BLOCKABLE[0], 60)
        await listless.aclose()
        administrator.acl_deluser("listless")
    assert not await revocations.is_blocked(BLOCKABLE[0])
    assert await revocations.blocks() == []


async def test_what_was_lifted_is_not_listed_and_can_be_blocked_again(revocations: Revocations) -> None:
    target = BLOCKABLE[0]
    for seconds in (60, 30):
        await revocations.block(target, seconds, "acme")
        assert [(block.target, block.name) for block in await revocations.blocks()] == [(target, "acme")]
        assert await revocations.unblock(target)
        assert await revocations.blocks() == []
