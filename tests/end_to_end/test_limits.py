"""Rates and quotas of the whole product: over several replicas, during sessions, through a crash, among tenants."""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from local_cloud.ports import free_port
from local_cloud.realtime import Simulator
from local_cloud.redis_server import RedisServer
from tests.end_to_end.clients import (
    CARRIAGES,
    Carriage,
    Json,
    connect,
    mint,
    refused_events,
    refused_status,
    talking,
)
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.traces import Traces, until
from tests.stack import Process, Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

REPLICAS = 4
AT_ONCE = 200
PER_MINUTE = 30
RENEWAL_SECONDS = 20
"""By when a lease is renewed, which is every 10 s, also on a busy machine."""

KEYS: list[Json] = []


def caller(tenant: str, **ceilings: Any) -> str:
    """A caller of its own for one test; its API key."""
    api_key = secrets.token_urlsafe(16)
    digest = sha256(api_key.encode()).hexdigest()
    name = f"key-{len(KEYS)}"
    KEYS.append({"name": name, "sha256": digest, "tenant": tenant, "profiles": ["default"], **ceilings})
    return api_key


PLENTY = {"max_sessions_per_subject": 1_000}
RACER = caller("racers", mints_per_minute_per_subject=PER_MINUTE)
SPENDER = caller("spenders", quota_tokens_per_day=1, **PLENTY)
FAMILY = caller("family", tenant_quota_seconds_per_day=1, **PLENTY)
COUNTED = caller("counted", **PLENTY)
HASTY, PATIENT = caller("hasty", mints_per_minute_per_tenant=5), caller("patient", mints_per_minute_per_tenant=5)
GREEDY, MODEST = caller("greedy", max_sessions_per_tenant=2, **PLENTY), caller("modest", max_sessions_per_tenant=2)
RICH, POOR = caller("rich", tenant_quota_tokens_per_day=1), caller("poor", tenant_quota_tokens_per_day=1)

HOSTILE = [
    "a\r\nSET x 1\r\n",
    "*",
    "{hash}tag",
    "a:b:c",
    "airlock:development:token:tok_x",
    "nul\0byte",
    "\u202eright-to-left\u2066",
    "\U0001f600" * 30,
    "../../etc/passwd",
    "[a-z]?\\",
    " ",
    "\x7f\x1b[31m",
    "'; FLUSHALL --",
]
HOSTILE_TENANTS = [caller(text, **PLENTY) for text in HOSTILE]
KEY_NAMES = re.compile(
    rb"airlock:development:(token:tok_[A-Za-z0-9_-]{24}"
    rb"|(lease|used):(subject|tenant):[0-9a-f]{32}"
    rb"|live(:sess_[0-9a-f]{24})?|tally:[0-9]+"
    rb"|mints:(subject|tenant|address|look):[0-9a-f]{32}|breaches:(subject|address):[0-9a-f]{32})"
)

SETTINGS = {"CALLER_API_KEYS": json.dumps(KEYS)}


async def limits_of(http: aiohttp.ClientSession, stack: Stack, api_key: str) -> Json:
    async with http.get(f"{stack.mint_base_url}/limits", headers={"Authorization": f"Bearer {api_key}"}) as answer:
        assert answer.status == 200
        limits: Json = (await answer.json())["limits"]
        return limits


async def minting(http: aiohttp.ClientSession, url: str, api_key: str, **airlock: object) -> tuple[int, str | None]:
    """Ask for a token; the status, and the code of a refusal."""
    headers = {"Authorization": f"Bearer {api_key}"}
    async with http.post(f"{url}/realtime/client_secrets", json={"airlock": airlock}, headers=headers) as answer:
        return answer.status, (await answer.json()).get("error", {}).get("code")


# Rates


@pytest.fixture
def replicas(stack: Stack) -> Iterator[list[str]]:
    """The addresses of four token services on one Redis."""
    ports = [free_port() for _ in range(REPLICAS - 1)]
    started = []
    try:
        for port in ports:
            environment = {**stack.environment, "PORT": str(port)}
            log_path = stack.folder / f"replica-{port}.log"
            started.append(Process("token_service", environment=environment, log_path=log_path))
        for port, process in zip(ports, started, strict=True):
            process.wait_until_ready(f"http://localhost:{port}/readyz")
        yield [stack.mint_base_url, *(f"http://localhost:{port}/v1" for port in ports)]
    finally:
        for process in started:
            process.stop()


async def test_of_200_mints_at_once_over_four_replicas_exactly_as_many_as_allowed_get_a_token(
    stack: Stack, http: aiohttp.ClientSession, replicas: list[str]
) -> None:
    answers = await asyncio.gather(*(minting(http, replicas[number % REPLICAS], RACER) for number in range(AT_ONCE)))
    granted, held = answers.count((200, None)), answers.count((429, "rate_limited"))
    unanswered = answers.count((503, "unavailable"))  # by Redis, in time, on a busy machine
    assert granted + held + unanswered == AT_ONCE
    assert PER_MINUTE - unanswered <= granted <= PER_MINUTE
    mints = (await limits_of(http, stack, RACER))["mints_per_minute"]
    assert (mints["limit"], mints["remaining"]) == (PER_MINUTE, 0)


