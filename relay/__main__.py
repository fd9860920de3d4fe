"""``python -m relay``: make sure that freed audio is overwritten, read the settings, then serve."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from relay.memory import forbid_dumps, scrubbing_environment
from relay.secrets import RelaySecrets
from relay.settings import RelaySettings
from service_kit.secrets import Secrets
from service_kit.service_start import start

if TYPE_CHECKING:
    from service_kit.service_life import Start


def main() -> None:
    """Start the relay; exits with status 2 when its settings are wrong."""
    missing = scrubbing_environment(os.environ)
    if missing:
        # The allocator is chosen before Python starts, so start once more, as the same process.
        command = [sys.executable, "-m", "relay", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | missing)  # noqa: S606 - no shell
    forbid_dumps()
    start("relay", RelaySettings, RelaySecrets, _import_serve)


def _import_serve() -> Callable[[RelaySettings, Secrets[RelaySecrets], Start], Awaitable[None]]:
    from relay.app import serve_relay

    return serve_relay


if __name__ == "__main__":
    main()
