"""The real application with a real Redis, and settings for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from tests.configured import TokenServiceConfiguration, configured_token_service
from tests.examples import KEY, PAGE, PROFILES_TOML
from tests.serving import serving
from token_service.app import create_app

MakeSettings = Callable[..., TokenServiceConfiguration]
SHOP: dict[str, Any] = {
    "name": "shop",
    "sha256": sha256(b"shop-key").hexdigest(),
    "tenant": "acme",
    "profiles": ("default",),
    "max_session_seconds": 1_800,
}


@pytest.fixture
def make_settings(bare_environment: pytest.MonkeyPatch, tmp_path: Path, redis_server: str) -> MakeSettings:
    """Makes good settings and secrets, with changes."""
    path = tmp_path / "profiles.toml"
    path.write_text(PROFILES_TOML)

    def make(**changes: Any) -> TokenServiceConfiguration:
        usual = {
            "redis_url": redis_server,
            "token_signing_keys": KEY,
            "pseudonym_key": KEY,
            "allowed_origins": PAGE,
            "airlock_profiles": str(path),
            "callers": "anonymous,api_key",
            "caller_api_keys": (SHOP,),
            "relay_url": "wss://relay.example/v1/realtime",
        }
        return configured_token_service(**usual | changes)

    return make


@pytest.fixture
async def port(make_settings: MakeSettings, redis: Redis) -> AsyncIterator[int]:
    """Where the service listens."""
    async with serving(create_app(*make_settings())) as port:
        yield port


@pytest.fixture
async def http(port: int) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the service."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session
