"""The whole product for each test module, with the simulator in the tests' own event loop.

A module's ``SETTINGS`` are the services' environment, its ``RELAYS`` the number of relays, its ``RELAY_MODULE`` what
they are started from. The relays carry WebSockets on picows, and in a module with ``ON_BOTH_LIBRARIES = True`` once
more on aiohttp; with AIRLOCK_TEST_WEBSOCKETS set, everything runs on that one alone.
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

LIBRARY = os.environ.get("AIRLOCK_TEST_WEBSOCKETS", "picows")
DEFAULTS: dict[str, Any] = {
    "AIRLOCK_PROFILES": str(Path(__file__).parent / "profiles.toml"),
    "MAX_SESSIONS_PER_ADDRESS": "1000",
    "OPENAI_API_KEY": "sk-upstream",
    "SERVE_PAGE": "false",
    "WEBSOCKETS": LIBRARY,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "websocket_library" in metafunc.fixturenames:
        on_both = getattr(metafunc.module, "ON_BOTH_LIBRARIES", False) and "AIRLOCK_TEST_WEBSOCKETS" not in os.environ
        metafunc.parametrize(
            "websocket_library",
            ["picows", "aiohttp"] if on_both else [LIBRARY],
            ids=None if on_both else [pytest.HIDDEN_PARAM],
            indirect=True,
            scope="module",
        )


@pytest.fixture(scope="module")
def websocket_library(request: pytest.FixtureRequest) -> str:
    """What the relays of the stack carry WebSockets with."""
    library: str = request.param
    return library


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
    request: pytest.FixtureRequest,
    websocket_library: str,
    running_simulator: Simulator,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Stack]:
    with RedisServer() as redis:  # in this thread: it ends with the thread that started it
        stack = Stack(
            tmp_path_factory.mktemp("stack"),
            relays=getattr(request.module, "RELAYS", 1),
            openai_base_url=running_simulator.base_url,
            redis=redis,
            relay_module=getattr(request.module, "RELAY_MODULE", "relay"),
            **(DEFAULTS | getattr(request.module, "SETTINGS", {}) | {"WEBSOCKETS": websocket_library}),
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
