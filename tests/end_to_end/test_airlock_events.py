"""Our own events, as docs/airlock-events.md lists them, for clients that ask for them and for nobody else."""

import re
import time

import aiohttp
import pytest

from tests.end_to_end.clients import Json, talking
from tests.end_to_end.traces import Traces
from tests.stack import ROOT, Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

ON_BOTH_LIBRARIES = True


def documented() -> dict[str, set[str]]:
    """The fields of each event, by the table of the page; of the receipt's in place of ``receipt``."""
    rows = re.findall(r"^\| `(airlock[\w.]+)` \|[^|]*\|([^|]*)\|$", (ROOT / "docs/airlock-events.md").read_text(), re.M)
    return {event: set(re.findall(r"`(\w+)`", fields)) - {"receipt"} for event, fields in rows}


def fields(event: Json) -> set[str]:
    return set(event.get("receipt", event)) - {"type", "event_id"}


async def test_a_client_that_asks_for_them_gets_each_with_the_documented_fields(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    expected = documented()
    async with talking(http, stack, speaks_airlock=True, airlock={"max_session_seconds": 12}) as (talk, minted):
        assert talk.socket.protocol == "realtime"
        started = await talk.until("airlock.session.started")
        assert fields(started) == expected["airlock.session.started"]
        assert 10 < started["ends_at"] - started["server_time"] <= 12
        trips = []
        for number in range(3):
            await talk.send({"type": "airlock.ping", "t": number})
            pong = await talk.until("airlock.pong")
            assert fields(pong) == expected["airlock.pong"]
            assert pong["t"] == number
            assert abs(pong["server_time"] - time.time()) < 5
            trips.append(pong["model_round_trip_ms"])
            await talk.ask()  # so that the model's pong is back
        assert trips[-1] is not None
        assert 0 < trips[-1] < 5_000
        expiring = await talk.until("airlock.session.expiring", 12)
        assert fields(expiring) == expected["airlock.session.expiring"]
        assert expiring["seconds_left"] == 10
        ended = await talk.until("airlock.session.ended", 12)
        assert fields(ended) == expected["airlock.session.ended"]
        assert ended["receipt"]["ending"] == "time_limit"
        assert (await talk.until_closed())[0] == 4410
    audit = await traces.session_end(minted.token_id)
    assert {key: audit[key] for key in ended["receipt"]} == ended["receipt"]


async def test_a_client_that_does_not_ask_sees_none_and_cannot_ping(stack: Stack, http: aiohttp.ClientSession) -> None:
    async with talking(http, stack) as (talk, _):
        await talk.send({"type": "airlock.ping", "t": 1})
        assert (await talk.until("error"))["error"]["code"] == "invalid_event"
        await talk.ask()
    assert not [event["type"] for event in talk.seen if event["type"].startswith("airlock.")]
