"""Loopback ports: which one is free, and whether a wanted one is."""

import errno
import random
import socket

# Below those that systems give to outgoing connections: such a one could take the port before the server does.
FREE_PORTS = range(10_240, 32_768)
_given: set[int] = set()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at this moment, and that was not returned lately.

    Which one is left to chance, since other processes look for ports too.
    """
    if len(_given) > len(FREE_PORTS) // 2:
        _given.clear()
    while True:
        port = random.choice(FREE_PORTS)
        if port in _given:
            continue
        _given.add(port)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def why_not_usable(port: int) -> str | None:
    """Say why a server cannot listen on ``port`` of this machine; None if it can.

    ``::1`` is looked at too: a browser may try it first for ``localhost``, and would reach the other program there.
    """
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port just left is free
                probe.bind((host, port))
                probe.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "another program listens on it"
            if family is socket.AF_INET:  # a machine without IPv6 is fine
                return error.strerror or str(error)
    return None
