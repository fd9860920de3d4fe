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
from functools import partial
from typing import Final

from azure.core.credentials import AccessTokenInfo, TokenRequestOptions
from azure.core.credentials_async import AsyncSupportsTokenInfo
from azure.core.exceptions import HttpResponseError
from azure.keyvault.secrets.aio import SecretClient
from pydantic import SecretStr

from service_kit.azure_transport import open_transport
from service_kit.managed_identity import managed_identity

READ_SECONDS: Final = 3.0
"""For one secret, with the access token that it needs where there is none yet."""
TOKEN_SECONDS: Final = 10.0
"""For one access token. Who wants it may be gone before; the next one finds it."""


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


class _PatientCredential:
    """A credential that goes on asking when whoever wanted the token waits no longer.

    Else an identity endpoint that takes longer than a reading may would never get to answer.
    """

    def __init__(self, credential: AsyncSupportsTokenInfo) -> None:
        self._credential = credential
        self._asking: dict[tuple[str, ...], asyncio.Task[AccessTokenInfo]] = {}

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """See Azure's protocol; several who want the same wait for one answer."""
        asking = self._asking.get(scopes)
        if asking is None:
            asking = asyncio.create_task(self._ask(scopes, options), name="access token for the vault")
            self._asking[scopes] = asking
            asking.add_done_callback(partial(self._answered, scopes))
        return await asyncio.shield(asking)

    async def close(self) -> None:
        """Ask no more."""
        for asking in self._asking.values():
            asking.cancel()
        if self._asking:
            await asyncio.wait(self._asking.values())

    async def _ask(self, scopes: tuple[str, ...], options: TokenRequestOptions | None) -> AccessTokenInfo:
        async with asyncio.timeout(TOKEN_SECONDS):
            return await self._credential.get_token_info(*scopes, options=options)

    def _answered(self, scopes: tuple[str, ...], asking: asyncio.Task[AccessTokenInfo]) -> None:
        self._asking.pop(scopes, None)
        if not asking.cancelled():
            asking.exception()  # those that still wait have it; else nobody wants it


@asynccontextmanager
async def open_vault(url: str, client_id: str | None, tls: ssl.SSLContext) -> AsyncIterator[KeyVault]:
    """The vault, for as long as the block runs; nobody is asked before the first secret is."""
    async with managed_identity(client_id, tls) as credential, vault_for(url, credential, tls) as vault:
        yield vault


@asynccontextmanager
async def vault_for(url: str, credential: AsyncSupportsTokenInfo, tls: ssl.SSLContext) -> AsyncIterator[KeyVault]:
    """The vault, as somebody who has a credential already."""
    patient = _PatientCredential(credential)
    client = SecretClient(
        url,
        patient,  # type: ignore[arg-type] # it asks for no more than this
        transport=open_transport(tls),
        retry_total=0,
        connection_timeout=READ_SECONDS,
        read_timeout=READ_SECONDS,
    )
    try:
        async with client:
            yield KeyVault(client)
    finally:
        await patient.close()


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
