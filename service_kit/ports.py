"""The ports that a service listens on, bound before anything else is started."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from service_kit.settings import ServiceSettings, fail

PUBLIC: Final = "PORT"
OPERATORS: Final = "OPERATOR_PORT"
BACKLOG: Final = 128


@dataclass(frozen=True, slots=True)
class Port:
    """Where to listen; ``variable`` is the setting that names the port."""

    host: str
    number: int
    variable: str

    def bind(self) -> list[socket.socket]:
        """Take it: a socket for each address of the host, listening, or another that is bound too could come first.

        Exits with status 2 when somebody else has it.
        """
        sockets: list[socket.socket] = []
        try:
            sockets = bound(self.host, self.number)
            for each in sockets:
                each.listen(BACKLOG)
            return sockets
        except OSError as error:
            close(sockets)
            fail([f"{self.variable}: cannot listen on {self.host} port {self.number}: {error.strerror}"])


def ports_of(settings: ServiceSettings) -> list[Port]:
    """The public one, and that of the operators where there is one."""
    ports = [Port(settings.host, settings.port, PUBLIC)]
    if settings.operator_port is not None:
        ports.append(Port(settings.operator_host, settings.operator_port, OPERATORS))
    return ports


def bound(host: str, number: int, *, is_shared: bool = False) -> list[socket.socket]:
    """Sockets of this port, one for each address of the host, that do not listen yet. Raises OSError.

    ``is_shared`` lets more sockets, bound in the same way, listen on it too: the kernel then spreads connections over
    those that listen. Port 0 is whichever is free, the same for all addresses.
    """
    sockets: list[socket.socket] = []
    try:
        for family, address in _addresses(host, number):
            one = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_shared:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
            one.bind((address[0], number, *address[2:]))
            number = one.getsockname()[1]
    except OSError:
        close(sockets)
        raise
    return sockets


def _addresses(host: str, number: int) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    found = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    there = dict.fromkeys((family, address) for family, _, _, _, address in found)
    return [each for each in there if each[0] != socket.AF_INET6 or socket.has_ipv6]


def close(sockets: Sequence[socket.socket]) -> None:
    """Close them all."""
    for each in sockets:
        each.close()
