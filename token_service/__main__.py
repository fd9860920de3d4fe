"""``python -m token_service``."""

from __future__ import annotations

from functools import partial

from service_kit.http_server import Listener, run, serve
from service_kit.log import set_up_logging
from service_kit.settings import load_settings
from token_service.app import OPERATORS, create_app, drain
from token_service.operators.app import create_operator_app
from token_service.settings import TokenServiceSettings


async def main() -> None:
    """Serve until told to stop."""
    settings = load_settings(TokenServiceSettings)
    set_up_logging("token_service", settings.log_level)
    app = create_app(settings)
    listeners = [Listener(app, settings.host, settings.port)]
    if settings.operator_port is not None:
        operators = create_operator_app(
            app[OPERATORS], settings.operator_keys, hsts=settings.airlock_env == "production"
        )
        listeners.append(Listener(operators, settings.operator_host, settings.operator_port, "OPERATOR_PORT"))
    await serve(*listeners, service="token_service", drain=partial(drain, app, settings))


if __name__ == "__main__":
    run(main)