# Quotas


async def test_a_live_session_ends_when_its_subject_s_quota_is_used_up_and_no_other_begins(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    unused = [await mint(http, stack, api_key=SPENDER) for _ in CARRIAGES]
    async with talking(http, stack, api_key=SPENDER) as (talk, minted):
        await talk.ask()
        code, rest = await talk.until_closed(RENEWAL_SECONDS)
        assert (code, rest[-1]["error"]["code"]) == (4402, "quota_exhausted")
    receipt = await traces.session_end(minted.token_id)
    assert (receipt["ending"], receipt["code"], receipt["close_code"]) == ("quota", "quota_exhausted", 4402)
    assert receipt["tokens"]["total"] >= 1
    assert await minting(http, stack.mint_base_url, SPENDER) == (402, "quota_exhausted")
    await check_refused_at_the_relay(stack, traces, http, dict(zip(CARRIAGES, unused, strict=True)))
    # Another subject of the same tenant has a quota of its own.
    assert await minting(http, stack.mint_base_url, SPENDER, subject="somebody else") == (200, None)


async def check_refused_at_the_relay(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, tokens: dict[Carriage, Any]
) -> None:
    """Nothing is opened, and the token goes back."""
    status, error, _ = await refused_status(http, stack, tokens["header"])
    assert (status, error["code"]) == (402, "quota_exhausted")
    close_code, error = await refused_events(http, stack, tokens["subprotocol"])
    assert (close_code, error["code"]) == (4402, "quota_exhausted")
    for token in tokens.values():
        assert traces.token(token.token_id) == {"state": "minted", "gave_back": "1"}
        assert not traces.lines("redeem.ok", token_id=token.token_id)
    assert not traces.leases()


async def test_a_tenant_s_quota_ends_the_sessions_of_all_its_subjects(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async def session(subject: str) -> None:
        async with talking(http, stack, api_key=FAMILY, airlock={"subject": subject}) as (talk, _):
            code, rest = await talk.until_closed(RENEWAL_SECONDS)
            assert (code, rest[-1]["error"]["code"]) == (4402, "quota_exhausted")

    await asyncio.gather(session("alice"), session("bob"))
    assert await minting(http, stack.mint_base_url, FAMILY, subject="carol") == (402, "quota_exhausted")


async def test_each_session_s_usage_is_in_the_sums_once(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    """As its receipt has it, whether it was short or was renewed, and however it ended."""

    async def session(turns: int, *, renewed: bool = False, aborts: bool = False) -> Json:
        async with talking(http, stack, api_key=COUNTED) as (talk, minted):
            for _ in range(turns):
                await talk.ask()
            if renewed:
                await until_used(http, stack, COUNTED, turns)
                await talk.ask()
            if aborts:
                talk.abort()
        return await traces.session_end(minted.token_id)

    receipts = [await session(4, renewed=True)]
    receipts += await asyncio.gather(session(0), session(1), session(2, aborts=True), session(3))
    used = (await limits_of(http, stack, COUNTED))["quota"]
    assert used["tokens"]["used"] == sum(receipt["tokens"]["total"] for receipt in receipts) > 0
    assert used["usd"]["used"] == pytest.approx(sum(receipt["cost_usd"] for receipt in receipts), abs=1e-9)
    seconds = sum(receipt["duration_seconds"] for receipt in receipts)  # from the redemption; the quota from the lock
    assert 1 < used["seconds"]["used"] <= seconds


async def until_used(http: aiohttp.ClientSession, stack: Stack, api_key: str, tokens: int) -> Json:
    """What a caller has used, once so many tokens are among it."""
    async with asyncio.timeout(RENEWAL_SECONDS):
        while True:
            used: Json = (await limits_of(http, stack, api_key))["quota"]
            if used["tokens"]["used"] >= tokens:
                return used
            await asyncio.sleep(0.1)


async def test_what_a_killed_relay_s_sessions_used_is_counted_up_to_their_last_renewal(
    running_simulator: Simulator, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    with RedisServer() as redis:
        async with running(
            Stack(tmp_path, openai_base_url=running_simulator.base_url, redis=redis, **(DEFAULTS | SETTINGS))
        ) as stack:
            minted = await mint(http, stack, api_key=COUNTED)
            talk = await connect(http, stack, minted)
            await talk.until("session.created")
            await talk.ask()
            before = await until_used(http, stack, COUNTED, 1)
            assert before["seconds"]["used"] > 0
            stack.processes["relay-0"].popen.kill()
            stack.processes["relay-0"].popen.wait()
            await talk.socket.close()
            assert (await limits_of(http, stack, COUNTED))["quota"] == before


@asynccontextmanager
async def running(stack: Stack) -> AsyncIterator[Stack]:
    await asyncio.to_thread(stack.__enter__)
    try:
        yield stack
    finally:
        await asyncio.to_thread(stack.__exit__)


# Tenants


async def test_a_tenant_that_mints_too_fast_starves_no_other(stack: Stack, http: aiohttp.ClientSession) -> None:
    hasty = await asyncio.gather(
        *(minting(http, stack.mint_base_url, HASTY, subject=f"user-{number}") for number in range(20))
    )
    assert hasty.count((200, None)) == 5
    patient = await asyncio.gather(
        *(minting(http, stack.mint_base_url, PATIENT, subject=f"user-{number}") for number in range(5))
    )
    assert patient == [(200, None)] * 5
    assert (await limits_of(http, stack, PATIENT))["mints_per_minute"]["remaining"] > 0


async def test_a_tenant_whose_slots_are_full_takes_no_other_s(stack: Stack, http: aiohttp.ClientSession) -> None:
    async with (
        talking(http, stack, api_key=GREEDY, airlock={"subject": "same name"}),
        talking(http, stack, api_key=GREEDY),
    ):
        status, error, _ = await refused_status(http, stack, await mint(http, stack, api_key=GREEDY))
        assert (status, error["code"]) == (429, "too_many_sessions")
        async with talking(http, stack, api_key=MODEST, airlock={"subject": "same name"}) as (talk, _):
            assert await talk.ask()
            assert (await limits_of(http, stack, MODEST))["sessions"] == {"limit": 3, "active": 0}
        assert (await limits_of(http, stack, GREEDY))["sessions"] == {"limit": 1_000, "active": 1}


async def test_a_tenant_that_has_spent_its_quota_has_not_spent_another_s(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack, api_key=RICH, airlock={"subject": "same name"}) as (talk, minted):
        await talk.ask()
    await traces.session_end(minted.token_id)
    assert await minting(http, stack.mint_base_url, RICH, subject="same name") == (402, "quota_exhausted")
    async with talking(http, stack, api_key=POOR, airlock={"subject": "same name"}) as (talk, _):
        assert await talk.ask()
    assert (await limits_of(http, stack, POOR))["quota"]["tokens"]["used"] == 0  # its own subject is another


# Hostile ids


def key_names(traces: Traces) -> set[bytes]:
    return {key.encode() for key in traces.redis.scan_iter(count=1_000)}


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
async def test_a_hostile_id_is_in_no_key_s_name(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, text: str
) -> None:
    """As subject, reference, metadata and tenant, during a session and after it."""
    airlock = {"subject": text, "reference_id": text, "metadata": {text[:64]: text}}
    api_key = HOSTILE_TENANTS[HOSTILE.index(text)]
    async with talking(http, stack, api_key=api_key, airlock=airlock) as (talk, minted):
        assert await talk.ask()
        during = key_names(traces)
    await traces.session_end(minted.token_id)
    names = during | key_names(traces)
    assert {name.split(b":")[2] for name in names} >= {b"token", b"lease", b"mints", b"used"}
    assert [name for name in names if not KEY_NAMES.fullmatch(name)] == []


@pytest.mark.parametrize("name", ["subject", "reference_id", "metadata", "profile"])
async def test_an_id_that_is_too_long_or_no_text_is_refused(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, name: str
) -> None:
    before = key_names(traces)
    for raw in ('"' + "x" * 10_000 + '"', r'"\ud800"', '["a"]', '""', "{}" if name != "metadata" else '{"":""}'):
        value = f'{{"key":{raw}}}' if name == "metadata" and raw != '{"":""}' else raw
        if name == "metadata" and raw == '""':
            continue  # an empty value is a value
        headers = {"Authorization": f"Bearer {COUNTED}", "Content-Type": "application/json"}
        body = f'{{"airlock":{{"{name}":{value}}}}}'
        async with http.post(f"{stack.mint_base_url}/realtime/client_secrets", data=body, headers=headers) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (400, "invalid_request"), value
    fresh = {key for key in key_names(traces) - before if b":tally:" not in key}
    assert [key for key in fresh if not re.fullmatch(rb"airlock:development:mints:address:[0-9a-f]{32}", key)] == []


async def test_callers_that_share_an_id_by_spelling_share_nothing(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    """Tenant and subject cannot be told apart wrongly: "a" + "bc" is not "ab" + "c"."""
    await until(lambda: not traces.leases())
    seen = set()
    for subject in ("a:b", "a\0b", "ab", "A:b", "a:b ", "a\u0301", "\u00e1"):
        async with talking(http, stack, api_key=COUNTED, airlock={"subject": subject}):
            seen |= {name for name in key_names(traces) if b":lease:subject:" in name}
        await until(lambda: not traces.leases())
    assert len(seen) == 7
