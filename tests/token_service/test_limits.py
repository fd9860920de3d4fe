"""What holds minting back, seen over HTTP with a real Redis; and ``GET /v1/limits``, which tells what is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from service_kit.live_slots import LiveSlots, slots_key
from service_kit.log import ALLOWED_KEYS
from service_kit.quotas import NOTHING, Quotas, Usage
from service_kit.redis_client import Pseudonyms, RedisClient
from service_kit.revocation import Kind, Revocations, Target
from tests.examples import KEY, PAGE
from tests.serving import serving
from tests.token_service.conftest import SHOP, MakeSettings
from token_service.app import create_app

MINT, LIMITS = "/v1/realtime/client_secrets", "/v1/limits"
FROM_PAGE = {"Origin": PAGE}
FROM_SHOP = {"Authorization": "Bearer shop-key"}
FROM_STRANGER = {"Authorization": "Bearer wrong"}
TRUSTING = {"trusted_edge": "127.0.0.0/8"}
PSEUDONYMS = Pseudonyms(KEY)
Answer = tuple[int, str | None]

pytestmark = pytest.mark.usefixtures("redis")


@asynccontextmanager
async def service(make_settings: MakeSettings, **settings: Any) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        serving(create_app(*make_settings(**settings))) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
    ):
        yield http


def shop(**ceilings: Any) -> dict[str, Any]:
    return {"caller_api_keys": (SHOP | ceilings,)}


async def mint(
    http: aiohttp.ClientSession,
    headers: Mapping[str, str],
    *,
    at: str | None = None,
    body: object = None,
    **airlock: Any,
) -> Answer:
    """Ask for a token; the status, and the code of a refusal."""
    given = {**headers, "X-Forwarded-For": at} if at else headers
    async with http.post(MINT, json={"airlock": airlock} if body is None else body, headers=given) as answer:
        return answer.status, (await answer.json()).get("error", {}).get("code")


async def look_at_all(http: aiohttp.ClientSession, headers: Mapping[str, str], at: str | None = None) -> dict[str, Any]:
    async with http.get(LIMITS, headers={**headers, "X-Forwarded-For": at} if at else headers) as answer:
        assert answer.status == 200
        body: dict[str, Any] = await answer.json()
        return body


async def look(http: aiohttp.ClientSession, headers: Mapping[str, str], at: str | None = None) -> dict[str, Any]:
    """The caller's own part."""
    limits: dict[str, Any] = (await look_at_all(http, headers, at))["limits"]
    return limits


GRANTED, HELD, USED_UP = (200, None), (429, "rate_limited"), (402, "quota_exhausted")


async def test_a_subject_is_held_to_its_rate_and_others_are_not(make_settings: MakeSettings) -> None:
    async with service(make_settings, mints_per_minute_per_subject=2) as http:
        answers = [await mint(http, FROM_SHOP, subject="alice") for _ in range(3)]
        assert answers == [GRANTED, GRANTED, HELD]
        assert await mint(http, FROM_SHOP, subject="bob") == GRANTED


async def test_a_tenant_is_held_to_its_rate_and_others_are_not(make_settings: MakeSettings) -> None:
    async with service(make_settings, mints_per_minute_per_tenant=2) as http:
        answers = [await mint(http, FROM_SHOP, subject=subject) for subject in ("alice", "bob", "carol")]
        assert answers == [GRANTED, GRANTED, HELD]
        assert await mint(http, FROM_PAGE) == GRANTED


async def test_an_anonymous_caller_is_held_to_its_address_s_rate(make_settings: MakeSettings) -> None:
    async with service(
        make_settings, mints_per_minute_per_address=2, mints_per_minute_per_subject=1, **TRUSTING
    ) as http:
        answers = [await mint(http, FROM_PAGE, at="203.0.113.1") for _ in range(3)]
        assert answers == [GRANTED, GRANTED, HELD]
        assert await mint(http, FROM_PAGE, at="203.0.113.2") == GRANTED


async def test_anonymous_requests_count_whether_they_are_good_or_not(make_settings: MakeSettings) -> None:
    async with service(make_settings, mints_per_minute_per_address=2) as http:
        assert await mint(http, FROM_PAGE, body={"nonsense": 1}) == (400, "unsupported_parameter")
        assert await mint(http, FROM_PAGE) == GRANTED
        assert await mint(http, FROM_PAGE) == HELD
        assert await mint(http, FROM_PAGE, body={"nonsense": 1}) == HELD


