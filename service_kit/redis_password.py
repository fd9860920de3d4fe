"""The client of the Redis whose address is a secret: its login may change while connections live."""

from __future__ import annotations

import ssl
from typing import Any, Final

import structlog
from redis.credentials import CredentialProvider

from service_kit.redis_address import RedisMode, login_of, without_login
from service_kit.redis_client import RedisClient, connect
from service_kit.secrets import Secrets, SharedSecrets

_NAME: Final = "redis-url"


class CurrentLogin(CredentialProvider):
    """The login that the newest address has, for each new connection. Those that exist stay logged in."""

    def __init__(self) -> None:
        self._login: tuple[str] | tuple[str, str] = ("",)

    def take_from(self, url: str) -> None:
        """Log in as this address says from now on; an address without a login changes nothing."""
        self._login = login_of(url) or self._login

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """See redis-py: a password, or a user and a password."""
        return self._login


def connect_by(
    secrets: Secrets[Any], mode: RedisMode, tls: ssl.SSLContext, logins: CredentialProvider | None = None
) -> RedisClient:
    """A client for the ``redis-url`` in force. Of another one only its login is taken, until the next start.

    ``logins`` says who logs in where the address does not.
    """
    at_start = secrets.current.redis_url.get_secret_value()
    login = CurrentLogin() if login_of(at_start) else None

    def follow(current: SharedSecrets) -> None:
        url = current.redis_url.get_secret_value()
        if login is not None:
            login.take_from(url)
        if without_login(url) != without_login(at_start) or (login is None and url != at_start):
            reason = "its login takes effect now, if it had one, and the rest when the service starts again"
            structlog.get_logger().warning("secret.changed", secret=_NAME, reason=reason)

    secrets.follow(follow)
    if login is None:
        return connect(at_start, mode, tls=tls, logins=logins)
    return connect(without_login(at_start), mode, tls=tls, logins=login)
