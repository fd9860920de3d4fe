"""``POST /v1/realtime/client_secrets`` over HTTP, with a real Redis."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import openai
import pytest
from multidict import CIMultiDict
from redis.asyncio import Redis
from structlog.testing import capture_logs

from service_kit.log import ALLOWED_KEYS
from service_kit.redis_client import Pseudonyms
from service_kit.session_token import SessionTokenCodec, TokenKeys
from service_kit.token_record import record_key
from tests.examples import KEY, PAGE
from tests.serving import serving
from tests.token_service.conftest import MakeSettings
from token_service.app import create_app

PATH = "/v1/realtime/client_secrets"
FROM_PAGE = {"Origin": PAGE}
FROM_SHOP = {"Authorization": "Bearer shop-key"}
CODEC = SessionTokenCodec([KEY], "development")


async def mint(http: aiohttp.ClientSession, body: object, headers: dict[str, str]) -> dict[str, Any]:
    async with http.post(PATH, json=body, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Cache-Control"] == "no-store"
        answer: dict[str, Any] = await response.json()
        return answer


async def refusal(http: aiohttp.ClientSession, body: object, headers: dict[str, str]) -> tuple[int, str, str | None]:
    async with http.post(PATH, json=body, headers=headers) as response:
        error = (await response.json())["error"]
        return response.status, error["code"], error["param"]


async def record(redis: Redis, key: str | bytes) -> dict[bytes, bytes]:
    """A record as it lies there; this client decodes nothing, whatever its types say."""
    return cast("dict[bytes, bytes]", await redis.hgetall(key))


async def records(redis: Redis) -> list[bytes]:
    """The names of the tokens' records."""
    return [key async for key in redis.scan_iter("airlock:development:token:*")]


async def test_a_browser_mints_a_token_that_a_relay_can_redeem(http: aiohttp.ClientSession, redis: Redis) -> None:
    before = int(time.time())
    answer = await mint(http, {}, FROM_PAGE)
    token = CODEC.decode(answer["value"], time.time())
    keys = TokenKeys.of(token.secret)
    assert answer["airlock"]["token_id"] == keys.token_id
    assert before + 300 <= answer["expires_at"] == token.expires_at <= time.time() + 300

    stored = await record(redis, record_key("development", keys.token_id))
    claims = keys.unseal(stored[b"sealed"])
    assert stored[b"state"] == b"minted"
    assert stored[b"origin"].decode() == keys.digest(PAGE)
    assert claims.origin == PAGE
    assert claims.anonymous
    assert claims.subject == Pseudonyms(KEY).of("anonymous", "127.0.0.1")
    assert claims.lock.session["instructions"] == "canary-instructions"
    assert answer["airlock"]["relay_url"] == "wss://relay.example/v1/realtime"
    assert answer["airlock"]["provider"] == "OpenAI"


async def test_no_body_is_the_default(http: aiohttp.ClientSession) -> None:
    async with http.post(PATH, headers=FROM_PAGE) as response:
        assert response.status == 200


async def test_no_token_is_made_for_a_model_that_no_upstream_has(
    make_settings: MakeSettings, redis: Redis, tmp_path: Path
) -> None:
    path = tmp_path / "upstreams.toml"
    path.write_text(
        """
        [profiles.default]
        model = "gpt-realtime-2.1"
        callers = ["api_key"]

        [[upstreams]]
        name = "sweden"
        kind = "azure"
        base_url = "https://voice-se.openai.azure.com/openai/v1"
        auth = "secret:sweden-key"
        models = { "gpt-realtime-2.1" = "voice" }
        """
    )
    async with (
        serving(create_app(*make_settings(airlock_profiles=str(path)))) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
    ):
        body = {"session": {"model": "gpt-realtime-2"}}
        assert await refusal(http, body, FROM_SHOP) == (400, "invalid_request", "session.model")
        assert await records(redis) == []
        await mint(http, {"session": {"model": "gpt-realtime-2.1"}}, FROM_SHOP)