async def test_an_ipv6_host_cannot_evade_its_limit_by_changing_its_address(make_settings: MakeSettings) -> None:
    async with service(make_settings, mints_per_minute_per_address=1, **TRUSTING) as http:
        assert await mint(http, FROM_PAGE, at="2001:db8:1:2::1") == GRANTED
        assert await mint(http, FROM_PAGE, at="2001:db8:1:2:3:4:5:6") == HELD
        assert await mint(http, FROM_PAGE, at="2001:db8:1:3::1") == GRANTED


@pytest.mark.parametrize(
    ("headers", "refused"),
    [(FROM_STRANGER, (401, "invalid_token")), ({"Origin": "https://evil.example"}, (403, "origin_not_allowed"))],
)
async def test_failed_requests_are_held_back_by_address_and_good_credentials_are_not(
    make_settings: MakeSettings, headers: dict[str, str], refused: Answer
) -> None:
    async with service(make_settings, mints_per_minute_per_address=3) as http:
        answers = [await mint(http, headers) for _ in range(2)]
        async with http.get(LIMITS, headers=headers) as answer:  # guessing at another door counts as well
            assert answer.status == refused[0]
        answers += [await mint(http, headers) for _ in range(2)]
        assert answers == [refused, refused, HELD, HELD]
        async with http.get(LIMITS, headers=headers) as answer:
            assert answer.status == 429
        assert await mint(http, FROM_SHOP) == GRANTED
        assert await mint(http, FROM_SHOP, body={"nonsense": 1}) == HELD


async def test_a_key_s_own_limits_and_quotas_do_not_count_against_its_address(make_settings: MakeSettings) -> None:
    async with service(make_settings, mints_per_minute_per_address=1, mints_per_minute_per_subject=1) as http:
        answers = [await mint(http, FROM_SHOP) for _ in range(4)]
        assert answers == [GRANTED, HELD, HELD, HELD]
        assert await mint(http, FROM_PAGE) == GRANTED


async def test_retry_after_doubles_with_each_further_breach(make_settings: MakeSettings) -> None:
    waits = []
    async with service(make_settings, mints_per_minute_per_subject=1) as http:
        await mint(http, FROM_SHOP)
        for _ in range(6):
            async with http.post(MINT, headers=FROM_SHOP) as answer:
                assert (await answer.json())["error"]["retry_after"] == int(answer.headers["Retry-After"])
                waits.append(int(answer.headers["Retry-After"]))
    assert waits == [60, 120, 240, 480, 900, 900]


@pytest.mark.parametrize(
    ("limits", "headers", "scope"),
    [
        ({"mints_per_minute_per_subject": 1}, FROM_SHOP, "subject"),
        ({"mints_per_minute_per_tenant": 1}, FROM_SHOP, "tenant"),
        ({"mints_per_minute_per_tenant": 1}, FROM_PAGE, "tenant"),
        ({"mints_per_minute_per_address": 1}, FROM_PAGE, "address"),
        ({"mints_per_minute_per_address": 1}, FROM_STRANGER, "address"),
    ],
)
async def test_being_held_back_leaves_one_line_that_says_whose_limit_it_was(
    make_settings: MakeSettings, limits: dict[str, int], headers: dict[str, str], scope: str
) -> None:
    async with service(make_settings, **limits) as http:
        await mint(http, headers)
        with capture_logs() as lines:
            assert await mint(http, headers) == HELD
    (line,) = lines
    assert (line["event"], line["code"], line["reason"]) == ("mint.limited", "rate_limited", scope)
    assert line["address"] == PSEUDONYMS.of_address("127.0.0.1")
    assert line.keys() - {"log_level"} <= ALLOWED_KEYS
    for plain in ("127.0.0.1", "shop-key", "wrong"):
        assert plain not in str(line)


@pytest.mark.parametrize("own", [1, 4])
async def test_a_key_s_own_rate_may_be_lower_or_higher(make_settings: MakeSettings, own: int) -> None:
    async with service(make_settings, mints_per_minute_per_subject=2, **shop(mints_per_minute_per_subject=own)) as http:
        answers = [await mint(http, FROM_SHOP) for _ in range(6)]
    assert answers.count(GRANTED) == own


