"""The operators' listener, which both services have: who may use it, and what is the same on each.

It stands apart from the public one and is off unless it has a port. ``/healthz`` answers anybody who reaches it; all
else that tells or does something wants an operator's key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from aiohttp import hdrs, web

from service_kit.errors import Refusal
from service_kit.hashed_keys import OperatorKey, holder_of
from service_kit.http_server import note_headers
from service_kit.redis_client import RedisUnavailable
from service_kit.telemetry.prometheus import CONTENT_TYPE, exposition
from service_kit.telemetry.values import Snapshot
from service_kit.web import MAX_BODY_BYTES, REQUEST_ID, Handler, Readiness, add_headers, answer_errors

METRICS_PATH: Final = "/metrics"
_API: Final = "/v1/operator/"
_RETRY_SECONDS: Final = 1
_LOOKS: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})

Numbers = Callable[[], Awaitable[Snapshot]]
"""The numbers that ``/metrics`` tells: of this process, or of all workers."""

OPERATOR: Final = web.RequestKey("operator", OperatorKey)


def identify_operator(authorization: Sequence[str], keys: Sequence[OperatorKey]) -> OperatorKey:
    """The operator behind a request. ``authorization`` are the values of every such header line. Raises Refusal."""
    key = holder_of(authorization, keys)
    if key is None:
        raise Refusal("invalid_token", message="An operator's key is required. Send it as a Bearer credential.")
    return key


def operators_only(keys: Callable[[], tuple[OperatorKey, ...]]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """A middleware that lets nobody but operators at the API and the metrics, and says 503 when Redis is away."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith(_API) and request.path != METRICS_PATH:
            return await handler(request)
        try:
            request[OPERATOR] = identify_operator(request.headers.getall(hdrs.AUTHORIZATION, []), keys())
        except Refusal as refusal:
            _note(request, "admin.denied", code=refusal.code)
            raise
        try:
            return await handler(request)
        except RedisUnavailable as error:
            if request.method not in _LOOKS:  # it may have been carried out all the same
                _note(request, "admin.failed", code="unavailable", operator=request[OPERATOR].name)
            raise Refusal("unavailable", retry_after=_RETRY_SECONDS) from error

    return middleware


def _note(request: web.Request, event: str, **fields: object) -> None:
    """A line about a request that is no act: what was asked for, in our words, since anybody can ask for anything."""
    resource = request.match_info.route.resource
    structlog.get_logger().warning(
        event,
        request_id=request[REQUEST_ID],
        method=request.method,
        route=resource.canonical if resource else None,
        **fields,
    )


def create_operator_app(
    keys: Callable[[], tuple[OperatorKey, ...]],
    numbers: Numbers,
    count_refusal: Callable[[str], None],
    *,
    service: str,
    readiness: Readiness,
    hsts: bool,
) -> web.Application:
    """The application with what is the same on each: health, and ``/metrics``. ``keys`` are those in force now.

    It works with keys that are too old for anything else: whoever can end sessions must not be locked out.
    """
    app = web.Application(
        middlewares=[note_headers, answer_errors(count_refusal), operators_only(keys)], client_max_size=MAX_BODY_BYTES
    )
    app.on_response_prepare.append(add_headers(hsts=hsts))
    readiness.add_routes(app)

    async def metrics(_request: web.Request) -> web.Response:
        text = exposition(await numbers(), service)
        return web.Response(body=text.encode(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})

    app.router.add_get(METRICS_PATH, metrics)
    return app
