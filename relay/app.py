"""The relay's map: settings, resources, middlewares, routes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from relay.admission import REALTIME_SUBPROTOCOL, Expired, admit
from relay.aiohttp_channel import AiohttpWebSockets, open_client
from relay.channel import WebSockets
from relay.connect_rates import ConnectRates, TooManyConnects
from relay.control import heard_orders
from relay.leases import Leases, SessionCeilings
from relay.live_sessions import LiveSessions
from relay.picows_websockets import PicowsWebSockets
from relay.redemption import Redemptions
from relay.refusals import Refusals
from relay.replay import ReplayAlarm
from relay.session import Relay, run_session
from relay.settings import RelaySettings, WebSocketLibrary
from relay.upstream import Upstream
from relay.upstream_check import check_upstreams
from relay.upstreams import Upstreams
from service_kit import redis_client
from service_kit.edge import ADDRESS_PSEUDONYM, check_edge
from service_kit.errors import Refusal
from service_kit.http_server import Listener, note_headers, serve
from service_kit.live_entries import LiveEntries
from service_kit.quotas import Quotas
from service_kit.redis_client import Pseudonyms
from service_kit.revocation import Revocations
from service_kit.session_token import SessionTokenCodec
from service_kit.tally import Tally
from service_kit.web import Readiness, add_headers, answer_errors

USER_AGENT: Final = "realtime-airlock/0.1"
PATHS: Final = ("/v1/realtime", "/openai/v1/realtime", "/openai/realtime")

SETTINGS: Final = web.AppKey("settings", RelaySettings)
CODEC: Final = web.AppKey("codec", SessionTokenCodec)
LIVE: Final = web.AppKey("live", LiveSessions)
RELAY: Final = web.AppKey("relay", Relay)
READINESS: Final = web.AppKey("readiness", Readiness)


def create_app(settings: RelaySettings) -> web.Application:
    """Wire the relay; resources open at start-up and close in reverse order."""
    pseudonyms = Pseudonyms(settings.pseudonym_key.get_secret_value())
    edge = check_edge(settings.trusted_edge, settings.azure_front_door_id, pseudonyms)
    redis = redis_client.connect(settings.redis_url.get_secret_value(), settings.redis_mode)
    tally = Tally(redis, settings.airlock_env)
    app = web.Application(middlewares=[note_headers, answer_errors(tally.refused), edge])
    app[SETTINGS] = settings
    app[CODEC] = SessionTokenCodec(settings.signing_keys, settings.airlock_env)
    app[LIVE] = live = LiveSessions(settings.max_sessions)
    app[READINESS] = Readiness(redis=redis.answers)

    async def resources(app: web.Application) -> AsyncIterator[None]:
        ceilings = SessionCeilings(
            per_tenant=settings.max_sessions_per_tenant,
            per_subject=settings.max_sessions_per_subject,
            per_address=settings.max_sessions_per_address,
        )
        redemptions = Redemptions(redis, settings.airlock_env, settings.redis_wait_replicas)
        revocations = Revocations(redis, settings.airlock_env)
        leases = Leases(redis, settings.airlock_env, pseudonyms, ceilings)
        alarm = ReplayAlarm(redemptions, revocations, ends_session=settings.replay_ends_session)
        async with (
            _open(settings.websockets) as websockets,
            heard_orders(redis, revocations, live),
            tally.flushing(),
        ):
            app[RELAY] = Relay(
                websockets=websockets,
                connects=ConnectRates(settings.connects_per_minute_per_address),
                refusals=Refusals(websockets, live, tally),
                upstreams=Upstreams([Upstream(each, settings.key_of(each), websockets) for each in settings.upstreams]),
                redemptions=redemptions,
                replay_alarm=alarm,
                revocations=revocations,
                leases=leases,
                quotas=Quotas(redis, settings.airlock_env),
                live=live,
                entries=LiveEntries(redis, settings.airlock_env),
                tally=tally,
                pseudonyms=pseudonyms,
                prices=settings.airlock_profiles.price_list,
                replica=_replica(),
            )
            models = {profile.model for profile in settings.airlock_profiles.profiles.values()}
            check = asyncio.create_task(check_upstreams(settings.upstreams, settings.key_of, models))
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


def _replica() -> str:
    """What operators call this process; Azure Container Apps names its replicas."""
    return f"{os.environ.get('CONTAINER_APP_REPLICA_NAME') or socket.gethostname()}:{os.getpid()}"


@contextlib.asynccontextmanager
async def _open(library: WebSocketLibrary) -> AsyncIterator[WebSockets]:
    """The library that carries both ends of every session."""
    if library == "picows":
        yield PicowsWebSockets(USER_AGENT)
    else:
        async with open_client(USER_AGENT) as http:
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


async def serve_relay(settings: RelaySettings) -> None:
    """Serve until asked to stop, then drain."""
    app = create_app(settings)

    async def drain(at_once: asyncio.Event) -> None:
        app[READINESS].draining = True
        await app[LIVE].drain(settings.drain_seconds, at_once, now=time.time())

    await serve(Listener(app, settings.host, settings.port), service="relay", drain=drain)
