"""A service's life, from its first listener to its farewell: the same for both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from service_kit.certificate import Certificate
from service_kit.http_server import Drain, Listener, Service, Stop, serve
from service_kit.operator_listener import Numbers
from service_kit.ports import ports_of
from service_kit.pulse import watch_vault
from service_kit.secrets import Secrets
from service_kit.settings import ServiceSettings
from service_kit.telemetry import Recorder
from service_kit.telemetry.life import Farewell
from service_kit.waiting import until_there
from service_kit.web import Readiness
from service_kit.workers.worker import Worker


@dataclass(frozen=True, slots=True)
class Parts:
    """What is a service's own.

    Attributes:
        app: what the public listener serves; it owns what the other uses.
        operators: makes what the operators' listener serves, where there is one; it tells these numbers.
        readiness: what both answer with.
        drain: ends the work under way; called when the process is asked to stop, with the event of a second signal.
    """

    app: web.Application
    operators: Callable[[Numbers], web.Application]
    readiness: Readiness
    drain: Drain


@dataclass(frozen=True, slots=True)
class Start:
    """What a service starts with; ``worker`` is this process, where it is one of several."""

    telemetry: Recorder
    worker: Worker | None


async def serve_parts(
    settings: ServiceSettings, secrets: Secrets[Any], start: Start, make: Callable[[], Parts]
) -> None:
    """Serve what ``make`` makes, as soon as the secrets are there, until asked to stop; then drain it.

    Raises SystemExit with status 2 where a port is taken.
    """
    telemetry, worker, stop = start.telemetry, start.worker, Stop()
    certificate = None
    if settings.tls_cert_file is not None and settings.tls_key_file is not None:
        certificate = Certificate(settings.tls_cert_file, settings.tls_key_file)
    tls = certificate.context if certificate else None
    listeners = [
        Listener(port.host, worker.sockets(port.variable) if worker else port.bind(), tls)
        for port in ports_of(settings)
    ]

    def make_service() -> Service:
        parts = make()
        numbers = telemetry.numbers
        if worker is not None:
            worker.stands_for_all(parts.readiness)
            numbers = worker.numbers_of_all

        async def drain(at_once: asyncio.Event) -> None:
            farewell.drain_begins()
            await parts.drain(at_once)

        return Service([parts.app, *(parts.operators(numbers) for _ in listeners[1:])], drain)

    def listening() -> None:
        if worker is not None:
            worker.is_listening()

    async def are_there() -> bool:
        return secrets.are_there

    watch_vault(secrets, telemetry)
    until_then = Readiness(secrets=are_there)
    is_production = settings.airlock_env == "production"
    waiting = until_there(secrets, until_then, allowed_origins=settings.allowed_origins, hsts=is_production)
    async with AsyncExitStack() as life:
        if worker is None:
            stop.heed_signals()
        else:
            worker.stands_for_all(until_then)
            await life.enter_async_context(worker.at_work(stop))
        farewell = await life.enter_async_context(Farewell(telemetry, settings.drain_seconds))
        await life.enter_async_context(secrets.kept())
        if certificate is not None:
            await life.enter_async_context(certificate.renewed())
        await serve(listeners, make_service, stop, waiting=waiting, listening=listening)
