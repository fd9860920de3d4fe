"""Mint rates: never more in any minute than allowed, from however many processes, and longer waits for who insists."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections import Counter
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import pytest

from local_cloud.redis_server import RedisServer
from service_kit.redis_client import RedisClient, RedisUnavailable, connect
from token_service.mint_rates import MintRates, Rate, TooFast

LIMIT = 30
AT_ONCE = 200
PROCESSES = 4
PLENTY = 1_000


def make_rates(redis: RedisClient) -> MintRates:
    return MintRates(redis, "development")


async def rush(rates: MintRates, times: int, of_subject: int, of_tenant: int) -> Counter[str]:
    """Ask so often at once; how many were let through, held back, or got no answer in time on a busy machine."""

    async def mint() -> str:
        try:
            await rates.take_both("alice", of_subject, "acme", of_tenant)
        except TooFast:
            return "held back"
        except RedisUnavailable:
            return "unanswered"
        return "let through"

    return Counter(await asyncio.gather(*(mint() for _ in range(times))))


def rush_in_process(
    url: str, all_ready: Barrier, outcomes: Queue[Counter[str]], of_subject: int, of_tenant: int
) -> None:
    async def main() -> Counter[str]:
        redis = connect(url)
        await redis.ping()
        all_ready.wait(60)
        try:
            return await rush(make_rates(redis), AT_ONCE // PROCESSES, of_subject, of_tenant)
        finally:
            await redis.aclose()

    outcomes.put(asyncio.run(main()))


@pytest.mark.parametrize(
    ("of_subject", "of_tenant"), [(LIMIT, PLENTY), (PLENTY, LIMIT), (LIMIT, LIMIT), (LIMIT, LIMIT + 1)]
)
async def test_of_200_mints_at_once_in_four_processes_exactly_as_many_as_allowed_pass(
    redis: RedisClient, server: RedisServer, of_subject: int, of_tenant: int
) -> None:
    context = multiprocessing.get_context("spawn")
    all_ready, outcomes = context.Barrier(PROCESSES), context.Queue()
    arguments = (server.url, all_ready, outcomes, of_subject, of_tenant)
    processes = [context.Process(target=rush_in_process, args=arguments) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    outcome = sum([await asyncio.to_thread(outcomes.get, True, 90) for _ in processes], Counter[str]())
    for process in processes:
        await asyncio.to_thread(process.join)
    assert outcome.total() == AT_ONCE
    assert LIMIT - outcome["unanswered"] <= outcome["let through"] <= LIMIT
    assert outcome["held back"]
    rates = make_rates(redis)
    counted = {(await rates.rate(*holder)).used for holder in (("subject", "alice"), ("tenant", "acme"))}
    assert counted == {LIMIT} or outcome["unanswered"]


async def test_an_address_is_held_to_its_limit_in_a_race(redis: RedisClient) -> None:
    every = [make_rates(redis), make_rates(redis)]
    asked = await asyncio.gather(
        *(every[number % 2].take("address", "somewhere", LIMIT) for number in range(AT_ONCE)), return_exceptions=True
    )
    outcome = Counter(type(answer) for answer in asked)
    assert outcome.keys() <= {bytes, TooFast, RedisUnavailable}
    assert LIMIT - outcome[RedisUnavailable] <= outcome[bytes] <= LIMIT


async def test_what_the_tenant_refuses_is_not_counted_for_the_subject(redis: RedisClient) -> None:
    rates = make_rates(redis)
    for _ in range(2):
        await rates.take_both("alice", 5, "acme", 2)
    with pytest.raises(TooFast) as caught:
        await rates.take_both("bob", 5, "acme", 2)
    assert caught.value.scope == "tenant"
    assert await rates.rate("subject", "bob") == Rate(0, 0)
    assert (await rates.rate("subject", "alice")).used == 2


async def test_a_tenant_s_limit_is_no_other_tenant_s_and_no_other_subject_s(redis: RedisClient) -> None:
    rates = make_rates(redis)
    await rates.take_both("alice", 1, "acme", 1)
    with pytest.raises(TooFast):
        await rates.take_both("alice", 1, "acme", 1)
    await rates.take_both("carol", 1, "umbrella", 1)


async def age(redis: RedisClient, key: str, milliseconds: int) -> None:
    """Let what is noted have happened so much earlier."""
    noted = await redis.lrange(key, 0, -1)
    for number, at in enumerate(noted):
        await redis.lset(key, number, str(int(at) - milliseconds))


async def test_the_window_slides(redis: RedisClient) -> None:
    """None of 60 s holds more than the limit, wherever it begins."""
    rates = make_rates(redis)
    key = rates.key("subject", "alice")
    for _ in range(2):
        await rates.take("subject", "alice", 3)
    await age(redis, key, 50_000)
    await rates.take("subject", "alice", 3)
    with pytest.raises(TooFast):
        await rates.take("subject", "alice", 3)
    await age(redis, key, 10_000)
    assert (await rates.rate("subject", "alice")).used == 1
    for _ in range(2):
        await rates.take("subject", "alice", 3)
    with pytest.raises(TooFast):
        await rates.take("subject", "alice", 3)


async def test_who_waits_as_told_is_let_through(redis: RedisClient) -> None:
    rates = make_rates(redis)
    await rates.take("subject", "alice", 1)
    with pytest.raises(TooFast) as caught:
        await rates.take("subject", "alice", 1)
    assert caught.value.retry_after == 60
    await age(redis, rates.key("subject", "alice"), 60_000)
    await rates.take("subject", "alice", 1)


async def test_the_rate_tells_when_nothing_is_counted_any_more(redis: RedisClient) -> None:
    rates = make_rates(redis)
    assert await rates.rate("subject", "alice") == Rate(0, 0)
    await rates.take("subject", "alice", 3)
    await age(redis, rates.key("subject", "alice"), 20_000)
    rate = await rates.rate("subject", "alice")
    assert rate.used == 1
    assert 35 < rate.resets_in_seconds <= 40
    await rates.take("subject", "alice", 3)
    assert 55 < (await rates.rate("subject", "alice")).resets_in_seconds <= 60


async def test_each_further_breach_is_told_to_wait_longer_and_forgotten_after_an_hour(redis: RedisClient) -> None:
    rates = make_rates(redis)
    await rates.take("subject", "alice", 1)
    waits = []
    for _ in range(6):
        with pytest.raises(TooFast) as caught:
            await rates.take("subject", "alice", 1)
        waits.append(caught.value.retry_after)
    assert waits == [60, 120, 240, 480, 900, 900]
    (breaches,) = [key async for key in redis.scan_iter("*:breaches:*")]
    assert 3_590 < await redis.ttl(breaches) <= 3_600
    await redis.delete(breaches)  # as when the hour is over
    with pytest.raises(TooFast) as caught:
        await rates.take("subject", "alice", 1)
    assert caught.value.retry_after == 60


async def test_a_full_tenant_s_subjects_do_not_pay_for_each_other_s_breaches(redis: RedisClient) -> None:
    rates = make_rates(redis)
    await rates.take_both("alice", 9, "acme", 1)
    for subject, wait in (("alice", 60), ("alice", 120), ("bob", 60)):
        with pytest.raises(TooFast) as caught:
            await rates.take_both(subject, 9, "acme", 1)
        assert (caught.value.scope, caught.value.retry_after) == ("tenant", wait)


async def test_every_key_runs_out_by_itself(redis: RedisClient) -> None:
    rates = make_rates(redis)
    await rates.take_both("alice", 1, "acme", 9)
    await rates.take("address", "somewhere", 1)
    with pytest.raises(TooFast):
        await rates.take_both("alice", 1, "acme", 9)
    keys = [key.decode() async for key in redis.scan_iter()]
    assert len(keys) == 4
    for key in keys:
        assert 0 < await redis.ttl(key) <= (3_600 if "breaches" in key else 60)


async def test_without_redis_nothing_is_counted_as_let_through() -> None:
    with RedisServer() as gone:
        pass
    redis = connect(gone.url)
    started = time.monotonic()
    with pytest.raises(RedisUnavailable):
        await make_rates(redis).take_both("alice", 1, "acme", 1)
    assert time.monotonic() - started < 1.5
    await redis.aclose()
