"""``/metrics`` of both services, as Prometheus would scrape it, and what only a live session can show."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from local_cloud.ports import free_port
from tests.altered_relay import meddle
from tests.end_to_end.clients import appends, talking
from tests.end_to_end.traces import Traces, until
from tests.stack import Stack, status_of

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

KEY = "op_a-key-for-this-test"
PORT = free_port()
RELAY_MODULE = "tests.altered_relay"
SETTINGS = {
    "OPERATOR_PORT": str(PORT),
    "OPERATOR_KEYS": json.dumps([{"name": "prometheus", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]),
}
Samples = dict[tuple[str, ...], float]


def both(stack: Stack) -> list[str]:
    """The operators' listeners of token service and relay."""
    return [f"http://127.0.0.1:{PORT}", *stack.relay_operator_urls]


async def scraped(http: aiohttp.ClientSession, url: str) -> Samples:
    async with http.get(f"{url}/metrics", headers={"Authorization": f"Bearer {KEY}"}) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        families = list(text_string_to_metric_families(await answer.text()))
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


async def scraped_until(http: aiohttp.ClientSession, url: str, *keys: tuple[str, ...]) -> Samples:
    """What is told once each of these is there and above 0."""
    return await scraped_when(http, url, lambda samples: all(samples.get(key) for key in keys))


async def scraped_when(http: aiohttp.ClientSession, url: str, condition: Callable[[Samples], bool]) -> Samples:
    deadline = time.monotonic() + 15
    while not condition(samples := await scraped(http, url)):
        assert time.monotonic() < deadline, samples
    return samples


async def test_both_tell_what_they_did(stack: Stack, traces: Traces, http: aiohttp.ClientSession) -> None:
    token_service, relay = both(stack)
    before = await scraped(http, token_service), await scraped(http, relay)
    async with talking(http, stack) as (talk, _):
        await talk.ask()
        samples = await scraped_until(http, relay, ("airlock_live_sessions",))
        assert samples["airlock_live_sessions",] == 1
    await until(lambda: bool(traces.lines("session.end")))
    after = await scraped(http, token_service), await scraped(http, relay)
    pairs = zip(before, after, strict=True)
    gained = {key: number - old.get(key, 0) for old, new in pairs for key, number in new.items()}
    for key, number in {
        ("airlock_mints_total",): 1,
        ("airlock_redemptions_total",): 1,
        ("airlock_sessions_started_total",): 1,
        ("airlock_endings_total", "browser_closed"): 1,
        ("airlock_upstream_ready_ms_count",): 1,
        ("airlock_upstream_ready_ms_bucket", "+Inf"): 1,
    }.items():
        assert gained[key] == number, key
    receipt = traces.lines("session.end")[0]
    assert gained["airlock_bytes_total", "in"] == receipt["bytes_in"]
    assert gained["airlock_cost_usd_total",] == pytest.approx(receipt["cost_usd"])
    tokens = [number for key, number in gained.items() if key[0] == "airlock_tokens_total"]
    assert sum(tokens) == receipt["tokens"]["total"]
    for samples in after:
        assert samples["airlock_redis_up",] == 1
        assert samples["airlock_redis_ms_count", "ok"] > 0
        assert samples["airlock_event_loop_lag_ms_count",] > 0


async def test_only_operators_are_told(stack: Stack, http: aiohttp.ClientSession) -> None:
    for url in both(stack):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}):
            async with http.get(f"{url}/metrics", headers=headers) as answer:
                assert answer.status == 401
                assert "airlock_" not in await answer.text()
        async with http.get(f"{url}/healthz") as answer:
            assert answer.status == 200
    for public in (stack.page_url, stack.relay_base_urls[0].removesuffix("/v1")):
        assert status_of(f"{public}/metrics") == 404
        async with http.get(f"{public}/metrics", headers={"Authorization": f"Bearer {KEY}"}) as answer:
            assert answer.status == 404


async def test_a_frame_each_way_is_timed_now_and_then(stack: Stack, http: aiohttp.ClientSession) -> None:
    relay = both(stack)[1]
    keys = [("airlock_relay_latency_ms_count", way) for way in ("in", "out")]
    samples: Samples = {}
    async with talking(http, stack) as (talk, _), asyncio.timeout(15):
        while not all(samples.get(key) for key in keys):
            await talk.send({"type": "input_audio_buffer.clear"})  # costs nothing, however often
            await talk.until("input_audio_buffer.cleared")
            samples = await scraped(http, relay)
    for way in ("in", "out"):
        number, total = (samples[f"airlock_relay_latency_ms_{what}", way] for what in ("count", "sum"))
        assert 0 < total / number < 1_000


async def test_the_wait_for_the_model_s_first_audio_is_timed_once_for_each_answer(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    relay, key = both(stack)[1], ("airlock_first_audio_ms_count",)
    before = (await scraped(http, relay)).get(key, 0)
    async with talking(http, stack) as (talk, _):
        for _ in range(2):
            await talk.send(*appends(bytes(9_600)), {"type": "input_audio_buffer.commit"})
            await talk.until("conversation.item.done")
            await talk.send({"type": "response.create"})
            await talk.until("response.done")
        await talk.ask()  # in text: no audio, and none is waited for
    assert (await scraped(http, relay))[key] == before + 2


async def test_a_loop_that_was_held_up_for_half_a_second_is_told(stack: Stack, http: aiohttp.ClientSession) -> None:
    relay = both(stack)[1]

    def held_up(samples: Samples) -> float:
        """How many hold-ups of more than 0.2 s there were: those beyond the bucket up to that."""
        bucket = "airlock_event_loop_lag_ms_bucket"
        return samples[bucket, "+Inf"] - samples[bucket, "200"]

    before = held_up(await scraped(http, relay))
    await meddle(stack.relay_base_urls[0], "stall?seconds=0.5")
    await scraped_when(http, relay, lambda samples: held_up(samples) > before)
