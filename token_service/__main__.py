"""``python -m token_service``."""

from __future__ import annotations

from functools import partial

from service_kit.configuration import load
from service_kit.http_server import Listener, Service, run, serve
from service_kit.log import set_up_logging
from service_kit.waiting import until_there
from token_service.app import OPERATORS, create_app, drain
from token_service.operators.app import create_operator_app
from token_service.secrets import TokenServiceSecrets
from token_service.settings import TokenServiceSettings


async def main() -> None:
    """Serve until told to stop."""
    settings, secrets = load(TokenServiceSettings, TokenServiceSecrets)
    set_up_logging("token_service", settings.log_level)
    is_production = settings.airlock_env == "production"
    listeners = [Listener(settings.host, settings.port)]
    if settings.operator_port is not None:
        listeners.append(Listener(settings.operator_host, settings.operator_port, "OPERATOR_PORT"))

    def make() -> Service:
        app = create_app(settings, secrets)
        apps = [app]
        if settings.operator_port is not None:
            apps.append(create_operator_app(app[OPERATORS], lambda: secrets.current.operator_keys, hsts=is_production))
        return Service(apps, partial(drain, app, settings))

    waiting = until_there(secrets, allowed_origins=settings.allowed_origins, hsts=is_production)
    async with secrets.kept():
        await serve(listeners, make, name="token_service", waiting=waiting)


if __name__ == "__main__":
    run(main)
