"""Other people's clients, unmodified and over TLS: four conversations each, and what they tell of a refusal.

What came of it is the two tables of docs/clients.md; ``python -m scripts.print_clients`` writes them anew.
"""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from local_cloud.realtime import Behaviour, Connection, Simulator
from local_cloud.realtime.voice import number, speech
from scripts.print_clients import RENEW
from scripts.printed_page import PrintedPage
from service_kit.profiles import CLIENT_EVENTS
from tests.clients.application import CLIENTS, Application, Client, agents_site
from tests.clients.job import CONVERSATIONS, SPEECH, Conversation, Job, Outcome, Refused
from tests.clients.observed import SITUATIONS, Observed, Situation
from tests.end_to_end.clients import MODEL, SHOP_KEY, Talk, connect, mint, with_a_shop
from tests.end_to_end.secured import Secured, serving_tls
from tests.relay.escapes import Fence, escapes
from tests.serving import serving

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

LOCKED = {
    "type": "realtime",
    "model": MODEL,
    "instructions": "You are a lighthouse keeper.",
    "tools": [{"type": "function", "name": "get_weather", "parameters": {"type": "object"}}],
}
OPEN = {"audio.output.voice", "audio.input.turn_detection", "output_modalities"}
COUNTED = speech(" ".join(number(value) for value in range(1, 91)))
OTHER_MODEL = "gpt-realtime-2.1-mini"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_simulator() -> AsyncIterator[Simulator]:
    """One that does not speak faster than it could be interrupted."""
    async with Simulator(Behaviour(pace=8.0)) as simulator:
        yield simulator


class Ground:
    """The product over TLS, a site whose Origin it allows, and the applications that were started."""

    def __init__(self, secured: Secured, simulator: Simulator, site_url: str, running: AsyncExitStack) -> None:
        self.secured = secured
        self.simulator = simulator
        self._site_url = site_url
        self._running = running
        self._applications: dict[Client, Application] = {}
        self._subjects = 0

    async def token(self, subject: str | None = None, **airlock: Any) -> str:
        """A token whose lock has a tool; of a person of its own unless one is named."""
        self._subjects += 1
        person = {"subject": subject or f"person-{self._subjects}"}
        minted = await mint(
            self.secured.http, self.secured.stack, api_key=SHOP_KEY, session=LOCKED, airlock=person | airlock
        )
        return minted.token

    async def talk(self, token: str) -> Talk:
        """A session of somebody with a raw WebSocket."""
        talk = await connect(self.secured.http, self.secured.stack, token, "header", origin=None)
        await talk.until("session.created")
        return talk

    async def hold(
        self, client: Client, token: str, conversation: Conversation = "wait", model: str = MODEL
    ) -> Outcome:
        """One conversation of a client's application."""
        if client not in self._applications:
            application = client.application(self.secured.authority.ca_file, self._site_url)
            self._applications[client] = await self._running.enter_async_context(application)
        try:
            return await self._applications[client].hold(
                Job(self.secured.stack.relay_base_urls[0], token, model, conversation)
            )
        except BaseException:
            del self._applications[client]  # it may still be at this one
            raise


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground(
    tmp_path_factory: pytest.TempPathFactory, running_simulator: Simulator, websocket_library: str
) -> AsyncIterator[Ground]:
    folder = tmp_path_factory.mktemp("clients")
    async with serving(agents_site()) as port:
        site_url = f"http://127.0.0.1:{port}"
        settings = with_a_shop("default", max_sessions_per_subject=1) | {"ALLOWED_ORIGINS": site_url}
        async with (
            serving_tls(folder, running_simulator, websocket_library, **settings) as secured,
            AsyncExitStack() as running,
        ):
            yield Ground(secured, running_simulator, site_url, running)


@pytest.fixture(scope="module")
def observed() -> Observed:
    return Observed()


every_client = pytest.mark.parametrize("client", CLIENTS, ids=[client.id for client in CLIENTS])

# --- conversations ---


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@every_client
async def test_it_holds_a_conversation_within_the_lock(
    ground: Ground, observed: Observed, client: Client, conversation: Conversation
) -> None:
    token, earlier = await ground.token(), len(ground.simulator.connections)
    outcome = await ground.hold(client, token, conversation)
    assert outcome.refused is None
    EXPECT[conversation](outcome)
    upstream = await ground.simulator.connection(earlier)
    await upstream.wait_ended()
    spoken = SPEECH if conversation in ("voice", "interruption") else b""
    assert upstream.received_audio == spoken
    assert outcome.heard_audio == sent_audio(upstream)
    if client.name.startswith("Agents"):
        assert outcome.history == REMEMBERED[conversation]
        assert_its_own_session_stayed_outside(upstream)
    assert_locked(upstream)
    observed.held[client, conversation] = outcome


def expect_text(outcome: Outcome) -> None:
    assert outcome.said == "I read your two words."
    assert outcome.heard_audio == speech(outcome.said)
    assert outcome.endings == [["completed", None]]


def expect_voice(outcome: Outcome) -> None:
    assert outcome.said == HEARD
    assert outcome.heard_audio == speech(HEARD)
    assert outcome.endings == [["completed", None]]


def expect_function(outcome: Outcome) -> None:
    assert outcome.called == ["get_weather", {"city": "Oslo"}]
    assert outcome.said == "The tool answered with one word."
    assert outcome.heard_audio == speech(outcome.said)
    assert outcome.endings == [["completed", None]] * 2


