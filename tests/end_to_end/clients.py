"""Clients that look at the product from outside: minting over HTTP, and a session as raw events."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, Self

import aiohttp
from aiohttp import WSMsgType
from yarl import URL

from local_cloud.realtime import Connection, Simulator
from tests.stack import Addresses, Stack

Json = dict[str, Any]
Carriage = Literal["header", "subprotocol"]
"""How a client shows its token: in the Authorization header, or as a browser must, as a subprotocol."""

CARRIAGES: tuple[Carriage, ...] = ("header", "subprotocol")
MODEL = "gpt-realtime-2.1"
SHOP_KEY = "sk-shop-0123456789"
SECONDS = 5.0


def with_a_shop(*profiles: str, max_sessions_per_subject: int = 100) -> dict[str, str]:
    """The settings of services for which the holder of ``SHOP_KEY`` may mint for these profiles."""
    shop = {
        "name": "shop",
        "sha256": sha256(SHOP_KEY.encode()).hexdigest(),
        "tenant": "acme",
        "profiles": profiles,
        "max_sessions_per_subject": max_sessions_per_subject,
    }
    return {"CALLER_API_KEYS": json.dumps([shop])}


@dataclass(frozen=True, slots=True)
class Minted:
    """A mint's answer."""

    token: str
    token_id: str
    expires_at: int
    body: Json


async def mint(
    http: aiohttp.ClientSession,
    stack: Addresses,
    *,
    api_key: str | None = None,
    origin: str | None = None,
    **body: object,
) -> Minted:
    """Mint as the page does, or with an API key as a server does; ``body`` is the request."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {"Origin": origin or stack.page_url}
    url = f"{stack.mint_base_url}/realtime/client_secrets"
    async with http.post(url, json=body, headers=headers) as answer:
        minted: Json = await answer.json()
    assert answer.status == 200, minted
    return Minted(minted["value"], minted["airlock"]["token_id"], minted["expires_at"], minted)


class Talk:
    """A client's end of one session: whole events, in the order in which they came.

    Attributes:
        seen: every event received so far.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.seen: list[Json] = []

    async def send(self, *events: Json) -> None:
        """Send events."""
        for event in events:
            await self.socket.send_str(json.dumps(event, separators=(",", ":")))

    async def next(self, seconds: float = SECONDS) -> Json:
        """The next event."""
        message = await self.socket.receive(seconds)
        assert message.type is WSMsgType.TEXT, message
        event: Json = json.loads(message.data)
        self.seen.append(event)
        return event

    async def until(self, event_type: str, seconds: float = SECONDS) -> Json:
        """The next event of a type; those before it are in ``seen``."""
        async with asyncio.timeout(seconds):
            while (event := await self.next(seconds))["type"] != event_type:
                pass
        return event

    async def until_closed(self, seconds: float = SECONDS) -> tuple[int | None, list[Json]]:
        """The close code, and the events that came before it and after those already received."""
        rest = []
        async with asyncio.timeout(seconds):
            while (message := await self.socket.receive()).type is WSMsgType.TEXT:
                rest.append(json.loads(message.data))
        assert message.type is WSMsgType.CLOSE, message
        self.seen += rest
        return self.socket.close_code, rest

    async def ask(self, text: str = "Good day") -> str:
        """Hold one turn in text, and return the answer."""
        await self.send(text_item(text), {"type": "response.create", "response": {"output_modalities": ["text"]}})
        answer: str = (await self.until("response.output_text.done"))["text"]
        await self.until("response.done")
        return answer

    def abort(self) -> None:
        """Vanish: cut the TCP connection without a close frame."""
        self._transport.abort()

    def pause_reading(self) -> None:
        """Take nothing more from the network."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._transport.resume_reading()

    def write_raw(self, frame: bytes) -> None:
        """Write bytes past the WebSocket library."""
        self._transport.write(frame)

    @property
    def _transport(self) -> asyncio.Transport:
        connection = self.socket._response.connection
        assert connection is not None
        assert isinstance(connection.transport, asyncio.Transport)
        return connection.transport

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()


def handshake(
    token: str, carriage: Carriage, *, speaks_airlock: bool = False, origin: str | None = None
) -> tuple[dict[str, str], list[str]]:
    """The headers and subprotocols of a client's upgrade."""
    headers = {"Origin": origin} if origin else {}
    if carriage == "header":
        return {**headers, "Authorization": f"Bearer {token}"}, ["realtime", "airlock.v1"] if speaks_airlock else []
    offered = ["realtime", f"openai-insecure-api-key.{token}"]
    return headers, [*offered, "airlock.v1"] if speaks_airlock else offered


