"""Ten minutes of rotating keys beside an ingestion that fails half of the time: nobody notices."""

import asyncio
import contextlib
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from local_cloud.application_insights import ApplicationInsights
from local_cloud.application_insights import Behaviour as Ingestion
from local_cloud.realtime import Behaviour, Simulator
from local_cloud.redis_server import RedisServer
from tests.azure import azure_with, secret_values
from tests.end_to_end.clients import Talk, talking
from tests.end_to_end.rotating import Load, in_force
from tests.end_to_end.traces import Traces
from tests.examples import KEY
from tests.soak.measure import SETTINGS, complaints, held
from tests.stack import Stack

pytestmark = pytest.mark.soak

ROTATIONS = 20
EVERY_SECONDS = 30.0
LONG_SESSIONS = 10
MOST_GROWTH_BYTES = 16 << 20


async def keep_talking(talk: Talk, stop: asyncio.Event) -> int:
    """Ask every few seconds until told to stop; how many answers there were."""
    answers = 0
    while not stop.is_set():
        await talk.ask("Are you still there?")
        answers += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 5)
    return answers


async def test_keys_rotate_every_thirty_seconds_and_nothing_fails(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with contextlib.AsyncExitStack() as running:
        azure = await running.enter_async_context(azure_with(tmp_path, secret_values()))
        insights = await running.enter_async_context(ApplicationInsights())
        insights.behaviour = Ingestion(status=500, every=2)
        simulator = await running.enter_async_context(Simulator(Behaviour(pace=None, record=False)))
        redis = running.enter_context(RedisServer())
        azure.vault.set("redis-url", redis.url)
        settings = {
            "APPLICATIONINSIGHTS_CONNECTION_STRING": insights.connection_string,
            "OPENAI_API_KEY": "",
            "SECRETS_REFRESH_SECONDS": "3",
        }
        stack = Stack(
            tmp_path,
            relay_module="tests.altered_relay",
            openai_base_url=simulator.base_url,
            redis=redis,
            **SETTINGS | dict(azure.environment) | settings,
        )
        await asyncio.to_thread(stack.__enter__)
        running.push_async_callback(asyncio.to_thread, stack.__exit__)
        traces = running.enter_context(Traces(stack))
        talks = [(await running.enter_async_context(talking(http, stack)))[0] for _ in range(LONG_SESSIONS)]
        stop = asyncio.Event()
        conversations = [asyncio.create_task(keep_talking(talk, stop)) for talk in talks]
        loop, old, memory = asyncio.get_running_loop(), azure.vault.latest("token-signing-keys"), []
        async with Load(stack).running() as load:
            for number in range(ROTATIONS):
                begun = loop.time()
                new = f"signing-{number}-{KEY}"
                for ring in (f"{new},{old}", f"{old},{new}", new):  # as docs/secrets.md says
                    set_it = partial(azure.vault.set, "token-signing-keys", ring)
                    await in_force(traces, "token-signing-keys", set_it, readers=2)
                    await load.go_round()
                old, model_key = new, f"sk-{number}"

                def change(key: str = model_key) -> None:
                    azure.vault.set("openai-api-key", key)
                    simulator.accepts = lambda given: given == key

                await in_force(traces, "openai-api-key", change, readers=1)
                await load.go_round()
                memory.append((await held(stack)).mib)
                await asyncio.sleep(max(0.0, begun + EVERY_SECONDS - loop.time()))  # the pace is what is tested
        stop.set()
        answers = await asyncio.gather(*conversations)
        print(f"sessions {sum(load.rounds)}, answers {sum(answers)}, MiB (resident, allocated) {memory}")  # noqa: T201 - the figures of this test
        print(f"ingestion: {insights.requests} requests, {len(insights.envelopes)} envelopes taken")  # noqa: T201 - the figures of this test
    assert min(answers) > ROTATIONS
    assert not traces.lines("redeem.denied") + traces.lines("mint.denied", "token_service")
    assert {line["ending"] for line in traces.lines("session.end")} == {"browser_closed"}
    assert insights.requests >= ROTATIONS
    assert insights.envelopes
    assert memory[-1][1] - memory[len(memory) // 2][1] < MOST_GROWTH_BYTES / 2**20
    expected = {"upstream.key_renewed", "telemetry.failed"}
    others = [line for line in complaints(stack) if line["event"] not in expected]
    assert [line for line in others if not line.get("logger", "").startswith("opencensus")] == []
