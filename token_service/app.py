"""The map of the token service: what it holds, what every request passes through, and where requests go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Final

from aiohttp import web

from service_kit.edge import check_edge
from service_kit.http_server import note_headers
from service_kit.live_entries import LiveEntries
from service_kit.live_slots import LiveSlots
from service_kit.managed_identity import identity_if
from service_kit.pulse import Pulse, watch_redis
from service_kit.quotas import Quotas
from service_kit.redis_client import Pseudonyms
from service_kit.redis_login import EntraLogins, logged_in
from service_kit.redis_password import connect_by
from service_kit.revocation import Revocations
from service_kit.secrets import Secrets
from service_kit.session_token import SessionTokenCodec
from service_kit.tally import Tally
from service_kit.telemetry import Recorder, Telemetry
from service_kit.tls import client_context
from service_kit.waiting import only_with_good
from service_kit.web import MAX_BODY_BYTES, Handler, Readiness, add_document, add_headers, answer_errors, cors
from token_service import openapi
from token_service.handlers import ClientSecrets
from token_service.issuer import Issuer
from token_service.limits import OwnLimits
from token_service.mint_rates import MintRates
from token_service.operators.handlers import Operators
from token_service.page import add_page, page_headers, read_page
from token_service.reception import Reception
from token_service.secrets import TokenServiceSecrets
from token_service.security_txt import add_security_txt
from token_service.settings import TokenServiceSettings
from token_service.token_store import TokenStore

CLOSING_SECONDS: Final = 3


class InFlight:
    """The requests being answered, so that a stop can wait for the last of them."""

    def __init__(self) -> None:
        self._number = 0
        self._none = asyncio.Event()
        self._none.set()

    async def wait_for_none(self) -> None:
        """Return as soon as no request is being answered."""
        await self._none.wait()

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count the request while it is being answered."""
        self._number += 1
        self._none.clear()
        try:
            return await handler(request)
        finally:
            self._number -= 1
            if self._number == 0:
                self._none.set()


READINESS: Final = web.AppKey("readiness", Readiness)
OPERATORS: Final = web.AppKey("operators", Operators)
IN_FLIGHT: Final = web.AppKey("in_flight", InFlight)


def create_app(
    settings: TokenServiceSettings, secrets: Secrets[TokenServiceSecrets], telemetry: Telemetry | None = None
) -> web.Application:
    """The application; it opens Redis connections when it first needs them and closes them at its end."""
    tls = client_context(settings.extra_ca_file)
    logins = EntraLogins() if settings.redis_auth == "entra" else None
    redis = connect_by(secrets, settings.redis_mode, tls, logins)
    telemetry = telemetry or Recorder()
    watch_redis(redis, telemetry)

    tally = Tally(redis, settings.airlock_env, telemetry)
    revocations = Revocations(redis, settings.airlock_env)
    pseudonyms = Pseudonyms(secrets.current.pseudonym_key.get_secret_value())

    async def resources(_app: web.Application) -> AsyncIterator[None]:
        async with (
            identity_if(logins is not None, settings.azure_client_id, tls) as identity,
            logged_in(redis, logins, identity),
            tally.flushing(),
        ):
            with Pulse(telemetry).beating():
                yield
        await redis.aclose()

    in_flight = InFlight()
    app = web.Application(
        middlewares=[
            note_headers,
            in_flight.count,
            answer_errors(tally.refused),
            check_edge(settings.trusted_edge, settings.azure_front_door_id, pseudonyms),
            only_with_good(secrets),
            cors("/v1/", settings.allowed_origins, "GET, POST"),
        ],
        client_max_size=MAX_BODY_BYTES,
    )
    app[IN_FLIGHT] = in_flight
    app[READINESS] = Readiness(redis=redis.answers, secrets=secrets.are_good)
    app[OPERATORS] = Operators(LiveEntries(redis, settings.airlock_env), revocations, tally, pseudonyms)
    app.cleanup_ctx.append(resources)
    issuer = Issuer(settings.identity_rules, tls) if settings.identity_rules else None

    async def know_the_issuer(_app: web.Application) -> AsyncIterator[None]:
        async with issuer.running() if issuer else nullcontext():
            yield

    app.cleanup_ctx.append(know_the_issuer)
    app.on_response_prepare.append(add_headers(hsts=settings.airlock_env == "production"))

    app[READINESS].add_routes(app)
    rates = MintRates(redis, settings.airlock_env)
    quotas = Quotas(redis, settings.airlock_env)
    reception = Reception(settings, secrets, rates, issuer)
    codec = SessionTokenCodec((), settings.airlock_env)
    secrets.follow(lambda current: codec.use_keys(current.signing_keys))
    client_secrets = ClientSecrets(
        settings,
        codec,
        TokenStore(redis, settings.airlock_env),
        revocations,
        tally,
        pseudonyms,
        reception,
        rates,
        quotas,
        telemetry,
    )
    own_limits = OwnLimits(reception, rates, quotas, LiveSlots(redis, settings.airlock_env), revocations, pseudonyms)
    app.router.add_post("/v1/realtime/client_secrets", client_secrets.create)
    app.router.add_get("/v1/limits", own_limits.show)
    add_document(app, openapi.PATH, openapi.public_document())
    if settings.security_contact is not None:
        add_security_txt(app, settings.security_contact)
    if settings.serve_page:
        add_page(app, read_page(settings.page_folder, provider=settings.provider), page_headers(settings.relay_origin))
    return app


async def drain(app: web.Application, settings: TokenServiceSettings, at_once: asyncio.Event) -> None:
    """Say that no more work is wanted, then let what was asked be answered; a second signal ends the wait.

    The last 3 s of ``DRAIN_SECONDS`` are left for closing (DESIGN: "Drain").
    """
    app[READINESS].draining = True
    waiting = [asyncio.create_task(app[IN_FLIGHT].wait_for_none()), asyncio.create_task(at_once.wait())]
    await asyncio.wait(waiting, timeout=settings.drain_seconds - CLOSING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
