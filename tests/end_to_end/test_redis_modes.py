"""The whole product on Redis as operators run it: a cluster, and sentinels, each over TLS and with passwords.

What other tests show on a single server is shown here once more, in short, and through a failover: two relays and two
token services, a cluster of three masters with a replica each, a primary and its replica under three sentinels. A
cluster of one node is left to ``make soak``.
"""

import asyncio
import json
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from local_cloud.ports import free_port
from local_cloud.realtime import Simulator
from tests.end_to_end.clients import Json, Minted, Talk, connect, refused_events
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.redis_deployments import Deployment, deployed
from tests.end_to_end.test_single_use import race
from tests.end_to_end.traces import Traces, until
from tests.stack import Process, Stack

DEBIAN_REDIS = shutil.which("redis-server")
pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(DEBIAN_REDIS is None, reason="redis-server is not installed"),
]

RELAYS = 2
AT_ONCE = 200
PER_MINUTE = 30
MOST_SESSIONS = 3
PROMPTLY = 2.0
"""Seconds within which an order must have ended a session, while Redis is well."""
RENEWAL_SECONDS = 12
"""The same for an order that nobody heard; the figure is 10."""
RECOVERY_SECONDS = 10
OPERATOR_PORT = free_port()
OPERATOR_KEY = "op_a-key-for-this-test"


def _hash(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def _caller(name: str, **ceilings: int) -> Json:
    return {"name": name, "sha256": _hash(name), "tenant": name, "profiles": ["default"], **ceilings}


SETTINGS = {
    "ALTERED_WAIT_MS": "900",  # a busy machine's replica may take longer than 100
    "OPERATOR_PORT": str(OPERATOR_PORT),
    "OPERATOR_KEYS": json.dumps([{"name": "ops", "sha256": _hash(OPERATOR_KEY)}]),
    "CALLER_API_KEYS": json.dumps(
        [
            _caller("shop", max_sessions_per_subject=100),
            _caller("racer", mints_per_minute_per_subject=PER_MINUTE),
            _caller("crowd", max_sessions_per_subject=MOST_SESSIONS),
            _caller("spender", quota_tokens_per_day=1),
        ]
    ),
}


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=["cluster", "sentinels", pytest.param("one-node-cluster", marks=pytest.mark.soak)],
)
async def deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Deployment]:
    assert DEBIAN_REDIS is not None
    async with deployed(request.param, Path(DEBIAN_REDIS), tmp_path_factory.mktemp("redis")) as deployment:
        yield deployment


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    deployment: Deployment, running_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    stack = Stack(
        tmp_path_factory.mktemp("stack"),
        relays=RELAYS,
        openai_base_url=running_simulator.base_url,
        redis=deployment.servers[0],
        relay_module="tests.altered_relay",
        **(DEFAULTS | SETTINGS | deployment.settings()),
    )
    await asyncio.to_thread(stack.__enter__)
    try:
        yield stack
    finally:
        await asyncio.to_thread(stack.__exit__)


@pytest.fixture(scope="module")
def mint_urls(stack: Stack) -> Iterator[list[str]]:
    """The addresses of two token services."""
    port = free_port()
    environment = {**stack.environment, "PORT": str(port), "OPERATOR_PORT": str(free_port())}
    another = Process("token_service", environment=environment, log_path=stack.folder / "token_service-1.log")
    try:
        another.wait_until_ready(f"http://localhost:{port}/readyz")
        yield [stack.mint_base_url, f"http://localhost:{port}/v1"]
    finally:
        another.stop()


@pytest.fixture
def traces(stack: Stack, deployment: Deployment) -> Iterator[Traces]:
    with Traces(stack, deployment.reader()) as traces:
        yield traces


async def minting(http: aiohttp.ClientSession, url: str, api_key: str, **airlock: object) -> tuple[int, Json]:
    headers = {"Authorization": f"Bearer {api_key}"}
    async with http.post(f"{url}/realtime/client_secrets", json={"airlock": airlock}, headers=headers) as answer:
        return answer.status, await answer.json()


async def token(http: aiohttp.ClientSession, stack: Stack, api_key: str = "shop", **airlock: object) -> Minted:
    """A token, as soon as Redis gives one."""
    async with asyncio.timeout(30):
        while True:
            status, body = await minting(http, stack.mint_base_url, api_key, **airlock)
            if status == 200:
                return Minted(body["value"], body["airlock"]["token_id"], body["expires_at"], body)
            assert body["error"]["code"] == "unavailable", body
            await asyncio.sleep(0.1)


async def outcome(http: aiohttp.ClientSession, stack: Stack, minted: Minted, relay: int) -> tuple[str, Talk]:
    """``admitted``, or the code of the refusal; and the connection, to be closed."""
    talk = await connect(http, stack, minted, relay=relay)
    first = await talk.next(20)
    return ("admitted" if first["type"] == "session.created" else str(first["error"]["code"])), talk


