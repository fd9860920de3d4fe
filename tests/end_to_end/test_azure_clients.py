"""Clients that were made for Azure OpenAI: its paths, its query and its credential, and the lock all the same."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.exceptions import InvalidStatus

from local_cloud.realtime import Simulator
from tests.end_to_end.clients import MODEL, mint
from tests.stack import Stack

ON_BOTH_LIBRARIES = True
pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

OLD_VERSION = "2025-04-01-preview"


def azure_client(stack: Stack, token: str, path: str = "/openai") -> AsyncAzureOpenAI:
    address = stack.relay_base_urls[0].removesuffix("/v1").replace("http", "ws")
    return AsyncAzureOpenAI(
        azure_endpoint="https://unused.example",
        websocket_base_url=address + path,
        api_key=token,
        api_version=OLD_VERSION,
        max_retries=0,
    )


async def hold_a_turn(connection: Any, done: str) -> str:
    await connection.conversation.item.create(
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Good day"}]}
    )
    await connection.response.create()
    text = ""
    while (event := await connection.recv()).type != "response.done":
        assert event.type != "error", event
        if event.type == done:
            text = event.text
    return text


async def token_for_text(http: aiohttp.ClientSession, stack: Stack) -> str:
    return (await mint(http, stack, session={"output_modalities": ["text"]})).token


def from_the_page(stack: Stack) -> dict[str, str]:
    """The token of a page works from nowhere else."""
    return {"Origin": stack.page_url}


@asynccontextmanager
async def by_ga_path(stack: Stack, token: str) -> AsyncIterator[AsyncRealtimeConnection]:
    base_url = stack.relay_base_urls[0].replace("/v1", "/openai/v1")
    async with (
        AsyncOpenAI(base_url=base_url, api_key=token, max_retries=0) as openai,
        openai.realtime.connect(model=MODEL, extra_headers=from_the_page(stack)) as connection,
    ):
        yield connection


async def test_the_path_of_azure_s_ga(stack: Stack, http: aiohttp.ClientSession) -> None:
    async with by_ga_path(stack, await token_for_text(http, stack)) as connection:
        assert await hold_a_turn(connection, "response.output_text.done") == 'You said: "Good day"'


async def test_the_old_path_with_its_query_and_its_header(
    stack: Stack, http: aiohttp.ClientSession, simulator: Simulator
) -> None:
    token = await token_for_text(http, stack)
    client = azure_client(stack, token)
    async with client.realtime.connect(model=MODEL, extra_headers=from_the_page(stack)) as connection:
        assert await hold_a_turn(connection, "response.output_text.done") == 'You said: "Good day"'
    upstream = simulator.connections[-1]
    await upstream.wait_ended()
    assert upstream.query == {"model": MODEL}
    assert "api-key" not in {name.lower() for name in upstream.headers}


async def test_the_old_path_in_the_beta(stack: Stack, http: aiohttp.ClientSession) -> None:
    client = azure_client(stack, await token_for_text(http, stack))
    async with client.beta.realtime.connect(model=MODEL, extra_headers=from_the_page(stack)) as connection:
        assert await hold_a_turn(connection, "response.text.done") == 'You said: "Good day"'


@pytest.mark.parametrize("path", ["/openai", "/openai/v1", "/v1"])
async def test_the_deployment_must_fit_the_lock_and_nothing_is_spent_if_it_does_not(
    stack: Stack, http: aiohttp.ClientSession, simulator: Simulator, path: str
) -> None:
    token = await token_for_text(http, stack)
    before = len(simulator.connections)
    client = azure_client(stack, token, path)
    for helper in (client.realtime, client.beta.realtime):
        with pytest.raises(InvalidStatus) as caught:
            await helper.connect(model="another-deployment", extra_headers=from_the_page(stack)).enter()
        assert caught.value.response.status_code == 403
        assert json.loads(caught.value.response.body)["error"]["code"] == "model_mismatch"
    assert len(simulator.connections) == before
    async with client.realtime.connect(model=MODEL, extra_headers=from_the_page(stack)) as connection:
        assert (await connection.recv()).type == "session.created"


async def test_the_credential_in_the_query_is_refused_and_not_spent(stack: Stack, http: aiohttp.ClientSession) -> None:
    """Azure lets browsers do that; what stands in an address ends in logs."""
    token = await token_for_text(http, stack)
    client = azure_client(stack, "not-a-token")
    with pytest.raises(InvalidStatus) as caught:
        await client.realtime.connect(model=MODEL, extra_query={"api-key": token}).enter()
    assert caught.value.response.status_code == 400
    async with by_ga_path(stack, token) as connection:
        assert (await connection.recv()).type == "session.created"
