"""One Key Vault, asked through Azure's own client for the latest versions of secrets.

The client proves itself only to a vault whose challenge names the vault's own domain, so that no other server can
collect our access tokens. It tries nothing twice: when to ask again is decided by whoever asks, and no ``Retry-After``
can make it sleep.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import HttpResponseError
from azure.keyvault.secrets.aio import SecretClient
from pydantic import SecretStr

from service_kit.azure_transport import open_transport
from service_kit.managed_identity import managed_identity

READ_SECONDS: Final = 3.0
"""For one secret, with the access token that it needs where there is none yet."""


class NotRead(Exception):
    """A secret was not read. The text is for our logs: a status or a type, never what was received.

    Attributes:
        retry_after: the seconds that the vault wants to be left alone for, if it said so.
        is_about_the_secret: whether the vault answered, and only this secret is not to be had.
    """

    def __init__(self, why: str, *, retry_after: float | None = None, is_about_the_secret: bool = False) -> None:
        super().__init__(why)
        self.retry_after = retry_after
        self.is_about_the_secret = is_about_the_secret


class KeyVault:
    """Reads secrets."""

    def __init__(self, client: SecretClient) -> None:
        self._client = client

    async def read(self, name: str) -> SecretStr:
        """The latest version of a secret, without blanks around it. Raises NotRead, within 3 s."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                secret = await self._client.get_secret(name)
        except TimeoutError:
            raise NotRead("no answer in time") from None
        except HttpResponseError as error:
            raise _not_read(error) from None
        except Exception as error:  # noqa: BLE001 - whatever the client makes of an answer that is none
            # What such an exception quotes may be the secret, so that it is not kept as the cause either.
            raise NotRead(type(error).__name__) from None
        value = (secret.value or "").strip()  # a file that was uploaded ends with a line break
        if not value:
            raise NotRead("is empty", is_about_the_secret=True)
        return SecretStr(value)


@asynccontextmanager
async def open_vault(url: str, client_id: str | None, tls: ssl.SSLContext) -> AsyncIterator[KeyVault]:
    """The vault, for as long as the block runs; nobody is asked before the first secret is."""
    async with managed_identity(client_id, tls) as credential, vault_for(url, credential, tls) as vault:
        yield vault


@asynccontextmanager
async def vault_for(url: str, credential: AsyncTokenCredential, tls: ssl.SSLContext) -> AsyncIterator[KeyVault]:
    """The vault, as somebody who has a credential already."""
    client = SecretClient(
        url,
        credential,
        transport=open_transport(tls),
        retry_total=0,
        connection_timeout=READ_SECONDS,
        read_timeout=READ_SECONDS,
    )
    async with client:
        yield KeyVault(client)


def _not_read(error: HttpResponseError) -> NotRead:
    status = error.status_code
    if status is None:
        return NotRead(type(error).__name__)
    headers = getattr(error.response, "headers", {})  # its declared type has none
    retry_after = _seconds(headers.get("Retry-After", ""))
    return NotRead(f"HTTP {status}", retry_after=retry_after, is_about_the_secret=status in (403, 404))


def _seconds(text: str) -> float | None:
    """A Retry-After header in seconds; dates are not read."""
    return float(text[:9]) if text.isascii() and text.isdigit() else None
