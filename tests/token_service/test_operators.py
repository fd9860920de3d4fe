"""The operator API over HTTP, with a real Redis: who is let in, what is shown, what is ordered, what is audited."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from local_cloud.ports import free_port
from service_kit.hashed_keys import OperatorKey
from service_kit.live_entries import LiveEntries, LiveEntry
from service_kit.log import ALLOWED_KEYS
from service_kit.redis_client import Pseudonyms, RedisClient, RedisUnavailable, connect
from service_kit.revocation import Identity, Revocations, Why
from service_kit.tally import Tally
from service_kit.telemetry import Recorder
from tests.examples import KEY, PAGE
from tests.serving import serving
from tests.token_service.conftest import MakeSettings
from token_service.app import OPERATORS, READINESS, create_app
from token_service.operators.app import create_operator_app

OPS = "op_the-key-of-the-operators"
KEYS = (OperatorKey.model_validate({"name": "ops", "sha256": sha256(OPS.encode()).hexdigest()}),)
PSEUDONYMS = Pseudonyms(KEY)
SESSION, OTHER = "sess_" + "a" * 24, "sess_" + "b" * 24
ALICE = PSEUDONYMS.of("acme", "alice")

Answer = tuple[int, dict[str, Any]]


def entry(session_id: str, tenant: str = "acme", subject: str = "alice") -> LiveEntry:
    return LiveEntry(
        id=session_id,
        token_id="token_" + session_id[-1] * 20,
        subject=PSEUDONYMS.of(tenant, subject),
        tenant=tenant,
        profile="default",
        model="gpt-realtime-2.1",
        started_at=1_795_000_000.5,
        ends_at=1_795_000_600.5,
        audio_in_seconds=1.5,
        audio_out_seconds=2.5,
        tokens=100,
        cost_usd=0.01,
        replica="relay-0",
    )


def identity(session_id: str, tenant: str = "acme", subject: str = "alice") -> Identity:
    pseudonym = PSEUDONYMS.of(tenant, subject)
    return Identity(session_id, "token_" + session_id[-1] * 20, pseudonym, PSEUDONYMS.of(tenant, ""), 0)


@dataclass
class Api:
    """The API as an operator calls it, and the Redis behind it."""

    http: aiohttp.ClientSession
    redis: RedisClient

    @property
    def entries(self) -> LiveEntries:
        return LiveEntries(self.redis, "development")

    @property
    def revocations(self) -> Revocations:
        return Revocations(self.redis, "development")

    async def __call__(self, method: str, path: str, *, key: str | None = OPS, **how: Any) -> Answer:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with self.http.request(method, f"/v1/operator/{path}", headers=headers, **how) as response:
            assert response.headers["Cache-Control"] == "no-store"
            return response.status, await response.json()


@asynccontextmanager
async def operators(settings: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """The operators' listener, beside the public application that it belongs to."""
    public = create_app(*settings)
    async with (
        serving(public),
        serving(
            create_operator_app(public[OPERATORS], lambda: KEYS, Recorder().numbers, public[READINESS], hsts=False)
        ) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
    ):
        yield http


@pytest.fixture
async def api(make_settings: MakeSettings, redis: Redis, redis_server: str) -> AsyncIterator[Api]:
    client = connect(redis_server)
    async with operators(make_settings()) as http:
        yield Api(http, client)
    await client.aclose()


ROUTES = [
    ("GET", "sessions"),
    ("DELETE", "sessions?tenant=acme"),
    ("DELETE", f"sessions/{SESSION}"),
    ("DELETE", "tokens/token_aaaaaaaaaaaaaaaaaaaa"),
    ("GET", "blocks"),
    ("PUT", "blocks?tenant=acme"),
    ("DELETE", "blocks?tenant=acme"),
    ("GET", "summary"),
]


@pytest.mark.parametrize("key", [None, "", "op_wrong", "shop-key", "ek_token"])
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_nobody_without_an_operator_s_key_is_let_in(api: Api, method: str, path: str, key: str | None) -> None:
    with capture_logs() as lines:
        status, body = await api(method, path, key=key)
    assert (status, body["error"]["code"]) == (401, "invalid_token")
    assert [line["event"] for line in lines] == ["admin.denied"]
    assert not await api.redis.keys("*")


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("sessions/ek_something-secret", "/v1/operator/sessions/{id}"),
        ("blocks?tenant=something-secret", "/v1/operator/blocks"),
        ("something-secret", None),
    ],
)
async def test_what_a_stranger_asks_for_is_not_written_down(api: Api, path: str, route: str | None) -> None:
    with capture_logs() as lines:
        assert (await api("DELETE", path, key="something-secret"))[0] == 401
    (line,) = lines
    assert (line["event"], line["method"], line["route"]) == ("admin.denied", "DELETE", route)
    assert "something-secret" not in str(line)
    assert line.keys() - {"log_level"} <= ALLOWED_KEYS


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_the_public_listener_knows_none_of_it(port: int, method: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {OPS}"}
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, f"http://127.0.0.1:{port}/v1/operator/{path}", headers=headers) as response,
    ):
        assert response.status == 404


