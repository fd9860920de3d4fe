from collections.abc import AsyncIterator

import pytest

from local_cloud.realtime import Behaviour, Simulator
from tests.local_cloud.realtime.client import Client, connect


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A simulator that answers as fast as it can."""
    async with Simulator(Behaviour(pace=None)) as simulator:
        yield simulator


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[Client]:
    """A client whose session has just been created."""
    async with connect(simulator) as client:
        await client.until("session.created")
        yield client
