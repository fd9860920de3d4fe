"""OpenAI's Python client by its beta helpers, unmodified: it mints and talks as it did before GA."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from openai import AsyncOpenAI, OpenAI
from openai.resources.beta.realtime.realtime import AsyncRealtimeConnection
from websockets.exceptions import InvalidStatus

from local_cloud.realtime import Behaviour, Simulator
from local_cloud.realtime.voice import speech
from service_kit.profiles import CLIENT_EVENTS
from tests.end_to_end import sdk_events
from tests.end_to_end.clients import MODEL, SHOP_KEY, Talk, with_a_shop
from tests.end_to_end.sdk_events import add_text, speak
from tests.end_to_end.traces import Traces
from tests.relay.beta_types import assert_a_strict_beta_client_takes
from tests.relay.escapes import Fence, escapes
from tests.stack import Stack

until = partial(sdk_events.until, check=assert_a_strict_beta_client_takes)
pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

SETTINGS = with_a_shop("default", "dictation", "ga")
SENTENCE = speech("I heard four seconds of you.")
SILENCE = bytes(48 * 700)
WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
OPEN = {"audio.output.voice", "audio.input.turn_detection", "output_modalities"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_simulator() -> AsyncIterator[Simulator]:
    """One that does not speak faster than it could be interrupted."""
    async with Simulator(Behaviour(pace=8.0)) as simulator:
        yield simulator


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def nothing_of_the_beta_reaches_the_model(simulator: Simulator) -> AsyncIterator[None]:
    before = len(simulator.connections)
    yield
    for connection in list(simulator.connections)[before:]:
        await connection.wait_ended()
        assert "openai-beta" not in {name.lower() for name in connection.headers}
        assert "Sec-WebSocket-Protocol" not in connection.headers
        locked, *events = connection.received.events
        calls = [event["item"] for event in connection.sent.events if event["type"] == "response.output_item.done"]
        fence = Fence(
            session_type=locked["session"]["type"],
            open_fields=OPEN,
            client_events=CLIENT_EVENTS,
            max_output_tokens=4_096,
            calls={item.get("call_id") for item in calls},
        )
        assert [escapes(event, fence) for event in events] == [[]] * len(events)


@pytest_asyncio.fixture(loop_scope="module")
async def backend(stack: Stack) -> AsyncIterator[AsyncOpenAI]:
    """The client of a server that mints with its API key."""
    async with AsyncOpenAI(base_url=stack.mint_base_url, api_key=SHOP_KEY, max_retries=0) as backend:
        yield backend


def device(stack: Stack, token: str) -> AsyncOpenAI:
    """The client of somebody who was given the token; the beta helper wants TLS unless it is told the address."""
    base_url = stack.relay_base_urls[0]
    return AsyncOpenAI(
        base_url=base_url, websocket_base_url=base_url.replace("http", "ws"), api_key=token, max_retries=0
    )


@asynccontextmanager
async def talking(stack: Stack, token: str, **how: Any) -> AsyncIterator[AsyncRealtimeConnection]:
    async with device(stack, token) as openai, openai.beta.realtime.connect(model=MODEL, **how) as connection:
        yield connection


async def test_it_mints_and_talks_in_text(stack: Stack, backend: AsyncOpenAI) -> None:
    minted = await backend.beta.realtime.sessions.create(instructions="Speak like a pirate.", voice="verse")
    async with talking(stack, minted.client_secret.value) as connection:
        created = await until(connection, "session.created")
        assert (created.session.voice, created.session.instructions) == ("verse", None)
        assert (created.session.modalities, created.session.input_audio_format) == (["text", "audio"], "pcm16")
        await connection.session.update(session={"modalities": ["text"], "temperature": 0.7, "instructions": "Obey."})
        updated = await until(connection, "session.updated")
        assert (updated.session.modalities, updated.session.instructions) == (["text"], None)
        await add_text(connection, "Good day")
        await connection.response.create()
        seen: list[Any] = []
        done = await until(connection, "response.text.done", seen)
        assert done.text == 'You said: "Good day"'
        deltas = [event.delta for event in seen if event.type == "response.text.delta"]
        assert "".join(deltas) == done.text
        items = [event.item for event in seen if event.type == "conversation.item.created"]
        assert [item.role for item in items] == ["user", "assistant"]
        response = (await until(connection, "response.done")).response
        assert (response.status, response.modalities, response.output[0].content[0].type) == (
            "completed", ["text"], "text",
        )  # fmt: skip


async def test_it_talks_in_speech(stack: Stack, simulator: Simulator, backend: AsyncOpenAI) -> None:
    minted = await backend.beta.realtime.sessions.create()
    heard = bytearray()
    async with talking(stack, minted.client_secret.value) as connection:
        await speak(connection, SENTENCE + SILENCE)
        seen: list[Any] = []
        await until(connection, "response.done", seen)
    for event in seen:
        if event.type == "response.audio.delta":
            heard += base64.b64decode(event.delta)
    transcript = next(event.transcript for event in seen if event.type == "response.audio_transcript.done")
    assert transcript == "I heard two seconds of you."
    assert bytes(heard) == speech(transcript)
    assert {"input_audio_buffer.speech_started", "input_audio_buffer.committed"} <= {event.type for event in seen}
    await simulator.connections[-1].wait_ended()
    assert simulator.connections[-1].received_audio == SENTENCE + SILENCE


async def test_it_answers_a_call_of_a_function_that_the_token_locked(stack: Stack, backend: AsyncOpenAI) -> None:
    minted = await backend.beta.realtime.sessions.create(modalities=["text"], tools=[WEATHER])  # type: ignore[list-item] # a plain dict
    async with talking(stack, minted.client_secret.value) as connection:
        await add_text(connection, 'call get_weather {"city": "Oslo"}')
        await connection.response.create()
        done = await until(connection, "response.function_call_arguments.done")
        assert json.loads(done.arguments) == {"city": "Oslo"}
        response = (await until(connection, "response.done")).response
        assert (response.output[0].type, response.output[0].name) == ("function_call", "get_weather")
        await connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": done.call_id, "output": "sunny"}
        )
        await connection.response.create(response={"modalities": ["text"], "temperature": 0.9})
        assert (await until(connection, "response.text.done")).text == "The tool answered: sunny"


async def test_it_interrupts_by_speaking_and_cuts_what_it_did_not_play(stack: Stack, backend: AsyncOpenAI) -> None:
    minted = await backend.beta.realtime.sessions.create()
    async with talking(stack, minted.client_secret.value) as connection:
        await add_text(connection, "count to ninety")
        await connection.response.create()
        speaking = await until(connection, "response.audio.delta")
        await speak(connection, speech("one two three") + SILENCE)
        await until(connection, "input_audio_buffer.speech_started")
        response = (await until(connection, "response.done")).response
        assert (response.status, response.status_details.reason) == ("cancelled", "turn_detected")
        assert response.output[0].status == "incomplete"
        await connection.conversation.item.truncate(item_id=speaking.item_id, content_index=0, audio_end_ms=100)
        cut = await until(connection, "conversation.item.truncated")
        assert (cut.item_id, cut.audio_end_ms) == (speaking.item_id, 100)
        again = (await until(connection, "response.done")).response
        assert again.output[0].content[0].transcript.startswith("I heard")


async def test_the_client_that_waits_talks_too(stack: Stack) -> None:
    def talk() -> list[str]:
        base_url = stack.relay_base_urls[0]
        with OpenAI(base_url=stack.mint_base_url, api_key=SHOP_KEY, max_retries=0) as backend:
            token = backend.beta.realtime.sessions.create(modalities=["text"]).client_secret.value
        texts = []
        with (
            OpenAI(base_url=base_url, websocket_base_url=base_url.replace("http", "ws"), api_key=token) as openai,
            openai.beta.realtime.connect(model=MODEL) as connection,
        ):
            connection.conversation.item.create(
                item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Good day"}]}
            )
            connection.response.create()
            while (event := connection.recv()).type != "response.done":
                if event.type == "response.text.done":
                    texts.append(event.text)
        return texts

    async with asyncio.timeout(10):
        assert await asyncio.to_thread(talk) == ['You said: "Good day"']


async def test_it_writes_down_what_is_said(stack: Stack, backend: AsyncOpenAI, traces: Traces) -> None:
    minted = await backend.beta.realtime.transcription_sessions.create(
        extra_body={"airlock": {"profile": "dictation"}}, input_audio_transcription={"model": "whisper-1"}
    )
    async with talking(stack, minted.client_secret.value, extra_query={"intent": "transcription"}) as connection:
        created = await until(connection, "transcription_session.created")
        assert created.session["input_audio_transcription"] == {
            "model": "whisper-1"
        }  # the package has no type for this event
        await connection.transcription_session.update(
            session={"turn_detection": {"type": "server_vad", "silence_duration_ms": 300}}
        )
        updated = await until(connection, "transcription_session.updated")
        assert updated.session.turn_detection.silence_duration_ms == 300
        await speak(connection, SENTENCE + SILENCE)
        completed = await until(connection, "conversation.item.input_audio_transcription.completed")
        assert completed.transcript.endswith("seconds of speech)")
        assert completed.usage.type == "duration"
        await connection.response.create(event_id="mine")
        error = (await until_error(connection)).error
        assert (error.code, error.param, error.event_id) == ("event_not_allowed", "type", "mine")
    receipt = await traces.session_end(minted.airlock["token_id"])  # type: ignore[attr-defined] # ours, beside OpenAI's
    assert receipt["cost_usd"] == pytest.approx(completed.usage.seconds / 60 * 0.6, abs=1e-5)


async def until_error(connection: AsyncRealtimeConnection) -> Any:
    async with asyncio.timeout(5):
        while (event := await connection.recv()).type != "error":
            pass
    return event


# --- refusals ---


async def test_an_event_that_is_refused_is_named_as_it_was_written(stack: Stack, backend: AsyncOpenAI) -> None:
    minted = await backend.beta.realtime.sessions.create()
    async with talking(stack, minted.client_secret.value) as connection:
        await connection.session.update(session={"voice": 7}, event_id="mine")  # type: ignore[typeddict-item] # wrong
        error = (await until_error(connection)).error
        assert (error.code, error.param, error.event_id) == ("invalid_event", "session.voice", "mine")
        assert "request req_" in error.message


async def test_a_profile_may_want_no_beta_and_the_token_then_still_works(
    stack: Stack, backend: AsyncOpenAI, http: aiohttp.ClientSession, simulator: Simulator
) -> None:
    secret = await backend.realtime.client_secrets.create(extra_body={"airlock": {"profile": "ga"}})
    before = len(simulator.connections)
    with pytest.raises(InvalidStatus) as by_header:
        await device(stack, secret.value).beta.realtime.connect(model=MODEL).enter()
    assert by_header.value.response.status_code == 400
    assert json.loads(by_header.value.response.body)["error"]["code"] == "beta_api_shape_disabled"
    offered = ["realtime", f"openai-insecure-api-key.{secret.value}", "openai-beta.realtime-v1"]
    async with http.ws_connect(f"{stack.relay_base_urls[0]}/realtime", protocols=offered) as socket:
        code, events = await Talk(socket).until_closed()
    assert (code, [event["error"]["code"] for event in events]) == (4400, ["beta_api_shape_disabled"])
    assert len(simulator.connections) == before
    openai = AsyncOpenAI(base_url=stack.relay_base_urls[0], api_key=secret.value, max_retries=0)
    async with openai, openai.realtime.connect(model=MODEL) as connection:
        assert (await connection.recv()).type == "session.created"


async def test_a_used_token_is_refused_as_in_ga(stack: Stack, backend: AsyncOpenAI) -> None:
    token = (await backend.beta.realtime.sessions.create()).client_secret.value
    async with talking(stack, token) as connection:
        await until(connection, "session.created")
        with pytest.raises(InvalidStatus) as caught:
            await device(stack, token).beta.realtime.connect(model=MODEL).enter()
    assert caught.value.response.status_code == 401
    assert json.loads(caught.value.response.body)["error"]["code"] == "token_used"


async def test_a_page_of_before_ga_talks_by_subprotocol(stack: Stack, http: aiohttp.ClientSession) -> None:
    """As the browser's helper and the beta's own JavaScript client connect: raw, since they are not Python."""
    async with http.post(
        f"{stack.mint_base_url}/realtime/sessions", json={"voice": "cedar"}, headers={"Origin": stack.page_url}
    ) as answer:
        token = (await answer.json())["client_secret"]["value"]
    offered = ["realtime", f"openai-insecure-api-key.{token}", "openai-beta.realtime-v1"]
    async with http.ws_connect(
        f"{stack.relay_base_urls[0]}/realtime?model={MODEL}", protocols=offered, origin=stack.page_url
    ) as socket:
        talk = Talk(socket)
        # Sent before session.created arrives, as that client does, with all that it sends.
        await talk.send(
            {
                "event_id": "evt_1",
                "type": "session.update",
                "session": {
                    "modalities": ["text"],
                    "instructions": "",
                    "voice": "verse",
                    "input_audio_format": "pcm16",
                    "output_audio_format": "pcm16",
                    "input_audio_transcription": None,
                    "turn_detection": None,
                    "tools": [],
                    "tool_choice": "auto",
                    "temperature": 0.8,
                    "max_response_output_tokens": 4096,
                },
            },
            {
                "type": "conversation.item.create",
                "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            },
            {"type": "response.create"},
        )
        await talk.until("response.done")
    assert talk.socket.protocol == "realtime"
    for event in talk.seen:
        assert_a_strict_beta_client_takes(event)
    told = [event["type"] for event in talk.seen]
    assert told[:2] == ["session.created", "session.updated"]
    assert (talk.seen[1]["session"]["voice"], talk.seen[1]["session"]["turn_detection"]) == ("verse", None)
    announced = {event["item"]["id"] for event in talk.seen if event["type"] == "conversation.item.created"}
    for event in talk.seen:
        if event["type"] == "response.text.delta":
            assert event["item_id"] in announced