@asynccontextmanager
async def live(
    http: aiohttp.ClientSession, stack: Stack, relay: int = 0, api_key: str = "shop", **airlock: object
) -> AsyncIterator[tuple[Talk, Minted]]:
    """A live session; what a busy replica did not confirm in time is another token lost."""
    over_at = time.monotonic() + RECOVERY_SECONDS  # refusals come at once, so it is time that counts and not tries
    while True:
        minted = await token(http, stack, api_key, **airlock)
        said, talk = await outcome(http, stack, minted, relay)
        async with talk:
            if said == "admitted":
                yield talk, minted
                return
            assert said == "unavailable"
        assert time.monotonic() < over_at, "nobody is let in"
        await asyncio.sleep(0.1)


async def operator(http: aiohttp.ClientSession, method: str, path: str, **query: str) -> Any:
    url, headers = f"http://127.0.0.1:{OPERATOR_PORT}/v1/operator/{path}", {"Authorization": f"Bearer {OPERATOR_KEY}"}
    body = {"seconds": int(query.pop("seconds"))} if "seconds" in query else None
    async with http.request(method, url, headers=headers, params=query, json=body) as answer:
        assert answer.status < 300, await answer.text()
        return await answer.json() if answer.content_type == "application/json" else None


async def listed(http: aiohttp.ClientSession, minted: Minted) -> Json:
    """A token's live session, as soon as its relay has put it on the list."""
    async with asyncio.timeout(5):
        while True:
            for entry in (await operator(http, "GET", "sessions"))["sessions"]:
                if entry["token_id"] == minted.token_id:
                    found: Json = entry
                    return found
            await asyncio.sleep(0.02)


async def check_ended(talk: Talk, seconds: float = PROMPTLY) -> None:
    code, rest = await talk.until_closed(seconds)
    assert (code, rest[-1]["error"]["code"] in ("session_revoked", "blocked")) == (4403, True)


