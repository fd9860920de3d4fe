"""Quotas: what sessions use is in the day's sums once, whatever is lost on the way, and a new day begins at nothing."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from service_kit.quotas import NOTHING, Quotas, Usage, is_used_up
from service_kit.redis_client import RedisClient, RedisUnavailable
from service_kit.revocation import Kind, Target
from service_kit.session_token import Quota

ALICE = Target(Kind.SUBJECT, "0123")


@pytest.fixture
def quotas(redis: RedisClient) -> Quotas:
    return Quotas(redis, "development")


async def add(quotas: Quotas, holder: Target, session_id: str, so_far: Usage, known: Usage, *, is_over: bool) -> Usage:
    """One holder's sums after one session's."""
    return (await quotas.add({holder: known}, session_id, so_far, is_over=is_over))[holder]


async def yesterday_was_the_last_change(redis: RedisClient, quotas: Quotas, holder: Target = ALICE) -> None:
    """Midnight passes, as far as the sums know."""
    await redis.hincrby(quotas.key(holder), "day", -1)


async def test_only_the_difference_is_added(quotas: Quotas) -> None:
    first, second = Usage(1_000, 20, 300), Usage(2_500, 20, 301)
    assert await add(quotas, ALICE, "sess_1", first, NOTHING, is_over=False) == first
    assert await add(quotas, ALICE, "sess_1", second, first, is_over=False) == second
    assert await add(quotas, ALICE, "sess_1", second, second, is_over=True) == second
    assert await quotas.used(ALICE) == second


async def test_sessions_add_up_and_holders_do_not(quotas: Quotas) -> None:
    await add(quotas, ALICE, "sess_1", Usage(1, 2, 3), NOTHING, is_over=True)
    await add(quotas, ALICE, "sess_2", Usage(10, 20, 30), NOTHING, is_over=False)
    await add(quotas, Target(Kind.TENANT, ALICE.id), "sess_2", Usage(500, 0, 0), NOTHING, is_over=False)
    await add(quotas, Target(Kind.SUBJECT, "4567"), "sess_3", Usage(0, 500, 0), NOTHING, is_over=False)
    assert await quotas.used(ALICE) == Usage(11, 22, 33)


async def test_a_repetition_after_a_lost_answer_adds_nothing(quotas: Quotas) -> None:
    await add(quotas, ALICE, "sess_1", Usage(1_000, 20, 300), NOTHING, is_over=False)  # its answer was lost
    assert await add(quotas, ALICE, "sess_1", Usage(1_100, 25, 300), NOTHING, is_over=False) == Usage(1_100, 25, 300)


async def test_an_estimate_that_was_too_high_is_corrected(quotas: Quotas) -> None:
    await add(quotas, ALICE, "sess_1", Usage(1_000, 100, 500), NOTHING, is_over=False)
    assert await add(quotas, ALICE, "sess_1", Usage(2_000, 80, 400), Usage(1_000, 100, 500), is_over=True) == Usage(
        2_000, 80, 400
    )


async def test_no_sum_is_below_nothing(redis: RedisClient, quotas: Quotas) -> None:
    """A correction of yesterday's estimate is no credit for today."""
    known = Usage(1_000, 100, 500)
    await add(quotas, ALICE, "sess_1", known, NOTHING, is_over=False)
    await yesterday_was_the_last_change(redis, quotas)
    assert await add(quotas, ALICE, "sess_1", Usage(1_500, 80, 400), known, is_over=False) == Usage(500, 0, 0)


async def test_midnight_begins_at_nothing_and_a_session_across_it_adds_only_what_is_new(
    redis: RedisClient, quotas: Quotas
) -> None:
    known = Usage(60_000, 1_000, 20_000)
    await add(quotas, ALICE, "sess_1", known, NOTHING, is_over=False)
    await add(quotas, ALICE, "sess_2", Usage(5, 5, 5), NOTHING, is_over=True)
    await yesterday_was_the_last_change(redis, quotas)
    assert await quotas.used(ALICE) == NOTHING
    assert await add(quotas, ALICE, "sess_1", Usage(70_000, 1_100, 20_007), known, is_over=False) == Usage(
        10_000, 100, 7
    )
    assert await quotas.used(ALICE) == Usage(10_000, 100, 7)


