"""``/openapi.json`` of both listeners: every route stands in it, and every code it names is really said."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web

from service_kit.hashed_keys import OperatorKey
from service_kit.openapi import ANYWHERE, VERSION
from service_kit.quotas import NOTHING, Quotas, Usage
from service_kit.redis_client import Pseudonyms, RedisClient
from service_kit.revocation import Kind, Revocations, Target
from service_kit.telemetry import Recorder
from service_kit.web import API_HEADERS, MAX_BODY_BYTES
from tests.examples import KEY, PAGE
from tests.serving import serving
from tests.token_service.conftest import SHOP, MakeSettings
from token_service.app import OPERATORS, READINESS, create_app
from token_service.openapi import public_document
from token_service.operators.app import create_operator_app
from token_service.operators.openapi import operator_document

MINT = "/v1/realtime/client_secrets"
BETA, BETA_TRANSCRIPTION = "/v1/realtime/sessions", "/v1/realtime/transcription_sessions"
FROM_PAGE, FROM_SHOP = {"Origin": PAGE}, {"Authorization": "Bearer shop-key"}
OPERATOR = {"Authorization": "Bearer op_canary"}
OPERATOR_KEYS = (OperatorKey.model_validate({"name": "ops", "sha256": sha256(b"op_canary").hexdigest()}),)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def codes(operation: dict[str, Any]) -> set[tuple[int, str]]:
    """The statuses and public codes of an operation's refusals."""
    return {
        (int(status), code)
        for status, answer in operation["responses"].items()
        for part in answer["content"].get("application/json", {}).get("schema", {}).get("allOf", ())[1:]
        for code in part["properties"]["error"]["properties"]["code"]["enum"]
    }


def served(app: web.Application) -> set[tuple[str, str]]:
    """The routes of an application; a HEAD comes with its GET."""
    return {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }


def operator_app_of(app: web.Application) -> web.Application:
    return create_operator_app(app[OPERATORS], lambda: OPERATOR_KEYS, Recorder().numbers, app[READINESS], hsts=False)


@asynccontextmanager
async def both_served(make_settings: MakeSettings) -> AsyncIterator[list[tuple[int, dict[str, Any]]]]:
    """The ports of both listeners while the block runs, each with the document that is true of it."""
    app = create_app(*make_settings())
    async with serving(app) as public, serving(operator_app_of(app)) as private:
        yield [(public, public_document()), (private, operator_document())]


async def test_every_route_but_the_page_is_in_the_document(make_settings: MakeSettings) -> None:
    app = create_app(*make_settings())
    assert served(app) == {(method, path) for method, path, _ in operations(public_document())}
    page = {"/", "/favicon.svg", "/main.js", "/styles.css", "/summary.js"}
    operators = served(operator_app_of(app))
    documented = {(method, path) for method, path, _ in operations(operator_document())}
    assert operators - {("GET", path) for path in page} == documented


async def test_both_are_served_as_they_are_under_the_usual_headers_and_hold_no_secret(
    make_settings: MakeSettings, redis: RedisClient
) -> None:
    async with both_served(make_settings) as documents, aiohttp.ClientSession() as http:
        for port, document in documents:
            async with http.get(f"http://127.0.0.1:{port}/openapi.json") as response:
                assert response.status == 200
                assert response.content_type == "application/json"
                assert {name: response.headers[name] for name in API_HEADERS} == API_HEADERS
                assert await response.json() == document
                assert document["openapi"].startswith("3.1.")
                for secret in (KEY, SHOP["sha256"], OPERATOR_KEYS[0].sha256.get_secret_value(), "canary", "redis://"):
                    assert str(secret) not in await response.text()


def test_the_version_is_the_project_s() -> None:
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    assert tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["version"] == VERSION


