"""Sessions ended from outside, over two relays: by an operator's order, a block, or a replay of their token."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime

import aiohttp
import pytest
import pytest_asyncio

from local_cloud.realtime import Simulator, faults
from service_kit import redis_client
from service_kit.redis_client import Pseudonyms
from service_kit.revocation import Kind, Revocations, Target
from tests.end_to_end.clients import (
    CARRIAGES,
    Carriage,
    Json,
    Minted,
    Talk,
    connect,
    mint,
    refused_events,
    refused_status,
    talking,
)
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.traces import Traces, until
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

RELAYS = 2
PROMPTLY = 2.0
"""Seconds within which an order must have ended a session."""


@pytest_asyncio.fixture(loop_scope="module")
async def revocations(stack: Stack) -> AsyncIterator[Revocations]:
    """What an operator has."""
    redis = redis_client.connect(stack.redis.url)
    yield Revocations(redis, "development")
    keys = [*await redis.keys("airlock:development:ended:*"), *await redis.keys("airlock:development:blocked:*")]
    if keys:
        await redis.delete(*keys)
    await redis.aclose()


@pytest.fixture
def pseudonyms(stack: Stack) -> Pseudonyms:
    return Pseudonyms(stack.environment["PSEUDONYM_KEY"])


def session_of(traces: Traces, minted: Minted, relay: int) -> Json:
    (line,) = traces.lines("redeem.ok", f"relay-{relay}", token_id=minted.token_id)
    return line


async def check_revoked(
    talk: Talk, traces: Traces, minted: Minted, relay: int, *, ending: str = "revoked", code: str = "session_revoked"
) -> None:
    """The session ends at once, with event, close code, and one receipt; its token is worth nothing."""
    close_code, rest = await talk.until_closed(PROMPTLY)
    assert (close_code, rest[-1]["error"]["code"]) == (4403, code)
    process = f"relay-{relay}"
    await until(lambda: bool(traces.lines("session.end", process, token_id=minted.token_id)))
    (receipt,) = traces.lines("session.end", process, token_id=minted.token_id)
    assert (receipt["ending"], receipt["code"], receipt["close_code"]) == (ending, code, 4403)
    await until(lambda: receipt["session_id"] not in traces.leases(), 2)
    assert traces.token(minted.token_id)["state"] != "minted"


@pytest.mark.parametrize("relay", range(RELAYS))
@pytest.mark.parametrize("kind", list(Kind))
async def test_an_order_ends_what_it_means_on_every_relay(
    stack: Stack,
    simulator: Simulator,
    traces: Traces,
    http: aiohttp.ClientSession,
    revocations: Revocations,
    pseudonyms: Pseudonyms,
    kind: Kind,
    relay: int,
) -> None:
    minted = await mint(http, stack)
    async with await connect(http, stack, minted, relay=relay) as talk:
        await talk.until("session.created")
        line = session_of(traces, minted, relay)
        ids = {
            Kind.SESSION: line["session_id"],
            Kind.TOKEN: minted.token_id,
            Kind.SUBJECT: line["subject"],
            Kind.TENANT: pseudonyms.of("anonymous", ""),
        }
        if kind is Kind.TOKEN:
            await revocations.revoke_token(minted.token_id)
        else:
            await revocations.end(Target(kind, ids[kind]))
        await check_revoked(talk, traces, minted, relay)
    async with talking(http, stack) as (talk, _):  # what is minted from now on is not meant
        assert await talk.ask()


async def test_another_session_s_order_ends_nobody(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, revocations: Revocations, pseudonyms: Pseudonyms
) -> None:
    async with talking(http, stack) as (talk, _):
        await revocations.end(Target(Kind.SESSION, "sess_other"))
        await revocations.end(Target(Kind.SUBJECT, pseudonyms.of("acme", "alice")))
        await revocations.end(Target(Kind.TENANT, pseudonyms.of("acme", "")))
        await revocations.revoke_token("token_other")
        assert await talk.ask()


@pytest.mark.parametrize("carriage", CARRIAGES)
@pytest.mark.parametrize("kind", ["subject", "token", "block"])
async def test_what_was_revoked_before_it_connects_is_refused_and_does_not_go_back(
    stack: Stack,
    simulator: Simulator,
    traces: Traces,
    http: aiohttp.ClientSession,
    revocations: Revocations,
    pseudonyms: Pseudonyms,
    kind: str,
    carriage: Carriage,
) -> None:
    minted = await mint(http, stack)
    tenant = Target(Kind.TENANT, pseudonyms.of("anonymous", ""))
    if kind == "token":
        assert await revocations.revoke_token(minted.token_id)
    elif kind == "block":
        await revocations.block(tenant, 60)
    else:
        await revocations.end(tenant)
    dialled = len(simulator.connections)
    expected = ("blocked", 403, 4403) if kind == "block" else ("token_revoked", 401, 4401)
    for _ in range(2):
        if carriage == "header":
            status, error, _headers = await refused_status(http, stack, minted)
            assert (error["code"], status) == expected[:2]
        else:
            close_code, error = await refused_events(http, stack, minted)
            assert (error["code"], close_code) == (expected[0], expected[2])
        if kind != "token":  # the first try used it up
            expected = ("token_used", 401, 4401)
    assert len(simulator.connections) == dialled
    assert not traces.leases()


async def test_an_order_reaches_a_session_that_is_being_set_up(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession, revocations: Revocations
) -> None:
    simulator.faults.add(faults.StallHandshake())
    minted = await mint(http, stack)
    async with await connect(http, stack, minted) as talk:
        await until(lambda: bool(traces.lines("redeem.ok", token_id=minted.token_id)))
        await revocations.end(Target(Kind.SESSION, session_of(traces, minted, 0)["session_id"]))
        await check_revoked(talk, traces, minted, 0)
    assert "session.created" not in [event["type"] for event in talk.seen]


async def test_a_block_ends_what_is_live_and_lets_in_again_when_it_is_lifted(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, revocations: Revocations, pseudonyms: Pseudonyms
) -> None:
    tenant = Target(Kind.TENANT, pseudonyms.of("anonymous", ""))
    async with talking(http, stack) as (talk, minted):
        await revocations.block(tenant, 60)
        await check_revoked(talk, traces, minted, 0, code="blocked")
    async with http.post(
        f"{stack.mint_base_url}/realtime/client_secrets", json={}, headers={"Origin": stack.page_url}
    ) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (403, "blocked")
    assert await revocations.unblock(tenant)
    async with talking(http, stack) as (talk, _):
        assert await talk.ask()


async def test_an_order_that_was_not_heard_is_found_in_time(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, revocations: Revocations
) -> None:
    """The marker alone, as if every subscription had been broken: at the lease's next renewal, within 10 s."""
    async with talking(http, stack) as (talk, minted):
        session_id = session_of(traces, minted, 0)["session_id"]
        marker = f"airlock:development:ended:session:{session_id}"
        traces.redis.set(marker, f"{int(time.time() * 1000)} revoked", px=60_000)
        code, _ = await talk.until_closed(12)
        assert code == 4403


