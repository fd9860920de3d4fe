"""Endings that need a relay whose heart beats faster, or one with a bug in it."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.altered_relay import BREAK
from tests.end_to_end.clients import appends, connect, mint, talking, text_item
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.test_endings import check_spent
from tests.end_to_end.traces import Traces
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

HEARTBEAT_SECONDS = 0.5
SILENCE_SECONDS = HEARTBEAT_SECONDS * 1.5
"""A ping after one, and half of it for the answer."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(
        tmp_path_factory.mktemp("stack"),
        relay_module="tests.altered_relay",
        ALTERED_HEARTBEAT_SECONDS=str(HEARTBEAT_SECONDS),
        ALTERED_BUG="1",
        **DEFAULTS | {"AIRLOCK_PROFILES": str(Path(__file__).parents[1] / "soak" / "profiles.toml")},
    ) as stack:
        yield stack


async def test_a_browser_that_answers_no_ping_has_vanished(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack) as (talk, minted):
        talk.pause_reading()
        receipt = await check_spent(traces, minted.token_id, "browser_vanished", None, 1006)
        assert receipt["duration_seconds"] < SILENCE_SECONDS + 2
        talk.abort()


async def test_a_browser_that_only_answers_pings_stays(stack: Stack, http: aiohttp.ClientSession) -> None:
    async with talking(http, stack) as (talk, _):
        receiving = asyncio.create_task(talk.next(60))
        done, _ = await asyncio.wait({receiving}, timeout=SILENCE_SECONDS * 3)
        assert not done
        await talk.send(text_item("Still here"))
        assert (await receiving)["type"].startswith("conversation.item.")


@pytest.mark.parametrize("speaking", [False, True], ids=["silent", "mid-response"])
async def test_a_model_that_answers_no_ping_has_failed(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, speaking: bool
) -> None:
    async with talking(http, stack) as (talk, minted):
        if speaking:
            await talk.send(text_item("count to ninety"), {"type": "response.create"})
            await talk.until("response.output_audio.delta")
        simulator = stack.processes["simulator"].popen
        simulator.send_signal(signal.SIGSTOP)
        try:
            code, rest = await talk.until_closed()
        finally:
            simulator.send_signal(signal.SIGCONT)
    assert (code, rest[-1]["error"]["code"]) == (1011, "upstream_closed")
    await check_spent(traces, minted.token_id, "model_failed", "upstream_closed", 1011)


async def test_a_bug_ends_its_session_with_a_receipt_and_no_other(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack) as (neighbour, _), talking(http, stack) as (talk, minted):
        item = {"type": "message", "role": "user", "content": [BREAK]}
        await talk.send({"type": "conversation.item.create", "item": item})
        code, (told,) = await talk.until_closed()
        assert (code, told["error"]["code"]) == (1011, "internal_error")
        assert "break" not in str(told)
        await check_spent(traces, minted.token_id, "internal_error", "internal_error", 1011)
        assert await neighbour.ask() == 'You said: "Good day"'
    (line,) = traces.lines("internal_error")
    assert line["error"] == "ZeroDivisionError"
    assert "break" not in line["at"]


@pytest.mark.parametrize("opcode", [0x9, 0xA], ids=["ping", "pong"])
async def test_control_frames_too_fast_end_the_session(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, opcode: int
) -> None:
    frame = bytes([0x80 | opcode, 0x80]) + bytes(4)  # masked with zeros, empty
    minted = await mint(http, stack)
    async with await connect(http, stack, minted) as talk:
        await talk.until("session.created")
        talk.write_raw(frame * 100)
        assert await talk.ask()
        talk.write_raw(frame * 400)
        code, rest = await talk.until_closed()
    told = next(event["error"] for event in rest if event["type"] == "error")
    assert (code, told["code"]) == (4429, "rate_limited")
    await check_spent(traces, minted.token_id, "policy", "rate_limited", 4429)


@pytest.mark.parametrize(
    "flood", [appends(bytes(480 * 300), 480), [{"type": "airlock.ping"}] * 300], ids=["audio", "pings"]
)
async def test_messages_too_fast_end_the_session(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, flood: list[dict[str, str]]
) -> None:
    minted = await mint(http, stack)
    async with await connect(http, stack, minted, speaks_airlock=True) as talk:
        await talk.until("session.created")
        sending = asyncio.create_task(talk.send(*flood))
        code, rest = await talk.until_closed()
        await asyncio.wait([sending])
        sending.exception()
    told = next(event["error"] for event in rest if event["type"] == "error")
    assert (code, told["code"]) == (4429, "rate_limited")
    await check_spent(traces, minted.token_id, "policy", "rate_limited", 4429)