async def connect(
    http: aiohttp.ClientSession,
    stack: Addresses,
    minted: Minted | str,
    carriage: Carriage = "subprotocol",
    *,
    relay: int = 0,
    speaks_airlock: bool = False,
    origin: str | None = "page",
    query: Mapping[str, str] | None = None,
) -> Talk:
    """Connect to a relay, from the page's Origin unless another, or none, is given.

    Raises:
        aiohttp.WSServerHandshakeError: the relay answered with an HTTP status.
    """
    token = minted if isinstance(minted, str) else minted.token
    headers, protocols = handshake(
        token, carriage, speaks_airlock=speaks_airlock, origin=stack.page_url if origin == "page" else origin
    )
    url = URL(f"{stack.relay_base_urls[relay]}/realtime").with_query(query or {})
    return Talk(await http.ws_connect(url, headers=headers, protocols=protocols, max_msg_size=0))


@asynccontextmanager
async def talking(
    http: aiohttp.ClientSession,
    stack: Stack,
    carriage: Carriage = "subprotocol",
    *,
    speaks_airlock: bool = False,
    **body: Any,
) -> AsyncIterator[tuple[Talk, Minted]]:
    """A fresh token, minted with ``body``, and its live session."""
    minted = await mint(http, stack, **body)
    async with await connect(http, stack, minted, carriage, speaks_airlock=speaks_airlock) as talk:
        await talk.until("session.created")
        yield talk, minted


async def refused_status(
    http: aiohttp.ClientSession, stack: Stack, minted: Minted | str, *, relay: int = 0, **how: Any
) -> tuple[int, Json, Mapping[str, str]]:
    """Connect as a header client that must be refused over HTTP: status, error object, headers."""
    token = minted if isinstance(minted, str) else minted.token
    how.setdefault("origin", stack.page_url)
    headers, _ = handshake(token, "header", **how)
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    }
    async with http.get(f"{stack.relay_base_urls[relay]}/realtime", headers=headers | upgrade) as answer:
        assert answer.status != 101
        error: Json = (await answer.json())["error"]
        return answer.status, error, answer.headers


async def refused_events(
    http: aiohttp.ClientSession, stack: Addresses, minted: Minted | str, **how: Any
) -> tuple[int | None, Json]:
    """Connect as a browser that must be refused after the upgrade: close code, and the error of the one event."""
    async with await connect(http, stack, minted, **how) as talk:
        assert talk.socket.protocol == "realtime"
        code, events = await talk.until_closed(15)
    assert [event["type"] for event in events] == ["error"]
    error: Json = events[0]["error"]
    return code, error


async def readiness(http: aiohttp.ClientSession, base_url: str) -> int:
    """The status of a service's readiness probe."""
    async with http.get(f"{base_url.removesuffix('/v1')}/readyz") as answer:
        return answer.status


async def upstream_of(
    http: aiohttp.ClientSession, stack: Stack, simulator: Simulator, minted: Minted, **how: Any
) -> tuple[Talk, Connection]:
    """A connected client and the connection to the model that the relay opened for it; nothing was received yet."""
    number = simulator.connections[-1].number + 1 if simulator.connections else 0
    talk = await connect(http, stack, minted, **how)
    return talk, await simulator.connection(number)


def text_item(text: str) -> Json:
    """A typed message of the user."""
    content = [{"type": "input_text", "text": text}]
    return {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}


def appends(audio: bytes, size: int = 4_800) -> list[Json]:
    """Audio as the page sends it: in pieces of 100 ms."""
    return [
        {"type": "input_audio_buffer.append", "audio": base64.b64encode(audio[at : at + size]).decode()}
        for at in range(0, len(audio), size)
    ]
