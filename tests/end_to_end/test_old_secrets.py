"""A day without the vault: nothing new is begun, and what lives goes on. In this process, for its clock's sake."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import relay.app
import token_service.app
from local_cloud.managed_identity import CLIENT_ID
from local_cloud.realtime import Behaviour, Simulator
from relay.secrets import RelaySecrets
from relay.settings import RelaySettings
from service_kit.key_vault import open_vault
from service_kit.vault_secrets import MAX_AGE_SECONDS, VaultSecrets
from tests.azure import OPERATOR_KEY, Azure, azure_with, secret_values
from tests.end_to_end.clients import connect, mint
from tests.examples import PAGE, PROFILES_TOML
from tests.service_kit.test_vault_secrets import Clock
from tests.serving import serving
from token_service.app import OPERATORS
from token_service.operators.app import create_operator_app
from token_service.secrets import TokenServiceSecrets
from token_service.settings import TokenServiceSettings

REFRESH_SECONDS = 0.05
SECONDS = 20.0


class Product:
    """Both services in this process.

    Attributes:
        clock: what they tell the age of their secrets by.
    """

    page_url = PAGE

    def __init__(self, mint_port: int, operator_port: int, relay_port: int, clock: Clock) -> None:
        self.mint_base_url = f"http://127.0.0.1:{mint_port}/v1"
        self.operator_url = f"http://127.0.0.1:{operator_port}/v1/operator/sessions"
        self.relay_base_urls = [f"http://127.0.0.1:{relay_port}/v1"]
        self.clock = clock


@pytest.fixture
async def azure(tmp_path: Path, redis_server: str) -> AsyncIterator[Azure]:
    async with azure_with(tmp_path, secret_values(redis_url=redis_server)) as azure:
        yield azure


@pytest.fixture
async def product(azure: Azure, bare_environment: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Product]:
    path = tmp_path / "profiles.toml"
    path.write_text(PROFILES_TOML)
    clock = Clock()
    async with AsyncExitStack() as running:
        simulator = await running.enter_async_context(Simulator(Behaviour(pace=None)))
        shared: dict[str, Any] = {
            "airlock_profiles": str(path),
            "allowed_origins": PAGE,
            "openai_base_url": simulator.base_url,
        }
        settings = TokenServiceSettings(**shared, callers="anonymous", operator_port=8090)
        relay_settings = RelaySettings(**shared)

        def kept(secrets_class: Any, settings: Any) -> Any:
            tls = azure.authority.client_context()
            return VaultSecrets(
                secrets_class,
                dict(settings),
                lambda: open_vault(azure.vault.url, CLIENT_ID, tls),
                refresh_seconds=REFRESH_SECONDS,
                clock=clock,
            )

        for name, value in azure.identity.environment.items():
            bare_environment.setenv(name, value)
        mint_secrets, relay_secrets = kept(TokenServiceSecrets, settings), kept(RelaySecrets, relay_settings)
        for secrets in (mint_secrets, relay_secrets):
            await running.enter_async_context(secrets.kept())
            await secrets.arrive()
        app = token_service.app.create_app(settings, mint_secrets)
        operators = create_operator_app(app[OPERATORS], lambda: mint_secrets.current.operator_keys, hsts=False)
        relay_app = relay.app.create_app(relay_settings, relay_secrets)
        ports = [await running.enter_async_context(serving(each)) for each in (app, operators, relay_app)]
        yield Product(ports[0], ports[1], ports[2], clock)


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
