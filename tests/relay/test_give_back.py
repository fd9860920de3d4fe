"""A token goes back to its owner only if no order was seen: also when the order comes while it is about to.

The services as they are, on a real Redis; what comes between is decided by a proxy before it, or at the very moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

import relay.app
import token_service.app
from local_cloud.realtime import Behaviour, Simulator, faults
from relay.live_sessions import LiveSessions
from relay.session import Session
from service_kit.live_slots import slots_key
from service_kit.redis_client import Pseudonyms, RedisClient
from service_kit.revocation import Kind, Revocations, Target, Why
from service_kit.token_record import record_key
from tests.configured import configured_relay
from tests.examples import KEY, PAGE
from tests.serving import serving
from tests.tcp_proxy import TcpProxy
from tests.token_service.conftest import MakeSettings, make_settings

__all__ = ["make_settings"]

SECONDS = 10.0
PSEUDONYMS = Pseudonyms(KEY)
TENANT = Target(Kind.TENANT, PSEUDONYMS.of("anonymous", ""))
SUBJECT = Target(Kind.SUBJECT, PSEUDONYMS.of("anonymous", PSEUDONYMS.of_address("127.0.0.1")))


@dataclass
class Door:
    """A relay behind a proxied Redis, with one slot for each address, and a page that mints."""

    http: aiohttp.ClientSession
    url: str
    live: LiveSessions
    proxy: TcpProxy
    simulator: Simulator
    redis: RedisClient

    async def mint(self) -> tuple[str, str]:
        """A token, and its public id."""
        async with self.http.post("/v1/realtime/client_secrets", headers={"Origin": PAGE}) as answer:
            minted = await answer.json()
            return minted["value"], minted["airlock"]["token_id"]

    async def connect(self, token: str) -> aiohttp.ClientWebSocketResponse:
        protocols = ["realtime", f"openai-insecure-api-key.{token}"]
        return await self.http.ws_connect(self.url, protocols=protocols, headers={"Origin": PAGE})

    async def session(self) -> Session:
        """The one that is being set up."""
        async with asyncio.timeout(SECONDS):
            while not (sessions := list(self.live)):  # noqa: ASYNC110 - the relay has no event for that
                await asyncio.sleep(0)
        (session,) = sessions
        assert isinstance(session, Session)
        return session

    async def state(self, token_id: str) -> str:
        state = await self.redis.hget(record_key("development", token_id), "state")
        assert isinstance(state, bytes)
        return state.decode()

    async def fill_the_slots(self) -> None:
        in_force = (await self.redis.time())[0] * 1000 + 60_000
        await self.redis.zadd(slots_key("development", SUBJECT), {"sess_other": in_force})


@pytest.fixture
async def door(make_settings: MakeSettings, redis: RedisClient, redis_server: str) -> AsyncIterator[Door]:
    port = int(redis_server.rpartition(":")[2].partition("/")[0])
    shared = make_settings()
    async with Simulator(Behaviour(pace=None)) as simulator, TcpProxy(port) as proxy:
        settings = configured_relay(
            redis_url=f"redis://127.0.0.1:{proxy.port}",
            token_signing_keys=KEY,
            pseudonym_key=KEY,
            allowed_origins=PAGE,
            openai_api_key="sk-upstream",
            openai_base_url=simulator.base_url,
            airlock_profiles="profiles.toml",
            max_sessions_per_address=1,
        )
        app = relay.app.create_app(*settings)
        async with (
            serving(app) as relay_port,
            serving(token_service.app.create_app(*shared)) as page_port,
            aiohttp.ClientSession(f"http://127.0.0.1:{page_port}") as http,
        ):
            url = f"http://127.0.0.1:{relay_port}/v1/realtime"
            yield Door(http, url, app[relay.app.LIVE], proxy, simulator, redis)


Order = Callable[[Revocations, Session], Awaitable[Any]]


async def heard(session: Session) -> None:
    """Wait until the relay has carried the order out."""
    async with asyncio.timeout(SECONDS):
        await asyncio.shield(session._over)


async def mark(revocations: Revocations, session: Session) -> None:
    """The marker alone, as if the order itself had been lost on its way."""
    key = f"airlock:development:ended:session:{session.identity.session_id}"
    await revocations._redis.set(key, f"{int(time.time() * 1000) + 60_000} revoked", px=60_000)


def published(order: Order) -> Order:
    async def give_it(revocations: Revocations, session: Session) -> None:
        await order(revocations, session)
        await heard(session)

    return give_it


ORDERS: dict[str, Order] = {
    "end the session": published(lambda r, s: r.end(Target(Kind.SESSION, s.identity.session_id))),
    "end the token's": published(lambda r, s: r.end(Target(Kind.TOKEN, s.identity.token_id))),
    "revoke the token": published(lambda r, s: r.revoke_token(s.identity.token_id)),
    "end the subject's": published(lambda r, s: r.end(SUBJECT)),
    "end the tenant's": published(lambda r, s: r.end(TENANT)),
    "block the tenant": published(lambda r, s: r.block(TENANT, 60)),
    "a replay": published(lambda r, s: r.end(Target(Kind.SESSION, s.identity.session_id), Why.REPLAYED)),
    "an order that is not heard": mark,
}


def left_by(order: str | None) -> str:
    """The token's state in the end: only without an order can it be redeemed again."""
    if order is None:
        return "minted"
    return "revoked" if order == "revoke the token" else "redeemed"


