"""OpenAI's Node client by its beta helpers, unmodified and over TLS, which it insists on."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from local_cloud.realtime import Behaviour, Simulator
from local_cloud.realtime.voice import speech
from service_kit.profiles import CLIENT_EVENTS
from tests.certificates import vouched_for
from tests.end_to_end.clients import MODEL, SHOP_KEY, appends, text_item, with_a_shop
from tests.end_to_end.test_beta_client import SILENCE, WEATHER
from tests.relay.beta_types import assert_a_strict_beta_client_takes
from tests.stack import Stack
from tests.tls_proxy import over_tls

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

Json = dict[str, Any]
SETTINGS = with_a_shop("default", "ga")
SCRIPT = Path(__file__).with_name("beta_client.cjs")
HELPERS = ("ws", "websocket", "azure")
SECONDS = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_simulator() -> AsyncIterator[Simulator]:
    """One that does not speak faster than it could be interrupted."""
    async with Simulator(Behaviour(pace=8.0)) as simulator:
        yield simulator


class Node:
    """A process in which the client runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.seen: list[Json] = []

    async def send(self, *events: Json) -> None:
        assert self._process.stdin
        self._process.stdin.writelines(json.dumps(event).encode() + b"\n" for event in events)
        await self._process.stdin.drain()

    async def until(self, kind: str) -> Json:
        """The next thing of a kind that the helper tells."""
        assert self._process.stdout
        async with asyncio.timeout(SECONDS):
            while line := await self._process.stdout.readline():
                told: Json = json.loads(line)
                self.seen.append(told)
                if told["type"] == kind:
                    return told
                assert told["type"] != "failed", told
        raise AssertionError(f"it ended before {kind}: {self.seen[-3:]}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            async with asyncio.timeout(SECONDS):
                await self._process.communicate()
        finally:
            if self._process.returncode is None:
                self._process.kill()


class Secured:
    """The relay behind TLS, and the authority that vouches for it."""

    def __init__(self, port: int, ca_file: Path) -> None:
        self._address = f"https://localhost:{port}"
        self._ca_file = ca_file

    async def open(self, helper: str, token: str) -> Node:
        address = self._address if helper == "azure" else f"{self._address}/v1"
        process = await asyncio.create_subprocess_exec(
            "node",
            str(SCRIPT),
            helper,
            address,
            MODEL,
            env=os.environ | {"NODE_EXTRA_CA_CERTS": str(self._ca_file), "SESSION_TOKEN": token},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1_048_576,
        )
        return Node(process)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    ca_file, serves_with, _ = vouched_for(tmp_path_factory.mktemp("tls"))
    relay_port = int(stack.relay_base_urls[0].removesuffix("/v1").rpartition(":")[2])
    async with over_tls(relay_port, serves_with) as port:
        yield Secured(port, ca_file)


async def minted(stack: Stack, **session: Any) -> str:
    async with AsyncOpenAI(base_url=stack.mint_base_url, api_key=SHOP_KEY, max_retries=0) as backend:
        return (await backend.beta.realtime.sessions.create(**session)).client_secret.value


@asynccontextmanager
async def talking(
    secured: Secured, stack: Stack, simulator: Simulator, helper: str, **session: Any
) -> AsyncIterator[Node]:
    """The client in a session of its own; all that it is told is the beta's, and all that the model hears is GA's."""
    async with await secured.open(helper, await minted(stack, **session)) as node:
        await node.until("session.created")
        yield node
    for told in node.seen:
        assert_a_strict_beta_client_takes(told)
    upstream = simulator.connections[-1]
    await upstream.wait_ended()
    assert "openai-beta" not in {name.lower() for name in upstream.headers}
    assert set(upstream.received.types) <= CLIENT_EVENTS
    assert all("type" in event["session"] for event in upstream.received.of_type("session.update"))


@pytest.mark.parametrize("helper", HELPERS)
async def test_it_talks_in_text(secured: Secured, stack: Stack, simulator: Simulator, helper: str) -> None:
    async with talking(secured, stack, simulator, helper) as node:
        update = {"type": "session.update", "session": {"modalities": ["text"], "temperature": 0.7}}
        await node.send(update, text_item("Good day"), {"type": "response.create"})
        assert (await node.until("session.updated"))["session"]["modalities"] == ["text"]
        assert (await node.until("response.text.done"))["text"] == 'You said: "Good day"'
        assert (await node.until("response.done"))["response"]["status"] == "completed"


@pytest.mark.parametrize("helper", HELPERS)
async def test_it_talks_in_speech(secured: Secured, stack: Stack, simulator: Simulator, helper: str) -> None:
    async with talking(secured, stack, simulator, helper) as node:
        await node.send(*appends(speech("I heard four seconds of you.") + SILENCE))
        transcript = (await node.until("response.audio_transcript.done"))["transcript"]
        await node.until("response.done")
    heard = b"".join(base64.b64decode(told["delta"]) for told in node.seen if told["type"] == "response.audio.delta")
    assert heard == speech(transcript)


@pytest.mark.parametrize("helper", HELPERS)
async def test_it_answers_a_call(secured: Secured, stack: Stack, simulator: Simulator, helper: str) -> None:
    async with talking(secured, stack, simulator, helper, modalities=["text"], tools=[WEATHER]) as node:
        await node.send(text_item('call get_weather {"city": "Oslo"}'), {"type": "response.create"})
        call_id = (await node.until("response.function_call_arguments.done"))["call_id"]
        await node.until("response.done")
        answer = {"type": "function_call_output", "call_id": call_id, "output": "sunny"}
        await node.send({"type": "conversation.item.create", "item": answer}, {"type": "response.create"})
        assert (await node.until("response.text.done"))["text"] == "The tool answered: sunny"


@pytest.mark.parametrize("helper", HELPERS)
async def test_it_interrupts_by_speaking(secured: Secured, stack: Stack, simulator: Simulator, helper: str) -> None:
    async with talking(secured, stack, simulator, helper) as node:
        await node.send(text_item("count to ninety"), {"type": "response.create"})
        item_id = (await node.until("response.audio.delta"))["item_id"]
        await node.send(*appends(speech("one two three") + SILENCE))
        response = (await node.until("response.done"))["response"]
        assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        cut = {"item_id": item_id, "content_index": 0, "audio_end_ms": 100}
        await node.send({"type": "conversation.item.truncate", **cut})
        assert (await node.until("conversation.item.truncated"))["audio_end_ms"] == 100


# --- refusals, as the application sees them ---


async def test_a_refused_event_is_an_error_with_its_code(secured: Secured, stack: Stack, simulator: Simulator) -> None:
    async with await secured.open("ws", await minted(stack)) as node:
        await node.until("session.created")
        await node.send({"type": "session.update", "session": {"voice": 7}})
        failed = await node.until("failed")
    assert failed["code"] == "invalid_event"
    assert "param=session.voice" in failed["message"]


@pytest.mark.parametrize(("helper", "told"), [("ws", "401"), ("azure", "401"), ("websocket", "token_used")])
async def test_a_used_token_is_an_error_and_the_end(
    secured: Secured, stack: Stack, simulator: Simulator, helper: str, told: str
) -> None:
    token = await minted(stack)
    async with await secured.open("ws", token) as first:
        await first.until("session.created")
        async with await secured.open(helper, token) as second:
            failed = await second.until("failed")
            closed = await second.until("closed")
    assert told in (failed["code"] or failed["message"])
    assert closed["code"] == (4401 if helper == "websocket" else 1006)


@pytest.mark.parametrize(
    ("helper", "told"), [("ws", "400"), ("azure", "400"), ("websocket", "beta_api_shape_disabled")]
)
async def test_a_profile_that_wants_no_beta_says_so(
    secured: Secured, stack: Stack, http: aiohttp.ClientSession, helper: str, told: str
) -> None:
    body = {"airlock": {"profile": "ga"}}
    headers = {"Authorization": f"Bearer {SHOP_KEY}"}
    async with http.post(f"{stack.mint_base_url}/realtime/client_secrets", json=body, headers=headers) as answer:
        token = (await answer.json())["value"]
    async with await secured.open(helper, token) as node:
        failed = await node.until("failed")
        closed = await node.until("closed")
    assert told in (failed["code"] or failed["message"])
    assert closed["code"] == (4400 if helper == "websocket" else 1006)
