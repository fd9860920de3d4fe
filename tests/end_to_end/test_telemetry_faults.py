"""An ingestion that is away, slow or silent changes nothing for anybody, and holds up no end of a process."""

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest

from local_cloud.application_insights import ApplicationInsights, Behaviour
from local_cloud.realtime import Simulator
from local_cloud.redis_server import RedisServer
from tests.end_to_end.clients import talking
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.traces import Traces, until
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

SESSIONS = 20
DRAIN_SECONDS = 10
FAULTS = {
    "slow": Behaviour(delay_seconds=10),
    "black hole": Behaviour(is_black_hole=True),
    "failing": Behaviour(status=500, every=2),
}


@pytest.mark.parametrize("backend", ["opencensus", "otel"])
@pytest.mark.parametrize("fault", ["away", *FAULTS])
async def test_an_ingestion_that_does_not_answer_is_felt_by_nobody(
    fault: str, backend: str, tmp_path: Path, simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    ingestion = ApplicationInsights()
    await ingestion.start()
    with RedisServer() as redis:
        stack = Stack(
            tmp_path,
            openai_base_url=simulator.base_url,
            redis=redis,
            **DEFAULTS,
            DRAIN_SECONDS=str(DRAIN_SECONDS),
            TELEMETRY=backend,
            TELEMETRY_INTERVAL_SECONDS="0.1",
            APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.connection_string,
        )
        if fault == "away":
            await ingestion.stop()
        else:
            ingestion.behaviour = FAULTS[fault]
        await asyncio.to_thread(stack.__enter__)
        try:
            with Traces(stack) as traces:
                await asyncio.gather(*(converse(http, stack) for _ in range(SESSIONS)))
                await until(lambda: len(traces.lines("session.end")) == SESSIONS, 20)
                assert {line["ending"] for line in traces.lines("session.end")} == {"browser_closed"}
                if fault != "away":
                    await until(lambda: ingestion.requests > 0, 20)
                if fault != "failing":
                    await until(lambda: bool(traces.lines("telemetry.failed")), 20)
                for name in ("relay-0", "token_service"):
                    process = stack.processes[name]
                    began = time.monotonic()
                    process.terminate()
                    assert await asyncio.to_thread(process.popen.wait, 30) == 0
                    # There is nothing to drain; what cannot be sent is waited for 2 s.
                    assert time.monotonic() - began < DRAIN_SECONDS
        finally:
            await asyncio.to_thread(stack.__exit__)
            await ingestion.stop()


async def converse(http: aiohttp.ClientSession, stack: Stack) -> None:
    """A session that has its answer as soon as ever."""
    async with talking(http, stack) as (talk, _):
        await talk.ask()