async def test_without_redis_nobody_is_let_through_or_told_apart(make_settings: MakeSettings) -> None:
    async with service(make_settings, redis_url="redis://127.0.0.1:1") as http:
        for headers in (FROM_SHOP, FROM_PAGE, FROM_STRANGER, {"Origin": "https://evil.example"}):
            assert await mint(http, headers) == (503, "unavailable")
            async with http.get(LIMITS, headers=headers) as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


# Quotas


async def use(redis: RedisClient, kind: Kind, pseudonym: str, used: Usage) -> None:
    """A session of today has used so much."""
    await Quotas(redis, "development").add({Target(kind, pseudonym): NOTHING}, "sess_1", used, is_over=True)


@pytest.mark.parametrize("whose", ["quota", "tenant_quota"])
@pytest.mark.parametrize(
    ("what", "limit", "below", "above"),
    [
        ("seconds", 60, Usage(59_999, 10**9, 10**9), Usage(1, 0, 0)),
        ("tokens", 500, Usage(10**9, 499, 10**9), Usage(0, 1, 0)),
        ("usd", 2.5, Usage(10**9, 10**9, 2_499_999), Usage(0, 0, 1)),
    ],
)
async def test_who_has_used_up_a_quota_gets_no_token_today(
    make_settings: MakeSettings, redis: RedisClient, whose: str, what: str, limit: float, below: Usage, above: Usage
) -> None:
    alice, acme = PSEUDONYMS.of("acme", "alice"), PSEUDONYMS.of("acme", "")
    kind, pseudonym = (Kind.SUBJECT, alice) if whose == "quota" else (Kind.TENANT, acme)
    async with service(make_settings, **shop(**{f"{whose}_{what}_per_day": limit})) as http:
        await use(redis, kind, pseudonym, below)
        assert await mint(http, FROM_SHOP, subject="alice") == GRANTED
        await use(redis, kind, pseudonym, above)
        with capture_logs() as lines:
            assert await mint(http, FROM_SHOP, subject="alice") == USED_UP
        assert [(line["event"], line["code"]) for line in lines] == [("mint.denied", "quota_exhausted")]
        assert await mint(http, FROM_SHOP, subject="bob") == (GRANTED if whose == "quota" else USED_UP)
        assert await mint(http, FROM_PAGE) == GRANTED


async def test_the_settings_quotas_hold_for_everybody(make_settings: MakeSettings, redis: RedisClient) -> None:
    async with service(make_settings, quota_seconds_per_day=60) as http:
        address = PSEUDONYMS.of_address("127.0.0.1")
        await use(redis, Kind.SUBJECT, PSEUDONYMS.of("anonymous", address), Usage(60_000, 0, 0))
        assert await mint(http, FROM_PAGE) == USED_UP
        assert await mint(http, FROM_SHOP) == GRANTED


async def test_a_cost_that_cannot_be_counted_has_no_quota(make_settings: MakeSettings) -> None:
    body = {"session": {"type": "realtime", "model": "model-without-price"}}
    uncapped = {"profiles": ("trusted",)}
    async with service(make_settings, **shop(**uncapped, quota_tokens_per_day=5)) as http:
        assert await mint(http, FROM_SHOP, body=body) == GRANTED
    async with (
        service(make_settings, **shop(**uncapped, quota_usd_per_day=5)) as http,
        http.post(MINT, json=body, headers=FROM_SHOP) as answer,
    ):
        error = (await answer.json())["error"]
    assert (answer.status, error["code"], error["param"]) == (400, "invalid_request", "session.model")


# GET /v1/limits


