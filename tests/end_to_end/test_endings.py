"""Every way a session ends: one receipt, the right code on either side, its leases free, its token as it should be."""

import asyncio
import contextlib
import socket
from pathlib import Path

import aiohttp
import pytest

from local_cloud.realtime import Simulator, faults
from tests.end_to_end.clients import (
    CARRIAGES,
    Carriage,
    Json,
    appends,
    mint,
    refused_events,
    talking,
    text_item,
    upstream_of,
)
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.traces import Traces, resident_mib, until
from tests.stack import Stack

ON_BOTH_LIBRARIES = True
pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

SPEND = {"type": "response.create"}
REFUSED = {"type": "no.such.event"}


async def check_spent(traces: Traces, token_id: str, ending: str, code: str | None, close_code: int) -> Json:
    """Check what a session that was live left behind; its receipt."""
    receipt = await traces.session_end(token_id)
    assert (receipt["ending"], receipt["code"], receipt["close_code"]) == (ending, code, close_code)
    assert receipt["stored_bytes"] == 0
    assert receipt["ended_at"] >= receipt["started_at"]
    await wait_for_end_mark(traces, token_id)
    assert len(traces.lines("session.start", token_id=token_id)) == 1
    return receipt


async def wait_for_end_mark(traces: Traces, token_id: str) -> None:
    await until(lambda: traces.token(token_id).get("ended") == "1")
    assert traces.token(token_id)["state"] == "spent"


# The browser goes.


@pytest.mark.parametrize("code", [1000, 1001, 4000])
async def test_browser_closes(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession, code: int
) -> None:
    async with talking(http, stack) as (talk, minted):
        await talk.ask()
        await talk.socket.close(code=code)
        assert talk.socket.close_code == code
    receipt = await check_spent(traces, minted.token_id, "browser_closed", None, code)
    assert receipt["tokens"]["total"] > 0
    assert await simulator.connections[-1].wait_ended() == 1000


async def test_browser_vanishes(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack) as (talk, minted):
        talk.abort()
        await check_spent(traces, minted.token_id, "browser_vanished", None, 1006)
    assert await simulator.connections[-1].wait_ended() == 1000


