"""What every HTTP answer of both services has in common: request id, error shape, security headers, CORS, health."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Final, Protocol

import structlog
from aiohttp import HttpVersion11, hdrs, web

from service_kit import strict_json
from service_kit.errors import Refusal
from service_kit.log import where

BODY_SECONDS: Final = 5.0
MAX_BODY_BYTES: Final = 16_384

REQUEST_ID: Final = web.RequestKey("request_id", str)
_CORS_HEADERS: Final = web.RequestKey("cors_headers", dict[str, str])
CODE_BY_STATUS: Final = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
    426: "upgrade_required",
    431: "headers_too_large",
}

API_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
HSTS: Final = "max-age=31536000; includeSubDomains"

# What OpenAI's browser SDKs send beside a JSON body, and what pages that are traced send.
CORS_REQUEST_HEADERS: Final = ", ".join(
    [
        "Authorization",
        "Content-Type",
        "OpenAI-Organization",
        "OpenAI-Project",
        "Traceparent",
        "Tracestate",
        *(
            f"X-Stainless-{name}"
            for name in (
                "Arch",
                "Lang",
                "OS",
                "Package-Version",
                "Retry-Count",
                "Runtime",
                "Runtime-Version",
                "Timeout",
            )
        ),
    ]
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def new_request_id() -> str:
    """A public name for one request; it joins an answer to its log line."""
    return "req_" + secrets.token_hex(8)


def refusal_response(refusal: Refusal, request_id: str) -> web.Response:
    """A refusal as an HTTP answer in OpenAI's shape."""
    return web.json_response(refusal.body(request_id), status=refusal.row.http or 500, headers=refusal.headers())


