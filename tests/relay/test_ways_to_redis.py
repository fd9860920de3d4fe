"""How often a session asks Redis: each way costs more than what is asked on it (docs/hot-path.md)."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from service_kit.redis_asking import Command
from service_kit.redis_client import DirectClient
from tests.relay.test_give_back import Door, door, make_settings, over

__all__ = ["door", "make_settings"]


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked, way by way."""
    ways: list[str] = []
    go = DirectClient._over_one_connection

    async def note(client: DirectClient, commands: Sequence[Command]) -> list[Any]:
        ways.append(str(commands))
        return await go(client, commands)

    monkeypatch.setattr(DirectClient, "_over_one_connection", note)
    return ways


async def test_a_session_takes_three_ways_to_begin_and_three_to_end(door: Door, ways: list[str]) -> None:
    for _ in range(2):  # Redis knows the scripts from the first on
        token, _ = await door.mint()
        async with asyncio.timeout(5), await door.connect(token) as socket:
            assert (await socket.receive_json())["type"] == "session.created"
            session_id = (await door.session()).identity.session_id
            begun = sum(session_id in way for way in ways)
        await over(door)
        ended = sum(session_id in way for way in ways) - begun
    assert (begun, ended) == (3, 3)
