"""Mint requests as no SDK makes them, byte for byte, against the real token service; credentials in the wrong place;
and what Redis holds afterwards.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import aiohttp
import pytest
from redis import Redis

from local_cloud.ports import free_port
from tests.end_to_end.clients import Json, connect, mint, refused_status, talking
from tests.end_to_end.traces import Traces
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

ACME, GLOBEX, OPERATOR = "ak_of-acme-0123", "ak_of-globex-0123", "op_of-the-operators"
OPERATOR_PORT = free_port()
PROFILES = """
[profiles.default]
model = "gpt-realtime-2.1"
callers = ["anonymous", "api_key"]

[profiles.default.limits]
max_cost_usd = 2.0

[profiles.for-acme]
model = "gpt-realtime-2.1"
callers = ["anonymous", "api_key"]
tenants = ["acme"]

[profiles.for-keys]
model = "gpt-realtime-2.1"
callers = ["api_key"]
"""
KEYS = [
    {"name": name, "sha256": sha256(key.encode()).hexdigest(), "tenant": name, "profiles": ["default", "for-acme"]}
    for name, key in (("acme", ACME), ("globex", GLOBEX))
]
SETTINGS: Json = {
    "CALLER_API_KEYS": json.dumps(KEYS),
    "OPERATOR_KEYS": json.dumps([{"name": "ops", "sha256": sha256(OPERATOR.encode()).hexdigest()}]),
    "OPERATOR_PORT": str(OPERATOR_PORT),
}
SECONDS = 10.0


@pytest.fixture(scope="module", autouse=True)
def profiles(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The profiles file, before the stack starts."""
    path = tmp_path_factory.mktemp("profiles") / "profiles.toml"
    path.write_text(PROFILES)
    SETTINGS["AIRLOCK_PROFILES"] = str(path)


async def answer_to(stack: Stack, lines: Sequence[str], body: bytes, request: str = "POST {path} HTTP/1.1") -> bytes:
    """All that the token service answers to these bytes."""
    path = "/v1/realtime/client_secrets"
    head = "\r\n".join((request.format(path=path), "Connection: close", *lines, "", "")).replace("PAGE", stack.page_url)
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(stack.page_url.rpartition(":")[2]))
        try:
            writer.write(head.encode("latin-1") + body)
            return await reader.read()
        finally:
            writer.close()


def tokens(traces: Traces) -> set[str]:
    return set(traces.redis.scan_iter("airlock:*:token:*"))


HOST, ORIGIN, TYPE = "Host: voice.example", "Origin: PAGE", "Content-Type: application/json"
KEY = f"Authorization: Bearer {ACME}"
CHUNKED = b"2\r\n{}\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("lines", "body", "status"),
    [
        pytest.param(["Host: a", HOST, ORIGIN, TYPE, "Content-Length: 2"], b"{}", 400, id="two hosts"),
        pytest.param([ORIGIN, TYPE, "Content-Length: 2"], b"{}", 400, id="no host"),
        pytest.param([HOST, ORIGIN, TYPE, "Content-Length: 2", "Content-Length: 3"], b"{} ", 400, id="two lengths"),
        pytest.param([HOST, ORIGIN, TYPE, "Content-Length: +2"], b"{}", 400, id="a signed length"),
        pytest.param(
            [HOST, ORIGIN, TYPE, "Content-Length: 2", "Transfer-Encoding: chunked"],
            CHUNKED,
            400,
            id="length and chunks",
        ),
        pytest.param([HOST, ORIGIN, TYPE, "Transfer-Encoding: gzip, chunked"], CHUNKED, 400, id="coded chunks"),
        pytest.param([HOST, ORIGIN, TYPE, "Transfer-Encoding: xchunked"], CHUNKED, 400, id="no known coding"),
        pytest.param([HOST, ORIGIN, TYPE, "Transfer-Encoding: chunked"], b"zz\r\n{}\r\n", 400, id="a bad chunk"),
        pytest.param([HOST, ORIGIN, TYPE, "Content-Encoding: identity", "Content-Length: 2"], b"{}", 415, id="encoded"),
        pytest.param([HOST, ORIGIN, "Content-Type: text/plain", "Content-Length: 2"], b"{}", 415, id="plain text"),
        pytest.param(
            [HOST, ORIGIN, "Content-Type: application/x-www-form-urlencoded", "Content-Length: 2"],
            b"{}",
            415,
            id="form",
        ),
        pytest.param([HOST, ORIGIN, "Content-Length: 2"], b"{}", 415, id="no type"),
        pytest.param([HOST, ORIGIN, TYPE, "Content-Type: text/plain", "Content-Length: 2"], b"{}", 400, id="two types"),
        pytest.param([HOST, ORIGIN, ORIGIN, TYPE, "Content-Length: 2"], b"{}", 403, id="two Origins"),
        pytest.param([HOST, "Cookie: session=1", TYPE, "Content-Length: 2"], b"{}", 403, id="a cookie for an Origin"),
        pytest.param([HOST, ORIGIN, KEY, KEY, TYPE, "Content-Length: 2"], b"{}", 401, id="a key twice"),
        pytest.param(
            [HOST, ORIGIN, "Authorization: ", TYPE, "Content-Length: 2"], b"{}", 401, id="an empty credential"
        ),
        pytest.param([HOST, ORIGIN, "Authorization: Basic YTpi", TYPE, "Content-Length: 2"], b"{}", 401, id="Basic"),
    ],
)
async def test_a_request_that_can_be_read_in_two_ways_mints_nothing(
    stack: Stack, traces: Traces, lines: list[str], body: bytes, status: int
) -> None:
    before = tokens(traces)
    answer = await answer_to(stack, lines, body)
    assert int(answer.split(b" ", 2)[1]) == status
    assert b"ek_" not in answer
    assert tokens(traces) == before


