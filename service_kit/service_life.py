"""A service's life, from its first listener to its farewell: the same for both."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from service_kit.certificate import Certificate
from service_kit.http_server import Drain, Listener, Service, serve
from service_kit.pulse import watch_vault
from service_kit.secrets import Secrets
from service_kit.settings import ServiceSettings
from service_kit.telemetry import Recorder
from service_kit.telemetry.life import Farewell
from service_kit.waiting import until_there


@dataclass(frozen=True, slots=True)
class Parts:
    """What is a service's own.

    Attributes:
        app: what the public listener serves; it owns what the other uses.
        operators: makes what the operators' listener serves, where there is one.
        drain: ends the work under way; called when the process is asked to stop, with the event of a second signal.
    """

    app: web.Application
    operators: Callable[[], web.Application]
    drain: Drain


async def serve_parts(
    name: str, settings: ServiceSettings, secrets: Secrets[Any], telemetry: Recorder, make: Callable[[], Parts]
) -> None:
    """Serve what ``make`` makes, as soon as the secrets are there, until asked to stop; then drain it.

    Raises SystemExit with status 2 where a port is taken.
    """
    certificate = None
    if settings.tls_cert_file is not None and settings.tls_key_file is not None:
        certificate = Certificate(settings.tls_cert_file, settings.tls_key_file)
    tls = certificate.context if certificate else None
    listeners = [Listener(settings.host, settings.port, tls=tls)]
    if settings.operator_port is not None:
        listeners.append(Listener(settings.operator_host, settings.operator_port, "OPERATOR_PORT", tls))

    def make_service() -> Service:
        parts = make()

        async def drain(at_once: asyncio.Event) -> None:
            farewell.drain_begins()
            await parts.drain(at_once)

        return Service([parts.app, *(parts.operators() for _ in listeners[1:])], drain)

    watch_vault(secrets, telemetry)
    is_production = settings.airlock_env == "production"
    waiting = until_there(secrets, allowed_origins=settings.allowed_origins, hsts=is_production)
    following = certificate.renewed() if certificate else contextlib.nullcontext()
    async with Farewell(telemetry, settings.drain_seconds) as farewell, secrets.kept(), following:
        await serve(listeners, make_service, name=name, waiting=waiting)
