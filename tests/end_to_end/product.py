"""Both services in the test's own process, with secrets from a vault, for tests that put a clock forward."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import relay.app
import token_service.app
from local_cloud.managed_identity import CLIENT_ID
from local_cloud.realtime import Behaviour, Simulator
from relay.secrets import RelaySecrets
from relay.settings import RelaySettings
from service_kit.key_vault import open_vault
from service_kit.secrets import SecretsT
from service_kit.settings import ServiceSettings
from service_kit.telemetry import Recorder
from service_kit.vault_secrets import VaultSecrets
from tests.azure import Azure
from tests.examples import PAGE, PROFILES_TOML
from tests.service_kit.test_vault_secrets import Clock
from tests.serving import serving
from token_service.app import OPERATORS, READINESS
from token_service.operators.app import create_operator_app
from token_service.secrets import TokenServiceSecrets
from token_service.settings import TokenServiceSettings


class Product:
    """Where to find it.

    Attributes:
        clock: what the services tell the age of their secrets by.
        simulator: the model.
        secrets: the token service's and the relay's.
    """

    page_url = PAGE

    def __init__(
        self, ports: list[int], clock: Clock, simulator: Simulator, secrets: Sequence[VaultSecrets[Any]]
    ) -> None:
        mint_port, operator_port, relay_port = ports
        self.mint_base_url = f"http://127.0.0.1:{mint_port}/v1"
        self.operator_url = f"http://127.0.0.1:{operator_port}/v1/operator/sessions"
        self.relay_base_urls = [f"http://127.0.0.1:{relay_port}/v1"]
        self.clock = clock
        self.simulator = simulator
        self.secrets = secrets


def _write_profiles() -> None:
    Path("profiles.toml").write_text(PROFILES_TOML)  # in the empty folder that a bare environment comes with


@asynccontextmanager
async def product_with(
    azure: Azure, bare_environment: pytest.MonkeyPatch, *, refresh_seconds: float, behaviour: Behaviour
) -> AsyncIterator[Product]:
    """The product while the block runs."""
    _write_profiles()
    for name, value in azure.identity.environment.items():
        bare_environment.setenv(name, value)
    clock, tls = Clock(), azure.authority.client_context()

    def of_the_vault(secrets_class: type[SecretsT], settings: ServiceSettings) -> VaultSecrets[SecretsT]:
        return VaultSecrets(
            secrets_class,
            dict(settings),
            lambda: open_vault(azure.vault.url, CLIENT_ID, tls),
            refresh_seconds=refresh_seconds,
            clock=clock,
        )

    async with AsyncExitStack() as running:
        simulator = await running.enter_async_context(Simulator(behaviour))
        shared: dict[str, Any] = {"allowed_origins": PAGE, "openai_base_url": simulator.base_url}
        settings = TokenServiceSettings(**shared, callers="anonymous", operator_port=8090)
        relay_settings = RelaySettings(**shared)
        secrets = of_the_vault(TokenServiceSecrets, settings)
        relay_secrets = of_the_vault(RelaySecrets, relay_settings)
        for each in (secrets, relay_secrets):
            await running.enter_async_context(each.kept())
            await each.arrive()
        app = token_service.app.create_app(settings, secrets)
        operators = create_operator_app(
            app[OPERATORS], lambda: secrets.current.operator_keys, Recorder().numbers, app[READINESS], hsts=False
        )
        apps = (app, operators, relay.app.create_app(relay_settings, relay_secrets))
        ports = [await running.enter_async_context(serving(each)) for each in apps]
        yield Product(ports, clock, simulator, (secrets, relay_secrets))
