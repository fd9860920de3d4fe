"""The audit trail of both services: each thing that happens leaves exactly one line, which holds names of ours only."""

from __future__ import annotations

import json
from collections import Counter
from hashlib import sha256
from typing import Any

import aiohttp
import pytest

from local_cloud.ports import free_port
from service_kit.log import ALLOWED_KEYS
from service_kit.redis_client import Pseudonyms
from tests.end_to_end.clients import Json, connect, mint, refused_events, refused_status, talking, text_item
from tests.end_to_end.traces import Traces, until
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

API_KEY, OPERATOR_KEY = "ak_canary-caller-5b1d", "op_canary-operator-77e0"
PSEUDONYM_KEY = "a-pseudonym-key-of-this-test-0123456789abcdef"
OPERATOR_PORT = free_port()
SUBJECT = 'canary.person@example.com\r\n{"event": "forged"}'
TYPED = "canary typed words"
KEY = {"name": "shop", "sha256": sha256(API_KEY.encode()).hexdigest(), "tenant": "acme", "profiles": ["default"]}
SETTINGS = {
    "LOG_LEVEL": "DEBUG",
    "CALLER_API_KEYS": json.dumps([KEY | {"mints_per_minute_per_subject": 4, "max_sessions_per_subject": 1}]),
    "OPERATOR_KEYS": json.dumps([{"name": "night-shift", "sha256": sha256(OPERATOR_KEY.encode()).hexdigest()}]),
    "OPERATOR_PORT": str(OPERATOR_PORT),
    "PSEUDONYM_KEY": PSEUDONYM_KEY,
    "TRUSTED_EDGE": "127.0.0.0/8",
}
ADDRESS = "203.0.113.77"
PSEUDONYM = Pseudonyms(PSEUDONYM_KEY).of("acme", SUBJECT)


async def operate(http: aiohttp.ClientSession, method: str, path: str, key: str = OPERATOR_KEY, **how: Any) -> int:
    url, headers = f"http://127.0.0.1:{OPERATOR_PORT}/v1/operator/{path}", {"Authorization": f"Bearer {key}"}
    async with http.request(method, url, headers=headers, **how) as answer:
        return answer.status


async def minting(http: aiohttp.ClientSession, stack: Stack, authorization: str, body: object) -> int:
    url = f"{stack.mint_base_url}/realtime/client_secrets"
    async with http.post(url, json=body, headers={"Authorization": authorization}) as answer:
        return answer.status


async def test_each_thing_that_happens_leaves_one_line_without_names_or_content(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    http.headers["X-Forwarded-For"] = ADDRESS
    asking: Json = {"airlock": {"subject": SUBJECT, "metadata": {"note": TYPED}}}
    tokens = []

    # A session; its token again, while it is live, from elsewhere; and a second one beside it.
    async with talking(http, stack, api_key=API_KEY, **asking) as (talk, minted):
        await talk.send(text_item(TYPED))
        await talk.until("conversation.item.done")
        second = await mint(http, stack, api_key=API_KEY, **asking)
        assert (await refused_status(http, stack, minted, origin=None))[0] == 401
        assert (await refused_status(http, stack, second))[0] == 429
        tokens += [minted, second]
    await traces.session_end(minted.token_id)
    # Refused before it is redeemed, by both carriages.
    http.headers["Origin"] = "https://evil.example"
    assert (await refused_status(http, stack, "ek_canary-forged", origin=None))[0] == 403
    del http.headers["Origin"]
    assert (await refused_status(http, stack, "ek_canary-forged"))[0] == 401
    # Another, ended by an operator; and tokens that operators make useless.
    third = await mint(http, stack, api_key=API_KEY, **asking)
    async with await connect(http, stack, third) as talk:
        await talk.until("session.created")
        (redeemed,) = traces.lines("redeem.ok", token_id=third.token_id)
        assert await operate(http, "DELETE", f"sessions/{redeemed['session_id']}") == 200
        assert (await talk.until_closed())[0] == 4403
    await traces.session_end(third.token_id)
    fourth = await mint(http, stack, api_key=API_KEY, **asking)
    assert await operate(http, "DELETE", f"tokens/{fourth.token_id}") == 200
    assert (await refused_events(http, stack, fourth))[0] == 4401
    tokens += [third, fourth]
    # Four in a minute are allowed.
    assert await minting(http, stack, f"Bearer {API_KEY}", asking) == 429
    assert await minting(http, stack, f"Bearer {API_KEY}", {"session": {"canary_field": TYPED}}) == 400
    assert await minting(http, stack, "Bearer ak_canary-wrong", asking) == 401
    async with http.get(f"{stack.mint_base_url}/limits", headers={"Authorization": "Bearer ak_canary-wrong"}) as answer:
        assert answer.status == 401
    for method, path, key, how, status in (
        ("PUT", f"blocks?subject={PSEUDONYM}", OPERATOR_KEY, {"json": {"seconds": 60}}, 200),
        ("DELETE", f"blocks?subject={PSEUDONYM}", OPERATOR_KEY, {}, 200),
        ("DELETE", f"sessions?subject={PSEUDONYM}", OPERATOR_KEY, {}, 200),
        ("GET", "sessions", OPERATOR_KEY, {}, 200),
        ("GET", "sessions", "op_canary-wrong", {}, 401),
    ):
        assert await operate(http, method, path, key, **how) == status

    await until(lambda: bool(traces.lines("redeem.replay")))
    check_counts(
        traces.audit("token_service"),
        {
            "mint.ok": 4, "mint.limited": 1, "mint.denied": 2, "limits.denied": 1, "admin.end": 2, "admin.revoke": 1,
            "admin.block": 1, "admin.unblock": 1, "admin.denied": 1,
        },
    )  # fmt: skip
    check_counts(
        traces.audit("relay-0"),
        {"redeem.ok": 2, "redeem.denied": 5, "redeem.replay": 1, "session.start": 2, "session.end": 2},
    )
    check_nothing_of_theirs_is_in(stack, [token.token for token in tokens])


def check_counts(lines: list[Json], expected: dict[str, int]) -> None:
    """So many lines of each event, each of them saying when, and for whom or on whose behalf."""
    assert Counter(line["event"] for line in lines) == expected
    for line in lines:
        assert line.keys() <= ALLOWED_KEYS
        assert line["timestamp"].endswith("Z")
        assert line["request_id"].startswith("req_")
        if line["event"] in ("mint.ok", "redeem.ok", "session.start", "session.end"):
            assert (line["subject"], line["tenant"]) == (PSEUDONYM, "acme")
        if line["event"].startswith(("mint.", "limits.", "redeem.denied", "redeem.replay")):
            assert line["address"] == Pseudonyms(PSEUDONYM_KEY).of_address(ADDRESS)
        if line["event"].startswith("admin.") and line["event"] != "admin.denied":
            assert line["operator"] == "night-shift"


def check_nothing_of_theirs_is_in(stack: Stack, tokens: list[str]) -> None:
    logged = stack.logs()
    secrets = (API_KEY, OPERATOR_KEY, "canary-wrong", "forged", *(token[3:40] for token in tokens))
    for never in ("canary.person", TYPED, ADDRESS, *secrets):
        assert never not in logged