async def test_a_key_sees_exactly_its_limits(make_settings: MakeSettings, redis: RedisClient) -> None:
    ceilings = shop(quota_seconds_per_day=600, quota_usd_per_day=2.5, mints_per_minute_per_subject=10)
    async with service(make_settings, **ceilings) as http:
        before = await look(http, FROM_SHOP)
        assert before == {
            "mints_per_minute": {"limit": 10, "remaining": 10, "resets_in_seconds": 0},
            "sessions": {"limit": 3, "active": 0},
            "quota": {
                "seconds": {"limit": 600, "used": 0},
                "tokens": {"limit": None, "used": 0},
                "usd": {"limit": 2.5, "used": 0},
            },
        }
        await mint(http, FROM_SHOP)
        await mint(http, FROM_SHOP, subject="somebody else")
        subject = Target(Kind.SUBJECT, PSEUDONYMS.of("acme", "shop"))
        await use(redis, Kind.SUBJECT, subject.id, Usage(12_345, 678, 900_001))
        now_ms = (await redis.time())[0] * 1000
        await redis.zadd(slots_key("development", subject), {"sess_1": now_ms + 30_000, "sess_dead": now_ms - 1})
        after = await look(http, FROM_SHOP)
    assert 55 < after["mints_per_minute"].pop("resets_in_seconds") <= 60
    assert after == {
        "mints_per_minute": {"limit": 10, "remaining": 9},
        "sessions": {"limit": 3, "active": 1},
        "quota": {
            "seconds": {"limit": 600, "used": 12.345},
            "tokens": {"limit": None, "used": 678},
            "usd": {"limit": 2.5, "used": 0.900001},
        },
    }


async def test_an_anonymous_caller_sees_its_address_s_limits(make_settings: MakeSettings) -> None:
    async with service(make_settings, **TRUSTING) as http:
        await mint(http, FROM_PAGE, at="203.0.113.1")
        there, elsewhere = [await look(http, FROM_PAGE, at) for at in ("203.0.113.1", "203.0.113.2")]
    assert (there["mints_per_minute"]["limit"], there["mints_per_minute"]["remaining"]) == (60, 59)
    assert elsewhere["mints_per_minute"]["remaining"] == 60
    assert there["sessions"] == {"limit": 10, "active": 0}


async def test_a_key_sees_its_tenant_s_limits_too(make_settings: MakeSettings, redis: RedisClient) -> None:
    ceilings = shop(mints_per_minute_per_tenant=3, max_sessions_per_tenant=2, tenant_quota_usd_per_day=10)
    tenant, other = (Target(Kind.TENANT, PSEUDONYMS.of(name, "")) for name in ("acme", "globex"))
    async with service(make_settings, **ceilings) as http:
        await mint(http, FROM_SHOP, subject="alice")
        await use(redis, Kind.TENANT, tenant.id, Usage(12_345, 678, 900_001))
        await use(redis, Kind.TENANT, other.id, Usage(10**9, 10**9, 10**9))
        now_ms = (await redis.time())[0] * 1000
        await redis.zadd(slots_key("development", tenant), {"sess_1": now_ms + 30_000, "sess_dead": now_ms - 1})
        seen = await look_at_all(http, FROM_SHOP)
    assert seen.keys() == {"limits", "held_by_tenant", "tenant"}
    assert 55 < seen["tenant"]["mints_per_minute"].pop("resets_in_seconds") <= 60
    assert seen["tenant"] == {
        "mints_per_minute": {"limit": 3, "remaining": 2},
        "sessions": {"limit": 2, "active": 1},
        "quota": {
            "seconds": {"limit": None, "used": 12.345},
            "tokens": {"limit": None, "used": 678},
            "usd": {"limit": 10, "used": 0.900001},
        },
    }
    assert seen["held_by_tenant"] == []


@pytest.mark.parametrize("what", ["mints_per_minute", "sessions", "quota"])
async def test_anybody_is_told_which_of_its_tenant_s_limits_hold_it_and_strangers_no_more(
    make_settings: MakeSettings, redis: RedisClient, what: str
) -> None:
    settings = {
        "mints_per_minute": {"mints_per_minute_per_tenant": 2},
        "sessions": {"max_sessions_per_tenant": 2},
        "quota": {"tenant_quota_tokens_per_day": 2},
    }
    tenants = {"anonymous": FROM_PAGE, "acme": FROM_SHOP}
    async with service(make_settings, **settings[what]) as http:

        async def use_one(tenant: str) -> None:
            holder = Target(Kind.TENANT, PSEUDONYMS.of(tenant, ""))
            if what == "mints_per_minute":
                assert await mint(http, tenants[tenant]) == GRANTED
            elif what == "sessions":
                in_force = (await redis.time())[0] * 1000 + 30_000
                key = slots_key("development", holder)
                await redis.zadd(key, {f"sess_{await redis.zcard(key)}": in_force})
            else:
                await use(redis, Kind.TENANT, holder.id, Usage(0, 1, 0))

        for tenant, headers in tenants.items():
            for held in ([], [], [what]):
                seen = await look_at_all(http, headers)
                assert seen["held_by_tenant"] == held
                assert ("tenant" in seen) == (tenant == "acme")
                if not held:
                    await use_one(tenant)
            if what == "mints_per_minute":
                assert await mint(http, headers) == HELD
            elif what == "quota":
                assert await mint(http, headers) == USED_UP


