"""The whole product for one test, its relay with a window in it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.soak.measure import SETTINGS
from tests.stack import Stack


@pytest.fixture
def simulator_arguments() -> tuple[str, ...]:
    """How the simulator behaves; a module may say otherwise."""
    return ("--no-record",)


@pytest.fixture
def stack(tmp_path: Path, simulator_arguments: tuple[str, ...]) -> Iterator[Stack]:
    with Stack(
        tmp_path, relay_module="tests.altered_relay", simulator_arguments=simulator_arguments, **SETTINGS
    ) as stack:
        yield stack


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that keeps no connection to the relay."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as http:
        yield http
