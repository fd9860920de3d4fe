"""The token service on its listeners: the public application, and the operators'."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from service_kit.operator_listener import Numbers
from service_kit.secrets import Secrets
from service_kit.service_life import Parts, Start, serve_parts
from token_service.app import OPERATORS, READINESS, create_app, drain
from token_service.operators.app import create_operator_app
from token_service.secrets import TokenServiceSecrets
from token_service.settings import TokenServiceSettings


async def serve_token_service(
    settings: TokenServiceSettings, secrets: Secrets[TokenServiceSecrets], start: Start
) -> None:
    """Serve until asked to stop, then drain."""

    def make() -> Parts:
        app = create_app(settings, secrets, start.telemetry)

        def operators(numbers: Numbers) -> web.Application:
            return create_operator_app(
                app[OPERATORS],
                lambda: secrets.current.operator_keys,
                numbers,
                app[READINESS],
                hsts=settings.airlock_env == "production",
            )

        return Parts(app, operators, app[READINESS], partial(drain, app, settings))

    await serve_parts(settings, secrets, start, make)
