"""A client that shows the wire: it sends JSON as it is and keeps every event, each checked to be acceptable."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from local_cloud.realtime import Simulator
from tests.local_cloud.realtime.strict import check

Json = dict[str, Any]
MODEL = "gpt-realtime-2.1"
KEY = {"Authorization": "Bearer sk-test"}


class Client:
    """One connection to a simulator."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.events: list[Json] = []

    async def send(self, event_type: str, **fields: object) -> None:
        await self.socket.send_str(json.dumps({"type": event_type, **fields}))

    async def frame(self) -> aiohttp.WSMessage:
        """The next frame, whatever it is."""
        return await asyncio.wait_for(self.socket.receive(), 5)

    async def receive(self) -> Json:
        """The next event, which must be one that strict clients accept."""
        message = await self.frame()
        assert message.type is aiohttp.WSMsgType.TEXT, message
        event: Json = json.loads(message.data)
        check(event)
        self.events.append(event)
        return event

    async def until(self, event_type: str) -> Json:
        """The next event of a type; those before it are in `events`."""
        while True:
            event = await self.receive()
            if event["type"] == event_type:
                return event

    async def types_until(self, event_type: str) -> list[str]:
        """The types of the coming events up to one; of deltas in a row that are alike only the first."""
        before = len(self.events)
        await self.until(event_type)
        types = [event["type"] for event in self.events[before:]]
        return [kind for at, kind in enumerate(types) if not (kind.endswith(".delta") and kind in types[:at])]

    async def ask(self, event_type: str, answer_type: str, **fields: object) -> Json:
        """Send an event and return the first answer of a type."""
        await self.send(event_type, **fields)
        return await self.until(answer_type)

    async def refused(self, event_type: str, **fields: object) -> Json:
        """Send an event and return the error that must be the very next thing to come."""
        await self.send(event_type, **fields)
        event = await self.receive()
        assert event["type"] == "error", event
        error: Json = event["error"]
        return error

    async def update(self, **session: object) -> Json:
        event = await self.ask("session.update", "session.updated", session={"type": "realtime", **session})
        updated: Json = event["session"]
        return updated

    async def append(self, audio: bytes, chunk_bytes: int = 960) -> None:
        for at in range(0, len(audio), chunk_bytes):
            chunk = base64.b64encode(audio[at : at + chunk_bytes]).decode()
            await self.send("input_audio_buffer.append", audio=chunk)

    async def type_text(self, text: str, **fields: object) -> Json:
        """Add a user message and return it as the service shows it."""
        message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        event = await self.ask("conversation.item.create", "conversation.item.done", item=message, **fields)
        item: Json = event["item"]
        return item

    async def respond(self, **parameters: object) -> Json:
        """Ask for a response and return it as it ended."""
        event = await self.ask("response.create", "response.done", **({"response": parameters} if parameters else {}))
        response: Json = event["response"]
        return response

    def of_type(self, event_type: str) -> list[Json]:
        return [event for event in self.events if event["type"] == event_type]

    def audio(self) -> bytes:
        return b"".join(base64.b64decode(event["delta"]) for event in self.of_type("response.output_audio.delta"))


@asynccontextmanager
async def connect(
    simulator: Simulator,
    query: str = f"model={MODEL}",
    *,
    path: str = "/v1/realtime",
    headers: Mapping[str, str] = KEY,
    protocols: tuple[str, ...] = (),
) -> AsyncIterator[Client]:
    """Connect; the first event, ``session.created``, is still to be received."""
    url = f"{simulator.origin}{path}?{query}"
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(url, headers=headers, protocols=protocols, max_msg_size=0) as socket,
    ):
        yield Client(socket)
