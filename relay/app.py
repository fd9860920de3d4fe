"""The relay's map: settings, resources, middlewares, routes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from typing import Final

import structlog
from aiohttp import web

from relay.admission import REALTIME_SUBPROTOCOL, Expired, admit
from relay.aiohttp_channel import AiohttpWebSockets, open_client
from relay.channel import WebSockets
from relay.compiled import is_in_use
from relay.connect_rates import ConnectRates, TooManyConnects, share
from relay.control import heard_orders
from relay.leases import Leases, SessionCeilings
from relay.live_sessions import LiveSessions, look_at
from relay.picows_websockets import PicowsWebSockets
from relay.redemption import Redemptions
from relay.refusals import Refusals
from relay.replay import ReplayAlarm
from relay.secrets import RelaySecrets
from relay.session import Relay, run_session
from relay.settings import RelaySettings, WebSocketLibrary
from relay.upstream import Upstream
from relay.upstream_check import check_upstreams
from relay.upstream_credentials import open_credentials
from relay.upstreams import Upstreams
from service_kit.edge import ADDRESS_PSEUDONYM, check_edge
from service_kit.errors import Refusal
from service_kit.http_server import note_headers
from service_kit.live_entries import LiveEntries
from service_kit.managed_identity import identity_if
from service_kit.operator_listener import Numbers, create_operator_app
from service_kit.pulse import Pulse, watch_redis
from service_kit.quotas import Quotas
from service_kit.redis_client import Pseudonyms
from service_kit.redis_login import EntraLogins, logged_in
from service_kit.redis_password import connect_by
from service_kit.revocation import Revocations
from service_kit.secrets import Secrets
from service_kit.service_life import Parts, Start, serve_parts
from service_kit.session_token import SessionTokenCodec
from service_kit.tally import Tally
from service_kit.telemetry import Recorder, Telemetry
from service_kit.telemetry.life import replica_name
from service_kit.tls import client_context
from service_kit.waiting import only_with_good
from service_kit.web import Readiness, add_headers, answer_errors

USER_AGENT: Final = "realtime-airlock/0.1"
PATHS: Final = ("/v1/realtime", "/openai/v1/realtime", "/openai/realtime")

SETTINGS: Final = web.AppKey("settings", RelaySettings)
CODEC: Final = web.AppKey("codec", SessionTokenCodec)
LIVE: Final = web.AppKey("live", LiveSessions)
RELAY: Final = web.AppKey("relay", Relay)
TALLY: Final = web.AppKey("tally", Tally)
READINESS: Final = web.AppKey("readiness", Readiness)


def create_app(
    settings: RelaySettings, secrets: Secrets[RelaySecrets], telemetry: Telemetry | None = None
) -> web.Application:
    """Wire the relay; resources open at start-up and close in reverse order."""
    pseudonyms = Pseudonyms(secrets.current.pseudonym_key.get_secret_value())
    edge = check_edge(settings.trusted_edge, settings.azure_front_door_id, pseudonyms)
    tls = client_context(settings.extra_ca_file)
    logins = EntraLogins() if settings.redis_auth == "entra" else None
    redis = connect_by(secrets, settings.redis_mode, tls, logins)
    telemetry = telemetry or Recorder()
    watch_redis(redis, telemetry)
    tally = Tally(redis, settings.airlock_env, telemetry)
    app = web.Application(middlewares=[note_headers, answer_errors(tally.refused), edge, only_with_good(secrets)])
    app[SETTINGS] = settings
    app[CODEC] = codec = SessionTokenCodec((), settings.airlock_env)
    secrets.follow(lambda current: codec.use_keys(current.signing_keys))
    app[LIVE] = live = LiveSessions(settings.max_sessions)
    app[TALLY] = tally
    app[READINESS] = Readiness(redis=redis.answers, secrets=secrets.are_good)

    async def resources(app: web.Application) -> AsyncIterator[None]:
        ceilings = SessionCeilings(
            per_tenant=settings.max_sessions_per_tenant,
            per_subject=settings.max_sessions_per_subject,
            per_address=settings.max_sessions_per_address,
        )
        redemptions = Redemptions(redis, settings.airlock_env, settings.redis_wait_replicas)
        revocations = Revocations(redis, settings.airlock_env)
        leases = Leases(redis, settings.airlock_env, pseudonyms, ceilings)
        alarm = ReplayAlarm(redemptions, revocations, telemetry, ends_session=settings.replay_ends_session)
        async with (
            identity_if(settings.wants_identity, settings.azure_client_id, tls) as identity,
            logged_in(redis, logins, identity),
            open_credentials(settings.upstreams, secrets, identity, settings.azure_openai_scope) as credentials,
            _open(settings.websockets, tls) as websockets,
            heard_orders(redis, revocations, live),
            tally.flushing(),
        ):
            app[RELAY] = Relay(
                websockets=websockets,
                connects=ConnectRates(share(settings.connects_per_minute_per_address, settings.workers)),
                refusals=Refusals(websockets, live, tally),
                upstreams=Upstreams(
                    [Upstream(*each, websockets) for each in zip(settings.upstreams, credentials, strict=True)],
                    telemetry,
                ),
                redemptions=redemptions,
                replay_alarm=alarm,
                revocations=revocations,
                leases=leases,
                quotas=Quotas(redis, settings.airlock_env),
                live=live,
                entries=LiveEntries(redis, settings.airlock_env),
                tally=tally,
                telemetry=telemetry,
                pseudonyms=pseudonyms,
                prices=settings.airlock_profiles.price_list,
                replica=replica_name(),
            )
            models = {profile.model for profile in settings.airlock_profiles.profiles.values()}
            own_tls = client_context(settings.extra_ca_file)  # httpx writes into the one that it is given
            checked = zip(settings.upstreams, credentials, strict=True)
            check = asyncio.create_task(check_upstreams(checked, models, own_tls))
            with Pulse(telemetry, lambda: look_at(live, telemetry)).beating():
                yield
            check.cancel()
            await asyncio.wait([check])
            await alarm.close()
            await leases.close()
        await redis.aclose()

    app.cleanup_ctx.append(resources)
    app.on_response_prepare.append(add_headers(hsts=settings.airlock_env == "production"))
    for path in PATHS:
        app.router.add_get(path, _realtime, allow_head=False)
    app[READINESS].add_routes(app)
    return app


@contextlib.asynccontextmanager
async def _open(library: WebSocketLibrary, tls: ssl.SSLContext) -> AsyncIterator[WebSockets]:
    """The library that carries both ends of every session."""
    if library == "picows":
        yield PicowsWebSockets(USER_AGENT, tls)
    else:
        async with open_client(USER_AGENT, tls) as http:
            yield AiohttpWebSockets(http)


async def _realtime(request: web.Request) -> web.StreamResponse:
    """``GET /v1/realtime``: admit, then run the session. Raises Refusal."""
    app, relay = request.app, request.app[RELAY]
    settings = app[SETTINGS]
    try:
        ticket = admit(
            request.version,
            request.headers,
            request.query,
            allowed_origins=settings.allowed_origins,
            codec=app[CODEC],
            now=time.time(),
        )
    except Refusal as refusal:
        by_close = isinstance(refusal, Expired) and refusal.by_subprotocol
        told = refusal
        try:
            relay.connects.count_refused(request[ADDRESS_PSEUDONYM], asyncio.get_running_loop().time())
        except TooManyConnects as too_many:
            told = too_many
        return await relay.refusals.answer(request, told, by_close=by_close, subprotocol=REALTIME_SUBPROTOCOL)
    return await run_session(request, ticket, relay)


async def serve_relay(settings: RelaySettings, secrets: Secrets[RelaySecrets], start: Start) -> None:
    """Serve until asked to stop, then drain."""
    structlog.get_logger().info("hot_path", compiled=is_in_use())

    def make() -> Parts:
        app = create_app(settings, secrets, start.telemetry)

        def operators(numbers: Numbers) -> web.Application:
            return create_operator_app(
                lambda: secrets.current.operator_keys,
                numbers,
                app[TALLY].refused,
                service="relay",
                readiness=app[READINESS],
                hsts=settings.airlock_env == "production",
            )

        async def drain(at_once: asyncio.Event) -> None:
            app[READINESS].draining = True
            await app[LIVE].drain(settings.drain_seconds, at_once, now=time.time())

        return Parts(app, operators, app[READINESS], drain)

    await serve_parts(settings, secrets, start, make)
