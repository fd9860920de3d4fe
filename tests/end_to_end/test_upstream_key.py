"""An upstream's key changes in the vault: the next dial has it, and a refused one is looked up at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from local_cloud.key_vault import Fault
from local_cloud.realtime import Behaviour
from service_kit.vault_secrets import REREAD_SECONDS
from tests.azure import Azure, azure_with, secret_values
from tests.end_to_end.clients import Talk, connect, mint, refused_events
from tests.end_to_end.product import Product, product_with

OLD, NEW = "canary-sk-old", "canary-sk-new"
NEVER = 3_600.0
SECONDS = 20.0


@pytest.fixture
async def azure(tmp_path: Path, redis_server: str) -> AsyncIterator[Azure]:
    async with azure_with(tmp_path, secret_values(redis_url=redis_server, openai_api_key=OLD)) as azure:
        yield azure


@pytest.fixture
async def product(azure: Azure, bare_environment: pytest.MonkeyPatch) -> AsyncIterator[Product]:
    """Its vault is read at the start and when an upstream refuses a key, and never else."""
    behaviour = Behaviour(pace=None, api_key=OLD)
    async with product_with(azure, bare_environment, refresh_seconds=NEVER, behaviour=behaviour) as product:
        yield product


def accept(product: Product, key: str) -> None:
    """Let the model take this key alone."""
    product.simulator.accepts = lambda given: given == key


def reads(azure: Azure) -> int:
    return [each.name for each in azure.vault.reads].count("openai-api-key")


async def begun(http: aiohttp.ClientSession, product: Product) -> Talk:
    """A session that has begun."""
    talk = await connect(http, product, await mint(http, product))
    await talk.until("session.created", SECONDS)
    return talk


async def test_a_key_that_was_revoked_at_once_is_read_anew_and_no_session_fails(azure: Azure, product: Product) -> None:
    async with aiohttp.ClientSession() as http:
        before = await begun(http, product)
        azure.vault.set("openai-api-key", NEW)
        accept(product, NEW)
        read, dialled = reads(azure), len(product.simulator.connections)
        talks = await asyncio.gather(*(begun(http, product) for _ in range(5)))
        assert reads(azure) == read + 1  # for all of them
        assert len(product.simulator.connections) <= dialled + 2 * len(talks)
        for talk in (*talks, before):
            await talk.ask("Are you there?")
            await talk.socket.close()


async def test_a_key_that_has_not_changed_is_dialled_with_once(azure: Azure, product: Product) -> None:
    accept(product, NEW)
    async with aiohttp.ClientSession() as http:
        for rereads in (1, 1, 2):
            read, dialled = 1 + rereads, len(product.simulator.connections)
            with capture_logs() as lines:
                code, error = await refused_events(http, product, await mint(http, product))
            assert (code, error["code"]) == (1011, "upstream_unavailable")
            (alert,) = (line for line in lines if line.get("error") == "invalid_api_key")  # not the look at the start
            assert (alert["event"], alert["log_level"]) == ("upstream.auth_failed", "error")
            assert len(product.simulator.connections) == dialled + 1
            assert reads(azure) == read
            assert "canary" not in str(lines)
            product.clock.now += REREAD_SECONDS / 2 + 0.1  # it may be read again the third time


async def test_a_vault_that_hangs_does_not_hold_up_a_dial_for_long(azure: Azure, product: Product) -> None:
    accept(product, NEW)
    azure.vault.faults.append(Fault("hang", times=None))
    async with aiohttp.ClientSession() as http:
        code, error = await refused_events(http, product, await mint(http, product))
    assert (code, error["code"]) == (1011, "upstream_unavailable")
