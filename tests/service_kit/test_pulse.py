"""The pulse of a process: how late its event loop is."""

import asyncio
import time

import pytest

from service_kit.pulse import BEAT_SECONDS, Pulse, watch_redis
from service_kit.redis_client import RedisClient, RedisUnavailable, connect
from service_kit.telemetry import Recorder

LAG = "airlock_event_loop_lag_ms"


@pytest.mark.parametrize("phase", [0.2, 0.5, 0.9])
async def test_a_hold_up_is_measured_to_within_a_tenth_whenever_it_begins(phase: float) -> None:
    telemetry = Recorder()
    with Pulse(telemetry).beating():
        await asyncio.sleep(BEAT_SECONDS * (2 + phase))
        telemetry.values.take()
        began = time.perf_counter()
        time.sleep(0.5)  # noqa: ASYNC251 - that is the fault
        held_up = (time.perf_counter() - began) * 1_000
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    largest = telemetry.values.take().timings[LAG, ()].largest
    assert 0.9 * held_up <= largest + 1


async def test_it_looks_at_once_and_beats_no_more_at_the_end() -> None:
    telemetry = Recorder()
    looks: list[int] = []
    with Pulse(telemetry, lambda: looks.append(1)).beating():
        assert looks == [1]
        await asyncio.sleep(3 * BEAT_SECONDS)
    beats = telemetry.values.look().timings[LAG, ()].count
    assert beats >= 1
    await asyncio.sleep(3 * BEAT_SECONDS)
    assert telemetry.values.look().timings[LAG, ()].count == beats


async def test_what_redis_answers_and_what_it_does_not_is_told(redis: RedisClient) -> None:
    telemetry = Recorder()
    watch_redis(redis, telemetry)
    assert await redis.answers()
    look = telemetry.values.look()
    assert look.gauges["airlock_redis_up", ()] == 1
    assert look.timings["airlock_redis_ms", ("ok",)].count == 1

    away = connect("redis://127.0.0.1:1/0")
    watch_redis(away, telemetry)
    with pytest.raises(RedisUnavailable):
        await away.ask(lambda: away.get("x"))
    await away.aclose()
    look = telemetry.values.look()
    assert look.gauges["airlock_redis_up", ()] == 0
    assert look.timings["airlock_redis_ms", ("failed",)].count == 1
