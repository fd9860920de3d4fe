"""What ``REDIS_URL`` means in each ``REDIS_MODE``. Pure.

A cluster or a set of sentinels is named by one or more of its nodes: ``rediss://user:pass@one:6379,two:6379``. For
sentinels the query says which service they watch, and how to log in with them, where that is wanted:
``rediss://user:pass@one:26379,two:26379/0?service=mymaster&sentinel_password=…``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from redis.asyncio.connection import SSLConnection, parse_url

RedisMode = Literal["single", "cluster", "sentinel"]

_SCHEMES: Final[Mapping[RedisMode, tuple[str, ...]]] = {
    "single": ("redis", "rediss", "unix"),
    "cluster": ("redis", "rediss"),
    "sentinel": ("redis", "rediss"),
}
_TLS_FILES: Final = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password"}
_DEFAULT_PORTS: Final[Mapping[RedisMode, int]] = {"cluster": 6379, "sentinel": 26379}


@dataclass(frozen=True, slots=True)
class Nodes:
    """Some nodes that know the others.

    Attributes:
        hosts: where they listen.
        has_tls: whether they, and the servers they lead to, are spoken to over TLS.
        options: what else redis-py needs for the servers that hold the data: credentials, database, TLS files.
        service: what the sentinels watch; empty for a cluster.
        sentinel_options: credentials for the sentinels.
    """

    hosts: tuple[tuple[str, int], ...]
    has_tls: bool
    options: Mapping[str, Any]
    service: str
    sentinel_options: Mapping[str, Any]


def check_scheme(url: str, mode: RedisMode) -> str:
    """The scheme, if it fits the mode. Raises ValueError, with nothing of the address in it."""
    scheme = urlsplit(url).scheme
    if scheme not in _SCHEMES[mode]:
        *others, last = (f"{each}://" for each in _SCHEMES[mode])
        raise ValueError(f"must start with {', '.join(others)} or {last}")
    return scheme


def read_nodes(url: str, mode: RedisMode) -> Nodes:
    """Read the address of a cluster or of sentinels. Raises ValueError, with nothing of the address in it."""
    check_scheme(url, mode)
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    found = tuple(_host_and_port(host, _DEFAULT_PORTS[mode]) for host in hosts.split(","))
    # The rest is for redis-py to read, as it does with a single server's address.
    rest: dict[str, Any] = dict(parse_url(urlunsplit(parts._replace(netloc=f"{login}{at}any"))))
    has_tls = rest.pop("connection_class", None) is SSLConnection
    del rest["host"]
    service, *sentinel_login = (rest.pop(name, None) for name in ("service", "sentinel_username", "sentinel_password"))
    if mode == "cluster" and rest.pop("db", 0) != 0:
        raise ValueError("a cluster has database 0 alone")
    if mode == "sentinel" and not service:
        raise ValueError("must say what the sentinels watch, as in redis://one:26379,two:26379/0?service=mymaster")
    login_options = dict(zip(("username", "password"), sentinel_login, strict=True))
    return Nodes(found, has_tls, rest, service or "", login_options)


def check_options(url: str) -> None:
    """Raises ValueError for what would weaken TLS."""
    refused = {name for name, _ in parse_qsl(urlsplit(url).query) if name.startswith("ssl_")} - _TLS_FILES
    if refused:
        raise ValueError(f"must not hold {', '.join(sorted(refused))}: certificates and names are always checked")


def login_of(url: str) -> tuple[()] | tuple[str] | tuple[str, str]:
    """Who logs in to the servers that hold the data: nobody, a password, or a user with one."""
    options = parse_url(urlunsplit(urlsplit(url)._replace(netloc=f"{urlsplit(url).netloc.rpartition('@')[0]}@any")))
    user, password = options.get("username"), options.get("password")
    if user:
        return str(user), str(password or "")
    return (str(password),) if password else ()


def without_login(url: str) -> str:
    """The address alone."""
    parts = urlsplit(url)
    query = urlencode([each for each in parse_qsl(parts.query) if each[0] not in ("username", "password")])
    # Not urlunsplit: it leaves out the slashes of unix:///run/redis.
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" + (f"?{query}" if query else "")


def has_login(url: str) -> bool:
    """Whether it says who logs in to the servers that hold the data."""
    return bool(login_of(url))


def without_tls_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The rest of what redis-py understands."""
    return {name: value for name, value in options.items() if not name.startswith("ssl_")}


def _host_and_port(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or any(mark in text for mark in "/?# "):
        raise ValueError("must name its hosts as host:port, separated by commas")
    return host, port or default_port
