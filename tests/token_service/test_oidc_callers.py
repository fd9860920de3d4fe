"""Minting with a token of an OIDC issuer, over HTTP: the real application, Redis, and an issuer with real keys."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from hashlib import sha256
from typing import Any

import aiohttp
import openai
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from redis.asyncio import Redis
from structlog.testing import capture_logs

from service_kit.log import ALLOWED_KEYS
from service_kit.redis_client import Pseudonyms
from service_kit.session_token import Claims, SessionTokenCodec, TokenKeys
from service_kit.token_record import record_key
from tests.examples import KEY, PAGE
from tests.issuer import AUDIENCE, LocalIssuer, assemble, claims_of, ec_key, rsa_key
from tests.serving import serving, talk
from tests.token_service.conftest import MakeSettings
from token_service.app import create_app

PATH = "/v1/realtime/client_secrets"
CODEC = SessionTokenCodec([KEY], "development")
MakeHttp = Callable[..., Awaitable[aiohttp.ClientSession]]


@pytest.fixture
async def issuer() -> AsyncIterator[LocalIssuer]:
    async with LocalIssuer() as issuer:
        yield issuer


@pytest.fixture
async def make_http(issuer: LocalIssuer, make_settings: MakeSettings, redis: Redis) -> AsyncIterator[MakeHttp]:
    """Makes a client of a service that knows the issuer."""
    async with AsyncExitStack() as stack:

        async def make(**changes: Any) -> aiohttp.ClientSession:
            usual = {"callers": "anonymous,api_key,oidc", "oidc_issuer": issuer.url, "oidc_audience": AUDIENCE}
            port = await stack.enter_async_context(serving(create_app(*make_settings(**usual | changes))))
            return await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}"))

        yield make


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def mint(http: aiohttp.ClientSession, token: str, body: object = None, **headers: str) -> dict[str, Any]:
    async with http.post(PATH, json=body or {}, headers=bearer(token) | headers) as response:
        assert response.status == 200, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


async def refusal(
    http: aiohttp.ClientSession, token: str, body: object = None, **headers: str
) -> tuple[int, str, str | None]:
    async with http.post(PATH, json=body or {}, headers=bearer(token) | headers) as response:
        error = (await response.json())["error"]
        return response.status, error["code"], error["param"]


def port_of(http: aiohttp.ClientSession) -> int:
    assert http._base_url
    assert http._base_url.port
    return http._base_url.port


async def claims_in(redis: Redis, answer: dict[str, Any]) -> Claims:
    keys = TokenKeys.of(CODEC.decode(answer["value"], time.time()).secret)
    sealed = await redis.hget(record_key("development", keys.token_id), "sealed")
    assert isinstance(sealed, bytes)
    return keys.unseal(sealed)


async def test_a_token_of_the_issuer_mints_for_its_subject(
    make_http: MakeHttp, issuer: LocalIssuer, redis: Redis
) -> None:
    http = await make_http()
    for token in (issuer.token(), issuer.token(ec_key("one"), "ec-1")):
        claims = await claims_in(redis, await mint(http, token, Origin=PAGE))
        assert (claims.subject, claims.tenant, claims.anonymous) == ("alice", "oidc", False)
        assert (claims.profile, claims.origin) == ("default", PAGE)


async def test_it_sees_its_own_limits_and_of_its_tenant_s_only_whether_they_hold_it(
    make_http: MakeHttp, issuer: LocalIssuer, redis: Redis
) -> None:
    http = await make_http(mints_per_minute_per_tenant=1)
    for held in ([], ["mints_per_minute"]):
        async with http.get("/v1/limits", headers=bearer(issuer.token())) as response:
            assert response.status == 200
            seen = await response.json()
        assert seen.keys() == {"limits", "held_by_tenant"}
        assert seen["held_by_tenant"] == held
        if not held:
            await mint(http, issuer.token(), Origin=PAGE)


async def test_a_token_minted_outside_a_page_is_bound_to_none(
    make_http: MakeHttp, issuer: LocalIssuer, redis: Redis
) -> None:
    http = await make_http()
    assert (await claims_in(redis, await mint(http, issuer.token()))).origin is None
    for origin in ("http://evil.example", "null"):
        assert await refusal(http, issuer.token(), Origin=origin) == (403, "origin_not_allowed", None)


async def test_tenant_and_roles_come_from_the_configured_claims(
    make_http: MakeHttp, issuer: LocalIssuer, redis: Redis
) -> None:
    http = await make_http(
        oidc_subject_claim="oid", oidc_tenant_claim="org.id", oidc_roles_claim="https://voice.example/roles"
    )
    named: dict[str, Any] = {"oid": "object-1", "org": {"id": "contoso"}, "https://voice.example/roles": ["voice"]}
    token = issuer.token(**named)
    claims = await claims_in(redis, await mint(http, token, {"airlock": {"profile": "staff"}}))
    assert (claims.subject, claims.tenant, claims.profile) == ("object-1", "contoso", "staff")
    assert (await refusal(http, issuer.token(oid="object-1")))[:2] == (401, "invalid_token")  # no tenant


async def test_roles_decide_profiles_and_browser_rules_hold(make_http: MakeHttp, issuer: LocalIssuer) -> None:
    http = await make_http()
    staff = {"airlock": {"profile": "staff"}}
    assert await refusal(http, issuer.token(), staff) == (400, "invalid_request", "airlock.profile")
    assert await refusal(http, issuer.token(roles=["other"]), staff) == (400, "invalid_request", "airlock.profile")
    await mint(http, issuer.token(roles=["other", "admin"]), staff)
    for body, param in (
        ({"session": {"instructions": "x"}}, "session.instructions"),
        ({"airlock": {"subject": "bob"}}, "airlock.subject"),
        ({"airlock": {"origin": PAGE}}, "airlock.origin"),
    ):
        assert await refusal(http, issuer.token(), body) == (400, "unsupported_parameter", param)
    shorter = await mint(http, issuer.token(), {"airlock": {"max_session_seconds": 60}})
    assert shorter["airlock"]["max_session_seconds"] == 60


async def test_the_issuer_cannot_put_anybody_into_a_tenant_that_is_not_its_own(
    make_http: MakeHttp, issuer: LocalIssuer, redis: Redis
) -> None:
    http = await make_http(oidc_tenant_claim="tid")
    with capture_logs() as lines:
        for tenant in ("acme", "anonymous"):
            assert (await refusal(http, issuer.token(tid=tenant)))[:2] == (401, "invalid_token")
    assert [line["reason"] for line in lines if line["event"] == "mint.denied"] == ["tenant not allowed"] * 2
    assert await redis.keys("*:token:*") == []
    await mint(http, issuer.token(tid="contoso"))

    listed = await make_http(oidc_tenant_claim="tid", oidc_tenants="acme")
    assert (await claims_in(redis, await mint(listed, issuer.token(tid="acme")))).tenant == "acme"
    assert (await refusal(listed, issuer.token(tid="contoso")))[:2] == (401, "invalid_token")


def forgeries(issuer: LocalIssuer) -> dict[str, str]:
    """Every token here is wrong in one way."""
    pem = rsa_key("one").private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    now, attacker = int(time.time()), rsa_key("attacker")
    claims = claims_of(issuer.url)

    def mac(data: bytes) -> bytes:
        return hmac.new(pem, data, sha256).digest()

    return {
        "alg none": assemble({"alg": "none"}, claims, lambda _: b""),
        "alg none, kid": assemble({"alg": "none", "kid": "rsa-1"}, claims, lambda _: b""),
        "HS256 with the public key": assemble({"alg": "HS256", "kid": "rsa-1"}, claims, mac),
        "forged": issuer.token(attacker),
        "wrong kid": issuer.token(kid="rsa-2"),
        "EC key's kid": issuer.token(kid="ec-1"),
        "ES256 by RSA": assemble({"alg": "ES256", "kid": "rsa-1"}, claims, rsa_key("one").sign),
        "jwk": issuer.token(attacker, header={"jwk": attacker.jwk("rsa-1")}),
        "jku": issuer.token(attacker, header={"jku": "http://127.0.0.1:9/keys"}),
        "x5u": issuer.token(attacker, header={"x5u": "http://127.0.0.1:9/chain"}),
        "other audience": issuer.token(aud="client-of-another-page"),
        "other audiences": issuer.token(aud=["one", "two"]),
        "no audience": issuer.token(aud=None),
        "other issuer": issuer.token(iss="https://evil.example"),
        "no issuer": issuer.token(iss=None),
        "expired": issuer.token(exp=now - 61),
        "no expiry": issuer.token(exp=None),
        "not yet valid": issuer.token(nbf=now + 120),
        "from the future": issuer.token(iat=now + 86_400),
        "no subject": issuer.token(sub=None),
        "duplicate keys": assemble(
            {"alg": "RS256", "kid": "rsa-1"},
            b'{"sub":"mallory",' + str(claims).replace("'", '"').encode()[1:],
            rsa_key("one").sign,
        ),
        "embedded whitespace": issuer.token().replace(".", ". ", 1),
        "two tokens": f"{issuer.token()},{issuer.token()}",
        "encrypted": f"{issuer.token()}.a.b",
    }


async def test_no_forgery_mints_or_falls_back_to_anonymous(
    make_http: MakeHttp, issuer: LocalIssuer, redis: Redis
) -> None:
    http = await make_http()
    await mint(http, issuer.token())
    (kept,) = await redis.keys("*:token:*")
    for what, token in forgeries(issuer).items():
        async with http.post(PATH, json={}, headers=bearer(token) | {"Origin": PAGE}) as response:
            body = await response.json()
            assert (response.status, body["error"]["code"]) == (401, "invalid_token"), what
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert body["error"]["message"].startswith("The credential is not valid."), what
    assert await redis.keys("*:token:*") == [kept]


async def test_a_session_token_does_not_mint_where_jwts_do(make_http: MakeHttp, issuer: LocalIssuer) -> None:
    http = await make_http()
    minted = await mint(http, issuer.token())
    assert (await refusal(http, minted["value"], Origin=PAGE))[:2] == (401, "invalid_token")


async def test_a_token_that_is_too_long_for_a_header_is_refused_as_such(
    make_http: MakeHttp, issuer: LocalIssuer
) -> None:
    http = await make_http()
    await mint(http, issuer.token(groups=["g" * 30] * 120))  # about 5,500 characters, as issuers send them
    huge = issuer.token(pad="x" * 8_190)
    request = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nAuthorization: Bearer {huge}\r\n\r\n"
    answer = await talk(port_of(http), request.encode())
    assert answer.split()[1] == b"431"


@pytest.mark.parametrize(
    "subject",
    ["a:b:c", "*", "{tag}", "x\r\nFLUSHALL\r\n", "\x00", "ålïçé🦊", "../../", "airlock:development:*", "a" * 256],
)
async def test_hostile_subjects_leave_redis_names_untouched(
    make_http: MakeHttp, issuer: LocalIssuer, redis: Redis, subject: str
) -> None:
    http = await make_http(oidc_tenant_claim="tid")
    tenant = "".join(character for character in subject if character.isprintable())[:128] or "t"
    with capture_logs() as lines:
        answer = await mint(http, issuer.token(sub=subject, tid=tenant))
    names: list[bytes] = await redis.keys()  # type: ignore[assignment] # this client decodes nothing
    assert record_key("development", answer["airlock"]["token_id"]).encode() in names
    assert all(re.fullmatch(rb"airlock:development:(token|mints:[a-z]+):[\w-]+", name) for name in names)
    assert (await claims_in(redis, answer)).subject == subject
    (line,) = [line for line in lines if line["event"] == "mint.ok"]
    assert line["subject"] == Pseudonyms(KEY).of(tenant, subject)


async def test_the_audit_lines(make_http: MakeHttp, issuer: LocalIssuer) -> None:
    http = await make_http()
    with capture_logs() as lines:
        answer = await mint(http, issuer.token(sub="canary-alice", email="canary@example.com"), Origin=PAGE)
        await refusal(http, issuer.token(aud="canary-audience"))
        await refusal(http, issuer.token(kid="canary-kid"))
    done, audience, kid = (line for line in lines if line["event"].startswith("mint."))
    assert (done["event"], done["caller"], done["tenant"]) == ("mint.ok", "oidc", "oidc")
    assert done["token_id"] == answer["airlock"]["token_id"]
    assert (audience["event"], audience["code"], audience["reason"]) == ("mint.denied", "invalid_token", "audience")
    assert kid["reason"] == "unknown key"
    assert "canary" not in str(lines)
    for line in lines:
        assert line.keys() - {"log_level"} <= ALLOWED_KEYS


async def test_without_the_issuer_the_others_go_on(make_http: MakeHttp, issuer: LocalIssuer) -> None:
    await issuer.stop()
    http = await make_http()
    async with http.get("/readyz") as response:
        assert response.status == 200
    await mint(http, "shop-key")
    async with http.post(PATH, json={}, headers={"Origin": PAGE}) as response:
        assert response.status == 200
    async with http.post(PATH, json={}, headers=bearer(issuer.token())) as response:
        assert response.status == 503
        assert int(response.headers["Retry-After"]) >= 1
        assert (await response.json())["error"]["code"] == "unavailable"


async def test_a_jwt_is_nothing_where_oidc_is_not_enabled(make_http: MakeHttp, issuer: LocalIssuer) -> None:
    http = await make_http(callers="anonymous,api_key")
    assert (await refusal(http, issuer.token(), Origin=PAGE))[:2] == (401, "invalid_token")
    assert issuer.requests == []


async def test_browsers_may_send_the_credential(make_http: MakeHttp, issuer: LocalIssuer) -> None:
    """A page's fetch with an Authorization header asks first (CORS preflight)."""
    http = await make_http()
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    async with http.options(PATH, headers=asks | {"Origin": PAGE}) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == PAGE
        assert {"authorization", "content-type"} <= set(
            response.headers["Access-Control-Allow-Headers"].lower().split(", ")
        )
    for token in (issuer.token(), issuer.token(aud="other")):
        async with http.post(PATH, json={}, headers=bearer(token) | {"Origin": PAGE}) as response:
            assert response.headers["Access-Control-Allow-Origin"] == PAGE
            assert response.headers["Vary"] == "Origin"
    async with http.options(PATH, headers=asks | {"Origin": "http://evil.example"}) as response:
        assert response.status == 403
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_openai_s_client_mints_with_it(make_http: MakeHttp, issuer: LocalIssuer) -> None:
    http = await make_http()
    base_url = f"http://127.0.0.1:{port_of(http)}/v1"
    async with openai.AsyncOpenAI(api_key=issuer.token(), base_url=base_url, max_retries=0) as client:
        assert (await client.realtime.client_secrets.create()).value.startswith("ek_")
    async with openai.AsyncOpenAI(api_key=issuer.token(exp=1), base_url=base_url, max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.realtime.client_secrets.create()