BODIES: list[tuple[bytes, str | None]] = [
    (b"[" * 16_000, None),
    (b'{"session":' * 1_300 + b"1" + b"}" * 1_300, None),
    (b'{"airlock":{"profile":"default"},"airlock":{}}', None),
    (b'{"airlock":{"profile":"default","prof\\u0069le":"for-keys"}}', None),
    (b'{"airlock":{"max_cost_usd":NaN}}', None),
    (b'{"airlock":{"max_cost_usd":Infinity}}', None),
    (b'{"airlock":{"max_cost_usd":1e999}}', None),
    (b'{"airlock":{"max_total_tokens":' + b"9" * 5_000 + b"}}", None),
    (b'{"airlock":{"subject":"\\ud800"}}', None),
    (b"\xef\xbb\xbf{}", None),
    ("{}".encode("utf-16"), None),
    (b"{}{}", None),
    (b"{} ]", None),
    (b'{"airlock":{"subject":"a\x00b"}}', None),
    (b'{"airlock":{"max_cost_usd":1e308}}', "airlock.max_cost_usd"),
    (b'{"airlock":{"max_cost_usd":-0.0}}', "airlock.max_cost_usd"),
    (b'{"airlock":{"max_cost_usd":true}}', "airlock.max_cost_usd"),
    (b'{"airlock":{"max_cost_usd":"1"}}', "airlock.max_cost_usd"),
    (b'{"airlock":{"max_session_seconds":true}}', "airlock.max_session_seconds"),
    (b'{"airlock":{"max_session_seconds":5.0}}', "airlock.max_session_seconds"),
    (b'{"airlock":{"max_session_seconds":1e1}}', "airlock.max_session_seconds"),
    (b'{"airlock":{"max_session_seconds":9223372036854775808}}', "airlock.max_session_seconds"),
    (b'{"airlock":{"max_input_audio_seconds":-1}}', "airlock.max_input_audio_seconds"),
    (b'{"airlock":{"max_output_tokens":99999}}', "airlock.max_output_tokens"),
    (b'{"airlock":{"anonymous":false}}', "airlock.anonymous"),
    (b'{"airlock":{"tenant":"globex"}}', "airlock.tenant"),
    (b'{"airlock":{"limits":{}}}', "airlock.limits"),
    (b'{"airlock":{"__class__":1}}', "airlock.__class__"),
    (b'{"claims":{"tenant":"globex"}}', "claims"),
    (b'{"session":{"client_secret":{"value":"ek_mine"}}}', "session.client_secret"),
    (b'{"session":{"audio.output.voice":"marin"}}', "session.audio.output.voice"),
    (b'{"session":{"expires_at":9999999999}}', "session.expires_at"),
    (b'{"airlock":{"profile":"for-keys"}}', "airlock.profile"),
    (b'{"airlock":{"profile":"for\\u002dkeys"}}', "airlock.profile"),
    (b'{"airlock":{"profile":"../default"}}', "airlock.profile"),
    (b'{"airlock":{"origin":"https://evil.example"}}', "airlock.origin"),
    (b'{"airlock":{"origin":"null"}}', "airlock.origin"),
]


@pytest.mark.parametrize(("body", "param"), BODIES, ids=[ascii(body[:60]) for body, _ in BODIES])
@pytest.mark.parametrize("who", [KEY, ORIGIN], ids=["API key", "anonymous"])
async def test_a_hostile_body_is_refused_by_name_and_mints_nothing(
    stack: Stack, traces: Traces, who: str, body: bytes, param: str | None
) -> None:
    before = tokens(traces)
    answer = await answer_to(stack, [HOST, who, TYPE, f"Content-Length: {len(body)}"], body)
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error["code"] in ("invalid_request", "unsupported_parameter", "origin_not_allowed")
    assert error["param"] == param
    assert tokens(traces) == before


