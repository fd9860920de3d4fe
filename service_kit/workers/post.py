"""What a worker is told at its start, and how it holds on to its parent.

It stands in one variable of its environment, which is private to parent and worker: numbers of descriptors, no secret.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Final

import msgspec

VARIABLE: Final = "AIRLOCK_WORKER"
LEAVING_SECONDS: Final = 6
"""How long a worker whose parent is gone may take to end its sessions."""


class Post(msgspec.Struct, frozen=True):
    """A worker's place among the others.

    Attributes:
        number: from 1 to ``of``.
        replaces: whether the worker before it died.
        sockets: descriptors of its listening sockets, by the setting that names the port.
        link: descriptor of its line to the parent.
        leash: descriptor of a pipe that ends when the parent does.
    """

    number: int
    of: int
    replaces: bool
    sockets: dict[str, list[int]]
    link: int
    leash: int

    @property
    def descriptors(self) -> list[int]:
        """All that the worker inherits."""
        return [*(each for sockets in self.sockets.values() for each in sockets), self.link, self.leash]

    def for_environment(self) -> str:
        """What :func:`take_post` reads."""
        return msgspec.json.encode(self).decode()


def take_post() -> Post | None:
    """What the parent told, and the leash held from now on; None in a process that has no such parent.

    Signals are for the parent, which passes on what is meant by them: a service manager that signals every process of
    a service must not count as asking twice.
    """
    text = os.environ.pop(VARIABLE, None)
    if text is None:
        return None
    post = msgspec.json.decode(text, type=Post)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    for descriptor in post.descriptors:
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_hold, args=(post.leash,), name="leash", daemon=True).start()
    return post


def _hold(leash: int) -> None:
    """End this process some time after its parent, whatever it does: it may hang, or be at its start."""
    os.read(leash, 1)
    time.sleep(LEAVING_SECONDS)
    os._exit(1)