async def test_an_answer_has_exactly_the_documented_fields(http: aiohttp.ClientSession) -> None:
    schemas = public_document()["components"]["schemas"]
    minted, error = schemas["MintResponse"]["properties"], schemas["Error"]["properties"]["error"]["properties"]
    beta = schemas["BetaMintResponse"]["properties"]
    for path in (BETA, BETA_TRANSCRIPTION):
        async with http.post(path, json={}, headers=FROM_PAGE) as response:
            answer = await response.json()
            assert beta.keys() <= answer.keys()
            assert answer["client_secret"].keys() == beta["client_secret"]["properties"].keys()
            assert answer["airlock"].keys() == minted["airlock"]["properties"].keys()
    async with http.post(MINT, json={}, headers=FROM_PAGE) as response:
        answer = await response.json()
        assert answer.keys() == minted.keys()
        assert answer["airlock"].keys() == minted["airlock"]["properties"].keys()
        assert schemas["Session"]["properties"].keys() <= answer["session"].keys()
    documented = schemas["Limits"]["properties"]
    assert set(schemas["Limits"]["required"]) == documented.keys() - {"tenant"}
    for headers, unsaid in ((FROM_SHOP, set[str]()), (FROM_PAGE, {"tenant"})):
        async with http.get(LIMITS, headers=headers) as response:
            said = await response.json()
        assert said.keys() == documented.keys() - unsaid
        for holder in said.keys() & {"limits", "tenant"}:
            limits = documented[holder]["properties"]
            assert said[holder].keys() == limits.keys()
            for name, shown in said[holder].items():
                assert shown.keys() == limits[name]["properties"].keys()
    async with http.post(MINT, json={}) as response:
        assert (await response.json())["error"].keys() == error.keys() - {"retry", "retry_after"}


class Case(NamedTuple):
    """A request that gets a refusal, the last of ``times`` alike; ``settings`` are the service's."""

    path: str
    status: int
    code: str
    request: dict[str, Any]
    settings: dict[str, Any] | None = None
    times: int = 1

    @property
    def method(self) -> str:
        return "POST" if self.path.startswith("/v1/realtime/") else "GET"


def from_shop(subject: str) -> dict[str, Any]:
    return {"json": {"airlock": {"subject": subject}}, "headers": FROM_SHOP}


EDGE = {"azure_front_door_id": "a0a0a0a0-bbbb-cccc-dddd-e1e1e1e1e1e1", "trusted_edge": "127.0.0.0/8"}
ONE_BY_ADDRESS = {"mints_per_minute_per_address": 1}
LIMITS = "/v1/limits"
PLAIN_TEXT = FROM_PAGE | {"Content-Type": "text/plain"}
SHOP_TAKES_ALL = {"caller_api_keys": (SHOP | {"profiles": ("default", "dictation", "modern", "modern-dictation")},)}
CASES = [
    Case(MINT, 400, "invalid_request", {"json": {"expires_after": {"seconds": 9}}, "headers": FROM_PAGE}),
    Case(MINT, 400, "unsupported_parameter", {"json": {"airlock": {"subject": "alice"}}, "headers": FROM_PAGE}),
    Case(MINT, 401, "invalid_token", {"json": {}, "headers": {"Authorization": "Bearer another"}}),
    Case(MINT, 402, "quota_exhausted", from_shop("spent"), {"quota_seconds_per_day": 1}),
    Case(MINT, 403, "blocked", from_shop("blocked")),
    Case(MINT, 403, "edge_not_allowed", {"json": {}, "headers": FROM_SHOP}, EDGE),
    Case(MINT, 403, "model_mismatch", {"json": {"session": {"model": "gpt-realtime-2"}}, "headers": FROM_PAGE}),
    Case(MINT, 403, "origin_not_allowed", {"json": {}, "headers": {"Origin": "https://evil.example"}}),
    Case(MINT, 413, "body_too_large", {"json": {"session": {"a": "a" * MAX_BODY_BYTES}}, "headers": FROM_PAGE}),
    Case(MINT, 415, "unsupported_media_type", {"data": b"{}", "headers": PLAIN_TEXT}),
    Case(MINT, 429, "rate_limited", from_shop("busy"), {"mints_per_minute_per_subject": 1}, times=2),
    *(
        case
        for path, wants_ga in ((BETA, "modern"), (BETA_TRANSCRIPTION, "modern-dictation"))
        for case in (
            Case(
                path,
                400,
                "beta_api_shape_disabled",
                {"json": {"airlock": {"profile": wants_ga}}, "headers": FROM_SHOP},
                SHOP_TAKES_ALL,
            ),
            Case(path, 400, "invalid_request", {"json": {"turn_detection": 1}, "headers": FROM_PAGE}),
            Case(path, 400, "unsupported_parameter", {"json": {"session": {}}, "headers": FROM_PAGE}),
            Case(path, 401, "invalid_token", {"json": {}, "headers": {"Authorization": "Bearer another"}}),
            Case(path, 402, "quota_exhausted", from_shop("spent"), SHOP_TAKES_ALL | {"quota_seconds_per_day": 1}),
            Case(path, 403, "blocked", from_shop("blocked"), SHOP_TAKES_ALL),
            Case(path, 403, "edge_not_allowed", {"json": {}, "headers": FROM_SHOP}, EDGE),
            Case(path, 403, "origin_not_allowed", {"json": {}, "headers": {"Origin": "https://evil.example"}}),
            Case(path, 413, "body_too_large", {"json": {"include": "a" * MAX_BODY_BYTES}, "headers": FROM_PAGE}),
            Case(path, 415, "unsupported_media_type", {"data": b"{}", "headers": PLAIN_TEXT}),
            Case(path, 429, "rate_limited", {"json": {}, "headers": FROM_PAGE}, ONE_BY_ADDRESS, times=2),
        )
    ),
    Case(BETA, 403, "model_mismatch", {"json": {"model": "gpt-realtime-2"}, "headers": FROM_PAGE}),
    Case(LIMITS, 401, "invalid_token", {"headers": {"Authorization": "Bearer another"}}),
    Case(LIMITS, 403, "blocked", {"headers": FROM_SHOP}, {"caller_api_keys": (SHOP | {"name": "blocked"},)}),
    Case(LIMITS, 403, "edge_not_allowed", {"headers": FROM_SHOP}, EDGE),
    Case(LIMITS, 403, "origin_not_allowed", {"headers": {"Origin": "https://evil.example"}}),
    Case(LIMITS, 429, "rate_limited", {"headers": FROM_PAGE}, ONE_BY_ADDRESS, times=2),
    Case("/openapi.json", 403, "edge_not_allowed", {}, EDGE),
]
# What takes a slow client, a missing Redis or a fault of ours, and is tested where those are.
ELSEWHERE = {"request_timeout", "unavailable", "internal_error"}
ODD_HEADERS = {
    (400, "invalid_request"): {"Expect": "the-unexpected"},
    (431, "headers_too_large"): {"X-Long": "a" * 9_000},
}


