"""Every ending of a session (DESIGN: "A session's life"), from each side that can bring it about.

Whatever it is, the same is left behind: one receipt, no lease, no task, no socket, the model's connection closed.
What is particular to one of them stands in ``test_endings`` and ``test_rare_endings``.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256

import aiohttp
import pytest
import pytest_asyncio

from local_cloud.realtime import Connection, Simulator, faults
from service_kit.errors import Ending
from service_kit.redis_client import connect
from service_kit.revocation import Kind, Revocations, Target
from tests.altered_relay import BREAK, held_by
from tests.end_to_end.clients import (
    Json,
    Minted,
    Talk,
    appends,
    mint,
    readiness,
    refused_status,
    text_item,
    upstream_of,
)
from tests.end_to_end.test_lock import confirm
from tests.end_to_end.traces import Traces, until
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

STALL_SECONDS, LEASE_SECONDS, RENEW_SECONDS = 1, 8, 1
FREE_SECONDS = 4
"""By when an ended session's slots are free; well before its lease would have run out."""
RELAY_MODULE = "tests.altered_relay"
SETTINGS = {
    "ALTERED_BUG": "1",
    "ALTERED_LEASE_SECONDS": str(LEASE_SECONDS),
    "ALTERED_RENEW_SECONDS": str(RENEW_SECONDS),
    "ALTERED_STALL_SECONDS": str(STALL_SECONDS),
    "REPLAY_ENDS_SESSION": "true",
    "CALLER_API_KEYS": json.dumps(
        [
            {
                "name": "spender",
                "sha256": sha256((SPENDER := "sk-spender-0123456789").encode()).hexdigest(),
                "tenant": "acme",
                "profiles": ["default"],
                "quota_tokens_per_day": 1,
            }
        ]
    ),
}


@dataclass(frozen=True)
class Live:
    """A session, and who takes part in it."""

    stack: Stack
    traces: Traces
    minted: Minted
    talk: Talk
    upstream: Connection