async def test_the_list_shows_what_is_live_all_of_it_or_of_one(api: Api) -> None:
    for each in (entry(OTHER, "globex", "bob"), entry(SESSION)):
        await api.entries.put(each)
    status, body = await api("GET", "sessions")
    assert status == 200
    assert [session["id"] for session in body["sessions"]] == [SESSION, OTHER]
    assert body["sessions"][0] == {
        "id": SESSION,
        "token_id": "token_" + "a" * 20,
        "subject": ALICE,
        "tenant": "acme",
        "profile": "default",
        "model": "gpt-realtime-2.1",
        "started_at": 1_795_000_000.5,
        "ends_at": 1_795_000_600.5,
        "audio_in_seconds": 1.5,
        "audio_out_seconds": 2.5,
        "tokens": 100,
        "cost_usd": 0.01,
        "replica": "relay-0",
    }
    for query, expected in [
        ("tenant=acme", [SESSION]),
        ("tenant=globex", [OTHER]),
        (f"subject={ALICE}", [SESSION]),
        ("subject=alice&tenant=acme", [SESSION]),
        ("subject=alice&tenant=globex", []),
    ]:
        _, body = await api("GET", f"sessions?{query}")
        assert [session["id"] for session in body["sessions"]] == expected, query


async def test_a_session_that_is_over_or_whose_relay_died_is_not_on_the_list(api: Api) -> None:
    for each in (entry(SESSION), entry(OTHER)):
        await api.entries.put(each)
    assert all([0 < await api.redis.pttl(key) <= 30_000 for key in await api.redis.keys("*")])
    await api.entries.remove(SESSION)
    await api.redis.delete(f"airlock:development:live:{OTHER}")  # as it runs out
    assert (await api("GET", "sessions"))[1] == {"sessions": []}


@pytest.mark.parametrize(
    ("path", "who"),
    [
        (f"sessions/{SESSION}", [SESSION]),
        ("sessions?tenant=acme", [SESSION]),
        (f"sessions?subject={ALICE}", [SESSION]),
        ("sessions?subject=alice&tenant=acme", [SESSION]),
        ("tokens/token_" + "a" * 20, None),
    ],
)
async def test_an_order_marks_whom_it_names_and_is_audited(api: Api, path: str, who: list[str] | None) -> None:
    for each in (entry(SESSION), entry(OTHER, "globex", "alice")):
        await api.entries.put(each)
    with capture_logs() as lines:
        status, body = await api("DELETE", path)
    assert status == 200
    assert body == ({"ended": who} if who else {"token_id": "token_" + "a" * 20, "was_known": False})
    assert await api.revocations.find(identity(SESSION)) is Why.REVOKED
    assert await api.revocations.find(identity(OTHER, "globex")) is None
    (line,) = lines
    assert (line["event"], line["operator"]) == ("admin.end" if who else "admin.revoke", "ops")
    assert line.keys() - {"log_level"} <= ALLOWED_KEYS
    assert "alice" not in str(line)


async def test_a_block_is_listed_and_lifted(api: Api) -> None:
    before = time.time()
    with capture_logs() as lines:
        assert (await api("PUT", "blocks?tenant=acme", json={"seconds": 60}))[0] == 200
        assert (await api("PUT", "blocks?subject=bob&tenant=globex", json={"seconds": 30}))[0] == 200
        _, body = await api("GET", "blocks")
        assert [(block["kind"], block["name"]) for block in body["blocks"]] == [
            ("subject", "subject"),
            ("tenant", "acme"),
        ]
        assert before + 50 < body["blocks"][1]["until"] < time.time() + 70
        assert await api.revocations.find(identity(SESSION)) is Why.BLOCKED
        assert await api.revocations.find(identity(OTHER, "globex", "bob")) is Why.BLOCKED
        assert await api.revocations.find(identity(OTHER, "globex", "carol")) is None
        assert (await api("DELETE", "blocks?tenant=acme"))[1]["was_blocked"] is True
        assert (await api("DELETE", "blocks?tenant=acme"))[1]["was_blocked"] is False
    assert await api.revocations.find(identity(SESSION)) is None
    assert len((await api("GET", "blocks"))[1]["blocks"]) == 1
    assert [line["event"] for line in lines] == ["admin.block"] * 2 + ["admin.unblock"] * 2
    assert all([await api.redis.pttl(key) > 0 for key in await api.redis.keys("*")])