def expect_interruption(outcome: Outcome) -> None:
    assert outcome.endings == [["cancelled", "turn_detected"], ["completed", None]]
    assert outcome.truncated_ms is not None
    assert outcome.said == HEARD
    heard, answer = outcome.heard_audio, speech(HEARD)
    assert heard.endswith(answer)
    counted = heard.removesuffix(answer)
    assert counted
    assert COUNTED.startswith(counted)
    assert outcome.truncated_ms <= len(counted) / 48


HEARD = "I heard two seconds of you."
EXPECT: dict[Conversation, Callable[[Outcome], None]] = {
    "text": expect_text,
    "voice": expect_voice,
    "function": expect_function,
    "interruption": expect_interruption,
}
USER, ASSISTANT = ["message", "user"], ["message", "assistant"]
REMEMBERED = {
    "text": [USER, ASSISTANT],
    "voice": [USER, ASSISTANT],
    "function": [USER, ["function_call", "get_weather"], ASSISTANT],
    "interruption": [USER, ASSISTANT, USER, ASSISTANT],
}


def sent_audio(upstream: Connection) -> bytes:
    deltas = upstream.sent.of_type("response.output_audio.delta")
    return b"".join(base64.b64decode(event["delta"]) for event in deltas)


def assert_its_own_session_stayed_outside(upstream: Connection) -> None:
    """The Agents SDKs send a session of their own: what is open of it reached the model."""
    _, *own = upstream.received.of_type("session.update")
    assert own
    for event in own:
        assert event["session"].keys() <= {"type", "audio", "output_modalities"}
    text = "".join(upstream.received_raw)
    assert "The agent's own instructions." not in text
    assert "Tells the weather" not in text
    assert "tracing" not in text


def assert_locked(upstream: Connection) -> None:
    locked, *events = upstream.received.events
    assert locked["session"]["instructions"] == LOCKED["instructions"]
    assert locked["session"]["tools"] == LOCKED["tools"]
    assert dict(upstream.query) == {"model": MODEL}
    assert upstream.headers["Authorization"] == "Bearer sk-upstream"
    assert "Sec-WebSocket-Protocol" not in upstream.headers
    assert "X-OpenAI-Agents-SDK" not in upstream.headers
    items = [event["item"] for event in upstream.sent.of_type("response.output_item.done")]
    fence = Fence(
        session_type="realtime",
        open_fields=OPEN,
        client_events=CLIENT_EVENTS,
        max_output_tokens=4_096,
        calls={item["call_id"] for item in items if item["type"] == "function_call"},
    )
    assert [escapes(event, fence) for event in events] == [[]] * len(events)


# --- refusals, as the application sees them ---


@asynccontextmanager
async def used(ground: Ground) -> AsyncIterator[str]:
    token = await ground.token()
    async with await ground.talk(token):
        pass
    yield token


@asynccontextmanager
async def forged(ground: Ground) -> AsyncIterator[str]:
    token = await ground.token()
    yield token[:-8] + token[-8:].swapcase()


@asynccontextmanager
async def good(ground: Ground) -> AsyncIterator[str]:
    yield await ground.token()


@asynccontextmanager
async def of_a_person_in_a_session(ground: Ground) -> AsyncIterator[str]:
    async with await ground.talk(await ground.token("somebody")):
        yield await ground.token("somebody")


@asynccontextmanager
async def for_a_second(ground: Ground) -> AsyncIterator[str]:
    yield await ground.token(max_session_seconds=1)


TOKENS: dict[Situation, Callable[[Ground], AbstractAsyncContextManager[str]]] = {
    "used": used,
    "forged": forged,
    "other model": good,
    "too many": of_a_person_in_a_session,
    "time is up": for_a_second,
}
TOLD: dict[Situation, tuple[int, str]] = {
    "used": (401, "token_used"),
    "forged": (401, "invalid_token"),
    "other model": (403, "model_mismatch"),
    "too many": (429, "too_many_sessions"),
}
"""The status, and the code; a subprotocol client sees the status as a close code, 4000 more."""

OVER = (4410, "session_limit_reached")


def expected(client: Client, situation: Situation) -> Refused:
    """What an application of a client can read."""
    sees_close = client.package != "@openai/agents-realtime"
    if situation == "time is up":
        return Refused("error", code=OVER[1], close=OVER if sees_close else None)
    status, code = TOLD[situation]
    if client.is_python:
        return Refused("InvalidStatus", status=status, code=code)
    by = "error" if client.package == "openai" else "connect() rejects"
    if not client.offers_subprotocols:
        return Refused(by, message=f"Unexpected server response: {status}")
    if situation == "forged":
        return Refused(by)
    return Refused("error", code=code, close=(4_000 + status, code) if sees_close else None)


@pytest.mark.parametrize("situation", SITUATIONS)
@every_client
async def test_its_application_sees_the_refusal(
    ground: Ground, observed: Observed, client: Client, situation: Situation
) -> None:
    async with TOKENS[situation](ground) as token:
        outcome = await ground.hold(client, token, model=OTHER_MODEL if situation == "other model" else MODEL)
    assert outcome.refused == expected(client, situation)
    observed.refused[client, situation] = outcome.refused


# --- the page ---


async def test_the_page_has_the_tables_of_this_run(observed: Observed) -> None:
    if not observed.is_whole:
        pytest.skip("not all conversations were held in this run")
    page = PrintedPage("clients.md", "tests/end_to_end/test_clients.py", observed.tables)
    if RENEW in os.environ:
        page.write()
    assert page.text() == page.renewed()
