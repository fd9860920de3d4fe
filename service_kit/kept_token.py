"""An access token for one resource, renewed early in the background, so that whoever needs it never waits.

A token is asked for again at half of its time, which leaves the other half for an endpoint that is away. The platform
may give the same one again until shortly before it expires. Then it is asked more often towards the end, for Redis
wants the next one at least three minutes before (Microsoft Learn, "Use Microsoft Entra for cache authentication").
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:  # who has no identity needs not load Azure's packages
    from azure.core.credentials import AccessTokenInfo
    from azure.core.credentials_async import AsyncSupportsTokenInfo

ASK_SECONDS: Final = 10.0
"""For one token, with the second tries of Azure's client; a Retry-After would hold it up for as long as it likes."""
FIRST_RETRY_SECONDS: Final = 1.0
MAX_RETRY_SECONDS: Final = 30.0
"""Between attempts after a failure; each one doubles it."""
LAST_SECONDS: Final = 600.0
LAST_PAUSE_SECONDS: Final = 30.0
"""So close to the end, the same token is asked after so often."""


class NoToken(Exception):
    """There is none that has not expired, and the last attempt to get one has failed."""


class KeptToken:
    """One token; to be used inside :meth:`kept`."""

    def __init__(self, credential: AsyncSupportsTokenInfo, scope: str) -> None:
        self._credential = credential
        self._scope = scope
        self._token: AccessTokenInfo | None = None
        self._asking: asyncio.Task[bool] | None = None
        self._followers: list[Callable[[str], None]] = []

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Get the token and keep it fresh while the block runs, which begins at once."""
        keeping = asyncio.create_task(self._keep(), name="access token")
        try:
            await asyncio.sleep(0)  # who asks from now on waits for the first attempt
            yield
        finally:
            tasks = {task for task in (keeping, self._asking) if task is not None}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def follow(self, use: Callable[[str], None]) -> None:
        """Call ``use`` with each new token."""
        self._followers.append(use)

    async def get(self) -> str:
        """The token; only before the first, or after the last has expired, is an attempt waited for. Raises NoToken."""
        while (token := self._valid) is None:
            if self._asking is None:
                raise NoToken
            await asyncio.shield(self._asking)
        return token.token

    async def ask(self) -> bool:
        """Ask for a new one now, or wait for the asking that is under way; whether one came."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="access token asked for")
        return await asyncio.shield(self._asking)

    @property
    def _valid(self) -> AccessTokenInfo | None:
        return self._token if self._token is not None and time.time() < self._token.expires_on else None

    async def _keep(self) -> None:
        retry = FIRST_RETRY_SECONDS
        while True:
            before = self._token
            if await self.ask() and self._token is not None:
                retry = FIRST_RETRY_SECONDS
                left = self._token.expires_on - time.time()
                pause = pause_before_asking(left, is_new=before is None or before.token != self._token.token)
            else:
                pause, retry = retry, min(2 * retry, MAX_RETRY_SECONDS)
            await asyncio.sleep(pause)

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                # The credential has a cache of its own, and would give what is in it; it is passed by for claims.
                token = await self._credential.get_token_info(self._scope, options={"claims": "{}"})
                if token.expires_on <= time.time():
                    raise ValueError("it has expired")
            if self._token is None or self._token.token != token.token:
                for use in self._followers:
                    use(token.token)
            self._token = token
        except Exception as error:  # noqa: BLE001 - whatever an answer does to the SDK, the next attempt must come
            structlog.get_logger().error("identity.failed", resource=self._scope, error=type(error).__name__)
            return False
        finally:
            self._asking = None
        return True


def pause_before_asking(seconds_left: float, *, is_new: bool) -> float:
    """How long a token that has so long to live is kept before the next is asked for. Pure."""
    half = max(seconds_left / 2, FIRST_RETRY_SECONDS / 2)
    return half if is_new else min(half, max(seconds_left - LAST_SECONDS, LAST_PAUSE_SECONDS))
