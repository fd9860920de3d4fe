"""Servers and sentinels that want TLS and a password, as production has them."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from local_cloud.certificates import ThrowAwayAuthority

USER: Final = "airlock"
SENTINEL_USER: Final = "watcher"


class Security:
    """One authority and two users, one for the data and one for the sentinels; nobody else may do anything.

    Over plain TCP, too, somebody has to say that a server is up: whoever has not logged in may ask for INFO alone.
    """

    def __init__(self, folder: Path) -> None:
        self.authority = ThrowAwayAuthority(folder)
        self.certificate = self.authority.ca_file
        self._server = self.authority.issue()
        self.password, self.sentinel_password = secrets.token_urlsafe(), secrets.token_urlsafe()
        self._users = folder / "users.acl"
        self._users.write_text(
            f"user default on nopass -@all +info +quit\nuser {USER} on >{self.password} ~* &* +@all\n"
        )
        self._sentinel_users = folder / "sentinel-users.acl"
        self._sentinel_users.write_text(
            f"user default off\nuser {SENTINEL_USER} on >{self.sentinel_password} ~* &* +@all\n"
        )

    @property
    def login(self) -> dict[str, str]:
        """For a client of the data."""
        return {"username": USER, "password": self.password}

    @property
    def sentinel_login(self) -> dict[str, str]:
        """For a client of the sentinels."""
        return {"username": SENTINEL_USER, "password": self.sentinel_password}

    def tls(self, port: int) -> dict[str, str]:
        """What a server or sentinel needs to speak TLS at a port, and to the others."""
        certificate, key = map(str, self._server)
        return {
            "tls-port": str(port),
            "tls-cert-file": certificate,
            "tls-key-file": key,
            "tls-ca-cert-file": str(self.certificate),
            "tls-auth-clients": "no",
            "tls-replication": "yes",
        }

    def of_server(self, port: int) -> dict[str, str]:
        """The options of a server of the data."""
        logs_in = {"masteruser": USER, "masterauth": self.password}
        return self.tls(port) | logs_in | {"aclfile": str(self._users)}

    def of_sentinel(self, port: int, service: str) -> list[str]:
        """The lines of a sentinel's configuration."""
        return [
            *(f"{name} {value}" for name, value in self.tls(port).items()),
            f"aclfile {self._sentinel_users}",
            f"sentinel auth-user {service} {USER}",
            f"sentinel auth-pass {service} {self.password}",
            f"sentinel sentinel-user {SENTINEL_USER}",
            f"sentinel sentinel-pass {self.sentinel_password}",
        ]

    def url(self, ports: list[int], *, service: str = "") -> str:
        """The ``REDIS_URL`` for nodes that listen at these ports."""
        query = {"ssl_ca_certs": str(self.certificate)}
        if service:
            query |= {
                "service": service,
                "sentinel_username": SENTINEL_USER,
                "sentinel_password": self.sentinel_password,
            }
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        return f"rediss://{USER}:{self.password}@{hosts}/0?{urlencode(query)}"
