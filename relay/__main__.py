"""``python -m relay``: read the settings, then serve."""

from __future__ import annotations

import resource

from relay.app import serve_relay
from relay.settings import RelaySettings
from service_kit.http_server import run
from service_kit.log import set_up_logging
from service_kit.settings import load_settings


def main() -> None:
    """Start the relay; exits with status 2 when its settings are wrong."""
    # A core dump would hold the audio that is in transit.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    settings = load_settings(RelaySettings)
    set_up_logging("relay", settings.log_level)
    run(lambda: serve_relay(settings))


if __name__ == "__main__":
    main()
