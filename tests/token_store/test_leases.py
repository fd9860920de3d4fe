"""Leases: never more live sessions than allowed, however many ask at once, and none held by the dead."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError

import relay.leases
from local_cloud.redis_server import RedisServer
from relay.leases import Leases, SessionCeilings
from service_kit.errors import Refusal
from service_kit.redis_asking import Command, Question
from service_kit.redis_client import DirectClient, Pseudonyms, RedisClient, RedisUnavailable, connect
from service_kit.session_token import Claims
from tests.examples import KEY, claims
from tests.redis_cluster import client_of
from tests.tcp_proxy import TcpProxy

PER_TENANT, PER_SUBJECT, PER_ADDRESS = 1_000, 7, 5
AT_ONCE = 200


def make_leases(redis: RedisClient, *, per_tenant: int = PER_TENANT) -> Leases:
    ceilings = SessionCeilings(per_tenant=per_tenant, per_subject=PER_SUBJECT, per_address=PER_ADDRESS)
    return Leases(redis, "development", Pseudonyms(KEY), ceilings)


async def held(redis: RedisClient, leases: Leases, whose: Claims) -> list[set[str]]:
    """The sessions in each of the slots: the tenant's, the subject's."""
    found: list[list[Any]] = [await redis.zrange(slot.key, 0, -1) for slot in leases.slots(whose)]
    return [{member.decode() for member in members} for members in found]


async def rush(redis: RedisClient, relays: list[Leases], whose: Claims) -> int:
    """Let 200 sessions ask at once; how many held a lease at the same time. All are freed again."""
    holding = 0
    codes: set[str] = set()
    all_asked, release = asyncio.Barrier(AT_ONCE + 1), asyncio.Event()

    async def session(number: int) -> None:
        nonlocal holding
        async with contextlib.AsyncExitStack() as lease:
            try:
                await lease.enter_async_context(relays[number % len(relays)].hold(whose, f"sess_{number}"))
                holding += 1
            except Refusal as refusal:
                codes.add(refusal.code)
            await all_asked.wait()
            await release.wait()

    sessions = [asyncio.create_task(session(number)) for number in range(AT_ONCE)]
    async with asyncio.timeout(20):
        await all_asked.wait()
        for slot in await held(redis, relays[0], whose):
            assert len(slot) == holding  # who was refused holds nothing
        release.set()
        await asyncio.gather(*sessions)
    assert codes == {"too_many_sessions"}
    return holding


async def test_a_session_holds_both_slots_and_frees_them(redis: RedisClient) -> None:
    leases, whose = make_leases(redis), claims()
    async with leases.hold(whose, "sess_1"):
        assert await held(redis, leases, whose) == [{"sess_1"}, {"sess_1"}]
        for slot in leases.slots(whose):
            assert 29_000 < await redis.pttl(slot.key) <= 30_000
    assert await redis.dbsize() == 0


@pytest.mark.parametrize(
    ("whose", "ceiling"),
    [
        pytest.param(claims(), PER_SUBJECT, id="subject"),
        pytest.param(claims(anonymous=True), PER_ADDRESS, id="address"),
        pytest.param(claims(max_sessions_per_subject=11), 11, id="key"),
    ],
)
@pytest.mark.usefixtures("unhurried")
async def test_of_200_sessions_at_once_over_two_relays_exactly_as_many_as_allowed_get_a_lease(
    server: RedisServer, redis: RedisClient, whose: Claims, ceiling: int
) -> None:
    other = client_of(server)
    for _ in range(3):
        assert await rush(redis, [make_leases(redis), make_leases(other)], whose) == ceiling
        assert await redis.dbsize() == 0
    await other.aclose()


@pytest.mark.usefixtures("unhurried")
async def test_when_both_limits_are_fought_over_neither_is_overshot(server: RedisServer, redis: RedisClient) -> None:
    other = client_of(server)
    relays = [make_leases(redis, per_tenant=9), make_leases(other, per_tenant=9)]
    for _ in range(3):
        assert 1 <= await rush(redis, relays, claims()) <= PER_SUBJECT
        assert await redis.dbsize() == 0
    await other.aclose()


async def test_a_session_refused_for_its_subject_gives_its_tenant_s_slot_back(redis: RedisClient) -> None:
    leases, whose = make_leases(redis), claims()
    async with contextlib.AsyncExitStack() as others:
        for number in range(PER_SUBJECT):
            await others.enter_async_context(leases.hold(whose, f"sess_{number}"))
        with pytest.raises(Refusal):
            await others.enter_async_context(leases.hold(whose, "sess_late"))
        tenant, _ = await held(redis, leases, whose)
        assert len(tenant) == PER_SUBJECT
        await others.enter_async_context(leases.hold(claims(subject="somebody else"), "sess_else"))


async def test_equal_subjects_of_two_tenants_share_nothing(redis: RedisClient) -> None:
    leases = make_leases(redis, per_tenant=1)
    async with (
        leases.hold(claims(tenant="a", subject="bc"), "sess_1"),
        leases.hold(claims(tenant="ab", subject="c"), "s2"),
    ):
        assert await redis.dbsize() == 4


async def test_a_dead_relay_s_lease_makes_room_when_it_runs_out(redis: RedisClient) -> None:
    leases, whose = make_leases(redis, per_tenant=1), claims()
    tenant, _ = leases.slots(whose)
    now_ms = time.time() * 1_000
    await redis.zadd(tenant.key, {"sess_dead": now_ms + 60_000})
    with pytest.raises(Refusal):
        await leases.hold(whose, "sess_1").__aenter__()
    await redis.zadd(tenant.key, {"sess_dead": now_ms - 1})
    async with leases.hold(whose, "sess_1"):
        assert await held(redis, leases, whose) == [{"sess_1"}, {"sess_1"}]


async def test_a_lease_is_renewed_and_rebuilt_when_redis_lost_it(
    redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay.leases, "RENEW_SECONDS", 0.02)
    holder, whose = make_leases(redis), claims()
    async with holder.hold(whose, "sess_1") as (lost, _):
        first = await run_out(redis, holder, whose)
        await until_true(lambda: renewed_since(redis, holder, whose, first))
        await redis.flushall()
        await until_true(lambda: rebuilt(redis, holder, whose))
        assert not lost.done()
    assert await redis.dbsize() == 0


async def test_a_full_memory_ends_no_live_session(redis: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.leases, "RENEW_SECONDS", 0.02)
    holder, whose = make_leases(redis), claims()
    try:
        async with holder.hold(whose, "sess_1"):
            await redis.config_set("maxmemory", "1")
            with pytest.raises(OutOfMemoryError):
                await redis.set("airlock:test", "1")
            before = await run_out(redis, holder, whose)
            await until_true(lambda: renewed_since(redis, holder, whose, before))
    finally:
        await redis.config_set("maxmemory", "0")


async def run_out(redis: RedisClient, holder: Leases, whose: Claims) -> list[float]:
    """When each slot of the session runs out, in milliseconds; 0 for one that it does not hold."""
    return [await redis.zscore(slot.key, "sess_1") or 0.0 for slot in holder.slots(whose)]


async def renewed_since(redis: RedisClient, holder: Leases, whose: Claims, before: list[float]) -> bool:
    return all(now > then for now, then in zip(await run_out(redis, holder, whose), before, strict=True))


async def rebuilt(redis: RedisClient, holder: Leases, whose: Claims) -> bool:
    return await held(redis, holder, whose) == [{"sess_1"}, {"sess_1"}]


async def test_a_lease_that_cannot_be_renewed_is_lost_when_it_runs_out_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay.leases, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(relay.leases, "LEASE_SECONDS", 1)
    with RedisServer() as server:
        redis = connect(server.url)
        loop = asyncio.get_running_loop()
        async with make_leases(redis).hold(claims(), "sess_1") as (lost, _):
            held_at = loop.time()
            server.stop()
            await asyncio.wait_for(asyncio.shield(lost), 5)
            assert 1 <= loop.time() - held_at < 2
        await redis.aclose()


async def test_what_a_slow_redis_did_not_hear_of_is_freed_as_soon_as_it_is_asked_again(redis_server: str) -> None:
    """And not only when the lease has run out, which takes half a minute."""
    whose = claims(subject="of a slow Redis")
    direct = connect(redis_server)
    async with TcpProxy(int(redis_server.rpartition(":")[2].partition("/")[0])) as proxy:
        through = connect(f"redis://127.0.0.1:{proxy.port}")
        holder = make_leases(through)
        async with holder.hold(whose, "sess_1"):
            proxy.delay_seconds = 2
            assert not await through.answers()  # so nobody is asked for a while
        assert await held(direct, holder, whose) == [{"sess_1"}, {"sess_1"}]
        proxy.delay_seconds = 0
        async with asyncio.timeout(relay.leases.LEASE_SECONDS / 3):
            while any(await held(direct, holder, whose)):
                pass
            await asyncio.gather(*holder._freeing)
        assert not holder._freeing
        await through.aclose()
    await direct.aclose()


async def test_freeing_goes_on_until_the_lease_has_run_out_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.leases, "LEASE_SECONDS", 2)
    monkeypatch.setattr(relay.leases, "RENEW_SECONDS", 60)
    with RedisServer() as server:
        redis = connect(server.url)
        holder = make_leases(redis)
        for ends_by in ("itself", "its relay's end"):
            async with holder.hold(claims(), "sess_1"):
                server.stop()
            (freeing,) = holder._freeing
            if ends_by == "itself":
                await asyncio.wait_for(asyncio.shield(freeing), 10)
            else:
                async with asyncio.timeout(1):
                    await holder.close()
            assert freeing.done()
            server.start()
            await until_true(redis.answers)
        await redis.aclose()


async def test_without_redis_no_lease_is_given() -> None:
    with RedisServer() as gone:
        pass
    redis = connect(gone.url)
    with pytest.raises(Refusal) as caught:
        await make_leases(redis).hold(claims(), "sess_1").__aenter__()
    assert caught.value.code == "unavailable"
    await redis.aclose()


async def until_true(ask: Any) -> None:
    """Ask Redis until the answer is true: what the lease's own task does cannot be awaited."""
    async with asyncio.timeout(5):
        while not await ask():  # noqa: ASYNC110 - as said
            await asyncio.sleep(0.01)  # a question that is refused gives nobody else a turn


