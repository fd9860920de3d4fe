"""What a service says while its secrets are not there, or too old: that it lives, and that it can do nothing yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from aiohttp import web

from service_kit.errors import Refusal
from service_kit.http_server import Waiting, note_headers
from service_kit.secrets import Secrets
from service_kit.web import Handler, Readiness, add_headers, answer_errors, cors

RETRY_AFTER_SECONDS: Final = 5
_HEALTH: Final = frozenset({"/healthz", "/readyz"})


def until_there(
    secrets: Secrets[Any], readiness: Readiness, *, allowed_origins: Sequence[str], hsts: bool
) -> Waiting | None:
    """Who answers until the secrets arrive, with this readiness; None where they are there."""
    if secrets.are_there:
        return None
    return Waiting(lambda: _waiting_app(readiness, allowed_origins, hsts=hsts), secrets.arrive)


def only_with_good(secrets: Secrets[Any]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """A middleware that begins nothing with secrets that are too old; what was begun goes on."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not secrets.may_be_used and request.path not in _HEALTH:
            raise Refusal("unavailable", retry_after=RETRY_AFTER_SECONDS)
        return await handler(request)

    return middleware


def _waiting_app(readiness: Readiness, allowed_origins: Sequence[str], *, hsts: bool) -> web.Application:
    errors = answer_errors(lambda _: None)  # where they are counted is not known yet
    app = web.Application(
        middlewares=[note_headers, _close, errors, cors("/v1/", allowed_origins, "GET, POST"), _unavailable]
    )
    app.on_response_prepare.append(add_headers(hsts=hsts))
    readiness.add_routes(app)
    return app


@web.middleware
async def _close(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Keep no connection: the next request is for whoever serves then."""
    response = await handler(request)
    response.force_close()
    return response


@web.middleware
async def _unavailable(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path in _HEALTH:
        return await handler(request)
    raise Refusal("unavailable", retry_after=RETRY_AFTER_SECONDS)
