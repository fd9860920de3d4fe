"""The answers both services give, over real connections."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import service_kit.web
from service_kit import http_server
from service_kit.errors import Refusal
from service_kit.http_server import note_headers
from service_kit.web import MAX_BODY_BYTES, Readiness, add_headers, answer_errors, cors, read_json
from tests.examples import PAGE
from tests.serving import serving, talk

CANARY = "canary-cause"
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


async def echo(request: web.Request) -> web.Response:
    return web.json_response(await read_json(request))


async def broken(_request: web.Request) -> web.Response:
    raise RuntimeError(CANARY)


async def busy(_request: web.Request) -> web.Response:
    raise Refusal("rate_limited", retry_after=3)


def an_app(readiness: Readiness | None = None, *, counted: list[str] | None = None) -> web.Application:
    app = web.Application(
        middlewares=[
            note_headers,
            answer_errors((counted if counted is not None else []).append),
            cors("/v1/", [PAGE], "POST"),
        ],
        client_max_size=MAX_BODY_BYTES,
    )
    app.on_response_prepare.append(add_headers(hsts=True))
    app.router.add_post("/v1/echo", echo)
    app.router.add_get("/v1/broken", broken)
    app.router.add_get("/v1/busy", busy)
    (readiness or Readiness()).add_routes(app)
    return app


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(an_app()) as port:
        yield port


@pytest.fixture
async def http(port: int) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session


async def error_of(response: aiohttp.ClientResponse) -> dict[str, Any]:
    assert response.content_type == "application/json"
    body = await response.json()
    assert body.keys() == {"error"}
    error: dict[str, Any] = body["error"]
    assert error.keys() >= {"type", "code", "message", "param"}
    assert response.headers["X-Request-Id"] in error["message"]
    return error


def code_of(answer: bytes) -> str:
    """The public code in a raw answer, which must be of our making."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"aiohttp" not in head.lower()
    assert b"python" not in head.lower()
    code: str = json.loads(body)["error"]["code"]
    return code


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/v1/echo", 200, None),
        ("GET", "/healthz", 200, None),
        ("GET", "/v1/echo", 405, "method_not_allowed"),
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/nowhere", 404, "not_found"),
        ("GET", "/v1/broken", 500, "internal_error"),
        ("GET", "/v1/busy", 429, "rate_limited"),
        ("OPTIONS", "/v1/echo", 405, "method_not_allowed"),
    ],
)
async def test_every_answer_has_the_security_headers_and_no_banner(
    http: aiohttp.ClientSession, method: str, path: str, status: int, code: str | None
) -> None:
    async with http.request(method, path) as response:
        assert response.status == status
        assert {name: response.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
        assert response.headers["X-Request-Id"].startswith("req_")
        assert "Server" not in response.headers
        if code is not None:
            assert (await error_of(response))["code"] == code


async def test_without_tls_before_it_nothing_promises_tls() -> None:
    app = web.Application(middlewares=[answer_errors(lambda _code: None)])
    app.on_response_prepare.append(add_headers(hsts=False))
    async with serving(app) as port, aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/") as response:
        assert "Strict-Transport-Security" not in response.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE"])
async def test_other_methods_are_refused_with_those_allowed(port: int, method: str) -> None:
    answer = await talk(port, f"{method} /v1/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow: POST\r\n" in answer


@pytest.mark.parametrize(("method", "status"), [("CONNECT", b"HTTP/1.1 404 "), ("BREW", b"HTTP/1.0 400 ")])
async def test_methods_of_another_kind_find_nothing(port: int, method: str, status: bytes) -> None:
    answer = await talk(port, f"{method} /v1/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(status)
    assert b"aiohttp" not in answer.lower()


async def test_each_refusal_that_is_answered_is_counted_once_by_its_code() -> None:
    counted: list[str] = []
    expected = []
    async with serving(an_app(counted=counted)) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        for method, path, code in (
            ("POST", "/v1/echo", None),
            ("GET", "/healthz", None),
            ("GET", "/v1/echo", "method_not_allowed"),
            ("GET", "/nowhere", "not_found"),
            ("GET", "/v1/broken", "internal_error"),
            ("GET", "/v1/busy", "rate_limited"),
        ):
            async with http.request(method, path) as response:
                assert (response.status >= 400) == (code is not None)
            expected += [code] if code else []
        preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        async with http.options("/v1/echo", headers=preflight) as response:
            assert response.status == 403
    assert counted == [*expected, "origin_not_allowed"]


async def test_a_cause_is_not_told(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/broken") as response:
        assert CANARY not in await response.text()
        assert CANARY not in str(response.headers)


async def test_retry_after_is_a_header_too(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/busy") as response:
        assert response.headers["Retry-After"] == "3"


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({}, b"", 200, None),
        ({"Content-Type": "application/json"}, b"{}", 200, None),
        ({"Content-Type": "application/json; charset=utf-8"}, b"{}", 200, None),
        ({"Content-Type": "text/plain"}, b"{}", 415, "unsupported_media_type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"a=1", 415, "unsupported_media_type"),
        ({"Content-Type": "application/jsonp"}, b"{}", 415, "unsupported_media_type"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, b"{}", 415, "unsupported_media_type"),
        ({"Content-Type": "application/json", "Content-Encoding": "identity"}, b"{}", 415, "unsupported_media_type"),
        ({"Content-Type": "application/json"}, b"{", 400, "invalid_request"),
        ({"Content-Type": "application/json"}, b'{"a":1,"a":2}', 400, "invalid_request"),
        ({"Content-Type": "application/json"}, b"[" * 10_000, 400, "invalid_request"),
        ({"Content-Type": "application/json"}, b" " * MAX_BODY_BYTES + b"{}", 413, "body_too_large"),
    ],
)
async def test_only_small_plain_json_is_read(
    http: aiohttp.ClientSession, headers: dict[str, str], body: bytes, status: int, code: str | None
) -> None:
    async with http.post("/v1/echo", headers=headers, data=body, compress=False) as response:
        assert response.status == status
        if code is not None:
            assert (await error_of(response))["code"] == code


async def test_a_body_without_length_is_measured_too(http: aiohttp.ClientSession) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 1_000

    async with http.post("/v1/echo", headers={"Content-Type": "application/json"}, data=pieces()) as response:
        assert response.status == 413


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    "transfer", ["chunked", "gzip, chunked", "identity, chunked", "chunked\r\nTransfer-Encoding: x"]
)
async def test_a_body_whose_end_is_not_agreed_on_is_not_read(port: int, version: str, transfer: str) -> None:
    """Nor is what comes after it: it could be the body's rest, or a request that somebody smuggles."""
    is_clear = (version, transfer) == ("1.1", "chunked")
    close = "Connection: close\r\n" if is_clear else ""
    head = (
        f"POST /v1/echo HTTP/{version}\r\nHost: x\r\n{close}Content-Type: application/json\r\n"
        f"Transfer-Encoding: {transfer}\r\n\r\n"
    )
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await talk(port, head.encode() + b"2\r\n{}\r\n0\r\n\r\n" + (b"" if is_clear else smuggled))
    assert answer.count(b"HTTP/1.") == 1
    if is_clear:
        assert answer.startswith(b"HTTP/1.1 200 ")
    else:
        assert code_of(answer) == "invalid_request"


async def test_a_gzip_bomb_is_refused_unopened(port: int) -> None:
    bomb = gzip.compress(bytes(256 * 1024 * 1024), 9)
    head = (
        "POST /v1/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    )
    started = time.process_time()
    answer = await talk(port, head.encode() + bomb)
    assert code_of(answer) == "unsupported_media_type"
    assert time.process_time() - started < 0.3


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"NONSENSE\r\n\r\n", 400, "invalid_request"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "invalid_request"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n", 400, "invalid_request"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n", 400, "invalid_request"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n", 400, "invalid_request"),
        (
            b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            400,
            "invalid_request",
        ),
        (
            b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
            400,
            "invalid_request",
        ),
        (b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "invalid_request"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 9_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "headers_too_large"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100 + b"\r\n", 400, "invalid_request"),
    ],
)
async def test_what_is_not_http_gets_our_error_and_no_banner(port: int, sent: bytes, status: int, code: str) -> None:
    answer = await talk(port, sent)
    assert answer.startswith(b"HTTP/1.0 %d " % status)
    assert code_of(answer) == code


@pytest.mark.parametrize("path", ["/v1/echo", "/healthz", "/nowhere"])
async def test_an_unknown_expectation_is_refused_like_anything_else(http: aiohttp.ClientSession, path: str) -> None:
    for method in ("POST", "GET"):
        async with http.request(method, path, headers={"Expect": "magic"}) as response:
            assert response.status == 400
            assert (await error_of(response))["code"] == "invalid_request"
            assert {name: response.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
            assert "Server" not in response.headers


async def test_a_connection_lives_on_after_an_unknown_expectation(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Its first request was complete, so the deadline for that is over."""
    monkeypatch.setattr(http_server, "HEADER_SECONDS", 0.2)
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: magic\r\n\r\n")
        assert b" 400 " in await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)  # the deadline itself must pass
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"HTTP/1.1 200 " in await reader.read()
        writer.close()


async def test_a_connection_that_never_completes_its_headers_is_cut(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(http_server, "HEADER_SECONDS", 0.05)
    answer = await talk(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert await talk(port, b"") != b""


async def test_too_many_silent_connections_are_closed_at_once(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(http_server, "MAX_SILENT_CONNECTIONS", 1)
    _, silent = await asyncio.open_connection("127.0.0.1", port)
    silent.write(b"GET /healthz HTTP/1.1\r\n")
    await silent.drain()
    assert await until_refused(port)
    silent.close()
    await silent.wait_closed()


async def test_a_complete_request_makes_room_for_the_next(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(http_server, "MAX_SILENT_CONNECTIONS", 1)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        for _ in range(3):  # each kept alive, and none silent any more
            async with http.get("/healthz") as response:
                assert response.status == 200


async def until_refused(port: int) -> bool:
    """Whether a connection is closed without an answer; the server may not have seen the one before yet."""
    for _ in range(50):
        try:
            answer = await talk(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        except ConnectionError:
            return True
        if not answer:
            return True
    return False


async def test_the_header_deadline_ends_with_the_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HEADER_SECONDS", 0.05)
    released = asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    app = an_app()
    app.router.add_get("/slow", slow)
    async with serving(app) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        asyncio.get_running_loop().call_later(0.15, released.set)
        async with http.get("/slow") as response:
            assert response.status == 200


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(service_kit.web, "BODY_SECONDS", 0.05)
    head = b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
    answer = await talk(port, head, until=b"}}")  # the connection stays a while for the rest of the body
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert code_of(answer) == "request_timeout"


async def test_a_client_that_leaves_in_the_middle_of_a_body_is_no_fault_of_ours() -> None:
    outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def reading(request: web.Request) -> web.Response:
        try:
            await read_json(request)
        except Refusal as refusal:
            outcome.set_result(refusal.code)
        return web.Response()

    app = an_app()
    app.router.add_post("/reading", reading)
    head = b"POST /reading HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n"
    async with serving(app) as port:
        await talk(port, head + b"Expect: 100-continue\r\n\r\n{", until=b"100 Continue\r\n\r\n")
        async with asyncio.timeout(5):
            assert await outcome == "request_timeout"


@pytest.mark.parametrize("path", ["/v1/echo", "/v1/nowhere", "/v1/busy"])
async def test_cors_answers_an_allowed_origin_on_every_outcome(http: aiohttp.ClientSession, path: str) -> None:
    async with http.post(path, headers={"Origin": PAGE}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == PAGE
        assert response.headers["Access-Control-Expose-Headers"] == "X-Request-Id, Retry-After"
        assert "Access-Control-Allow-Credentials" not in response.headers
        assert response.headers["Vary"] == "Origin"


async def test_a_traced_page_may_send_its_trace(http: aiohttp.ClientSession) -> None:
    preflight = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    async with http.options("/v1/echo", headers=preflight) as response:
        allowed = {name.strip().lower() for name in response.headers["Access-Control-Allow-Headers"].split(",")}
    assert {"authorization", "content-type", "traceparent", "tracestate"} <= allowed


OTHER_ORIGINS = [
    "null",
    "*",
    "http://localhost",
    "http://localhost:80801",
    "https://localhost:8080",
    "http://LOCALHOST:8080",
    "http://localhost:8080/",
    "http://localhost:8080.evil.example",
    "http://evil.example",
    f"{PAGE}, http://evil.example",
    "",
]


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
async def test_cors_answers_no_other_origin(http: aiohttp.ClientSession, origin: str) -> None:
    async with http.post("/v1/echo", headers={"Origin": origin}) as response:
        assert "Access-Control-Allow-Origin" not in response.headers
        assert response.headers["Vary"] == "Origin"
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    async with http.options("/v1/echo", headers=preflight) as response:
        assert response.status == 403
        assert (await error_of(response))["code"] == "origin_not_allowed"
        assert not [name for name in response.headers if name.startswith("Access-Control-Allow")]


async def test_preflight_names_method_and_headers(http: aiohttp.ClientSession) -> None:
    preflight = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    async with http.options("/v1/echo", headers=preflight) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == PAGE
        assert response.headers["Access-Control-Allow-Methods"] == "POST"
        assert response.headers["Access-Control-Max-Age"] == "600"
        allowed = response.headers["Access-Control-Allow-Headers"].lower()
        for name in ("authorization", "content-type", "x-stainless-runtime", "openai-project"):
            assert name in allowed
        assert "*" not in allowed


async def test_there_is_no_cors_beyond_the_api(http: aiohttp.ClientSession) -> None:
    async with http.get("/healthz", headers={"Origin": PAGE}) as response:
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_readiness_names_what_is_missing_and_drains() -> None:
    working = False

    async def redis_works() -> bool:
        return working

    readiness = Readiness(redis=redis_works)
    async with (
        serving(an_app(readiness)) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
    ):

        async def ready() -> tuple[int, Any]:
            async with http.get("/readyz") as response:
                return response.status, await response.json()

        assert await ready() == (503, {"status": "unavailable", "failing": ["redis"]})
        working = True
        assert await ready() == (200, {"status": "ok"})
        readiness.draining = True
        assert await ready() == (503, {"status": "unavailable", "failing": ["draining"]})
        async with http.get("/healthz") as response:
            assert response.status == 200


@dataclass
class Others:
    """What one of three workers knows of the two others."""

    others_ready: int
    of: int = 3


@pytest.mark.parametrize(
    ("others_ready", "is_well", "is_draining", "expected"),
    [
        (2, True, False, (200, {"status": "ok", "workers": {"ready": 3, "of": 3}})),
        (0, True, False, (200, {"status": "ok", "workers": {"ready": 1, "of": 3}})),
        (1, False, False, (200, {"status": "ok", "workers": {"ready": 1, "of": 3}})),
        (0, False, False, (503, {"status": "unavailable", "failing": ["redis"], "workers": {"ready": 0, "of": 3}})),
        # The whole service drains, whatever was last heard of the others.
        (2, True, True, (503, {"status": "unavailable", "failing": ["draining"]})),
    ],
)
async def test_one_of_several_workers_answers_for_the_service(
    others_ready: int, is_well: bool, is_draining: bool, expected: tuple[int, Any]
) -> None:
    async def redis_works() -> bool:
        return is_well

    readiness = Readiness(redis=redis_works)
    readiness.workers = Others(others_ready)
    readiness.draining = is_draining
    async with (
        serving(an_app(readiness)) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
        http.get("/readyz") as response,
    ):
        assert (response.status, await response.json()) == expected


async def test_request_ids_are_ours(http: aiohttp.ClientSession) -> None:
    async with http.get("/healthz", headers={"X-Request-Id": "theirs"}) as response:
        assert response.headers["X-Request-Id"] != "theirs"
