"""Loopback ports: which one is free, and whether a wanted one is."""

import errno
import socket


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
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
