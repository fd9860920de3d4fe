"""Both services behind an edge: whose word about a client's address is taken, and who is not served at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict
from structlog.testing import capture_logs

import relay.app
import token_service.app
from service_kit.redis_client import Pseudonyms, RedisClient
from service_kit.tally import Tally
from tests.configured import configured_relay
from tests.examples import KEY, PAGE
from tests.serving import serving
from tests.token_service.conftest import MakeSettings, make_settings

__all__ = ["make_settings"]

Service = Literal["token_service", "relay"]
SERVICES: tuple[Service, ...] = ("token_service", "relay")
ID = "5b9b1b1e-0000-4000-8000-00000000f00d"
OTHER_ID = "5b9b1b1e-0000-4000-8000-00000000f00e"
CLIENT, FORGED = "203.0.113.9", "198.51.100.6"
LOOPBACK, ELSEWHERE = "127.0.0.0/8", "10.0.0.0/8"
Headers = list[tuple[str, str]]
Serve = Callable[..., Any]


@pytest.fixture
def serve(make_settings: MakeSettings) -> Serve:
    """Serves one of the services as it is."""

    @asynccontextmanager
    async def serving_it(service: Service, **settings: Any) -> AsyncIterator[aiohttp.ClientSession]:
        app = app_of(service, make_settings, settings)
        async with serving(app) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            yield http

    return serving_it


def app_of(service: Service, make_settings: MakeSettings, settings: dict[str, Any]) -> web.Application:
    if service == "token_service":
        return token_service.app.create_app(*make_settings(**settings))
    _, shared = make_settings()
    return relay.app.create_app(
        *configured_relay(
            redis_url=shared.current.redis_url,
            token_signing_keys=KEY,
            pseudonym_key=shared.current.pseudonym_key,
            allowed_origins=PAGE,
            openai_api_key="sk-none",
            openai_base_url="http://127.0.0.1:1/v1",
            airlock_profiles="profiles.toml",
            **settings,
        )
    )


async def address_seen(http: aiohttp.ClientSession, service: Service, headers: Headers) -> tuple[int, str]:
    """The status of a request that is refused for another reason, and the address that its log line has."""
    with capture_logs() as lines:
        if service == "token_service":
            given = CIMultiDict([*headers, ("Origin", "https://evil.example")])
            asked = http.post("/v1/realtime/client_secrets", headers=given)
        else:
            asked = http.get("/v1/realtime", headers=CIMultiDict(headers))
        async with asked as answer:
            status = answer.status
    denied = [line for line in lines if line["event"] in ("mint.denied", "redeem.denied", "edge.denied")]
    (line,) = denied
    return status, line["address"]


def pseudonym(address: str) -> str:
    return Pseudonyms(KEY).of_address(address)


def front_door(*, front_door_id: str = ID, socket_address: str = CLIENT) -> Headers:
    return [("X-Azure-FDID", front_door_id), ("X-Azure-SocketIP", socket_address)]


FORGERIES: list[Headers] = [
    [],
    [("X-Forwarded-For", FORGED)],
    [("X-Azure-ClientIP", FORGED), ("X-Real-IP", FORGED), ("Forwarded", f"for={FORGED}"), ("True-Client-IP", FORGED)],
    [("X-Forwarded-For", f"{FORGED}, 127.0.0.1"), ("X-Forwarded-For", "127.0.0.1")],
]


@pytest.mark.parametrize("forged", FORGERIES)
@pytest.mark.parametrize("service", SERVICES)
async def test_behind_front_door_the_address_is_the_one_it_saw(serve: Serve, service: Service, forged: Headers) -> None:
    async with serve(service, trusted_edge=LOOPBACK, azure_front_door_id=ID) as http:
        status, address = await address_seen(http, service, forged + front_door())
    assert status == (403 if service == "token_service" else 426)
    assert address == pseudonym(CLIENT)


@pytest.mark.parametrize(
    ("trusted_edge", "headers"),
    [
        pytest.param(LOOPBACK, [], id="past the edge"),
        pytest.param(LOOPBACK, [("X-Azure-SocketIP", FORGED)], id="no id"),
        pytest.param(LOOPBACK, front_door(front_door_id=OTHER_ID), id="another Front Door"),
        pytest.param(LOOPBACK, front_door()[:1], id="no address"),
        pytest.param(LOOPBACK, front_door(socket_address="unknown"), id="an address that is none"),
        pytest.param(LOOPBACK, front_door() + front_door(socket_address=FORGED), id="both twice"),
        pytest.param(ELSEWHERE, front_door(), id="the id from elsewhere"),
        pytest.param(ELSEWHERE, [*front_door(), ("X-Forwarded-For", "10.0.0.1")], id="as if it came from the edge"),
    ],
)
@pytest.mark.parametrize("service", SERVICES)
async def test_what_did_not_come_through_our_front_door_is_refused(
    serve: Serve, service: Service, trusted_edge: str, headers: Headers
) -> None:
    async with serve(service, trusted_edge=trusted_edge, azure_front_door_id=ID) as http:
        assert await address_seen(http, service, headers) == (403, pseudonym("127.0.0.1"))
        for path in ("/", "/v1/limits", "/v1/realtime", "/no/such/page", "/healthz/", "/readyz/x"):
            for method in ("GET", "POST", "OPTIONS"):
                async with http.request(method, path, headers=CIMultiDict(headers)) as answer:
                    assert (answer.status, (await answer.json())["error"]["code"]) == (403, "edge_not_allowed")
        for path in ("/healthz", "/readyz"):  # the platform asks past the edge
            async with http.get(path) as answer:
                assert answer.status == 200


@pytest.mark.parametrize("service", SERVICES)
async def test_without_a_front_door_its_headers_are_nothing(serve: Serve, service: Service) -> None:
    async with serve(service) as http:
        assert (await address_seen(http, service, front_door()))[1] == pseudonym("127.0.0.1")
    async with serve(service, trusted_edge=LOOPBACK) as http:
        assert (await address_seen(http, service, front_door()))[1] == pseudonym("127.0.0.1")


@pytest.mark.parametrize(
    ("trusted_edge", "forwarded_for", "address"),
    [
        ("", [CLIENT], "127.0.0.1"),
        (ELSEWHERE, [CLIENT], "127.0.0.1"),
        (LOOPBACK, [CLIENT], CLIENT),
        (LOOPBACK, [f"{FORGED}, {CLIENT}"], CLIENT),
        (LOOPBACK, [FORGED, CLIENT, "127.0.0.2"], CLIENT),
        (f"{LOOPBACK},{ELSEWHERE}", [f"{FORGED}, {CLIENT}, 10.1.1.1"], CLIENT),
        (LOOPBACK, [f"{CLIENT}, unknown"], "127.0.0.1"),
    ],
)
@pytest.mark.parametrize("service", SERVICES)
async def test_a_trusted_edge_s_own_entry_counts_and_nothing_before_it(
    serve: Serve, service: Service, trusted_edge: str, forwarded_for: list[str], address: str
) -> None:
    async with serve(service, trusted_edge=trusted_edge) as http:
        headers = [("X-Forwarded-For", line) for line in forwarded_for]
        assert (await address_seen(http, service, headers))[1] == pseudonym(address)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_refusal_at_the_edge_leaves_one_line_without_the_address(serve: Serve, service: Service) -> None:
    async with serve(service, trusted_edge=ELSEWHERE, azure_front_door_id=ID) as http:
        with capture_logs() as lines:
            async with http.get("/v1/realtime", headers=CIMultiDict(front_door())) as answer:
                request_id = answer.headers["X-Request-Id"]
    (line,) = [line for line in lines if line.get("request_id") == request_id]
    assert (line["event"], line["code"], line["request_id"]) == ("edge.denied", "edge_not_allowed", request_id)
    for plain in ("127.0.0.1", CLIENT, ID):
        assert plain not in str(line)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_flood_past_the_edge_asks_redis_nothing_and_is_counted_by_one_write(
    serve: Serve, service: Service, redis: RedisClient
) -> None:
    async with serve(service, trusted_edge=LOOPBACK, azure_front_door_id=ID) as http:
        await asyncio.gather(*(address_at_the_door(http) for _ in range(50)))
    minutes = await Tally(redis, "development").read(2)
    keys = set(await redis.keys())
    assert keys == {b"airlock:development:tally:%d" % minute.at for minute in minutes if minute.counts}
    assert sum(minute.counts.get("refused:edge_not_allowed", 0) for minute in minutes) == 50


async def address_at_the_door(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/realtime/client_secrets", headers={"Authorization": "Bearer wrong"}) as answer:
        assert answer.status == 403