async def test_a_renewal_on_its_way_when_the_session_ends_does_not_take_the_slots_again(
    redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.leases.RENEW_SECONDS", 0)
    holder = make_leases(redis)
    for number in range(200):
        async with holder.hold(claims(), f"sess_{number}"):
            await asyncio.sleep(number % 10 * 0.0003)  # so that it ends at every point of a renewal
    await redis.ping()
    assert await redis.dbsize() == 0


async def test_a_renewal_that_breaks_loses_the_lease(redis: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.leases, "RENEW_SECONDS", 0.01)
    leases = make_leases(redis)

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(leases, "_renew", broken)
    async with leases.hold(claims(), "sess_1") as (lost, _), asyncio.timeout(5):
        await lost


async def test_what_is_asked_along_is_answered_with_the_lease_and_with_each_renewal(
    redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay.leases, "RENEW_SECONDS", 0.1)
    key = "airlock:test:mark"
    heard: asyncio.Queue[list[Any]] = asyncio.Queue()
    lease = make_leases(redis).hold(claims(), "sess_1", heard.put_nowait, along=lambda: [Question(key, ("GET", key))])
    async with lease as (_, answers), asyncio.timeout(5):
        assert answers == [None]
        await redis.set(key, "x")
        while await heard.get() != [b"x"]:
            pass


def watched(redis: RedisClient, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many questions each way to Redis carries, from now on."""
    if not isinstance(redis, DirectClient):
        pytest.skip("a cluster's nodes are asked each by itself")
    ways: list[int] = []
    ask = redis._over_one_connection

    async def count(commands: Sequence[Command]) -> list[Any]:
        ways.append(len(commands))
        return await ask(commands)

    monkeypatch.setattr(redis, "_over_one_connection", count)
    return ways


async def test_the_renewals_of_many_go_together(redis: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.leases, "TOGETHER_SECONDS", 0.5)
    monkeypatch.setattr(relay.leases, "RENEW_SECONDS", 0.1)
    renewed: asyncio.Queue[list[Any]] = asyncio.Queue()
    ways = watched(redis, monkeypatch)
    holder, sessions = make_leases(redis, per_tenant=20), [f"sess_{number}" for number in range(20)]
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(20):
        for session in sessions:
            await stack.enter_async_context(holder.hold(claims(subject=session), session, renewed.put_nowait))
        for _ in range(3 * len(sessions)):  # they may begin on both sides of such a moment
            await renewed.get()
    assert max(ways) == 2 * len(sessions)


async def test_what_is_asked_beside_a_renewal_goes_the_same_way(
    redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay.leases, "RENEW_SECONDS", 0.05)
    renewals: asyncio.Queue[list[Any]] = asyncio.Queue()

    async def ask_too() -> None:
        await redis.ask_all(Question("airlock:test:x", ("GET", "airlock:test:x")))

    lease = make_leases(redis).hold(claims(), "sess_1", renewals.put_nowait, beside=lambda: [ask_too()])
    async with lease, asyncio.timeout(5):
        await renewals.get()  # scripts are known from here on
        ways = watched(redis, monkeypatch)
        await renewals.get()
    assert ways[0] == 3


async def test_what_is_asked_beside_a_renewal_may_fail(redis: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.leases, "RENEW_SECONDS", 0.05)
    renewals: asyncio.Queue[list[Any]] = asyncio.Queue()

    async def ask_in_vain() -> None:
        raise RedisUnavailable("this alone")

    lease = make_leases(redis).hold(claims(), "sess_1", renewals.put_nowait, beside=lambda: [ask_in_vain()])
    async with lease as (lost, _), asyncio.timeout(5):
        for _ in range(3):
            await renewals.get()
        assert not lost.done()


async def test_what_breaks_beside_a_renewal_loses_the_lease(
    redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay.leases, "RENEW_SECONDS", 0.01)

    async def broken() -> None:
        raise ZeroDivisionError

    async with make_leases(redis).hold(claims(), "sess_1", beside=lambda: [broken()]) as (lost, _), asyncio.timeout(5):
        await lost


async def test_whoever_is_cut_off_while_a_renewal_is_on_its_way_holds_nothing_any_more(
    redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay.leases, "RENEW_SECONDS", 0.01)
    renewals, goes_on, leave = 0, asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        nonlocal renewals
        renewals += 1
        leave.set()
        await goes_on.wait()

    async def hold() -> None:
        async with make_leases(redis).hold(claims(), "sess_1", beside=lambda: [wait()]):
            await leave.wait()

    before = asyncio.all_tasks()
    holding = asyncio.create_task(hold())
    async with asyncio.timeout(5):
        await leave.wait()
        await asyncio.sleep(0)  # it waits for its renewal
        holding.cancel()
        await asyncio.wait([holding])
        goes_on.set()
        while asyncio.all_tasks() - before:  # noqa: ASYNC110 - the renewal has no event
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)  # ten renewals' time
    assert renewals == 1
    assert await redis.dbsize() == 0
