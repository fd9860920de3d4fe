"""The listening sockets of several workers on one port, which their parent binds and keeps.

On Linux each worker has sockets of its own (``SO_REUSEPORT``), and the kernel spreads connections evenly over those
that listen, by the hash of both addresses. A socket listens from its worker's start on, also between the worker's
death and its successor's start: what connects meanwhile waits a moment. Elsewhere that option does not spread, and all
workers share one socket; so they do for operators, of whom there are few.
"""

from __future__ import annotations

import socket
import sys
from typing import Final

from service_kit.ports import PUBLIC, Port, bound, close

SPREADS: Final = sys.platform == "linux"


class Door:
    """One port."""

    def __init__(self, port: Port, *, spreads: bool | None = None) -> None:
        """Take the port; exits with status 2 when somebody else has it, as a single process does."""
        self.variable = port.variable
        self._host = port.host
        self._spreads = spreads if spreads is not None else SPREADS and port.variable == PUBLIC
        # First as a single process takes it: others that share a port would not be told apart from ours.
        self._shared = port.bind()
        self._number: int = self._shared[0].getsockname()[1]
        self._own: dict[int, list[socket.socket]] = {}
        if self._spreads:
            close(self._shared)
            self._shared = bound(self._host, self._number, is_shared=True)  # kept, so that nobody else takes it

    def sockets_of(self, worker: int) -> list[socket.socket]:
        """What a worker listens on; its successor has the same. Raises OSError."""
        if not self._spreads:
            return self._shared
        if worker not in self._own:
            self._own[worker] = bound(self._host, self._number, is_shared=True)
        return self._own[worker]

    def leave(self, worker: int) -> None:
        """Nobody will listen in this worker's place for a while: what connects goes to the others."""
        close(self._own.pop(worker, []))

    def close(self) -> None:
        """Let the port go."""
        close([*self._shared, *(each for sockets in self._own.values() for each in sockets)])
