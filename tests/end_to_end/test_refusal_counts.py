"""Every refusal of both services is in the counts that operators see, by its code: also at the edge and of a look."""

import asyncio
import hashlib
import json
import time
from collections import Counter

import aiohttp
import pytest

from local_cloud.ports import free_port
from tests.end_to_end.clients import connect, mint, refused_events, refused_status
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

OPERATOR_KEY, FRONT_DOOR = "op_a-key-for-this-test", "5b9b1b1e-0000-4000-8000-00000000f00d"
OPERATORS = f"http://127.0.0.1:{(OPERATOR_PORT := free_port())}/v1/operator"
SETTINGS = {
    "AZURE_FRONT_DOOR_ID": FRONT_DOOR,
    "TRUSTED_EDGE": "127.0.0.0/8,::1/128",
    "OPERATOR_PORT": str(OPERATOR_PORT),
    "OPERATOR_KEYS": json.dumps([{"name": "ops", "sha256": hashlib.sha256(OPERATOR_KEY.encode()).hexdigest()}]),
}
BY_THE_EDGE = {"X-Azure-FDID": FRONT_DOOR, "X-Azure-SocketIP": "203.0.113.9"}
FLUSHED_SECONDS = 15


async def refusals() -> Counter[str]:
    """The counts of the last hour, by code."""
    headers = {"Authorization": f"Bearer {OPERATOR_KEY}"}
    async with aiohttp.ClientSession() as http, http.get(f"{OPERATORS}/summary", headers=headers) as answer:
        assert answer.status == 200
        seen: Counter[str] = Counter()
        for minute in (await answer.json())["minutes"]:
            for name, number in minute["counts"].items():
                kind, _, code = name.partition(":")
                seen[code] += number if kind == "refused" else 0
        return +seen


async def status_of(http: aiohttp.ClientSession, method: str, url: str, **headers: str) -> int:
    async with http.request(method, url, headers=headers) as answer:
        return answer.status


async def test_refusals_of_both_services_are_counted_once_each(stack: Stack) -> None:
    mints, relay = stack.mint_base_url, stack.relay_base_urls[0]
    async with aiohttp.ClientSession() as past, aiohttp.ClientSession(headers=BY_THE_EDGE) as http:
        assert await status_of(past, "POST", f"{mints}/realtime/client_secrets") == 403
        assert await status_of(past, "GET", f"{relay}/realtime") == 403
        expected = Counter(edge_not_allowed=2)

        assert await status_of(http, "GET", f"{mints}/limits", Authorization="Bearer wrong") == 401
        assert (await refused_status(http, stack, "ek_forged"))[0] == 401
        assert await status_of(past, "GET", f"{OPERATORS}/sessions", Authorization="Bearer wrong") == 401
        expected["invalid_token"] = 3

        evil = {"Origin": "https://evil.example"}
        assert await status_of(http, "GET", f"{mints}/limits", **evil) == 403
        asked = {**evil, "Access-Control-Request-Method": "POST"}
        assert await status_of(http, "OPTIONS", f"{mints}/realtime/client_secrets", **asked) == 403
        expected["origin_not_allowed"] = 2

        assert await status_of(http, "GET", f"{mints}/nowhere") == 404
        assert await status_of(http, "GET", f"{relay}/nowhere") == 404
        assert await status_of(http, "GET", f"{OPERATORS}/nowhere", Authorization=f"Bearer {OPERATOR_KEY}") == 404
        expected["not_found"] = 3

        minted = await mint(http, stack)
        assert (await refused_events(http, stack, minted, query={"model": "another"}))[0] == 4403
        expected["model_mismatch"] = 1
        async with await connect(http, stack, minted) as talk:
            await talk.until("session.created")
            assert (await refused_status(http, stack, minted))[0] == 401
            assert (await refused_events(http, stack, minted))[0] == 4401
        expected["token_used"] = 2

    deadline = time.monotonic() + FLUSHED_SECONDS
    while (seen := await refusals()) != expected:
        assert time.monotonic() < deadline, (seen, expected)
        await asyncio.sleep(0.1)
