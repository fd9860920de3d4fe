"""Azure OpenAI by managed identity: the relay's process, the platform's endpoint, and an upstream that checks tokens.

The upstream is reached as 0.0.0.0 over plain HTTP, which development allows.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from local_cloud.access_tokens import InvalidAccessToken, read
from local_cloud.managed_identity import CLIENT_ID, Asked, Fault, ManagedIdentity
from local_cloud.realtime import Behaviour, Simulator
from local_cloud.redis_server import RedisServer
from tests.end_to_end.clients import MODEL, mint, refused_events, talking
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.traces import Traces, until
from tests.stack import Stack

ON_BOTH_LIBRARIES = True
pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

RESOURCE = "https://cognitiveservices.azure.com"


class AzureOpenAI(Simulator):
    """Takes access tokens for itself, but none that was withdrawn."""

    def __init__(self) -> None:
        super().__init__(Behaviour(pace=None))
        self.withdrawn: set[str] = set()
        self.seen: list[str] = []
        self.accepts = self._accepts

    def _accepts(self, token: str) -> bool:
        self.seen.append(token)
        try:
            read(token, RESOURCE)
        except InvalidAccessToken:
            return False
        return token not in self.withdrawn


class Product:
    """The stack, and what is around it."""

    def __init__(self, stack: Stack, upstream: AzureOpenAI, identity: ManagedIdentity) -> None:
        self.stack = stack
        self.upstream = upstream
        self.identity = identity

    @property
    def asked(self) -> list[int]:
        """How requests for the upstream's token were answered."""
        return [each.status for each in self.identity.asked if each.resource == RESOURCE]


@asynccontextmanager
async def product(folder: Path, library: str, identity: ManagedIdentity, **more: str) -> AsyncIterator[Product]:
    async with AzureOpenAI() as upstream:
        settings: dict[str, Any] = {
            **DEFAULTS,
            **identity.environment,
            "AZURE_CLIENT_ID": CLIENT_ID,
            "AZURE_OPENAI_AUTH": "managed_identity",
            "AZURE_OPENAI_ENDPOINT": upstream.origin.replace("127.0.0.1", "0.0.0.0"),
            "OPENAI_API_KEY": "",
            "WEBSOCKETS": library,
            **more,
        }
        with RedisServer() as redis:
            stack = Stack(folder, openai_base_url=settings.pop("OPENAI_BASE_URL", ""), redis=redis, **settings)
            await asyncio.to_thread(stack.__enter__)
            try:
                yield Product(stack, upstream, identity)
            finally:
                await asyncio.to_thread(stack.__exit__)


async def converse(http: aiohttp.ClientSession, stack: Stack) -> None:
    async with talking(http, stack) as (talk, _):
        assert await talk.ask() == 'You said: "Good day"'


async def test_sessions_are_held_with_the_identity_s_token_and_none_waits_for_it(
    http: aiohttp.ClientSession, tmp_path: Path, websocket_library: str
) -> None:
    async with ManagedIdentity() as identity, product(tmp_path, websocket_library, identity) as made:
        with Traces(made.stack) as traces:
            await until(lambda: bool(traces.lines("upstream.checked")))
            identity.behaviour.delay_seconds = 60.0
            await converse(http, made.stack)
            await converse(http, made.stack)
        assert identity.asked == [Asked(RESOURCE, CLIENT_ID, 200)]
        for connection in made.upstream.connections:
            assert connection.headers["Authorization"].removeprefix("Bearer ") in made.upstream.seen
            assert "api-key" not in connection.headers
        logs = made.stack.logs()
    assert not any(token in logs for token in made.upstream.seen)


async def test_a_withdrawn_token_is_replaced_at_once_for_a_storm_of_sessions(
    http: aiohttp.ClientSession, tmp_path: Path, websocket_library: str
) -> None:
    sessions = 10
    async with ManagedIdentity() as identity, product(tmp_path, websocket_library, identity) as made:
        await converse(http, made.stack)
        made.upstream.withdrawn.update(made.upstream.seen)
        made.upstream.connections.clear()
        with Traces(made.stack) as traces:
            await asyncio.gather(*(converse(http, made.stack) for _ in range(sessions)))
            renewed = traces.lines("upstream.key_renewed")
            assert traces.lines("upstream.auth_failed") == []
        assert made.asked == [200, 200]
        assert 1 <= len(renewed) <= sessions
        assert len(made.upstream.connections) == sessions + len(renewed)  # one dial more for each, and no third


