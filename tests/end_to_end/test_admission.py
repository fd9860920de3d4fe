"""Who is let in with a genuine token: from its own Origin, for its own model, while there is a free slot."""

import contextlib
import json
from hashlib import sha256
from typing import Any

import aiohttp
import pytest

from local_cloud.realtime import Simulator
from tests.end_to_end.clients import (
    CARRIAGES,
    MODEL,
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
from tests.end_to_end.traces import Traces, until
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

API_KEY = "sk-shop-0123456789"
KEY = {"name": "shop", "sha256": sha256(API_KEY.encode()).hexdigest(), "tenant": "acme", "profiles": ["default"]}
PER_ADDRESS, PER_SUBJECT, PER_TENANT = 4, 3, 5
SETTINGS = {
    "CALLER_API_KEYS": json.dumps([KEY]),
    "MAX_SESSIONS_PER_ADDRESS": str(PER_ADDRESS),
    "MAX_SESSIONS_PER_SUBJECT": str(PER_SUBJECT),
    "MAX_SESSIONS_PER_TENANT": str(PER_TENANT),
}
ELSEWHERE = "https://evil.example"


async def refused(
    http: aiohttp.ClientSession, stack: Stack, minted: Minted, carriage: Carriage, **how: Any
) -> tuple[int | None, Json]:
    """The HTTP status or the close code of a refusal, and its error object."""
    if carriage == "header":
        status, error, _ = await refused_status(http, stack, minted, **how)
        return status, error
    return await refused_events(http, stack, minted, **how)


def other_spelling(stack: Stack) -> str:
    """The page's other address, which is on the list too."""
    return stack.page_url.replace("localhost", "127.0.0.1")


async def test_both_services_answer_an_expectation_they_do_not_know_in_the_one_error_shape(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    for base_url, path in ((stack.mint_base_url, "client_secrets"), (stack.relay_base_urls[0], "")):
        url = f"{base_url}/realtime/{path}".rstrip("/")
        async with http.request("POST" if path else "GET", url, headers={"Expect": "magic"}) as answer:
            assert answer.status == 400
            error: Json = (await answer.json())["error"]
            assert (error["code"], error["type"]) == ("invalid_request", "invalid_request_error")
            assert answer.headers["X-Request-Id"] in error["message"]


# Origin


@pytest.mark.parametrize(("carriage", "code"), [("header", 403), ("subprotocol", 4403)])
async def test_a_page_s_token_works_only_from_that_page(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession, carriage: Carriage, code: int
) -> None:
    minted = await mint(http, stack)
    before = len(simulator.connections)
    for origin in (other_spelling(stack), None):
        told, error = await refused(http, stack, minted, carriage, origin=origin)
        assert (told, error["code"]) == (code, "origin_not_allowed")
    assert traces.token(minted.token_id) == {"state": "minted"}
    assert len(simulator.connections) == before
    async with await connect(http, stack, minted, carriage) as talk:
        await talk.until("session.created")


@pytest.mark.parametrize("carriage", CARRIAGES)
@pytest.mark.parametrize("origin", [ELSEWHERE, "null", "http://localhost", "http://localhost.evil.example"])
async def test_an_origin_that_is_not_on_the_list_gets_no_upgrade(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, carriage: Carriage, origin: str
) -> None:
    minted = await mint(http, stack, api_key=API_KEY)
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await connect(http, stack, minted, carriage, origin=origin)
    assert caught.value.status == 403
    assert traces.token(minted.token_id) == {"state": "minted"}


@pytest.mark.parametrize("carriage", CARRIAGES)
async def test_an_unbound_token_works_without_origin_and_from_any_on_the_list(
    stack: Stack, http: aiohttp.ClientSession, carriage: Carriage
) -> None:
    for origin in (None, stack.page_url, other_spelling(stack)):
        minted = await mint(http, stack, api_key=API_KEY, airlock={"subject": f"from {origin}"})
        async with await connect(http, stack, minted, carriage, origin=origin) as talk:
            await talk.until("session.created")


async def test_a_token_bound_by_its_caller_works_only_from_there(stack: Stack, http: aiohttp.ClientSession) -> None:
    minted = await mint(http, stack, api_key=API_KEY, airlock={"origin": other_spelling(stack)})
    assert (await refused_events(http, stack, minted, origin=stack.page_url))[0] == 4403
    async with await connect(http, stack, minted, origin=other_spelling(stack)) as talk:
        await talk.until("session.created")


async def test_a_replay_from_another_origin_is_told_as_one(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack) as (_, minted):
        code, error = await refused_events(http, stack, minted, origin=other_spelling(stack))
        assert (code, error["code"]) == (4401, "token_used")
        assert traces.token(minted.token_id)["replayed"] == "1"


# Model


@pytest.mark.parametrize(("carriage", "code"), [("header", 403), ("subprotocol", 4403)])
async def test_another_model_is_refused_and_nothing_is_spent(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, carriage: Carriage, code: int
) -> None:
    minted = await mint(http, stack)
    told_by_status = pytest.raises(aiohttp.WSServerHandshakeError)
    with told_by_status if carriage == "header" else contextlib.nullcontext():
        async with await connect(http, stack, minted, carriage, query={"model": "gpt-realtime"}) as talk:
            told, (event,) = await talk.until_closed()
            assert (told, event["error"]["code"]) == (code, "model_mismatch")
    assert traces.token(minted.token_id) == {"state": "minted"}
    async with await connect(http, stack, minted, carriage, query={"model": MODEL}) as talk:
        await talk.until("session.created")


async def test_nothing_of_the_client_s_request_reaches_the_model(
    stack: Stack, simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    minted = await mint(http, stack)
    query = {"model": MODEL, "voice": "cedar", "temperature": "2"}
    http.headers.update({"OpenAI-Beta": "realtime=v1", "X-Forwarded-For": "203.0.113.7", "Cookie": "a=b"})
    async with await connect(http, stack, minted, query=query) as talk:
        await talk.until("session.created")
        upstream = simulator.connections[-1]
    assert upstream.query == {"model": MODEL}
    assert set(map(str.lower, upstream.headers)) - {"accept", "accept-encoding"} == {  # aiohttp's own
        "authorization",
        "connection",
        "host",
        "openai-safety-identifier",
        "sec-websocket-key",
        "sec-websocket-version",
        "upgrade",
        "user-agent",
    }


# Limits


@pytest.mark.parametrize(("carriage", "code"), [("header", 429), ("subprotocol", 4429)])
async def test_an_address_has_so_many_sessions_and_the_token_that_was_one_too_many_works_later(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession, carriage: Carriage, code: int
) -> None:
    await until(lambda: not traces.leases())
    talks = [await connect(http, stack, await mint(http, stack)) for _ in range(PER_ADDRESS)]
    for talk in talks:
        await talk.until("session.created")
    minted = await mint(http, stack)
    told, error = await refused(http, stack, minted, carriage)
    assert (told, error["code"], error["retry"]) == (code, "too_many_sessions", "after retry_after")
    assert error["retry_after"] > 0
    assert len(traces.leases()) == PER_ADDRESS
    assert not traces.lines("session.end", token_id=minted.token_id)
    assert traces.token(minted.token_id) == {"state": "minted", "gave_back": "1"}
    await talks.pop().socket.close()
    await until(lambda: len(traces.leases()) == PER_ADDRESS - 1, 2)
    async with await connect(http, stack, minted, carriage) as talk:
        await talk.until("session.created")
    for talk in talks:
        await talk.socket.close()


async def test_a_subject_and_a_tenant_have_so_many_sessions_each(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    await until(lambda: not traces.leases())
    talks: list[Talk] = []
    for subject in ("ann", "ben", "cem"):
        for number in range(PER_SUBJECT + 1):
            minted = await mint(http, stack, api_key=API_KEY, airlock={"subject": subject})
            talk = await connect(http, stack, minted)
            first = await talk.next()
            fits = number < PER_SUBJECT and len(talks) < PER_TENANT
            assert first["type"] == ("session.created" if fits else "error"), (subject, number)
            if fits:
                talks.append(talk)
            else:
                assert first["error"]["code"] == "too_many_sessions"
                await talk.until_closed()
    assert len(talks) == len(traces.leases()) == PER_TENANT
    for talk in talks:
        await talk.socket.close()
    await until(lambda: not traces.leases(), 2)
