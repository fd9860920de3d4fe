"""A session that only writes down what is said, by OpenAI's Python client: from the mint to the receipt."""

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
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.exceptions import InvalidStatus

from local_cloud.realtime import Simulator
from local_cloud.realtime.voice import speech
from tests.end_to_end import sdk_events
from tests.end_to_end.clients import SHOP_KEY, mint, with_a_shop
from tests.end_to_end.sdk_events import speak
from tests.end_to_end.traces import Traces
from tests.local_cloud.realtime.strict import check
from tests.stack import Stack

ON_BOTH_LIBRARIES = True
until = partial(sdk_events.until, check=check)
pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

SETTINGS = with_a_shop("default", "dictation")
SAID = speech("one two three") + bytes(48 * 700)
WRITTEN = "conversation.item.input_audio_transcription"


@pytest_asyncio.fixture(loop_scope="module")
async def backend(stack: Stack) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=stack.mint_base_url, api_key=SHOP_KEY, max_retries=0) as backend:
        yield backend


@asynccontextmanager
async def listening(stack: Stack, token: str) -> AsyncIterator[AsyncRealtimeConnection]:
    async with (
        AsyncOpenAI(base_url=stack.relay_base_urls[0], api_key=token, max_retries=0) as openai,
        openai.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        yield connection


async def test_what_is_said_is_written_down_and_accounted_for(
    stack: Stack, simulator: Simulator, backend: AsyncOpenAI, traces: Traces
) -> None:
    minted = await backend.realtime.client_secrets.create(
        session={"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    )
    assert minted.session.type == "transcription"
    token_id = minted.airlock["token_id"]  # type: ignore[attr-defined] # ours, beside OpenAI's
    async with listening(stack, minted.value) as connection:
        created = await until(connection, "session.created")
        assert created.session.type == "transcription"
        await connection.session.update(
            session={
                "type": "transcription",
                "audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 300}}},
            }
        )
        updated = await until(connection, "session.updated")
        assert updated.session.audio.input.turn_detection.silence_duration_ms == 300
        await speak(connection, SAID)
        seen: list[Any] = []
        completed = await until(connection, f"{WRITTEN}.completed", seen)
    assert "".join(event.delta for event in seen if event.type == f"{WRITTEN}.delta") == completed.transcript
    assert completed.usage.type == "duration"
    assert not [event.type for event in seen if event.type.startswith("response.")]
    receipt = await traces.session_end(token_id)
    assert (receipt["profile"], receipt["model"], receipt["ending"]) == (
        "dictation",
        "gpt-live-transcribe",
        "browser_closed",
    )
    assert receipt["audio_in_seconds"] == pytest.approx(len(SAID) / 48_000, abs=0.001)
    assert receipt["cost_usd"] == pytest.approx(completed.usage.seconds / 60 * 0.6, abs=1e-5)
    assert receipt["cost_excludes_transcription"] is False
    upstream = simulator.connections[-1]
    assert await upstream.wait_ended() == 1000
    assert upstream.query == {"intent": "transcription"}
    assert {event["session"]["type"] for event in upstream.received.of_type("session.update")} == {"transcription"}


async def test_a_page_commits_by_itself_where_nothing_listens_for_the_end_of_speech(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    minted = await mint(http, stack, session={"type": "transcription", "audio": {"input": {"turn_detection": None}}})
    assert minted.body["airlock"]["profile"] == "dictation"
    offered = ["realtime", f"openai-insecure-api-key.{minted.token}"]
    url = f"{stack.relay_base_urls[0]}/realtime?intent=transcription"
    async with http.ws_connect(url, protocols=offered, origin=stack.page_url) as socket:
        for event in (
            {"type": "input_audio_buffer.append", "audio": base64.b64encode(SAID).decode()[:40_000]},
            {"type": "input_audio_buffer.commit"},
        ):
            await socket.send_json(event)
        async with asyncio.timeout(5):
            while (event := await socket.receive_json())["type"] != f"{WRITTEN}.completed":
                assert event["type"] != "error", event


@pytest.mark.parametrize("event", ["response.create", "response.cancel"])
async def test_nothing_is_generated(stack: Stack, simulator: Simulator, backend: AsyncOpenAI, event: str) -> None:
    minted = await backend.realtime.client_secrets.create(session={"type": "transcription"})
    async with listening(stack, minted.value) as connection:
        await until(connection, "session.created")
        await connection.send({"type": event, "event_id": "mine"})  # type: ignore[arg-type] # one of two
        async with asyncio.timeout(5):
            refused: Any = await connection.recv()
        assert (refused.type, refused.error.code, refused.error.event_id) == ("error", "event_not_allowed", "mine")
        await speak(connection, SAID)
        await until(connection, f"{WRITTEN}.completed")
    upstream = simulator.connections[-1]
    await upstream.wait_ended()
    assert not upstream.received.of_type(event)


async def test_a_transcription_s_token_opens_no_conversation_and_the_other_way_round(
    stack: Stack, backend: AsyncOpenAI, simulator: Simulator
) -> None:
    transcription = await backend.realtime.client_secrets.create(session={"type": "transcription"})
    conversation = await backend.realtime.client_secrets.create()
    before = len(simulator.connections)
    for token, how in (
        (transcription.value, {"model": "gpt-realtime-2.1"}),
        (transcription.value, {"model": "gpt-live-transcribe"}),
        (conversation.value, {"extra_query": {"intent": "transcription"}}),
    ):
        openai = AsyncOpenAI(base_url=stack.relay_base_urls[0], api_key=token, max_retries=0)
        with pytest.raises(InvalidStatus) as caught:
            await openai.realtime.connect(**how).enter()
        assert caught.value.response.status_code == 403
        assert json.loads(caught.value.response.body)["error"]["code"] == "model_mismatch"
    assert len(simulator.connections) == before
    async with listening(stack, transcription.value) as connection:  # nothing was spent
        await until(connection, "session.created")