@asynccontextmanager
async def at_its_lease(door: Door) -> AsyncIterator[tuple[str, asyncio.Task[aiohttp.ClientWebSocketResponse], Session]]:
    """A connect that stands before its lease: redeemed, and not found to be revoked."""
    await (await door.connect((await door.mint())[0])).close()  # scripts are known, connections are open
    await door.redis.delete(slots_key("development", SUBJECT), slots_key("development", TENANT))
    token, token_id = await door.mint()
    door.proxy.holds = b":lease:"
    connecting = asyncio.create_task(door.connect(token))
    try:
        async with asyncio.timeout(SECONDS):
            await door.proxy.held.wait()
        yield token_id, connecting, await door.session()
    finally:
        door.proxy.release()
        connecting.cancel()


@pytest.mark.parametrize("order", [None, *ORDERS])
async def test_an_order_while_the_lease_is_refused(door: Door, redis: RedisClient, order: str | None) -> None:
    async with at_its_lease(door) as (token_id, connecting, session):
        await door.fill_the_slots()
        if order:
            await ORDERS[order](Revocations(redis, "development"), session)
        door.proxy.release()
        async with asyncio.timeout(SECONDS), await connecting as socket:
            error = (await socket.receive_json())["error"]
            await socket.receive()
    assert (error["code"], socket.close_code) == ("too_many_sessions", 4429)
    assert error["retry"] == ("with a new token" if order else "after retry_after")
    assert await door.state(token_id) == left_by(order)


@pytest.mark.parametrize("order", [None, *ORDERS])
async def test_an_order_after_the_client_left_before_its_upgrade(
    door: Door, redis: RedisClient, order: str | None
) -> None:
    with capture_logs() as lines:
        async with at_its_lease(door) as (token_id, connecting, session):
            connecting.cancel()  # aiohttp then closes the connection
            await asyncio.wait([connecting])
            if order:
                await ORDERS[order](Revocations(redis, "development"), session)
            door.proxy.release()
            await over(door)
    # Markers are read on the way that takes the lease: who is meant by an order is refused, and has nothing to end.
    ended = [line["ending"] for line in lines if line["event"] == "session.end"][-1:]
    assert ended == ["browser_closed" if order else "browser_vanished"]  # the first is that of the session before
    assert await door.state(token_id) == left_by(order)


async def test_a_bug_while_it_is_set_up_ends_this_session_alone_and_gives_the_token_back(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    token, token_id = await door.mint()
    with capture_logs() as lines, monkeypatch.context() as patch:
        patch.setattr("relay.session.confirm_lock", broken)
        async with asyncio.timeout(SECONDS), await door.connect(token) as socket:
            error = (await socket.receive_json())["error"]
            await socket.receive()
        await over(door)
    assert (error["code"], socket.close_code) == ("internal_error", 1011)
    assert [line["ending"] for line in lines if line["event"] == "session.end"] == ["internal_error"]
    assert [line["error"] for line in lines if line["event"] == "internal_error"] == ["ZeroDivisionError"]
    assert await door.state(token_id) == "minted"
    async with await door.connect(token) as socket:
        assert (await socket.receive_json())["type"] == "session.created"


async def over(door: Door) -> None:
    """Wait until nobody is live."""
    async with asyncio.timeout(SECONDS):
        while len(door.live):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)


@pytest.mark.parametrize("why", [None, *Why])
async def test_an_order_right_after_the_client_vanished_while_the_model_was_dialled(
    door: Door, why: Why | None
) -> None:
    """The first ending is the browser's, and the order is obeyed all the same."""
    door.simulator.faults.add(faults.StallHandshake())
    token, token_id = await door.mint()
    socket = await door.connect(token)
    session = await door.session()
    if why:
        session._over.add_done_callback(lambda _: session.revoke(why))  # as an order does that is carried out then
    with capture_logs() as lines:
        await socket.close()
        await over(door)
    (end,) = [line for line in lines if line["event"] == "session.end"]
    assert end["ending"] in ("browser_closed", "browser_vanished")
    assert await door.state(token_id) == ("redeemed" if why else "minted")
