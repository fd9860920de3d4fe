"""Redis by Entra ID: the managed identity's object id is the user, its access token the password.

Azure Managed Redis lets a connection live as long as the token that it logged in with, so each connection logs in again
when there is a new one: before its next command, and those that are idle or subscribed here. ``redis-entraid`` does not
serve us: it fetches its token on the event loop, which stands still meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import jwt
from redis.exceptions import RedisError

from service_kit.kept_token import KeptToken, NoToken
from service_kit.redis_connections import Login, Logins

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncSupportsTokenInfo

    from service_kit.redis_client import RedisClient

SCOPE: Final = "https://redis.azure.com/.default"
SWEEP_SECONDS: Final = 5.0
"""Between two looks for connections that were in use when a new token came, and are idle now."""


class NoLogin(RedisError):
    """There is no token to log in with; a connection that is logged in goes on."""


class EntraLogins(Logins):
    """The logins of the process; to be used inside :meth:`renewed`."""

    def __init__(self) -> None:
        self._token: KeptToken | None = None
        self._is_new = asyncio.Event()

    @asynccontextmanager
    async def renewed(self, identity: AsyncSupportsTokenInfo, redis: RedisClient) -> AsyncIterator[None]:
        """Keep a token, and the connections of ``redis`` logged in with it, while the block runs."""
        self._token = KeptToken(identity, SCOPE)
        self._token.follow(self._take)
        async with self._token.kept():
            passing_on = asyncio.create_task(self._pass_on(redis), name="Redis logins")
            try:
                yield
            finally:
                passing_on.cancel()
                await asyncio.wait([passing_on])

    async def login(self) -> Login:
        """See :class:`Logins`."""
        if self._token is None:
            raise NoLogin
        try:
            await self._token.get()
        except NoToken as error:
            raise NoLogin from error
        assert self.newest is not None  # noqa: S101 - it came with the token
        return self.newest

    def _take(self, token: str) -> None:
        self.newest = Login(object_id_in(token), token)
        self._is_new.set()

    async def _pass_on(self, redis: RedisClient) -> None:
        task = asyncio.current_task()
        while not (task and task.cancelling()):  # redis-py 8 on Python 3.11 swallows most cancellations
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._is_new.wait()
            self._is_new.clear()
            await redis.log_in_again()


def object_id_in(token: str) -> str:
    """Whose an access token is. Raises ValueError. Redis checks it, so nobody else needs to."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return str(claims["oid"])
    except (jwt.InvalidTokenError, KeyError) as error:
        raise ValueError("the access token does not say whose it is") from error


@asynccontextmanager
async def logged_in(
    redis: RedisClient, logins: EntraLogins | None, identity: AsyncSupportsTokenInfo | None
) -> AsyncIterator[None]:
    """Keep ``redis`` logged in while the block runs, if that is what ``logins`` are for."""
    if logins is None:
        yield
        return
    assert identity is not None  # noqa: S101 - settings that want logins have an identity
    async with logins.renewed(identity, redis):
        yield
