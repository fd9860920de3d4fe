"""``python -m token_service``."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from service_kit.configuration import load
from service_kit.http_server import run
from service_kit.log import set_up_logging
from service_kit.service_life import Parts, serve_parts
from service_kit.telemetry.life import start_telemetry
from token_service.app import OPERATORS, READINESS, create_app, drain
from token_service.operators.app import create_operator_app
from token_service.secrets import TokenServiceSecrets
from token_service.settings import TokenServiceSettings


async def main() -> None:
    """Serve until told to stop."""
    settings, secrets = load(TokenServiceSettings, TokenServiceSecrets)
    telemetry = start_telemetry(settings, "token_service")
    set_up_logging("token_service", settings.log_level, telemetry)

    def make() -> Parts:
        app = create_app(settings, secrets, telemetry)

        def operators() -> web.Application:
            return create_operator_app(
                app[OPERATORS],
                lambda: secrets.current.operator_keys,
                telemetry,
                app[READINESS],
                hsts=settings.airlock_env == "production",
            )

        return Parts(app, operators, partial(drain, app, settings))

    await serve_parts("token_service", settings, secrets, telemetry, make)


if __name__ == "__main__":
    run(main)
