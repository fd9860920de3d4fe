"""A deploy behind the edge: two relays and two token services are replaced one by one while 100 clients talk.

nginx stands where Front Door would (``local_cloud/edge.py``). Each client does what the page does: it is told of the
drain, its session ends, it comes back with a fresh token. Beside them somebody mints all the time.
"""

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.edge import Edge
from local_cloud.ports import free_port
from local_cloud.realtime import Simulator
from local_cloud.redis_server import RedisServer
from tests.end_to_end.clients import Minted, Talk, connect, mint, refused_events
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.traces import Traces
from tests.stack import Stack

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not (shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")), reason="nginx is not installed"
    ),
]

CLIENTS = 100
FRONT_DOOR_ID = "0a1b2c3d-0000-0000-0000-000000000000"


@dataclass
class Deployment:
    """Two of each behind the edge; ``tokens`` and ``relays`` are the ports of those that get new connections."""

    stack: Stack
    edge: Edge
    tokens: dict[str, int]
    relays: dict[str, int]

    def __post_init__(self) -> None:
        self.page_url = self.edge.url
        self.mint_base_url = f"{self.edge.url}/v1"
        self.relay_base_urls = [f"{self.edge.url}/v1"]

    async def replace(self, services: dict[str, int], name: str, new_name: str) -> None:
        """As a platform does: start the new one, send new connections to it, ask the old one to end, and wait."""
        port = free_port()
        start = self.stack.start_relay if services is self.relays else self.stack.start_token_service
        await asyncio.to_thread(start, new_name, port)
        del services[name]
        services[new_name] = port
        await asyncio.to_thread(self.edge.route, token_services=[*self.tokens.values()], relays=[*self.relays.values()])
        old = self.stack.processes[name]
        old.terminate()
        assert await asyncio.to_thread(old.popen.wait, 30) == 0


@pytest_asyncio.fixture(loop_scope="module")
async def deployment(tmp_path: Path, simulator: Simulator) -> AsyncIterator[tuple[Deployment, ssl.SSLContext]]:
    authority = ThrowAwayAuthority(tmp_path)
    edge_port = free_port()
    settings = DEFAULTS | {
        "ALLOWED_ORIGINS": f"https://localhost:{edge_port}",
        "AZURE_FRONT_DOOR_ID": FRONT_DOOR_ID,
        "TRUSTED_EDGE": "127.0.0.0/8,::1",
        "MAX_SESSIONS_PER_SUBJECT": "1000",
    }
    with RedisServer() as redis:
        stack = Stack(tmp_path, relays=2, openai_base_url=simulator.base_url, redis=redis, **settings)
        await asyncio.to_thread(stack.__enter__)
        try:
            tokens = {"token_service": int(stack.page_url.rpartition(":")[2]), "token_service-1": free_port()}
            await asyncio.to_thread(stack.start_token_service, "token_service-1", tokens["token_service-1"])
            relays = {
                f"relay-{index}": int(url.removesuffix("/v1").rpartition(":")[2])
                for index, url in enumerate(stack.relay_base_urls)
            }
            edge = Edge(
                edge_port,
                certificate=authority.issue(),
                front_door_id=FRONT_DOOR_ID,
                token_services=[*tokens.values()],
                relays=[*relays.values()],
            )
            await asyncio.to_thread(edge.start)
            try:
                yield Deployment(stack, edge, tokens, relays), authority.client_context()
            finally:
                await asyncio.to_thread(edge.stop)
        finally:
            await asyncio.to_thread(stack.__exit__)