def answer_errors(count: Callable[[str], None]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """A middleware that gives the request its id, and turns whatever goes wrong into one row of the error table.

    ``count`` is told the code of each refusal that is answered: here is the one place that all of them pass.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[REQUEST_ID] = request_id = new_request_id()
        headers: dict[str, str] = {}
        ends_clearly = _ends_clearly(request)
        try:
            if not ends_clearly:
                raise Refusal("invalid_request", message="Send the body with its length, or in chunks without more.")
            return await handler(request)
        except Refusal as error:
            refusal = error
        except web.HTTPException as error:
            refusal = Refusal(CODE_BY_STATUS.get(error.status, "invalid_request"))
            if hdrs.ALLOW in error.headers:
                headers = {hdrs.ALLOW: error.headers[hdrs.ALLOW]}
        except Exception as error:  # noqa: BLE001 - the last resort: the cause goes to the log, never to the caller
            structlog.get_logger().error(
                "internal_error", request_id=request_id, error=type(error).__name__, at=where(error)
            )
            refusal = Refusal("internal_error")
        count(refusal.code)
        response = refusal_response(refusal, request_id)
        response.headers.update(headers)
        if not ends_clearly:
            response.force_close()  # what follows may be the body's rest, or a request that somebody smuggles
        return response

    return middleware


def _ends_clearly(request: web.Request) -> bool:
    """Whether everybody on the way agrees where the body ends (RFC 9112 §6.1); aiohttp reads more than is agreed on."""
    transfer = [coding.strip().lower() for coding in request.headers.getall(hdrs.TRANSFER_ENCODING, [])]
    return not transfer or (transfer == ["chunked"] and request.version >= HttpVersion11)


def refuse_expectation(request: web.BaseRequest) -> web.Response:
    """The answer to an ``Expect`` that we do not know; aiohttp refuses it in its own words before any middleware."""
    request[REQUEST_ID] = request_id = new_request_id()
    message = "The Expect header asks for what is not done here. Leave it out, or send 100-continue."
    return refusal_response(Refusal("invalid_request", message=message), request_id)


def add_headers(*, hsts: bool) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """An ``on_response_prepare`` handler that sets the security and CORS headers and drops the version banner."""

    async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.popall(hdrs.SERVER, None)
        response.headers["X-Request-Id"] = request[REQUEST_ID]
        response.headers.update(request.get(_CORS_HEADERS, {}))
        for name, value in API_HEADERS.items():
            response.headers.setdefault(name, value)
        if hsts:
            response.headers["Strict-Transport-Security"] = HSTS

    return on_prepare


def cors(prefix: str, allowed_origins: Sequence[str], methods: str) -> Callable[..., Awaitable[web.StreamResponse]]:
    """A middleware that answers CORS under ``prefix`` for origins on the list, compared exactly.

    Belongs inside :func:`answer_errors`; :func:`add_headers` puts what it decided on every answer, refusals too.
    It guards no WebSocket: browsers do not ask there.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith(prefix):
            return await handler(request)
        origin = request.headers.get(hdrs.ORIGIN)
        headers: dict[str, str] = {hdrs.VARY: hdrs.ORIGIN}
        if origin in allowed_origins:
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = str(origin)
            headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = "X-Request-Id, Retry-After"
        request[_CORS_HEADERS] = headers
        if request.method != hdrs.METH_OPTIONS or hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
            return await handler(request)
        if origin not in allowed_origins:
            raise Refusal("origin_not_allowed")
        return web.Response(
            status=204,
            headers={
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: methods,
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: CORS_REQUEST_HEADERS,
                hdrs.ACCESS_CONTROL_MAX_AGE: "600",
            },
        )

    return middleware


async def read_json(request: web.Request) -> object:
    """The request's JSON body by the strict reading; an absent body is ``{}``.

    Raises Refusal: 415 for another type or any encoding, 413 over 16 KiB, 408 after 5 s, 400 for bad JSON.
    """
    if hdrs.CONTENT_ENCODING in request.headers:
        raise Refusal("unsupported_media_type")
    if request.can_read_body and request.content_type != "application/json":
        raise Refusal("unsupported_media_type")
    try:
        async with nullcontext() if request.content.is_eof() else asyncio.timeout(BODY_SECONDS):
            body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise Refusal("body_too_large") from error
    except (TimeoutError, ConnectionError) as error:  # too slow, or gone
        raise Refusal("request_timeout") from error
    if not body:
        return {}
    try:
        return strict_json.decode(body)
    except strict_json.InvalidJson as error:
        raise Refusal("invalid_request", message="The body is not valid JSON. Send one JSON object.") from error


def add_document(app: web.Application, path: str, document: object) -> None:
    """Serve a JSON document that stays as it is."""
    body = json.dumps(document).encode()

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json", charset="utf-8")

    app.router.add_get(path, answer)


class Workers(Protocol):
    """What one of several workers knows of the others."""

    of: int
    """How many there are, this one among them."""

    @property
    def others_ready(self) -> int:
        """How many of the others are ready."""


class Readiness:
    """Whether this process should get work: every check passes and it is not draining.

    Attributes:
        draining: the service was asked to stop.
        workers: where this process is one of several, the others. ``/readyz`` then answers for the service, which
            should get work as long as one of them is ready.
    """

    def __init__(self, **checks: Callable[[], Awaitable[bool]]) -> None:
        self._checks = checks
        self.draining = False
        self.workers: Workers | None = None

    async def failing(self) -> list[str]:
        """The names of what is not ready."""
        if self.draining:
            return ["draining"]
        return [name for name, check in self._checks.items() if not await check()]

    def add_routes(self, app: web.Application) -> None:
        """Serve ``/healthz`` and ``/readyz``."""
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        failing = await self.failing()
        told: dict[str, object] = {}
        is_ready = not failing
        if self.workers is not None and not self.draining:
            ready = self.workers.others_ready + is_ready
            told["workers"] = {"ready": ready, "of": self.workers.of}
            is_ready = ready > 0
        if is_ready:
            return web.json_response({"status": "ok", **told})
        return web.json_response({"status": "unavailable", "failing": failing, **told}, status=503)