@pytest.mark.parametrize("kind", [Kind.SUBJECT, Kind.TENANT])
async def test_who_is_blocked_is_told_so_and_sees_nothing(
    make_settings: MakeSettings, redis: RedisClient, kind: Kind
) -> None:
    revocations = Revocations(redis, "development")
    blocked: Answer = (403, "blocked")
    async with service(make_settings) as http:
        for tenant, subject, headers in (
            ("acme", "shop", FROM_SHOP),
            ("anonymous", PSEUDONYMS.of_address("127.0.0.1"), FROM_PAGE),
        ):
            target = Target(kind, PSEUDONYMS.of(tenant, "" if kind is Kind.TENANT else subject))
            await look(http, headers)
            await revocations.block(target, 60)
            with capture_logs() as lines:
                async with http.get(LIMITS, headers=headers) as answer:
                    body = await answer.json()
            assert (answer.status, body["error"]["code"]) == blocked == await mint(http, headers)
            assert body.keys() == {"error"}
            assert [(line["event"], line["code"]) for line in lines] == [("limits.denied", "blocked")]
            await revocations.unblock(target)
            await look(http, headers)


async def test_looking_is_no_mint_and_anonymous_looks_are_bounded(make_settings: MakeSettings) -> None:
    async with service(make_settings, mints_per_minute_per_address=3, mints_per_minute_per_subject=3) as http:
        for _ in range(3):
            assert (await look(http, FROM_PAGE))["mints_per_minute"]["remaining"] == 3
        with capture_logs() as lines:
            async with http.get(LIMITS, headers=FROM_PAGE) as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (429, "60")
        assert [(line["event"], line["reason"]) for line in lines] == [("limits.denied", "look")]
        assert await mint(http, FROM_PAGE) == GRANTED
        for _ in range(9):
            assert (await look(http, FROM_SHOP))["mints_per_minute"]["remaining"] == 3


async def test_the_limits_are_nobody_else_s_to_see(make_settings: MakeSettings) -> None:
    async with service(make_settings) as http:
        minted = await http.post(MINT, headers=FROM_PAGE)
        token = (await minted.json())["value"]
        for headers, status in (
            (FROM_STRANGER, 401),
            ({"Authorization": f"Bearer {token}"}, 401),
            ({"Origin": "https://evil.example"}, 403),
            ({}, 403),
        ):
            async with http.get(LIMITS, headers=headers) as answer:
                assert answer.status == status
        async with http.post(LIMITS, headers=FROM_PAGE) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")


async def test_a_page_may_read_its_limits(make_settings: MakeSettings) -> None:
    async with service(make_settings) as http:
        asked = FROM_PAGE | {"Access-Control-Request-Method": "GET"}
        async with http.options(LIMITS, headers=asked) as answer:
            assert answer.status == 204
            assert "GET" in answer.headers["Access-Control-Allow-Methods"].split(", ")
        async with http.get(LIMITS, headers=FROM_PAGE) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == PAGE
            assert answer.headers["Cache-Control"] == "no-store"


async def test_dead_leases_are_not_counted(redis: RedisClient) -> None:
    slots, holder = LiveSlots(redis, "development"), Target(Kind.TENANT, "0123")
    now_ms = (await redis.time())[0] * 1000
    await redis.zadd(slots_key("development", holder), {"a": now_ms - 1, "b": now_ms + 20_000, "c": now_ms + 30_000})
    assert await slots.taken(holder) == 2


async def test_200_mints_at_once_over_two_replicas_are_exactly_as_many_as_allowed(make_settings: MakeSettings) -> None:
    async with service(make_settings) as one, service(make_settings) as other:
        answers = await asyncio.gather(*(mint((one, other)[number % 2], FROM_SHOP) for number in range(200)))
    unanswered = answers.count((503, "unavailable"))  # by Redis, in time, on a busy machine
    assert answers.count(HELD) + answers.count(GRANTED) + unanswered == 200
    assert 30 - unanswered <= answers.count(GRANTED) <= 30