def test_every_code_that_is_named_has_a_case() -> None:
    for method, path, operation in operations(public_document()):
        cases = {(case.status, case.code) for case in CASES if (case.method, case.path) == (method, path)}
        assert {named for named in codes(operation) if named[1] not in ELSEWHERE} == cases | ODD_HEADERS.keys(), path


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.path} {case.code}")
async def test_every_code_that_is_named_is_said(make_settings: MakeSettings, redis: RedisClient, case: Case) -> None:
    blocked, spent = (Target(Kind.SUBJECT, Pseudonyms(KEY).of("acme", name)) for name in ("blocked", "spent"))
    await Revocations(redis, "development").block(blocked, 60, "subject")
    used = Usage(milliseconds=1_000)
    await Quotas(redis, "development").add({spent: NOTHING}, "sess_1", used, is_over=True)
    async with serving(create_app(*make_settings(**(case.settings or {})))) as port, aiohttp.ClientSession() as http:
        for _ in range(case.times):
            async with http.request(case.method, f"http://127.0.0.1:{port}{case.path}", **case.request) as response:
                answer = await response.json()
    assert (response.status, answer["error"]["code"]) == (case.status, case.code)


async def test_any_route_refuses_odd_and_oversized_headers_as_it_says(
    make_settings: MakeSettings, redis: RedisClient
) -> None:
    async with both_served(make_settings) as documents, aiohttp.ClientSession() as http:
        for port, document in documents:
            for method, path, operation in operations(document):
                assert {code for _, code in codes(operation)} >= set(ANYWHERE)
                for expected, header in ODD_HEADERS.items():
                    url = f"http://127.0.0.1:{port}{path}".replace("{id}", "sess_" + "a" * 24)
                    async with http.request(method, url, headers=OPERATOR | header) as response:
                        assert (response.status, (await response.json())["error"]["code"]) == expected


@pytest.mark.parametrize("path", ["sessions/", "tokens/", "sessions/a/b"])
async def test_an_id_that_is_no_path_segment_is_not_found(
    make_settings: MakeSettings, redis: RedisClient, path: str
) -> None:
    """Why the two routes with an id name ``not_found``."""
    app = create_app(*make_settings())
    async with (
        serving(operator_app_of(app)) as port,
        aiohttp.ClientSession() as http,
        http.delete(f"http://127.0.0.1:{port}/v1/operator/{path}", headers=OPERATOR) as response,
    ):
        assert response.status == 404
