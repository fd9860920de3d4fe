"""The identity that Azure gives this process, and the tokens that it proves itself with.

Only the platform's managed identity is asked, never a chain of other sources: who we are must not depend on what else
the machine holds.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # who has no identity needs not load Azure's packages
    from azure.identity.aio import ManagedIdentityCredential


@asynccontextmanager
async def managed_identity(client_id: str | None, tls: ssl.SSLContext) -> AsyncIterator[ManagedIdentityCredential]:
    """The process' one credential, while the block runs; it asks nobody before its first token is wanted.

    ``client_id`` names a user-assigned identity. The SDK does not read ``AZURE_CLIENT_ID`` by itself; with None it asks
    for the system-assigned one.
    """
    from azure.identity.aio import ManagedIdentityCredential

    from service_kit.azure_transport import SHORT_RETRIES, open_transport

    credential = ManagedIdentityCredential(client_id=client_id, transport=open_transport(tls), **SHORT_RETRIES)
    async with credential:
        yield credential


@asynccontextmanager
async def identity_if(
    is_wanted: bool, client_id: str | None, tls: ssl.SSLContext
) -> AsyncIterator[ManagedIdentityCredential | None]:
    """The same, where something wants it; else None."""
    if not is_wanted:
        yield None
        return
    async with managed_identity(client_id, tls) as identity:
        yield identity
