"""Our connections to Redis: over the process' one TLS context, and logged in anew where a login does not last.

redis-py can log in again by itself, but its asynchronous half then reads a subscription from two sides, forgets
connections of a cluster when one fails, and does not know sentinels. Here a connection logs in again before its next
command; whoever keeps the logins sees to those that are idle (:mod:`service_kit.redis_client`).
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Final

from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import SentinelManagedSSLConnection
from redis.credentials import CredentialProvider

_OK: Final = (b"OK", "OK")


@dataclass(frozen=True, slots=True)
class Login:
    """What one ``AUTH`` says."""

    user: str
    password: str = field(repr=False)


class Logins(CredentialProvider, ABC):
    """Logins that are replaced while connections live.

    Attributes:
        newest: the one that every connection should have; None before the first.
    """

    newest: Login | None = None

    @abstractmethod
    async def login(self) -> Login:
        """The login for a new connection. Raises a RedisError where there is none that still works."""

    async def get_credentials_async(self) -> tuple[str, str]:
        """See ``login``; redis-py calls it for each new connection."""
        login = await self.login()
        return login.user, login.password


class TlsConnection(SSLConnection):
    """To one server, or to a node of a cluster. ``tls`` is shared: redis-py reads all authorities per connection."""

    _login: Login | None = None
    _unread_logins = 0
    _is_greeting = False

    def __init__(self, *, tls: ssl.SSLContext, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context.context = tls

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Say hello; redis-py asks several things at once there, so nothing may come in between."""
        self._unread_logins = 0
        self._is_greeting = True
        try:
            if isinstance(self.credential_provider, Logins):
                self._login = await self.credential_provider.login()
            await super().on_connect_check_health(check_health)
        finally:
            self._is_greeting = False

    @property
    def has_old_login(self) -> bool:
        """Whether it should log in again."""
        provider = self.credential_provider
        return (
            isinstance(provider, Logins)
            and self.is_connected
            and not self._is_greeting
            and self._login is not provider.newest
        )

    async def check_health(self) -> None:
        """Log in again where needed: redis-py calls it before a command, when no answer is waited for."""
        await super().check_health()  # type: ignore[no-untyped-call] # redis-py's own signature
        if self.has_old_login:
            await self._log_in()
            await self.read_response()

    async def log_in_while_subscribed(self) -> None:
        """Log in again while somebody else reads: ``read_response`` takes out the answer, which is no message."""
        self._unread_logins += 1
        await self._log_in()

    async def _log_in(self) -> None:
        assert isinstance(self.credential_provider, Logins)  # noqa: S101 - only then is a login old
        login = self.credential_provider.newest
        assert login is not None  # noqa: S101 - it replaced another
        self._login = login
        await self.send_command("AUTH", login.user, login.password, check_health=False)

    async def read_response(
        self,
        disable_decoding: bool = False,
        timeout: float | None = None,
        *,
        disconnect_on_error: Any = True,
        push_request: bool | None = False,
    ) -> Any:
        """The next answer, or on a subscription the next message; not a login's answer that nobody else reads."""
        response = await super().read_response(
            disable_decoding=disable_decoding,
            timeout=timeout,
            disconnect_on_error=disconnect_on_error,
            push_request=push_request,
        )
        if not self._unread_logins or response not in _OK:
            return response
        self._unread_logins -= 1
        return await self.read_response(
            disable_decoding, timeout, disconnect_on_error=disconnect_on_error, push_request=push_request
        )


class TlsConnectionToPrimary(TlsConnection, SentinelManagedSSLConnection):
    """To whichever server the sentinels name."""
