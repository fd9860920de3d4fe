"""``python -m token_service``."""

from __future__ import annotations

import asyncio

from service_kit.http_server import Listener, run, serve
from service_kit.log import set_up_logging
from service_kit.settings import load_settings
from service_kit.telemetry.life import Farewell, start_telemetry
from token_service.app import OPERATORS, READINESS, create_app, drain
from token_service.operators.app import create_operator_app
from token_service.settings import TokenServiceSettings


async def main() -> None:
    """Serve until told to stop."""
    settings = load_settings(TokenServiceSettings)
    telemetry = start_telemetry(settings, "token_service")
    set_up_logging("token_service", settings.log_level, telemetry)
    app = create_app(settings, telemetry)
    listeners = [Listener(app, settings.host, settings.port)]
    if settings.operator_port is not None:
        operators = create_operator_app(
            app[OPERATORS],
            settings.operator_keys,
            telemetry,
            app[READINESS],
            hsts=settings.airlock_env == "production",
        )
        listeners.append(Listener(operators, settings.operator_host, settings.operator_port, "OPERATOR_PORT"))

    async with Farewell(telemetry, settings.drain_seconds) as farewell:

        async def drained(at_once: asyncio.Event) -> None:
            farewell.drain_begins()
            await drain(app, settings, at_once)

        await serve(*listeners, service="token_service", drain=drained)


if __name__ == "__main__":
    run(main)
