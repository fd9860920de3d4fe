"""The `openai` package's own client, unmodified, holds whole conversations with the simulator."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from local_cloud.realtime import Behaviour, Simulator, faults
from local_cloud.realtime.voice import speech

MODEL = "gpt-realtime-2.1"
SENTENCE = speech("I heard four seconds of you.")
SILENCE = bytes(48 * 700)


@pytest.fixture
async def openai(simulator: Simulator) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=simulator.base_url, api_key="sk-test") as openai:
        yield openai


async def until(connection: AsyncRealtimeConnection, event_type: str) -> Any:
    async with asyncio.timeout(5):
        async for event in connection:
            assert event.type != "error", event
            if event.type == event_type:
                return event
    raise AssertionError(f"the connection ended before {event_type}")


async def speak(connection: AsyncRealtimeConnection, audio: bytes) -> None:
    for at in range(0, len(audio), 4800):
        await connection.input_audio_buffer.append(audio=base64.b64encode(audio[at : at + 4800]).decode())


async def add_text(connection: AsyncRealtimeConnection, text: str) -> None:
    await connection.conversation.item.create(
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    )


async def test_it_talks_in_text(openai: AsyncOpenAI) -> None:
    async with openai.realtime.connect(model=MODEL) as connection:
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await add_text(connection, "Good day")
        await connection.response.create()
        assert (await until(connection, "response.output_text.done")).text == 'You said: "Good day"'
        usage = (await until(connection, "response.done")).response.usage
    assert usage.input_token_details.text_tokens > 0
    assert usage.output_token_details.audio_tokens == 0


async def test_it_talks_in_speech(simulator: Simulator, openai: AsyncOpenAI) -> None:
    async with openai.realtime.connect(model=MODEL) as connection:
        await speak(connection, SENTENCE + SILENCE)
        heard = bytearray()
        async for event in connection:
            if event.type == "response.output_audio.delta":
                heard += base64.b64decode(event.delta)
            elif event.type == "response.output_audio_transcript.done":
                assert event.transcript == "I heard two seconds of you."
            elif event.type == "response.done":
                break
    assert bytes(heard) == speech("I heard two seconds of you.")
    recorded = await simulator.connection()
    assert await recorded.wait_ended() == 1000
    assert recorded.received_audio == SENTENCE + SILENCE
    assert recorded.headers["authorization"] == "Bearer sk-test"


async def test_it_calls_a_function(openai: AsyncOpenAI) -> None:
    async with openai.realtime.connect(model=MODEL) as connection:
        parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
        await connection.session.update(
            session={
                "type": "realtime",
                "tools": [{"type": "function", "name": "get_weather", "parameters": parameters}],
            }
        )
        await add_text(connection, 'call get_weather {"city": "Oslo"}')
        await connection.response.create()
        done = await until(connection, "response.function_call_arguments.done")
        assert (done.name, json.loads(done.arguments)) == ("get_weather", {"city": "Oslo"})
        await until(connection, "response.done")
        await connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": done.call_id, "output": '{"celsius": 21}'}
        )
        await connection.response.create()
        transcript = (await until(connection, "response.output_audio_transcript.done")).transcript
    assert transcript == "The tool answered twenty one"


async def test_it_interrupts() -> None:
    async with (
        Simulator(Behaviour(pace=1.0)) as simulator,
        AsyncOpenAI(base_url=simulator.base_url, api_key="sk-test") as openai,
        openai.realtime.connect(model=MODEL) as connection,
    ):
        await add_text(connection, "count to ninety")
        await connection.response.create()
        await until(connection, "response.output_audio.delta")
        await speak(connection, SENTENCE + SILENCE)
        await until(connection, "input_audio_buffer.speech_started")
        response = (await until(connection, "response.done")).response
        assert (response.status, response.status_details.reason) == ("cancelled", "turn_detected")
        await connection.conversation.item.truncate(item_id=response.output[0].id, content_index=0, audio_end_ms=10)
        assert (await until(connection, "conversation.item.truncated")).audio_end_ms == 10
        answer = (await until(connection, "response.done")).response
    assert answer.output[0].content[0].transcript == "I heard two seconds of you."


async def test_it_meets_a_wrong_key() -> None:
    async with (
        Simulator(Behaviour(api_key="sk-right")) as simulator,
        AsyncOpenAI(base_url=simulator.base_url, api_key="sk-wrong") as openai,
        openai.realtime.connect(model=MODEL) as connection,
    ):
        event = await connection.recv()
        assert event.type == "error"
        assert event.error.code == "invalid_api_key"
        with pytest.raises(ConnectionClosedError) as closed:
            await connection.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (3000, "invalid_request_error.invalid_api_key")


async def test_it_meets_a_refusal(simulator: Simulator, openai: AsyncOpenAI) -> None:
    simulator.faults.add(faults.HttpStatus(status=429, code="rate_limit_exceeded", retry_after=2))
    with pytest.raises(InvalidStatus) as refused:
        await openai.realtime.connect(model=MODEL).enter()
    assert refused.value.response.status_code == 429
    assert refused.value.response.headers["Retry-After"] == "2"


async def test_it_lists_models(openai: AsyncOpenAI) -> None:
    assert MODEL in [model.id async for model in openai.models.list()]
    assert (await openai.models.retrieve(MODEL)).id == MODEL