@pytest.mark.parametrize(
    ("method", "path", "how", "param"),
    [
        ("DELETE", "sessions", {}, None),
        ("PUT", "blocks", {"json": {"seconds": 1}}, None),
        ("PUT", "blocks?tenant=acme", {"json": {}}, "seconds"),
        ("PUT", "blocks?tenant=acme", {"json": {"seconds": 0}}, "seconds"),
        ("PUT", "blocks?tenant=acme", {"json": {"seconds": 10**9}}, "seconds"),
        ("PUT", "blocks?tenant=acme", {"json": {"seconds": "9"}}, "seconds"),
        ("PUT", "blocks?tenant=acme", {"json": {"seconds": 9, "more": 1}}, "seconds"),
        ("DELETE", "sessions?subject=alice", {}, "subject"),
        ("DELETE", "sessions?subject=*", {}, "subject"),
        ("DELETE", "sessions?who=alice", {}, "who"),
        # As a script sends them whose variable is empty: the order must not be for the whole tenant then.
        ("DELETE", "sessions?tenant=acme&subject=", {}, "subject"),
        ("PUT", "blocks?tenant=acme&subject=", {"json": {"seconds": 9}}, "subject"),
        ("DELETE", "blocks?tenant=", {}, "tenant"),
        ("GET", "sessions?tenant=", {}, "tenant"),
        ("DELETE", "sessions?tenant=acme&tenant=globex", {}, "tenant"),
        ("DELETE", f"sessions?subject={ALICE}&subject={ALICE}", {}, "subject"),
        ("DELETE", "sessions/sess_*", {}, "id"),
        ("DELETE", "sessions/%2A%0D%0A", {}, "id"),
        ("DELETE", "tokens/a b", {}, "id"),
    ],
)
async def test_what_is_not_clear_is_refused_and_changes_nothing(
    api: Api, method: str, path: str, how: dict[str, Any], param: str | None
) -> None:
    status, body = await api(method, path, **how)
    assert (status, body["error"]["param"]) == (400, param)
    assert not await api.redis.keys("*")


@pytest.mark.parametrize("name", ["a b", "a:b*{}\r\n\0", "ünïcödé", "x" * 4_000])
async def test_no_name_reaches_a_redis_key(api: Api, name: str) -> None:
    for query in ({"tenant": name}, {"tenant": name, "subject": name}):
        async with api.http.put(
            "/v1/operator/blocks", params=query, json={"seconds": 9}, headers={"Authorization": f"Bearer {OPS}"}
        ) as response:
            assert response.status == 200
        assert (await api("GET", "blocks"))[0] == 200
    found: list[Any] = await api.redis.keys("*")
    keys = [key.decode() for key in found]
    assert keys
    assert all(re.fullmatch(r"airlock:development:[a-z]+(:[a-z]+:[0-9a-f]{32})?", key) for key in keys)


async def test_the_summary_is_what_all_processes_counted(api: Api) -> None:
    one, two = Tally(api.redis, "development"), Tally(api.redis, "development")
    one.count("minted")
    two.count("minted", 2)
    two.count("refused:token_used")
    two.spend(0.25)
    two.spend(None)
    await one.flush()
    await two.flush()
    _, body = await api("GET", "summary")
    assert len(body["minutes"]) == 60
    assert {minute["at"] % 60 for minute in body["minutes"]} == {0}
    sums: dict[str, int] = {}
    for minute in body["minutes"]:
        for name, number in minute["counts"].items():
            sums[name] = sums.get(name, 0) + number
    assert sums == {"minted": 3, "refused:token_used": 1, "spend_microusd": 250_000}


async def test_counts_wait_while_redis_is_away() -> None:
    away = connect(f"redis://127.0.0.1:{free_port()}")
    tally = Tally(away, "development")
    tally.count("minted", 3)
    for _ in range(2):
        with pytest.raises(RedisUnavailable):
            await tally.flush()
    assert tally._waiting == {"minted": 3}
    await away.aclose()


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_without_redis_it_says_so(make_settings: MakeSettings, method: str, path: str) -> None:
    async with operators(make_settings(redis_url=f"redis://127.0.0.1:{free_port()}")) as http:
        headers = {"Authorization": f"Bearer {OPS}"}
        body = {"seconds": 9} if method == "PUT" else None
        with capture_logs() as lines:
            async with http.request(method, f"/v1/operator/{path}", headers=headers, json=body) as response:
                assert response.status == 503
                assert response.headers["Retry-After"] == "1"
    # An act whose outcome nobody knows leaves a line too.
    acts = [line for line in lines if line["event"].startswith("admin.")]
    assert [(act["event"], act["operator"], act["method"]) for act in acts] == (
        [] if method == "GET" else [("admin.failed", "ops", method)]
    )
    assert all(act.keys() - {"log_level"} <= ALLOWED_KEYS for act in acts)


async def test_the_page_comes_under_a_strict_policy_and_from_nowhere_else(api: Api) -> None:
    for path in ("/", "/main.js", "/summary.js", "/styles.css", "/favicon.svg"):
        async with api.http.get(path) as response:
            assert response.status == 200
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "connect-src 'self';" in policy
    async with api.http.get("/", headers={"Origin": PAGE}) as response:
        assert "Access-Control-Allow-Origin" not in response.headers
