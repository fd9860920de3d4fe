"""Azure around a test: a managed identity and a Key Vault on loopback, and the secrets of a service in it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.key_vault import KeyVault
from local_cloud.managed_identity import CLIENT_ID, ManagedIdentity
from tests.examples import KEY

SHOP_KEY = "shop-key"
OPERATOR_KEY = "op_the-key-of-the-operators"


def secret_values(**changes: str) -> dict[str, str]:
    """Good values for every secret there is, by the names in the vault; ``changes`` have ``_`` for ``-``."""
    shop: dict[str, Any] = {
        "name": "shop",
        "sha256": sha256(SHOP_KEY.encode()).hexdigest(),
        "tenant": "acme",
        "profiles": ["default"],
    }
    operator = {"name": "ops", "sha256": sha256(OPERATOR_KEY.encode()).hexdigest()}
    usual = {
        "caller-api-keys": json.dumps([shop]),
        "openai-api-key": "sk-upstream",
        "operator-keys": json.dumps([operator]),
        "pseudonym-key": "pseudonym-" + KEY,
        "redis-url": "redis://127.0.0.1:1/0",
        "token-signing-keys": "signing-" + KEY,
    }
    return usual | {name.replace("_", "-"): value for name, value in changes.items()}


@dataclass(frozen=True, slots=True)
class Azure:
    """The stand-ins."""

    authority: ThrowAwayAuthority
    identity: ManagedIdentity
    vault: KeyVault

    @property
    def environment(self) -> Mapping[str, str]:
        """What leads a service to them."""
        return {
            **self.identity.environment,
            "AZURE_CLIENT_ID": CLIENT_ID,
            "EXTRA_CA_FILE": str(self.authority.ca_file),
            "KEY_VAULT_URL": self.vault.url,
        }


@asynccontextmanager
async def azure_with(folder: Path, values: Mapping[str, str]) -> AsyncIterator[Azure]:
    """Azure with these secrets in its vault, while the block runs."""
    authority = ThrowAwayAuthority(folder)
    async with ManagedIdentity() as identity, KeyVault(authority, values) as vault:
        yield Azure(authority, identity, vault)
