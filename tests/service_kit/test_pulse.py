"""The pulse of a process: how late its event loop is."""

import asyncio
import time
from pathlib import Path

import pytest

from local_cloud.key_vault import Fault
from service_kit.pulse import BEAT_SECONDS, Pulse, watch_redis, watch_vault
from service_kit.redis_client import RedisClient, RedisUnavailable, connect
from service_kit.telemetry import Recorder
from tests.azure import azure_with
from tests.service_kit.test_vault_secrets import VALUES, token_service_s

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


async def test_each_reading_of_a_secret_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with azure_with(tmp_path, VALUES) as azure:
        for name, value in azure.identity.environment.items():
            monkeypatch.setenv(name, value)
        telemetry, secrets = Recorder(), token_service_s(azure, 3_600)
        watch_vault(secrets, telemetry)
        async with secrets.kept():
            await secrets.arrive()
            read = telemetry.values.look().timings["airlock_vault_ms", ("ok",)]
            assert read.count == len(VALUES)
            assert read.sum > 0
            azure.vault.faults.append(Fault("unavailable"))
            await secrets.reread("redis-url")
        assert telemetry.values.look().timings["airlock_vault_ms", ("failed",)].count == 1
