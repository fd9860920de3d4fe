"""A day without the vault: nothing new is begun, and what lives goes on. In this process, for its clock's sake."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from local_cloud.realtime import Behaviour
from service_kit.vault_secrets import MAX_AGE_SECONDS
from tests.azure import OPERATOR_KEY, Azure, azure_with, secret_values
from tests.end_to_end.clients import connect, mint
from tests.end_to_end.product import Product, product_with
from tests.examples import PAGE

REFRESH_SECONDS = 0.05
SECONDS = 20.0


@pytest.fixture
async def azure(tmp_path: Path, redis_server: str) -> AsyncIterator[Azure]:
    async with azure_with(tmp_path, secret_values(redis_url=redis_server)) as azure:
        yield azure


@pytest.fixture
async def product(azure: Azure, bare_environment: pytest.MonkeyPatch) -> AsyncIterator[Product]:
    behaviour = Behaviour(pace=None)
    async with product_with(azure, bare_environment, refresh_seconds=REFRESH_SECONDS, behaviour=behaviour) as product:
        yield product


async def test_a_day_without_the_vault_ends_beginnings_and_no_session(azure: Azure, product: Product) -> None:
    async def status(http: aiohttp.ClientSession, url: str, **headers: str) -> int:
        async with http.get(url, headers=headers) as answer:
            return answer.status

    ready = [f"{url.removesuffix('/v1')}/readyz" for url in (product.mint_base_url, *product.relay_base_urls)]
    async with aiohttp.ClientSession() as http:
        minted, unused = await mint(http, product), await mint(http, product)
        async with await connect(http, product, minted) as talk:
            await talk.until("session.created")
            azure.vault.behaviour.is_down = True
            for secrets in product.secrets:
                async with secrets._reading:  # what was read before that is in force
                    pass
            product.clock.now += MAX_AGE_SECONDS - 1
            assert [await status(http, url) for url in ready] == [200, 200]
            await mint(http, product)

            product.clock.now += 2
            assert [await status(http, url) for url in ready] == [503, 503]
            async with http.post(
                f"{product.mint_base_url}/realtime/client_secrets", headers={"Origin": PAGE}
            ) as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
                assert (await answer.json())["error"]["code"] == "unavailable"
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await connect(http, product, unused)
            assert refused.value.status == 503
            assert await status(http, ready[0].replace("readyz", "healthz")) == 200
            assert await status(http, product.operator_url, Authorization=f"Bearer {OPERATOR_KEY}") == 200
            await talk.ask("Are you still there?")

            azure.vault.behaviour.is_down = False
            deadline = time.monotonic() + SECONDS
            while [await status(http, url) for url in ready] != [200, 200]:
                assert time.monotonic() < deadline
                await asyncio.sleep(REFRESH_SECONDS)
            async with await connect(http, product, unused) as another:  # nothing of it was spent
                await another.until("session.created")