@pytest.mark.parametrize(("seconds", "lifetime"), [(10, 10), (77, 77), (7_200, 300)])
async def test_every_record_expires_with_its_token(
    http: aiohttp.ClientSession, redis: Redis, seconds: int, lifetime: int
) -> None:
    for headers in (FROM_PAGE, FROM_SHOP):
        await mint(http, {"expires_after": {"seconds": seconds}}, headers)
    keys = await records(redis)
    assert len(keys) == 2
    for key in keys:
        assert lifetime - 1 <= await redis.ttl(key) <= lifetime


async def test_redis_learns_nothing_worth_stealing(http: aiohttp.ClientSession, redis: Redis) -> None:
    options = {
        "subject": "canary-subject",
        "origin": PAGE,
        "reference_id": "canary-reference",
        "metadata": {"canary-key": "canary-value"},
    }
    session = {"type": "realtime", "instructions": "canary-instructions"}
    answers = [
        await mint(http, {"session": session, "airlock": options}, FROM_SHOP),
        await mint(http, {}, FROM_PAGE),
    ]
    stored = {key: await record(redis, key) for key in await records(redis)}
    assert len(stored) == 2
    rates = {key: await redis.lrange(key, 0, -1) for key in set(await redis.keys()) - stored.keys()}
    assert len(rates) == 4  # of a subject, an address, and their tenants
    kept = repr((stored, rates)).lower()
    for answer in answers:
        secret = CODEC.decode(answer["value"], time.time()).secret
        for part in answer["value"].removeprefix("ek_").split("."):
            assert part.lower() not in kept
        assert secret not in b"".join(value for fields in stored.values() for value in fields.values())
        assert secret.hex() not in kept
    pseudonym = Pseudonyms(KEY).of("anonymous", "127.0.0.1")
    for canary in ("canary", "localhost", "127.0.0.1", "shop", "acme", "anonymous", "gpt", "marin", "ek_"):
        assert canary not in kept
    assert pseudonym not in repr(stored)


async def test_a_refusal_stores_no_token(http: aiohttp.ClientSession, redis: Redis) -> None:
    assert await refusal(http, {"session": {"instructions": "x"}}, FROM_PAGE) == (
        400,
        "unsupported_parameter",
        "session.instructions",
    )
    assert await refusal(http, {}, {"Origin": "http://evil.example"}) == (403, "origin_not_allowed", None)
    assert await refusal(http, {}, {}) == (403, "origin_not_allowed", None)
    assert await refusal(http, {}, FROM_PAGE | {"Authorization": "Bearer wrong"}) == (401, "invalid_token", None)
    assert await records(redis) == []


@pytest.mark.parametrize("origins", [(PAGE, "https://evil.example"), ("https://evil.example", PAGE), (PAGE, PAGE)])
@pytest.mark.parametrize("authorization", [(), (("Authorization", "Bearer shop-key"),)], ids=["anonymous", "API key"])
async def test_a_request_that_names_two_origins_mints_nothing(
    http: aiohttp.ClientSession, redis: Redis, origins: tuple[str, str], authorization: tuple[tuple[str, str], ...]
) -> None:
    headers = CIMultiDict([*authorization, *(("Origin", origin) for origin in origins)])
    async with http.post("/v1/realtime/client_secrets", json={}, headers=headers) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (403, "origin_not_allowed")
    assert not await redis.keys("airlock:*:token:*")


async def test_a_session_token_does_not_mint(http: aiohttp.ClientSession, redis: Redis) -> None:
    answer = await mint(http, {}, FROM_PAGE)
    credential = {"Authorization": f"Bearer {answer['value']}"}
    assert await refusal(http, {}, FROM_PAGE | credential) == (401, "invalid_token", None)
    assert len(await records(redis)) == 1