async def test_a_profile_of_another_tenant_is_as_if_it_were_not_there(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    async def ask(profile: str, **headers: str) -> tuple[int, str | None]:
        url, body = f"{stack.mint_base_url}/realtime/client_secrets", {"airlock": {"profile": profile}}
        async with http.post(url, json=body, headers=headers) as answer:
            told = (await answer.json()).get("error", {}).get("message", "")
            return answer.status, told.partition(" (request ")[0]

    globex, anybody = {"Authorization": f"Bearer {GLOBEX}"}, {"Origin": stack.page_url}
    assert await ask("for-acme", Authorization=f"Bearer {ACME}") == (200, "")
    absent = await ask("not-there", **globex)
    assert absent[0] == 400
    assert await ask("for-acme", **globex) == await ask("for-acme", **anybody) == absent
    assert await ask("for-keys", **anybody) == await ask("for-keys", **globex) == absent


async def test_no_credential_is_worth_anything_where_another_belongs(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    minted = await mint(http, stack)
    operators = f"http://127.0.0.1:{OPERATOR_PORT}/v1/operator"

    async def status(method: str, url: str, credential: str, **how: Any) -> int:
        headers = {"Authorization": f"Bearer {credential}", "Origin": stack.page_url}
        async with http.request(method, url, headers=headers, **how) as answer:
            return answer.status

    before = tokens(traces)
    for credential in (
        OPERATOR,
        minted.token,
        minted.token_id,
        minted.token.removeprefix("ek_"),
        sha256(ACME.encode()).hexdigest(),
    ):
        assert await status("POST", f"{stack.mint_base_url}/realtime/client_secrets", credential, json={}) == 401
        assert await status("GET", f"{stack.mint_base_url}/limits", credential) == 401
    for credential in (ACME, minted.token, minted.token_id, sha256(OPERATOR.encode()).hexdigest()):
        assert await status("GET", f"{operators}/sessions", credential) == 401
        assert await status("DELETE", f"{operators}/sessions?tenant=acme", credential) == 401
    for credential in (ACME, OPERATOR, minted.token_id):
        assert (await refused_status(http, stack, credential))[0] == 401
    for path in (
        "/v1/operator/sessions",
        "//v1/operator/sessions",
        "/v1/./operator/sessions",
        "/v1/operator%2fsessions",
    ):
        request = f"GET {path} HTTP/1.1"
        answer = await answer_to(stack, [HOST, f"Authorization: Bearer {OPERATOR}"], b"", request)
        assert answer.startswith(b"HTTP/1.1 404 "), path
        absolute = f"GET http://127.0.0.1:{OPERATOR_PORT}{path} HTTP/1.1"
        answer = await answer_to(stack, [HOST, f"Authorization: Bearer {OPERATOR}"], b"", absolute)
        assert answer.startswith(b"HTTP/1.1 404 "), path
    assert tokens(traces) == before
    async with await connect(http, stack, minted) as talk:
        await talk.until("session.created")


async def test_redis_holds_nothing_in_plain_and_nothing_for_ever(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    """During a session and after it; of its subject not even the pseudonym's input, of its client no address."""
    canary = "canary-person"
    airlock = {"subject": f"{canary}\r\n*{{}}:\0", "reference_id": canary, "metadata": {canary: canary}}
    session = {"instructions": canary, "tools": [{"type": "function", "name": "canary-tool", "parameters": {}}]}
    held: dict[str, str] = {}
    raw: Any = Redis.from_url(stack.redis.url, retry=None)

    def look() -> None:
        read = {b"string": raw.get, b"hash": raw.hgetall, b"list": lambda key: raw.lrange(key, 0, -1)}
        for key in raw.scan_iter(count=1_000):
            assert raw.pttl(key) > 0, key
            held[key.decode()] = repr(read.get(raw.type(key), lambda key: raw.zrange(key, 0, -1))(key))

    async with talking(http, stack, api_key=ACME, airlock=airlock, session=session) as (talk, minted):
        await talk.ask(canary)
        look()
    await traces.session_end(minted.token_id)
    look()
    raw.close()
    assert {key.split(":")[2] for key in held} >= {"token", "lease", "live", "mints", "used"}
    for never in (canary, "canary-tool", "127.0.0.1", minted.token[3:40], stack.page_url):
        assert [key for key, value in held.items() if never in key or never in value] == []
