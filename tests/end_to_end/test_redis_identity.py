"""The whole product with Redis over TLS by Entra ID: tokens expire many times, and nobody notices."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.entra_redis import RESOURCE, EntraRedis
from local_cloud.managed_identity import CLIENT_ID, Behaviour, Fault, ManagedIdentity
from local_cloud.ports import free_port
from local_cloud.realtime import Simulator
from local_cloud.redis_server import RedisServer
from service_kit import redis_client
from service_kit.revocation import Revocations
from tests.end_to_end.clients import connect, mint, talking
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.traces import Traces
from tests.stack import Process, Stack, status_of

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

LIFETIME_SECONDS = 12
PROMPTLY = 5.0
"""Seconds for an order to end a session, on a busy machine."""


@dataclass
class Around:
    """What stands around the product."""

    stack: Stack
    identity: ManagedIdentity
    front: EntraRedis
    redis: RedisServer


@asynccontextmanager
async def product(folder: Path, simulator: Simulator, **more: str) -> AsyncIterator[Around]:
    authority = ThrowAwayAuthority(folder)
    with RedisServer() as redis:
        async with (
            ManagedIdentity(Behaviour(lifetimes={RESOURCE: LIFETIME_SECONDS})) as identity,
            EntraRedis(redis.port, authority.server_context()) as front,
        ):
            settings: dict[str, Any] = {
                **DEFAULTS,
                **identity.environment,
                "AZURE_CLIENT_ID": CLIENT_ID,
                "EXTRA_CA_FILE": str(authority.ca_file),
                "REDIS_AUTH": "entra",
                "REDIS_URL": front.url,
                **more,
            }
            stack = Stack(folder, openai_base_url=simulator.base_url, redis=redis, **settings)
            await asyncio.to_thread(stack.__enter__)
            try:
                yield Around(stack, identity, front, redis)
            finally:
                await asyncio.to_thread(stack.__exit__)


async def test_sessions_mints_and_orders_outlive_the_tokens(
    simulator: Simulator, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with product(tmp_path, simulator) as around:
        with Traces(around.stack) as traces:
            minted = await mint(http, around.stack)
            async with await connect(http, around.stack, minted) as talk:
                assert await talk.ask()
                asked = len(around.identity.asked)
                renewed = asyncio.create_task(around.identity.wait_asked(asked + 6))  # three of each service
                mints = 0
                while not renewed.done():
                    await mint(http, around.stack)  # fails unless it is answered 200
                    mints += 1
                assert await talk.ask()
                async with talking(http, around.stack) as (other, _):
                    assert await other.ask()
                operator = redis_client.connect(around.redis.url)
                await Revocations(operator, "development").revoke_token(minted.token_id)
                await operator.aclose()
                code, _ = await talk.until_closed(PROMPTLY)
                assert code == 4403  # so the subscription is alive
            assert mints > 20
            for process in ("relay-0", "token_service"):
                assert traces.lines("redis.down", process) == []
                assert traces.lines("identity.failed", process) == []
        assert (around.front.cut, around.front.refused) == (0, 0)
        assert max(around.front.logins) >= 3
        logs = around.stack.logs()
    assert not re.search(r"eyJ[\w-]+\.eyJ", logs)  # how every token begins


async def test_an_endpoint_that_is_away_at_first_keeps_nobody_from_starting(
    simulator: Simulator, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with ManagedIdentity(Behaviour(has_system_assigned=True)) as identity:
        identity.faults.append(Fault(status=400, times=3))
        # In place of the usual endpoint; its identity is the system-assigned one.
        async with product(tmp_path, simulator, AZURE_CLIENT_ID="", **identity.environment) as around:
            with Traces(around.stack) as traces:
                assert traces.lines("identity.failed", "token_service", resource=f"{RESOURCE}/.default")
                async with talking(http, around.stack) as (talk, _):
                    assert await talk.ask()


@pytest.mark.parametrize("module", ["token_service", "relay"])
async def test_a_redis_that_nobody_vouches_for_is_not_believed(
    simulator: Simulator, tmp_path: Path, module: str
) -> None:
    (tmp_path / "other").mkdir()
    async with product(tmp_path, simulator) as around:
        authority = ThrowAwayAuthority(tmp_path / "other")
        async with EntraRedis(around.redis.port, authority.server_context("redis.example")) as misnamed:
            for trouble in (
                {"EXTRA_CA_FILE": ""},
                {"EXTRA_CA_FILE": str(authority.ca_file), "REDIS_URL": misnamed.url},
            ):
                port = free_port()
                environment = {**around.stack.environment, "PORT": str(port), **trouble}
                process = Process(module, environment=environment, log_path=tmp_path / "untrusting.log")
                try:
                    await asyncio.to_thread(process.wait_until_ready, f"http://127.0.0.1:{port}/healthz")
                    assert await asyncio.to_thread(status_of, f"http://127.0.0.1:{port}/readyz") == 503
                    assert '"redis.down"' in process.log()
                finally:
                    await asyncio.to_thread(process.stop)
            assert misnamed.logins == []