async def test_where_no_token_is_taken_the_operator_is_told_and_the_token_goes_back(
    http: aiohttp.ClientSession, tmp_path: Path, websocket_library: str
) -> None:
    async with ManagedIdentity() as identity, product(tmp_path, websocket_library, identity) as made:
        made.upstream.accepts = lambda _: False
        with Traces(made.stack) as traces:
            for _ in range(2):
                minted = await mint(http, made.stack)
                code, error = await refused_events(http, made.stack, minted)
                assert (code, error["code"]) == (1011, "upstream_unavailable")
                assert (await traces.session_end(minted.token_id))["ending"] == "model_failed"
                assert traces.token(minted.token_id)["state"] == "minted"
            assert len(traces.lines("upstream.auth_failed", error="HTTP 401")) >= 2
        assert made.asked == [200, 200]  # and not one more for the second session
        assert len(made.upstream.connections) == 3  # two for the first, one for the second


async def test_an_endpoint_that_is_away_keeps_nobody_from_starting(
    http: aiohttp.ClientSession, tmp_path: Path, websocket_library: str
) -> None:
    async with ManagedIdentity() as identity:
        identity.faults.append(Fault(status=400, times=None))
        async with product(tmp_path, websocket_library, identity) as made:
            with Traces(made.stack) as traces:
                started_at = time.monotonic()
                code, error = await refused_events(http, made.stack, await mint(http, made.stack))
                assert (code, error["code"]) == (1011, "upstream_unavailable")
                assert time.monotonic() - started_at < 5
                assert traces.lines("identity.failed", resource=f"{RESOURCE}/.default")
                assert traces.lines("upstream.auth_failed", error="no credential")
                assert not made.upstream.connections
                identity.faults.clear()
                await identity.wait_asked(1, status=200)
                await converse(http, made.stack)


async def test_without_a_token_the_next_upstream_serves(
    http: aiohttp.ClientSession, tmp_path: Path, websocket_library: str
) -> None:
    async with ManagedIdentity() as identity, Simulator(Behaviour(pace=None, api_key="sk-second")) as second:
        identity.faults.append(Fault(status=400, times=None))
        more = {"OPENAI_BASE_URL": second.base_url, "OPENAI_API_KEY": "sk-second"}
        async with product(tmp_path, websocket_library, identity, **more) as made:
            await converse(http, made.stack)
            assert not made.upstream.connections
            assert len(second.connections) == 1


async def test_the_scope_can_be_another(http: aiohttp.ClientSession, tmp_path: Path, websocket_library: str) -> None:
    scope = "https://ai.azure.com/.default"
    async with (
        ManagedIdentity() as identity,
        product(tmp_path, websocket_library, identity, AZURE_OPENAI_SCOPE=scope) as made,
    ):
        made.upstream.accepts = lambda token: (
            jwt.decode(token, options={"verify_signature": False})["aud"] == "https://ai.azure.com"
        )
        await converse(http, made.stack)


async def test_an_upstream_of_the_profiles_file_takes_it_too(
    http: aiohttp.ClientSession, tmp_path: Path, websocket_library: str
) -> None:
    async with ManagedIdentity() as identity, AzureOpenAI() as upstream:
        profiles = tmp_path / "profiles.toml"
        profiles.write_text(
            f'[profiles.default]\nmodel = "{MODEL}"\ncallers = ["anonymous"]\n[[upstreams]]\nname = "sweden"\n'
            f'kind = "azure"\nauth = "managed_identity"\nbase_url = "{upstream.origin}/openai/v1"\n'
        )
        async with product(tmp_path, websocket_library, identity, AIRLOCK_PROFILES=str(profiles)) as made:
            await converse(http, made.stack)
        assert len(upstream.connections) == 1