async def test_header_bytes_that_are_no_text_are_a_wrong_credential(port: int) -> None:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\nOrigin: ".encode()
            + b"\xff\r\nX-Forwarded-For: \xff\r\nAuthorization: Bearer \xff\xfe\r\n\r\n"
        )
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_only_a_posted_json_body_mints(http: aiohttp.ClientSession, redis: Redis) -> None:
    """Nothing a page of another site can send without a preflight (CSRF)."""
    async with http.get(PATH, headers=FROM_PAGE) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"
    for body in ({"data": b"{}", "headers": {"Content-Type": "text/plain"}}, {"data": {"a": "b"}}):
        arguments: dict[str, Any] = {"headers": {}} | body
        async with http.post(PATH, **arguments | {"headers": arguments["headers"] | FROM_PAGE}) as response:
            assert response.status == 415
    assert await records(redis) == []


async def test_browsers_can_read_answers_and_refusals(http: aiohttp.ClientSession) -> None:
    for body in ({}, {"nonsense": 1}):
        async with http.post(PATH, json=body, headers=FROM_PAGE) as response:
            assert response.headers["Access-Control-Allow-Origin"] == PAGE


async def test_two_tokens_are_never_the_same(http: aiohttp.ClientSession) -> None:
    answers = [await mint(http, {}, FROM_PAGE) for _ in range(20)]
    assert len({answer["value"] for answer in answers}) == 20
    assert len({answer["session"]["id"] for answer in answers}) == 20


async def test_the_audit_line_of_a_mint(http: aiohttp.ClientSession) -> None:
    with capture_logs() as lines:
        answer = await mint(http, {"airlock": {"subject": "alice", "reference_id": "order-1"}}, FROM_SHOP)
    (line,) = lines
    assert line.keys() - {"log_level"} <= ALLOWED_KEYS
    assert line["event"] == "mint.ok"
    assert line["caller"] == "api_key"
    assert line["tenant"] == "acme"
    assert line["subject"] == Pseudonyms(KEY).of("acme", "alice")
    assert line["profile"] == "default"
    assert line["token_id"] == answer["airlock"]["token_id"]
    assert line["token_seconds"] == 300
    assert line["reference_id"] == "order-1"
    assert line["request_id"].startswith("req_")
    for secret in (answer["value"], "alice", "127.0.0.1", "shop-key", "canary"):
        assert secret not in str(line)


async def test_the_audit_line_of_a_refusal(http: aiohttp.ClientSession) -> None:
    with capture_logs() as lines:
        await refusal(http, {"session": {"tools": ["canary"]}}, FROM_PAGE)
        await refusal(http, {}, {"Authorization": "Bearer canary"})
    browser, stranger = lines
    assert (browser["event"], browser["code"]) == ("mint.denied", "unsupported_parameter")
    assert (browser["param"], browser["caller"]) == ("session.tools", "anonymous")
    assert browser["origin"] == PAGE
    assert (stranger["event"], stranger["code"]) == ("mint.denied", "invalid_token")
    assert stranger["address"] == browser["address"]
    assert "canary" not in str(lines)
    assert "127.0.0.1" not in str(lines)
    for line in lines:
        assert line.keys() - {"log_level"} <= ALLOWED_KEYS


async def test_every_refused_body_leaves_one_line(http: aiohttp.ClientSession) -> None:
    json_type = {"Content-Type": "application/json"}
    with capture_logs() as lines:
        for headers, data in (
            ({"Content-Type": "text/plain"}, b"{}"),
            (json_type, b"{"),
            (json_type, b" " * 20_000),
        ):
            async with http.post(PATH, data=data, headers=FROM_PAGE | headers):
                pass
    assert [(line["event"], line["code"]) for line in lines] == [
        ("mint.denied", "unsupported_media_type"),
        ("mint.denied", "invalid_request"),
        ("mint.denied", "body_too_large"),
    ]


