"""A token can be redeemed for five minutes at most, and nothing about it outlives that in Redis."""

import asyncio
import secrets
import time
from typing import Any

import aiohttp
import pytest

from service_kit.session_token import TOKEN_ID_BYTES, SessionToken, SessionTokenCodec
from tests.end_to_end.clients import CARRIAGES, Carriage, connect, mint, refused_events, refused_status, talking
from tests.end_to_end.traces import Traces, until
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]


@pytest.mark.parametrize(
    ("asked", "given"),
    [({}, 300), ({"expires_after": {"seconds": 7_200}}, 300), ({"expires_after": {"seconds": 10}}, 10)],
)
async def test_expires_at_is_never_more_than_300_seconds_away(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, asked: dict[str, Any], given: int
) -> None:
    before = int(time.time())
    minted = await mint(http, stack, **asked)
    assert before + given <= minted.expires_at <= int(time.time()) + given
    ttl_ms = traces.redis.pttl(f"airlock:development:token:{minted.token_id}")
    assert isinstance(ttl_ms, int)
    assert (given - 5) * 1_000 < ttl_ms <= given * 1_000


@pytest.mark.parametrize("carriage", CARRIAGES)
async def test_a_token_whose_record_ran_out_is_refused(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, carriage: Carriage
) -> None:
    minted = await mint(http, stack)
    traces.redis.pexpire(f"airlock:development:token:{minted.token_id}", 1)
    await until(lambda: not traces.token(minted.token_id))
    if carriage == "header":
        status, error, _ = await refused_status(http, stack, minted)
        assert (status, error["code"]) == (401, "token_expired")
    else:
        code, error = await refused_events(http, stack, minted)
        assert (code, error["code"]) == (4401, "token_expired")
    assert error["retry"] == "with a new token"
    assert not traces.token(minted.token_id)


@pytest.mark.parametrize("carriage", CARRIAGES)
async def test_a_token_signed_to_end_before_now_is_refused_whatever_redis_says(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, carriage: Carriage
) -> None:
    minted = await mint(http, stack)
    ended = signed(stack, minted.token, ends_in=-6)
    if carriage == "header":
        status, error, _ = await refused_status(http, stack, ended)
        assert (status, error["code"]) == (401, "token_expired")
    else:
        code, error = await refused_events(http, stack, ended)
        assert (code, error["code"]) == (4401, "token_expired")
    assert traces.token(minted.token_id) == {"state": "minted"}


async def test_clocks_may_differ_by_five_seconds_while_the_record_lasts(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    minted = await mint(http, stack)
    async with await connect(http, stack, signed(stack, minted.token, ends_in=-3)) as talk:
        await talk.until("session.created")


async def test_a_token_signed_for_longer_than_300_seconds_is_not_believed(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    minted = await mint(http, stack)
    status, error, _ = await refused_status(http, stack, signed(stack, minted.token, ends_in=301))
    assert (status, error["code"]) == (401, "invalid_token")


@pytest.mark.parametrize(
    "signed_by", [(secrets.token_urlsafe(32), "development"), (None, "production")], ids=["key", "environment"]
)
async def test_a_token_of_another_key_or_environment_learns_nothing(
    stack: Stack, http: aiohttp.ClientSession, signed_by: tuple[str | None, str]
) -> None:
    minted = await mint(http, stack)
    key, environment = signed_by
    own = SessionTokenCodec([stack.environment["TOKEN_SIGNING_KEYS"]], "development")
    other = SessionTokenCodec([key or stack.environment["TOKEN_SIGNING_KEYS"]], environment)
    forged = other.encode(own.decode(minted.token, time.time()), time.time())
    status, error, _ = await refused_status(http, stack, forged)
    assert (status, error["code"]) == (401, "invalid_token")


async def test_a_well_signed_token_that_was_never_minted_is_refused(stack: Stack, http: aiohttp.ClientSession) -> None:
    codec = SessionTokenCodec([stack.environment["TOKEN_SIGNING_KEYS"]], "development")
    token = codec.encode(SessionToken(secrets.token_bytes(TOKEN_ID_BYTES), int(time.time()) + 60), time.time())
    status, error, _ = await refused_status(http, stack, token)
    assert (status, error["code"]) == (401, "token_expired")


async def test_every_redis_key_has_a_time_to_live_at_every_moment_under_load(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    kinds: set[str] = set()
    scans = 0
    done = asyncio.Event()

    async def converse() -> None:
        for _ in range(3):
            async with talking(http, stack) as (talk, minted):
                await talk.ask()
            await refused_status(http, stack, minted)

    async def watch() -> None:
        nonlocal scans
        while not done.is_set():
            scans += 1
            for key in traces.redis.scan_iter(count=1_000):
                # -2: it ran out meanwhile, -1: it would stay for ever.
                assert traces.redis.ttl(key) != -1, key
                kinds.add(key.split(":")[2])
            await asyncio.sleep(0)  # give way

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(converse() for _ in range(30)))
    done.set()
    await watching
    assert kinds - {"tally"} == {"token", "lease", "mints", "used", "live"}  # a tally comes every few seconds
    assert scans > 20


def signed(stack: Stack, token: str, *, ends_in: int) -> str:
    """The same token as our own key would sign it with another end, in seconds from now."""
    codec = SessionTokenCodec([stack.environment["TOKEN_SIGNING_KEYS"]], "development")
    now = int(time.time())
    secret = codec.decode(token, now).secret
    return codec.encode(SessionToken(secret, now + ends_in), now if ends_in > 0 else now + ends_in - 10)