async def test_a_session_is_held_from_mint_to_receipt_and_a_replay_is_refused_with_an_alarm(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with live(http, stack) as (talk, minted):
        assert await talk.ask() == 'You said: "Good day"'
        assert (await refused_events(http, stack, minted, relay=1))[1]["code"] == "token_used"
        await until(lambda: bool(traces.lines("redeem.replay", "relay-1", token_id=minted.token_id)))
        (alarm,) = traces.lines("redeem.replay", "relay-1", token_id=minted.token_id)
        assert alarm["reason"] == "live"
        assert await talk.ask() == 'You said: "Good day"'
    receipt = await traces.session_end(minted.token_id)
    assert (receipt["ending"], receipt["tokens"]["total"] > 0) == ("browser_closed", True)
    assert (await refused_events(http, stack, minted))[1]["code"] == "token_used"


async def test_an_operator_s_orders_reach_the_relay_that_has_the_session(
    stack: Stack, deployment: Deployment, traces: Traces, http: aiohttp.ClientSession
) -> None:
    await until(lambda: deployment.listeners() == RELAYS, 30)
    nodes: set[int] = set()
    for number in range(40):  # each order is published where its marker lies, which in a cluster differs
        relay = number % RELAYS
        async with live(http, stack, relay, subject=f"user-{number}") as (talk, minted):
            entry = await listed(http, minted)
            match number % 4:
                case 0:
                    await operator(http, "DELETE", f"sessions/{entry['id']}")
                    nodes.add(deployment.owner(f"airlock:development:ended:session:{entry['id']}").port)
                case 1:
                    await operator(http, "DELETE", "sessions", subject=entry["subject"])
                case 2:
                    await operator(http, "DELETE", f"tokens/{minted.token_id}")
                case 3:
                    await operator(http, "PUT", "blocks", subject=entry["subject"], seconds="60")
            await check_ended(talk)
        if number % 4 == 3:
            status, body = await minting(http, stack.mint_base_url, "shop", subject=f"user-{number}")
            assert (status, body["error"]["code"]) == (403, "blocked")
            await operator(http, "DELETE", "blocks", subject=entry["subject"])
            assert (await minting(http, stack.mint_base_url, "shop", subject=f"user-{number}"))[0] == 200
            if len(nodes) > 1 or deployment.mode == "sentinel" or not deployment.wait_replicas:
                return
    raise AssertionError("all markers lay on one node")


async def test_the_keys_of_sessions_lie_on_all_masters(
    stack: Stack, deployment: Deployment, traces: Traces, http: aiohttp.ClientSession
) -> None:
    """Else the tests here would say nothing of a cluster."""
    async with live(http, stack):
        for number in range(10):
            await token(http, stack, subject=f"user-{number}")
        owners = {deployment.owner(key).port for key in traces.redis.scan_iter("airlock:development:*")}
    masters = 3 if deployment.mode == "cluster" and deployment.wait_replicas else 1
    assert len(owners) == masters


async def test_of_200_clients_with_one_token_one_is_admitted(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    assert any([await race(stack, simulator, traces, http, "subprotocol") for _ in range(4)])


async def test_of_200_mints_at_once_exactly_as_many_as_allowed_get_a_token(
    http: aiohttp.ClientSession, mint_urls: list[str]
) -> None:
    answers = await asyncio.gather(*(minting(http, mint_urls[number % 2], "racer") for number in range(AT_ONCE)))
    said = Counter(body["error"]["code"] if status != 200 else "minted" for status, body in answers)
    assert said.keys() <= {"minted", "rate_limited", "unavailable"}
    assert PER_MINUTE - said["unavailable"] <= said["minted"] <= PER_MINUTE


async def test_of_200_sessions_at_once_exactly_as_many_as_allowed_are_live(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    tokens = [await token(http, stack, "crowd") for _ in range(PER_MINUTE)]
    tokens += [await token(http, stack, "crowd") for _ in range(AT_ONCE - len(tokens))]
    outcomes = await asyncio.gather(
        *(outcome(http, stack, minted, number % RELAYS) for number, minted in enumerate(tokens))
    )
    said = Counter(each for each, _ in outcomes)
    assert said.keys() <= {"admitted", "too_many_sessions", "unavailable"}
    assert MOST_SESSIONS - said["unavailable"] <= said["admitted"] <= MOST_SESSIONS
    for _, talk in outcomes:
        await talk.socket.close()
    await until(lambda: not traces.leases(), 10)


async def test_a_quota_that_is_used_up_mints_no_more(stack: Stack, traces: Traces, http: aiohttp.ClientSession) -> None:
    async with live(http, stack, api_key="spender") as (talk, minted):
        await talk.ask()
    await traces.session_end(minted.token_id)
    status, body = await minting(http, stack.mint_base_url, "spender")
    assert (status, body["error"]["code"]) == (402, "quota_exhausted")
    headers = {"Authorization": "Bearer spender"}
    async with http.get(f"{stack.mint_base_url}/limits", headers=headers) as answer:
        limits = (await answer.json())["limits"]
    assert limits["quota"]["tokens"]["used"] >= 1
    assert limits["mints_per_minute"]["remaining"] < limits["mints_per_minute"]["limit"]


async def test_a_failover_ends_no_session_admits_no_used_token_and_loses_no_order(
    stack: Stack, deployment: Deployment, traces: Traces, http: aiohttp.ClientSession
) -> None:
    """In a cluster, of the master that has the first session's token."""
    if not deployment.wait_replicas:
        pytest.skip("it has no replica")

    async def use_up(relay: int) -> Minted:
        async with live(http, stack, relay) as (_, minted):
            return minted

    used = await asyncio.gather(*(use_up(number % RELAYS) for number in range(30)))
    async with (
        live(http, stack, 0) as (first, minted),
        live(http, stack, 1) as (second, other),
        live(http, stack, 1) as (third, last),
    ):
        to_end, to_end_later = [(await listed(http, each))["id"] for each in (other, last)]
        await deployment.fail_over(f"airlock:development:token:{minted.token_id}")
        replaced_at = time.monotonic()
        # Perhaps nobody listens yet; then it is found.
        await insist_on_end(http, to_end)
        await token(http, stack)
        assert time.monotonic() - replaced_at < RECOVERY_SECONDS
        await check_ended(second, RENEWAL_SECONDS)
        again = [*used, minted, other, last]
        outcomes = (settled_outcome(http, stack, each, number % RELAYS) for number, each in enumerate(again))
        assert set(await asyncio.gather(*outcomes)) == {"token_used"}
        for talk in (first, third):
            assert await talk.ask() == 'You said: "Good day"'
        await until(lambda: deployment.listeners() == RELAYS, RENEWAL_SECONDS)
        await operator(http, "DELETE", f"sessions/{to_end_later}")
        await check_ended(third)
        async with live(http, stack, 1) as (talk, _):  # it admits again
            assert await talk.ask() == 'You said: "Good day"'
        assert await first.ask() == 'You said: "Good day"'
    assert (await traces.session_end(minted.token_id))["ending"] == "browser_closed"


async def insist_on_end(http: aiohttp.ClientSession, session_id: str) -> None:
    """Order it until Redis has taken the order."""
    url, headers = f"http://127.0.0.1:{OPERATOR_PORT}/v1/operator", {"Authorization": f"Bearer {OPERATOR_KEY}"}
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            async with http.delete(f"{url}/sessions/{session_id}", headers=headers) as answer:
                if answer.status < 300:
                    return
                assert answer.status == 503
            await asyncio.sleep(0.1)


async def settled_outcome(http: aiohttp.ClientSession, stack: Stack, minted: Minted, relay: int) -> str:
    """What comes of it once Redis answers."""
    async with asyncio.timeout(60):  # many at once, on a busy machine
        while True:
            said, talk = await outcome(http, stack, minted, relay)
            await talk.socket.close()
            if said != "unavailable":
                return said
            await asyncio.sleep(0.1)