# --- the replay alarm ---


def seconds_between(first: Json, second: Json) -> float:
    return (datetime.fromisoformat(second["timestamp"]) - datetime.fromisoformat(first["timestamp"])).total_seconds()


def alarms(traces: Traces, minted: Minted) -> list[Json]:
    relays = (f"relay-{relay}" for relay in range(RELAYS))
    return [line for relay in relays for line in traces.lines("redeem.replay", relay, token_id=minted.token_id)]


@pytest.mark.parametrize("relay", range(RELAYS))
async def test_a_replay_while_the_session_is_live_raises_the_alarm_and_the_session_goes_on(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, relay: int
) -> None:
    async with talking(http, stack) as (talk, minted):
        code, error = await refused_events(http, stack, minted, relay=relay)
        assert (code, error["code"]) == (4401, "token_used")
        await until(lambda: bool(alarms(traces, minted)))
        (alarm,) = alarms(traces, minted)
        first = session_of(traces, minted, 0)["session_id"]
        assert (alarm["session_id"], alarm["reason"], alarm["level"]) == (first, "live", "error")
        (denied,) = traces.lines("redeem.denied", f"relay-{relay}", token_id=minted.token_id)
        assert seconds_between(denied, alarm) < 1
        assert await talk.ask()


async def test_a_replay_from_elsewhere_raises_the_alarm_even_when_the_session_is_over(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack) as (_, minted):
        pass
    await traces.session_end(minted.token_id)
    elsewhere = stack.page_url.replace("localhost", "127.0.0.1")
    assert (await refused_events(http, stack, minted, origin=elsewhere))[1]["code"] == "token_used"
    await until(lambda: bool(alarms(traces, minted)))
    assert [alarm["reason"] for alarm in alarms(traces, minted)] == ["elsewhere"]


async def test_a_client_that_reconnects_by_itself_raises_no_alarm(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    """Whether its connection ended well or broke, and however fast it is back."""
    lost: list[Minted] = []
    for ends in ("closes", "breaks"):
        async with talking(http, stack) as (talk, minted):
            if ends == "breaks":
                talk.abort()
            else:
                await talk.socket.close()
            assert (await refused_events(http, stack, minted))[1]["code"] == "token_used"
            lost.append(minted)
    # An alarm for a stolen token, asked for later than theirs would have been, is there; theirs are not.
    async with talking(http, stack) as (_, stolen):
        await refused_events(http, stack, stolen)
        await until(lambda: bool(alarms(traces, stolen)))
    assert not [alarm for minted in lost for alarm in alarms(traces, minted)]


async def test_a_replay_ends_the_first_session_where_the_operator_wants_that(
    stack: Stack, running_simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    settings = DEFAULTS | {"REPLAY_ENDS_SESSION": "true"}
    strict = Stack(stack.folder / "strict", redis=stack.redis, openai_base_url=running_simulator.base_url, **settings)
    strict.folder.mkdir()
    await asyncio.to_thread(strict.__enter__)
    try:
        with Traces(strict) as traces:
            async with talking(http, strict) as (talk, minted):
                await refused_events(http, strict, minted)
                await check_revoked(talk, traces, minted, 0, ending="replayed")
    finally:
        await asyncio.to_thread(strict.__exit__)
