"""The OIDC issuer as this process knows it: its keys, fetched in the background and kept while it is away.

The service starts and serves other callers without the issuer. What to fetch and what to make of it is decided in
:mod:`token_service.issuer_keys`, what a token proves in :mod:`token_service.identity`.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import aiohttp
import structlog
from aiohttp import hdrs
from yarl import URL

from service_kit import strict_json
from service_kit.errors import Refusal
from token_service.identity import Identity, IdentityRules, InvalidIdentity, UnknownKey, verify
from token_service.issuer_keys import InvalidMetadata, IssuerKey, discovery_url, keys_address, read_keys

MAX_DOCUMENT_BYTES: Final = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the issuer is asked, in seconds.

    Attributes:
        fetch: the most that one fetch, of metadata and keys, may take.
        refresh: how long keys are used before they are fetched again; a withdrawn key works so long at most.
        retry: the first pause after a fetch that failed; each further one is twice as long, up to ``refetch``.
        refetch: the least time between two fetches that tokens with an unknown key can cause.
        keep: how long the last keys are used while the issuer is away.
    """

    fetch: float = 5.0
    refresh: float = 900.0
    retry: float = 5.0
    refetch: float = 30.0
    keep: float = 86_400.0


class Issuer:
    """Turns the issuer's tokens into identities; to be used inside :meth:`running`."""

    def __init__(
        self,
        rules: IdentityRules,
        tls: ssl.SSLContext,
        *,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._tls = tls
        self._pace = pace or Pace()
        self._clock = clock
        self._keys: tuple[IssuerKey, ...] = ()
        self._fetched_at = -math.inf
        self._tried_at = -math.inf
        self._fetching = asyncio.Lock()
        self._http: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the keys fresh while the block runs; it starts at once, whether or not the issuer answers."""
        # No environment proxies (aiohttp's default), no cookies; a compressed answer stays so and is no JSON.
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={hdrs.ACCEPT_ENCODING: "identity"},
        ) as self._http:
            keeping = asyncio.create_task(self._keep_fresh(), name="keys of the issuer")
            try:
                yield
            finally:
                keeping.cancel()
                with suppress(asyncio.CancelledError):
                    await keeping

    async def identify(self, token: str) -> Identity:
        """Whom the token names. Raises Refusal: 401 for a token that is not valid, 503 while that cannot be told."""
        try:
            return self._verify(token)
        except UnknownKey:
            await self._refetch()
        except InvalidIdentity as error:
            raise _refusal() from error
        try:
            return self._verify(token)
        except UnknownKey as error:
            if self._tried_at > self._fetched_at:  # the issuer is away, and may have a key that we do not know
                raise Refusal("unavailable", retry_after=self._pace.retry) from error
            raise _refusal() from error
        except InvalidIdentity as error:
            raise _refusal() from error

    def _verify(self, token: str) -> Identity:
        usable = self._clock() - self._fetched_at < self._pace.keep
        return verify(token, self._keys if usable else (), self._rules, time.time())

    async def _keep_fresh(self) -> None:
        pause = self._pace.retry
        while True:
            async with self._fetching:
                fetched = await self._fetch()
            if fetched:
                pause = self._pace.retry
            await asyncio.sleep(self._pace.refresh if fetched else pause)
            if not fetched:
                pause = min(pause * 2, self._pace.refetch)

    async def _refetch(self) -> None:
        """Fetch for a token whose key is unknown, unless that was tried just now; many who ask share one fetch."""
        async with self._fetching:
            if self._clock() - self._tried_at >= self._pace.refetch:
                await self._fetch()

    async def _fetch(self) -> bool:
        """Replace the keys by the issuer's of now; on any failure the old ones stay."""
        log = structlog.get_logger()
        try:
            async with asyncio.timeout(self._pace.fetch):
                metadata = await self._get(discovery_url(self._rules.issuer))
                keys = read_keys(await self._get(keys_address(metadata, self._rules.issuer)))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            reason = str(error) if isinstance(error, InvalidMetadata) else None
            log.warning("issuer.failed", error=type(error).__name__, reason=reason)
            self._tried_at = self._clock()
            return False
        self._keys = keys
        self._fetched_at = self._tried_at = self._clock()
        log.info("issuer.keys")
        return True

    async def _get(self, url: str) -> object:
        assert self._http is not None  # noqa: S101 - set by running()
        async with self._http.get(URL(url, encoded=True), allow_redirects=False) as response:
            if response.status != 200:
                raise InvalidMetadata("the issuer did not answer with 200")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_DOCUMENT_BYTES:
                    raise InvalidMetadata("the issuer's document is too large")
        return strict_json.decode(bytes(body))


def _refusal() -> Refusal:
    return Refusal("invalid_token", message="The credential is not valid. Sign in again and send a fresh token.")