@dataclass
class Client:
    """What the page does about a drain, and what it met.

    Attributes:
        tokens: one for each session, in order.
        ended: of each session that ended, its events of the end and its close code.
        live: set while it has a session.
    """

    http: aiohttp.ClientSession
    deployment: Deployment
    tokens: list[Minted] = field(default_factory=list)
    ended: list[tuple[list[str], int | None]] = field(default_factory=list)
    live: asyncio.Event = field(default_factory=asyncio.Event)
    talk: Talk | None = None

    async def run(self) -> None:
        """Talk, and come back with a fresh token whenever the session ends."""
        while True:
            self.tokens.append(await mint(self.http, self.deployment))
            self.talk = await connect(self.http, self.deployment, self.tokens[-1], speaks_airlock=True)
            await self.talk.until("airlock.session.started", 30)
            self.live.set()
            code, events = await self.talk.until_closed(300)
            self.live.clear()
            self.ended.append(([_what(event) for event in events], code))


async def _mint_all_the_time(http: aiohttp.ClientSession, deployment: Deployment, minted: list[Minted]) -> None:
    while True:
        minted.append(await mint(http, deployment))


def _what(event: dict[str, object]) -> str:
    error = event.get("error")
    return f"error {error['code']}" if isinstance(error, dict) else str(event["type"])


async def test_every_session_is_told_drained_and_comes_back_with_a_fresh_token(
    deployment: tuple[Deployment, ssl.SSLContext],
) -> None:
    behind_edge, trust = deployment
    stack = behind_edge.stack
    # A connection each: an nginx that is told of new servers closes those that wait, perhaps as something is sent.
    connector = aiohttp.TCPConnector(limit=0, ssl=trust, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as http:
        clients = [Client(http, behind_edge) for _ in range(CLIENTS)]
        unused: list[Minted] = []
        running = [
            asyncio.create_task(_mint_all_the_time(http, behind_edge, unused)),
            *(asyncio.create_task(client.run()) for client in clients),
        ]

        async def all_live() -> None:
            async def wait() -> None:
                for client in clients:
                    await client.live.wait()

            waits = asyncio.create_task(wait())
            over, _ = await asyncio.wait([waits, *running], timeout=60, return_when=asyncio.FIRST_COMPLETED)
            assert over == {waits}

        try:
            await all_live()
            assert {name for name in behind_edge.relays if Traces(stack).lines("session.start", name)} == {
                "relay-0",
                "relay-1",
            }
            for old, new in (("relay-0", "relay-2"), ("token_service", "token_service-2")):
                services = behind_edge.relays if old.startswith("relay") else behind_edge.tokens
                await behind_edge.replace(services, old, new)
                await all_live()
            for old, new in (("token_service-1", "token_service-3"), ("relay-1", "relay-3")):
                services = behind_edge.relays if old.startswith("relay") else behind_edge.tokens
                await behind_edge.replace(services, old, new)
                await all_live()

            # Every session that ended was told, and ended by the drain and by nothing else.
            ended = [end for client in clients for end in client.ended]
            assert len(ended) >= CLIENTS
            expected = ["airlock.session.draining", "error draining", "airlock.session.ended"]
            assert [end for end in ended if end != (expected, 1012)] == []

            # Each came back with another token, and no token was admitted twice, not even one that is shown again.
            tokens = [minted for client in clients for minted in client.tokens]
            assert len({minted.token_id for minted in tokens}) == len(tokens) == CLIENTS + len(ended)
            code, error = await refused_events(http, behind_edge, clients[0].tokens[0])
            assert (code, error["code"]) == (4401, "token_used")
            with Traces(stack) as traces:
                admitted = [
                    line["token_id"] for number in range(4) for line in traces.lines("redeem.ok", f"relay-{number}")
                ]
                assert sorted(admitted) == sorted(minted.token_id for minted in tokens)
                endings = {
                    line["ending"] for number in range(4) for line in traces.lines("session.end", f"relay-{number}")
                }
                assert endings == {"draining"}

            assert unused  # and no mint failed, or its task had ended before the clients were live

            # And all of them still talk.
            for task in running:
                task.cancel()
            answers = await asyncio.gather(*(_answer(client) for client in clients))
            assert set(answers) == {'You said: "Good day"'}
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def _answer(client: Client) -> str:
    assert client.talk is not None
    async with client.talk as talk:
        return await talk.ask()
