"""What the relay proves itself with to an upstream: a key, or, to Azure OpenAI, the managed identity."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Protocol

from relay.secrets import RelaySecrets
from service_kit.kept_token import KeptToken, NoToken
from service_kit.secrets import Secrets
from service_kit.upstreams import UpstreamSettings

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncSupportsTokenInfo

AGAIN_SECONDS: Final = 10.0
"""Between two new tokens that upstreams' refusals caused."""

Headers = Mapping[str, str]


class NoCredential(Exception):
    """There is none at the moment."""


class Credential(Protocol):
    """One upstream's, in the headers of a request to it."""

    async def headers(self) -> Headers:
        """Those of now. Raises NoCredential."""

    async def renewed(self, refused: Headers) -> bool:
        """Whether there are other headers than those that the upstream has just refused with a 401.

        Where there are none yet, the source is looked at again, at once; however many ask, only now and then.
        """


class KeyCredential:
    """A key; ``read`` tells the one of now, and ``reread`` has its source looked at again, but not too often."""

    def __init__(
        self, kind: Literal["openai", "azure"], read: Callable[[], str], reread: Callable[[], Awaitable[None]]
    ) -> None:
        self._kind = kind
        self._read = read
        self._reread = reread

    async def headers(self) -> Headers:
        """See :class:`Credential`."""
        key = self._read()
        return {"api-key": key} if self._kind == "azure" else {"Authorization": f"Bearer {key}"}

    async def renewed(self, refused: Headers) -> bool:
        """See :class:`Credential`."""
        if await self.headers() == refused:
            await self._reread()
        return await self.headers() != refused


class IdentityCredential:
    """The managed identity's token, which all upstreams that take it share."""

    def __init__(self, token: KeptToken) -> None:
        self._token = token
        self._asked_at = -AGAIN_SECONDS
        self._asking = asyncio.Lock()

    async def headers(self) -> Headers:
        """See :class:`Credential`. It waits only where there is no token that lives."""
        try:
            return {"Authorization": f"Bearer {await self._token.get()}"}
        except NoToken as error:
            raise NoCredential from error

    async def renewed(self, refused: Headers) -> bool:
        """See :class:`Credential`."""
        async with self._asking:
            loop = asyncio.get_running_loop()
            if await self.headers() == refused and loop.time() - self._asked_at >= AGAIN_SECONDS:
                self._asked_at = loop.time()
                await self._token.ask()
        return await self.headers() != refused


@asynccontextmanager
async def open_credentials(
    upstreams: Sequence[UpstreamSettings],
    secrets: Secrets[RelaySecrets],
    identity: AsyncSupportsTokenInfo | None,
    scope: str,
) -> AsyncIterator[list[Credential]]:
    """The credential of each upstream, in their order, while the block runs; ``identity`` is for those that take it."""
    async with AsyncExitStack() as kept:
        of_identity: IdentityCredential | None = None
        if identity is not None and any(upstream.secret is None for upstream in upstreams):
            token = KeptToken(identity, scope)
            await kept.enter_async_context(token.kept())
            of_identity = IdentityCredential(token)

        def credential_of(upstream: UpstreamSettings) -> Credential:
            if upstream.secret is not None:
                reread = partial(secrets.reread, upstream.secret)
                return KeyCredential(upstream.kind, lambda: secrets.current.key_of(upstream), reread)
            assert of_identity is not None  # noqa: S101 - for the type checker
            return of_identity

        yield [credential_of(upstream) for upstream in upstreams]