async def test_browser_vanishes_while_the_model_speaks(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    simulator.faults.add(faults.stall_mid_response())
    async with talking(http, stack) as (talk, minted):
        await talk.send(text_item("count to ninety"), SPEND)
        await talk.until("response.output_audio.delta")
        talk.abort()
        await check_spent(traces, minted.token_id, "browser_vanished", None, 1006)
    await simulator.connections[-1].wait_received("response.cancel")


# The model goes.


@pytest.mark.parametrize(
    ("theirs", "ours", "code"),
    [
        (1000, 1000, None),
        (1001, 1001, "upstream_closed"),
        (1011, 1011, "upstream_closed"),
        (4000, 1011, "upstream_closed"),
    ],
)
async def test_model_closes(
    stack: Stack,
    simulator: Simulator,
    traces: Traces,
    http: aiohttp.ClientSession,
    theirs: int,
    ours: int,
    code: str | None,
) -> None:
    async with talking(http, stack) as (talk, minted):
        simulator.connections[-1].close(theirs, "the model's own words")
        closed_with, rest = await talk.until_closed()
    assert closed_with == ours
    assert [event["error"]["code"] for event in rest] == ([code] if code else [])
    await check_spent(traces, minted.token_id, "model_closed", code, ours)


async def test_model_closes_mid_response(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    simulator.faults.add(faults.close_mid_response(1011))
    async with talking(http, stack) as (talk, minted):
        await talk.send(text_item("count to twenty"), SPEND)
        code, rest = await talk.until_closed()
    assert (code, rest[-1]["error"]["code"]) == (1011, "upstream_closed")
    assert "response.output_audio.delta" in [event["type"] for event in rest]
    receipt = await check_spent(traces, minted.token_id, "model_closed", "upstream_closed", 1011)
    assert receipt["audio_out_seconds"] > 0


async def test_model_aborts_mid_response(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    simulator.faults.add(faults.abort_mid_response())
    async with talking(http, stack) as (talk, minted):
        await talk.send(text_item("count to twenty"), SPEND)
        code, rest = await talk.until_closed()
    assert (code, rest[-1]["error"]["code"]) == (1011, "upstream_closed")
    await check_spent(traces, minted.token_id, "model_failed", "upstream_closed", 1011)


async def test_model_ends_the_session_at_its_own_maximum_age(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    simulator.faults.add(faults.session_expired(after="conversation.item.done"))
    async with talking(http, stack) as (talk, minted):
        await talk.send(text_item("Good day"))
        code, rest = await talk.until_closed()
    errors = [event["error"]["code"] for event in rest if event["type"] == "error"]
    assert (code, errors) == (1001, ["session_expired", "upstream_closed"])
    await check_spent(traces, minted.token_id, "model_closed", "upstream_closed", 1001)


async def test_model_sends_a_binary_frame(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    simulator.faults.add(faults.binary_frame(after="conversation.item.done"))
    async with talking(http, stack) as (talk, minted):
        await talk.send(text_item("Good day"))
        code, rest = await talk.until_closed()
    assert (code, rest[-1]["error"]["code"]) == (1011, "upstream_closed")
    await check_spent(traces, minted.token_id, "model_failed", "upstream_closed", 1011)


async def test_model_sends_garbage_and_the_session_goes_on(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    simulator.faults.add(faults.garbage(after="session.updated"))
    simulator.faults.add(faults.unknown_event(after="session.updated"))
    async with talking(http, stack) as (talk, minted):
        assert await talk.ask() == 'You said: "Good day"'
        await talk.socket.close()
    assert "session.novelty" in [event["type"] for event in talk.seen]
    await check_spent(traces, minted.token_id, "browser_closed", None, 1000)


# A limit is reached.


async def test_time_limit(stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession) -> None:
    async with talking(http, stack, airlock={"max_session_seconds": 1}) as (talk, minted):
        started_at = asyncio.get_running_loop().time()
        code, (told,) = await talk.until_closed()
        assert 0.8 < asyncio.get_running_loop().time() - started_at < 2
    assert (code, told["error"]["code"], told["error"]["retry"]) == (
        4410,
        "session_limit_reached",
        "with a new token",
    )
    await check_spent(traces, minted.token_id, "time_limit", "session_limit_reached", 4410)
    assert await simulator.connections[-1].wait_ended() == 1000


async def test_idleness(stack: Stack, traces: Traces, http: aiohttp.ClientSession) -> None:
    async with talking(http, stack, airlock={"profile": "idle"}) as (talk, minted):
        await talk.ask()
        code, (told,) = await talk.until_closed()
    assert (code, told["error"]["code"]) == (4408, "idle_timeout")
    await check_spent(traces, minted.token_id, "idle", "idle_timeout", 4408)


async def test_token_budget_ends_the_response_in_flight(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    simulator.faults.add(faults.MultiplyUsage(by=100_000))
    async with talking(http, stack) as (talk, minted):
        await talk.send(text_item("Good day"), SPEND)
        code, rest = await talk.until_closed()
    assert (code, rest[-1]["error"]["code"]) == (4402, "budget_exhausted")
    receipt = await check_spent(traces, minted.token_id, "budget", "budget_exhausted", 4402)
    assert receipt["tokens"]["total"] >= 200_000


async def test_cost_budget(stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession) -> None:
    simulator.faults.add(faults.MultiplyUsage(by=100))
    async with talking(http, stack, airlock={"max_cost_usd": 0.05}) as (talk, minted):
        await talk.send(text_item("Good day"), SPEND)
        code, rest = await talk.until_closed()
    assert (code, rest[-1]["error"]["code"]) == (4402, "budget_exhausted")
    assert "response.done" in [event["type"] for event in rest]
    receipt = await check_spent(traces, minted.token_id, "budget", "budget_exhausted", 4402)
    assert receipt["cost_usd"] >= 0.05
    assert receipt["tokens"]["total"] < 200_000


async def test_cost_budget_ends_a_long_response_before_the_model_says_what_it_cost(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack, airlock={"max_cost_usd": 0.005}) as (talk, minted):
        await talk.send(text_item("count to ninety"), SPEND)
        code, rest = await talk.until_closed()
    assert (code, rest[-1]["error"]["code"]) == (4402, "budget_exhausted")
    assert "response.done" not in [event["type"] for event in rest]
    receipt = await check_spent(traces, minted.token_id, "budget", "budget_exhausted", 4402)
    assert 0 < receipt["audio_out_seconds"] < 30


async def test_audio_budget(stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession) -> None:
    async with talking(http, stack, airlock={"max_input_audio_seconds": 1}) as (talk, minted):
        with contextlib.suppress(aiohttp.ClientConnectionResetError):  # the end may come before the last of it is sent
            await talk.send(*appends(bytes(48_000 * 2)))
        code, rest = await talk.until_closed()
    assert (code, rest[-1]["error"]["code"]) == (4402, "budget_exhausted")
    receipt = await check_spent(traces, minted.token_id, "budget", "budget_exhausted", 4402)
    assert receipt["audio_in_seconds"] == 1.1
    upstream = simulator.connections[-1]
    await upstream.wait_ended()
    assert len(upstream.received_audio) <= 1.1 * 48_000


async def test_twenty_refused_events(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack) as (talk, minted):
        await talk.send(*[REFUSED] * 19)
        assert await talk.ask() == 'You said: "Good day"'
        await talk.send(REFUSED)
        assert (await talk.until_closed())[0] == 1008
    errors = [event["error"]["code"] for event in talk.seen if event["type"] == "error"]
    assert errors == ["invalid_event"] * 20 + ["policy_violation"]
    receipt = await check_spent(traces, minted.token_id, "policy", "policy_violation", 1008)
    assert receipt["refused_events"] == 20
    assert "no.such.event" not in str(simulator.connections[-1].received_raw)


# The upstream refuses.


@pytest.mark.parametrize(
    ("fault", "close_code", "code"),
    [
        pytest.param(faults.DropHandshake(), 1011, "upstream_unavailable", id="drops"),
        pytest.param(faults.HttpStatus(status=401), 1011, "upstream_unavailable", id="401"),
        pytest.param(faults.HttpStatus(status=500), 1011, "upstream_unavailable", id="500"),
        pytest.param(faults.HttpStatus(status=429, retry_after=7), 1013, "upstream_busy", id="429"),
    ],
)
@pytest.mark.parametrize("carriage", CARRIAGES)
async def test_upstream_refuses(
    stack: Stack,
    simulator: Simulator,
    traces: Traces,
    http: aiohttp.ClientSession,
    fault: faults.HandshakeFault,
    close_code: int,
    code: str,
    carriage: Carriage,
) -> None:
    minted = await mint(http, stack)
    simulator.faults.add(fault)
    talk, upstream = await upstream_of(http, stack, simulator, minted, carriage=carriage)
    async with talk:
        closed_with, (told,) = await talk.until_closed()
    assert (closed_with, told["error"]["code"]) == (close_code, code)
    assert told["error"]["retry"] == "with the same token while it lasts"
    assert told["error"].get("retry_after") == (7 if close_code == 1013 else None)
    receipt = await traces.session_end(minted.token_id)
    assert (receipt["ending"], receipt["code"], receipt["close_code"]) == ("model_failed", code, close_code)
    assert traces.token(minted.token_id) == {"state": "minted", "gave_back": "1"}
    assert upstream is simulator.connections[-1]  # one dial, not more
    assert bool(traces.lines("upstream.auth_failed", token_id=minted.token_id)) == (
        fault == faults.HttpStatus(status=401)
    )


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession, status: int
) -> None:
    minted = await mint(http, stack)
    simulator.faults.add(faults.HttpStatus(status=status, location=f"{simulator.base_url}/realtime?model=x"))
    talk, upstream = await upstream_of(http, stack, simulator, minted)
    async with talk:
        code, (told,) = await talk.until_closed()
    assert (code, told["error"]["code"]) == (1011, "upstream_unavailable")
    assert (await traces.session_end(minted.token_id))["ending"] == "model_failed"
    assert upstream is simulator.connections[-1]


async def test_nobody_listens_upstream(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    with socket.socket() as reserved:  # bound, so that nobody else gets the port; not listening, so that it refuses
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/v1"
        with Stack(tmp_path, openai_base_url=url, **DEFAULTS) as stack, Traces(stack) as traces:
            minted = await mint(http, stack)
            started_at = asyncio.get_running_loop().time()
            code, error = await refused_events(http, stack, minted)
            assert asyncio.get_running_loop().time() - started_at < 2
            assert (code, error["code"]) == (1011, "upstream_unavailable")
            assert (await traces.session_end(minted.token_id))["ending"] == "model_failed"
            assert traces.token(minted.token_id) == {"state": "minted", "gave_back": "1"}


# One side does not keep up.


async def test_a_browser_that_does_not_read_ends_as_slow_consumer_in_bounded_memory(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    minted = await mint(http, stack)
    talk, upstream = await upstream_of(http, stack, simulator, minted)
    async with talk:
        await talk.until("session.created")
        talk.pause_reading()
        before = resident_mib(stack)
        filler = "x" * 262_144
        for number in range(200):  # 50 MiB, which the model holds while nobody reads
            upstream.emit({"type": "simulator.huge", "event_id": f"event_{number}", "filler": filler})
        receipt = await traces.session_end(minted.token_id, 20)
        assert resident_mib(stack) - before < 16
        talk.abort()
    assert 9 < receipt["duration_seconds"] < 16
    assert (receipt["ending"], receipt["code"], receipt["close_code"]) == ("slow_consumer", "slow_consumer", 4408)
    await wait_for_end_mark(traces, minted.token_id)


async def test_a_browser_that_pauses_and_reads_on_loses_nothing(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack) as (talk, minted):
        talk.pause_reading()
        filler = "x" * 262_144
        for number in range(40):
            simulator.connections[-1].emit({"type": "simulator.huge", "event_id": f"event_{number}", "filler": filler})
        await asyncio.sleep(0.5)  # long enough for every buffer on the way to fill
        talk.resume_reading()
        for number in range(40):
            assert (await talk.next())["event_id"] == f"event_{number}"
        await talk.socket.close()
    await check_spent(traces, minted.token_id, "browser_closed", None, 1000)