End = Callable[[Live], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to end a session.

    Attributes:
        by: ends the session; None where the fault at the model does.
        is_live: that session is live before.
        code: the public code of the receipt, and of the last ``error`` event if the browser can be told.
        told: whether the browser gets event and close frame.
        fault: the simulator's.
        wanted: in the mint's ``airlock`` object.
        api_key: who mints; None is the page.
    """

    ending: Ending
    code: str | None
    close_code: int
    by: End | None = None
    is_live: bool = True
    told: bool = True
    fault: faults.Fault | None = None
    wanted: Json | None = None
    api_key: str | None = None


async def browser_says(live: Live, *events: Json) -> None:
    with contextlib.suppress(aiohttp.ClientConnectionResetError):  # the end may come before the last of it is sent
        await live.talk.send(*events)


async def browser_stops_reading(live: Live) -> None:
    live.talk.pause_reading()
    for number in range(100):
        live.upstream.emit({"type": "simulator.huge", "event_id": f"event_{number}", "filler": "x" * 262_144})


async def model_stops_reading(live: Live) -> None:
    live.upstream.pause_reading()
    sending = asyncio.create_task(browser_says(live, *[text_item("x" * 60_000)] * 500))
    await until(lambda: bool(live.traces.lines("session.end", token_id=live.minted.token_id)), STALL_SECONDS + 5)
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending
    live.upstream.resume_reading()  # else the simulator does not see that it was left


async def redis_stays_away(live: Live) -> None:
    live.stack.redis.stop()
    try:
        await until(lambda: bool(live.traces.lines("session.end", token_id=live.minted.token_id)), LEASE_SECONDS + 4)
    finally:
        live.stack.redis.start()
    async with aiohttp.ClientSession() as http, asyncio.timeout(5):
        while await readiness(http, live.stack.mint_base_url) != 200:
            pass


async def revoked_while_it_is_locked(live: Live) -> None:
    await live.upstream.wait_received("session.update")
    live.traces.redis.hset(f"airlock:development:token:{live.minted.token_id}", "state", "revoked")
    confirm(live.upstream)


async def ended_by_an_operator(live: Live) -> None:
    redis = connect(live.stack.redis.url)
    await Revocations(redis, "development").end(Target(Kind.TOKEN, live.minted.token_id))
    await redis.aclose()


async def replayed(live: Live) -> None:
    async with aiohttp.ClientSession() as http:
        status, error, _ = await refused_status(http, live.stack, live.minted)
    assert (status, error["code"]) == (401, "token_used")


async def nothing(_: Live) -> None:
    """Wait for it."""


async def called(do: Callable[[], None]) -> None:
    do()


async def fails_by_a_bug(live: Live) -> None:
    item = {"type": "message", "role": "user", "content": [BREAK]}
    await browser_says(live, {"type": "conversation.item.create", "item": item})


CASES = {
    "the browser closes": Case(
        ending=Ending.BROWSER_CLOSED,
        code=None,
        close_code=1000,
        by=lambda live: live.talk.socket.close(),
        told=False,
    ),
    "the browser closes with a code of its own": Case(
        ending=Ending.BROWSER_CLOSED,
        code=None,
        close_code=4321,
        by=lambda live: live.talk.socket.close(code=4321),
        told=False,
    ),
    "the browser's connection breaks": Case(
        ending=Ending.BROWSER_VANISHED,
        code=None,
        close_code=1006,
        by=lambda live: called(live.talk.abort),
        told=False,
    ),
    "the model closes": Case(
        ending=Ending.MODEL_CLOSED,
        code="upstream_closed",
        close_code=1011,
        by=lambda live: called(lambda: live.upstream.close(1011, "")),
    ),
    "the model's connection breaks": Case(
        ending=Ending.MODEL_FAILED,
        code="upstream_closed",
        close_code=1011,
        by=lambda live: called(live.upstream.abort),
    ),
    "the model stops reading": Case(
        ending=Ending.MODEL_FAILED, code="upstream_closed", close_code=1011, by=model_stops_reading
    ),
    "the model refuses": Case(
        ending=Ending.MODEL_FAILED, code="upstream_unavailable", close_code=1011, fault=faults.HttpStatus()
    ),
    "the model refuses the lock": Case(
        ending=Ending.NOT_LOCKED, code="upstream_unavailable", close_code=1011, fault=faults.RefuseSessionUpdate()
    ),
    "time is up": Case(
        ending=Ending.TIME_LIMIT,
        code="session_limit_reached",
        close_code=4410,
        by=nothing,
        wanted={"max_session_seconds": 1},
    ),
    "nobody says anything": Case(
        ending=Ending.IDLE,
        code="idle_timeout",
        close_code=4408,
        by=nothing,
        wanted={"profile": "idle"},
    ),
    "the browser uses up the budget": Case(
        ending=Ending.BUDGET,
        code="budget_exhausted",
        close_code=4402,
        by=lambda live: browser_says(live, *appends(bytes(48_000 * 2))),
        wanted={"max_input_audio_seconds": 1},
    ),
    "the model uses up the budget": Case(
        ending=Ending.BUDGET,
        code="budget_exhausted",
        close_code=4402,
        by=lambda live: browser_says(live, text_item("Good day"), {"type": "response.create"}),
        fault=faults.MultiplyUsage(by=100_000),
    ),
    "the subject's quota is used up": Case(
        ending=Ending.QUOTA,
        code="quota_exhausted",
        close_code=4402,
        by=lambda live: browser_says(live, text_item("Good day"), {"type": "response.create"}),
        api_key=SPENDER,
    ),
    "the browser insists on what is refused": Case(
        ending=Ending.POLICY,
        code="policy_violation",
        close_code=1008,
        by=lambda live: browser_says(live, *[{"type": "no.such.event"}] * 20),
    ),
    "the browser breaks the protocol": Case(
        ending=Ending.PROTOCOL_ERROR,
        code="invalid_frame",
        close_code=1003,
        by=lambda live: live.talk.socket.send_bytes(b"\x00"),
    ),
    "the browser stops reading": Case(
        ending=Ending.SLOW_CONSUMER, code="slow_consumer", close_code=4408, by=browser_stops_reading, told=False
    ),
    "an operator revokes it before it is live": Case(
        ending=Ending.REVOKED,
        code="session_revoked",
        close_code=4403,
        by=revoked_while_it_is_locked,
        is_live=False,
        fault=faults.IgnoreSessionUpdate(),
    ),
    "an operator ends it": Case(
        ending=Ending.REVOKED, code="session_revoked", close_code=4403, by=ended_by_an_operator
    ),
    "its token comes again": Case(ending=Ending.REPLAYED, code="session_revoked", close_code=4403, by=replayed),
    "Redis stays away": Case(ending=Ending.LEASE_LOST, code="lease_lost", close_code=1013, by=redis_stays_away),
    "the relay has a bug": Case(
        ending=Ending.INTERNAL_ERROR, code="internal_error", close_code=1011, by=fails_by_a_bug
    ),
}


async def held(stack: Stack) -> tuple[int, int]:
    """How many tasks and descriptors the relay holds."""
    window = await held_by(stack.relay_base_urls[0])
    return window["tasks"], window["descriptors"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def at_rest(stack: Stack) -> tuple[int, int]:
    """What the relay holds before any session; there is no connection to it yet but the window's own."""
    return await held(stack)


async def test_every_ending_has_a_case() -> None:
    """Draining ends the process too, and stands in ``test_drain``."""
    assert {case.ending for case in CASES.values()} | {Ending.DRAINING} == set(Ending)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_an_ending_leaves_one_receipt_and_nothing_else(
    stack: Stack,
    simulator: Simulator,
    traces: Traces,
    http: aiohttp.ClientSession,
    at_rest: tuple[int, int],
    case: Case,
) -> None:
    if case.fault:
        simulator.faults.add(case.fault)
    minted = await mint(http, stack, api_key=case.api_key, airlock=case.wanted or {})
    talk, upstream = await upstream_of(http, stack, simulator, minted)
    try:
        if case.by and case.is_live:
            await talk.until("session.created")
        if case.by:
            await case.by(Live(stack, traces, minted, talk, upstream))
        if case.told:
            close_code, _ = await talk.until_closed()
            errors = [event["error"]["code"] for event in talk.seen if event["type"] == "error"]
            assert (close_code, errors[-1]) == (case.close_code, case.code)
        receipt = await traces.session_end(minted.token_id, free_within=FREE_SECONDS)
    finally:
        with contextlib.suppress(AssertionError):  # it is gone already
            talk.abort()
    assert (receipt["ending"], receipt["code"], receipt["close_code"]) == (case.ending, case.code, case.close_code)
    assert not traces.leases()
    await upstream.wait_ended()
    async with asyncio.timeout(3):
        while any(now > before for now, before in zip(await held(stack), at_rest, strict=True)):
            pass
    assert len(traces.lines("session.end", token_id=minted.token_id)) == 1
    assert len(traces.lines("redeem.ok", token_id=minted.token_id)) == 1