async def test_a_trusted_edge_tells_the_address(make_settings: MakeSettings) -> None:
    async def subjects(trusted_edge: str) -> list[str]:
        app = create_app(*make_settings(trusted_edge=trusted_edge))
        async with serving(app) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            with capture_logs() as lines:
                for address in ("203.0.113.1", "203.0.113.2"):
                    await mint(http, {}, FROM_PAGE | {"X-Forwarded-For": address})
        return [line["subject"] for line in lines]

    assert len(set(await subjects("127.0.0.0/8"))) == 2
    assert len(set(await subjects("10.0.0.0/8"))) == 1


@pytest.fixture
async def silent_redis() -> AsyncIterator[str]:
    """A server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("redis_is", ["away", "silent"])
async def test_without_redis_there_is_no_token(make_settings: MakeSettings, silent_redis: str, redis_is: str) -> None:
    redis_url = silent_redis if redis_is == "silent" else "redis://127.0.0.1:1"
    app = create_app(*make_settings(redis_url=redis_url))
    async with serving(app) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        started = time.monotonic()
        async with http.post(PATH, headers=FROM_PAGE) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "1"
            body = await response.json()
        assert time.monotonic() - started < 1.5
        assert body["error"]["code"] == "unavailable"
        assert "value" not in body
        async with http.get("/readyz") as response:
            assert response.status == 503
            assert await response.json() == {"status": "unavailable", "failing": ["redis"]}
        async with http.get("/healthz") as response:
            assert response.status == 200


async def test_a_full_redis_is_no_redis(http: aiohttp.ClientSession, redis: Redis) -> None:
    await redis.config_set("maxmemory", "1")
    try:
        assert await refusal(http, {}, FROM_PAGE) == (503, "unavailable", None)
    finally:
        await redis.config_set("maxmemory", "0")
    assert await redis.keys() == []


async def test_openai_s_async_client_mints(port: int) -> None:
    async with openai.AsyncOpenAI(api_key="shop-key", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0) as client:
        secret = await client.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 120},
            session={
                "type": "realtime",
                "model": "gpt-realtime-2.1",
                "instructions": "Be brief.",
                "output_modalities": ["audio"],
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": 24_000},
                        "transcription": {"model": "gpt-transcribe"},
                        "noise_reduction": {"type": "near_field"},
                        "turn_detection": {"type": "server_vad", "threshold": 0.5},
                    },
                    "output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "marin", "speed": 1.0},
                },
                "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}}],
                "tool_choice": "auto",
                "max_output_tokens": "inf",
                "truncation": "auto",
                "tracing": None,
                "include": [],
            },
        )
    assert secret.value.startswith("ek_")
    assert secret.expires_at <= time.time() + 120
    assert secret.session.type == "realtime"
    assert secret.session.audio
    assert secret.session.audio.output
    assert secret.session.audio.output.voice == "marin"
    secret.model_validate(secret.to_dict(), strict=True)


async def test_openai_s_sync_client_mints_and_maps_refusals(port: int) -> None:
    def talk() -> None:
        with openai.OpenAI(api_key="shop-key", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0) as client:
            assert client.realtime.client_secrets.create().value.startswith("ek_")
            with pytest.raises(openai.BadRequestError) as bad:
                client.realtime.client_secrets.create(expires_after={"seconds": 9})
            assert (bad.value.param, bad.value.code) == ("expires_after.seconds", "invalid_request")
        with (
            openai.OpenAI(api_key="wrong", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0) as client,
            pytest.raises(openai.AuthenticationError) as wrong,
        ):
            client.realtime.client_secrets.create()
        assert wrong.value.code == "invalid_token"

    await asyncio.to_thread(talk)


async def test_openai_s_client_mints_for_transcription(port: int, make_settings: MakeSettings) -> None:
    app = create_app(
        *make_settings(
            caller_api_keys=(
                {**make_settings()[1].current.caller_api_keys[0].model_dump(), "profiles": ("dictation",)},
            )
        )
    )
    async with (
        serving(app) as port,
        openai.AsyncOpenAI(api_key="shop-key", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0) as client,
    ):
        secret = await client.realtime.client_secrets.create(session={"type": "transcription"})
    assert secret.session.type == "transcription"
