"""The whole product for each test module, with the simulator in the tests' own event loop.

A module's ``SETTINGS`` are the services' environment, its ``RELAYS`` the number of relays, and its ``RELAY_MODULE``
what is started as a relay. The relays carry WebSockets with the library that AIRLOCK_TEST_WEBSOCKETS names, aiohttp if
unset.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from local_cloud.realtime import Behaviour, Simulator
from local_cloud.redis_server import RedisServer
from tests.end_to_end.traces import Traces
from tests.stack import Stack

DEFAULTS: dict[str, Any] = {
    "AIRLOCK_PROFILES": str(Path(__file__).parent / "profiles.toml"),
    "MAX_SESSIONS_PER_ADDRESS": "1000",
    "OPENAI_API_KEY": "sk-upstream",
    "SERVE_PAGE": "false",
    "WEBSOCKETS": os.environ.get("AIRLOCK_TEST_WEBSOCKETS", "aiohttp"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_simulator() -> AsyncIterator[Simulator]:
    async with Simulator(Behaviour(pace=None)) as simulator:
        yield simulator


@pytest.fixture
def simulator(running_simulator: Simulator) -> Simulator:
    """The simulator, with nothing planned from the test before."""
    running_simulator.faults.clear()
    running_simulator.answers.clear()
    return running_simulator


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    request: pytest.FixtureRequest, running_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    with RedisServer() as redis:  # in this thread: it ends with the thread that started it
        stack = Stack(
            tmp_path_factory.mktemp("stack"),
            relays=getattr(request.module, "RELAYS", 1),
            openai_base_url=running_simulator.base_url,
            redis=redis,
            relay_module=getattr(request.module, "RELAY_MODULE", "relay"),
            **(DEFAULTS | getattr(request.module, "SETTINGS", {})),
        )
        await asyncio.to_thread(stack.__enter__)
        try:
            yield stack
        finally:
            await asyncio.to_thread(stack.__exit__)


@pytest.fixture
def traces(stack: Stack) -> Iterator[Traces]:
    with Traces(stack) as traces:
        yield traces


@pytest_asyncio.fixture(loop_scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        yield http
