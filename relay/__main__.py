"""``python -m relay``: make sure that freed audio is overwritten, read the settings, then serve."""

from __future__ import annotations

import os
import sys

from relay.app import serve_relay
from relay.memory import forbid_dumps, scrubbing_environment
from relay.secrets import RelaySecrets
from relay.settings import RelaySettings
from service_kit.configuration import load
from service_kit.http_server import run
from service_kit.log import set_up_logging
from service_kit.telemetry.life import start_telemetry


def main() -> None:
    """Start the relay; exits with status 2 when its settings are wrong."""
    missing = scrubbing_environment(os.environ)
    if missing:
        # The allocator is chosen before Python starts, so start once more, as the same process.
        command = [sys.executable, "-m", "relay", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | missing)  # noqa: S606 - no shell
    forbid_dumps()
    settings, secrets = load(RelaySettings, RelaySecrets)
    telemetry = start_telemetry(settings, "relay")
    set_up_logging("relay", settings.log_level, telemetry)
    run(lambda: serve_relay(settings, secrets, telemetry))


if __name__ == "__main__":
    main()
