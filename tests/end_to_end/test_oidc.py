"""Somebody with an account at an OIDC issuer: the real processes, a real issuer on loopback, and a session held."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from local_cloud.realtime import Simulator
from local_cloud.redis_server import RedisServer
from tests.end_to_end.clients import Json, Minted, connect, mint, readiness, refused_status
from tests.end_to_end.conftest import DEFAULTS
from tests.issuer import AUDIENCE, LocalIssuer, ec_key, rsa_key
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def issuer() -> AsyncIterator[LocalIssuer]:
    """Away until a test starts it."""
    issuer = LocalIssuer()
    yield issuer
    await issuer.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    issuer: LocalIssuer, running_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """The product, started while the issuer is away."""
    settings = {"CALLERS": "anonymous,oidc", "OIDC_ISSUER": issuer.url, "OIDC_AUDIENCE": AUDIENCE}
    with RedisServer() as redis:
        folder = tmp_path_factory.mktemp("stack")
        stack = Stack(folder, openai_base_url=running_simulator.base_url, redis=redis, **DEFAULTS | settings)
        await asyncio.to_thread(stack.__enter__)
        try:
            yield stack
        finally:
            await asyncio.to_thread(stack.__exit__)


async def ask(
    http: aiohttp.ClientSession, stack: Stack, token: str, body: object = None, origin: str | None = "page"
) -> tuple[int, Json]:
    headers = {"Authorization": f"Bearer {token}"}
    if origin:
        headers["Origin"] = stack.page_url if origin == "page" else origin
    url = f"{stack.mint_base_url}/realtime/client_secrets"
    async with http.post(url, json=body or {}, headers=headers) as answer:
        return answer.status, await answer.json()


async def minted_with(http: aiohttp.ClientSession, stack: Stack, token: str, **how: Any) -> Minted:
    status, body = await ask(http, stack, token, **how)
    assert status == 200, body
    return Minted(body["value"], body["airlock"]["token_id"], body["expires_at"], body)


async def test_the_service_starts_without_the_issuer_and_knows_it_once_it_is_there(
    http: aiohttp.ClientSession, stack: Stack, issuer: LocalIssuer
) -> None:
    assert await readiness(http, stack.mint_base_url) == 200
    assert (await mint(http, stack)).token.startswith("ek_")
    status, body = await ask(http, stack, issuer.token())
    assert (status, body["error"]["code"]) == (503, "unavailable")
    assert body["error"]["retry_after"] >= 1
    await issuer.start()
    await issuer.asked("/keys")  # by itself: a failed fetch is tried again after 5 s
    assert (await ask(http, stack, issuer.token()))[0] == 200


async def test_a_session_is_held_with_a_token_minted_by_a_jwt(
    http: aiohttp.ClientSession, stack: Stack, issuer: LocalIssuer
) -> None:
    for jwt in (issuer.token(sub="canary-alice"), issuer.token(ec_key("one"), "ec-1", sub="canary-alice")):
        minted = await minted_with(http, stack, jwt)
        async with await connect(http, stack, minted) as talk:
            await talk.until("session.created")
            assert await talk.ask()
    assert "canary-alice" not in stack.logs()
    mints = [json.loads(line) for line in stack.logs().splitlines() if '"mint.ok"' in line]
    assert [(line["caller"], line["tenant"]) for line in mints[-2:]] == [("oidc", "oidc")] * 2


async def test_a_token_minted_from_a_page_works_only_from_that_page(
    http: aiohttp.ClientSession, stack: Stack, issuer: LocalIssuer
) -> None:
    minted = await minted_with(http, stack, issuer.token())
    elsewhere = stack.page_url.replace("localhost", "127.0.0.1")  # allowed, and another Origin
    for origin in (elsewhere, None):
        status, error, _ = await refused_status(http, stack, minted, origin=origin)
        assert (status, error["code"]) == (403, "origin_not_allowed")
    async with await connect(http, stack, minted) as talk:  # nothing was spent
        await talk.until("session.created")


async def test_a_token_minted_outside_a_page_works_without_an_origin(
    http: aiohttp.ClientSession, stack: Stack, issuer: LocalIssuer
) -> None:
    minted = await minted_with(http, stack, issuer.token(), origin=None)
    async with await connect(http, stack, minted, "header", origin=None) as talk:
        await talk.until("session.created")


async def test_roles_decide_profiles(http: aiohttp.ClientSession, stack: Stack, issuer: LocalIssuer) -> None:
    staff = {"airlock": {"profile": "staff"}}
    status, body = await ask(http, stack, issuer.token(), staff)
    assert (status, body["error"]["param"]) == (400, "airlock.profile")
    minted = await minted_with(http, stack, issuer.token(roles=["voice"]), body=staff)
    assert minted.body["airlock"]["profile"] == "staff"


async def test_a_forged_token_is_refused(http: aiohttp.ClientSession, stack: Stack, issuer: LocalIssuer) -> None:
    status, body = await ask(http, stack, issuer.token(rsa_key("attacker")))
    assert (status, body["error"]["code"]) == (401, "invalid_token")


async def test_openai_s_client_mints_with_a_jwt_and_talks(stack: Stack, issuer: LocalIssuer) -> None:
    async with openai.AsyncOpenAI(api_key=issuer.token(), base_url=stack.mint_base_url, max_retries=0) as airlock:
        secret = await airlock.realtime.client_secrets.create()
    client = openai.AsyncOpenAI(api_key=secret.value, base_url=stack.relay_base_urls[0])
    async with client, client.realtime.connect(model="gpt-realtime-2.1") as connection:
        assert (await connection.recv()).type == "session.created"