async def test_what_redis_lost_is_not_added_again(redis: RedisClient, quotas: Quotas) -> None:
    known = Usage(60_000, 1_000, 20_000)
    await add(quotas, ALICE, "sess_1", known, NOTHING, is_over=False)
    await redis.flushall()
    assert await add(quotas, ALICE, "sess_1", Usage(70_000, 1_000, 20_000), known, is_over=False) == Usage(10_000, 0, 0)


async def test_the_day_is_utc_s_and_the_sums_outlive_it_by_an_hour(redis: RedisClient, quotas: Quotas) -> None:
    await add(quotas, ALICE, "sess_1", Usage(1, 1, 1), NOTHING, is_over=False)
    seconds, _ = await redis.time()
    now = datetime.fromtimestamp(seconds, UTC)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert int(await redis.hget(quotas.key(ALICE), "day") or 0) == (now - epoch).days
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    runs_out = datetime.fromtimestamp(await redis.execute_command("PEXPIRETIME", quotas.key(ALICE)) / 1000, UTC)
    assert runs_out == midnight + timedelta(hours=1)


async def test_a_session_that_is_over_leaves_only_its_sums(redis: RedisClient, quotas: Quotas) -> None:
    await add(quotas, ALICE, "sess_1", Usage(1, 2, 3), NOTHING, is_over=False)
    await add(quotas, ALICE, "sess_1", Usage(1, 2, 3), Usage(1, 2, 3), is_over=True)
    kept = set(await redis.hkeys(quotas.key(ALICE)))
    assert kept == {b"day", b"milliseconds", b"tokens", b"micro_usd"}


async def test_200_sessions_at_once_lose_nothing(quotas: Quotas) -> None:
    """Also where an answer comes too late on a busy machine: the next addition makes up for it."""

    async def session(number: int) -> None:
        known = NOTHING
        for step in range(1, 6):
            so_far = Usage(step * 10, step, step * 3)
            with contextlib.suppress(RedisUnavailable):
                await add(quotas, ALICE, f"sess_{number}", so_far, known, is_over=False)
                known = so_far
        while known != so_far:
            await asyncio.sleep(0)  # a refusal by the breaker gives nobody else a turn
            with contextlib.suppress(RedisUnavailable):
                await add(quotas, ALICE, f"sess_{number}", so_far, known, is_over=False)
                known = so_far

    await asyncio.gather(*(session(number) for number in range(200)))
    assert await quotas.used(ALICE) == Usage(200 * 50, 200 * 5, 200 * 15)


async def test_a_full_memory_makes_nothing_free(redis: RedisClient, quotas: Quotas) -> None:
    await add(quotas, ALICE, "sess_1", Usage(1, 1, 1), NOTHING, is_over=False)
    await redis.config_set("maxmemory", "1")
    try:
        assert await add(quotas, ALICE, "sess_1", Usage(5, 6, 7), Usage(1, 1, 1), is_over=False) == Usage(5, 6, 7)
    finally:
        await redis.config_set("maxmemory", "0")


async def test_sums_stay_exact_when_they_are_large(quotas: Quotas) -> None:
    """A million dollars, and a year of session time."""
    large = Usage(31_536_000_000, 10**12, 10**12)
    await add(quotas, ALICE, "sess_1", large, NOTHING, is_over=False)
    more = Usage(large.milliseconds + 1, large.tokens + 1, large.micro_usd + 1)
    assert await add(quotas, ALICE, "sess_1", more, NOTHING, is_over=False) == more


@pytest.mark.parametrize(
    ("quota", "used", "is_over"),
    [
        (Quota(), Usage(10**12, 10**12, 10**12), False),
        (Quota(seconds=10), Usage(9_999, 10**9, 10**9), False),
        (Quota(seconds=10), Usage(10_000, 0, 0), True),
        (Quota(tokens=10), Usage(10**9, 9, 10**9), False),
        (Quota(tokens=10), Usage(0, 10, 0), True),
        (Quota(micro_usd=10), Usage(10**9, 10**9, 9), False),
        (Quota(micro_usd=10), Usage(0, 0, 10), True),
        (Quota(seconds=10, tokens=10, micro_usd=10), Usage(9_999, 11, 9), True),
    ],
)
def test_a_quota_is_used_up_when_one_of_its_sums_reaches_it(quota: Quota, used: Usage, is_over: bool) -> None:
    assert is_used_up(quota, used) is is_over
