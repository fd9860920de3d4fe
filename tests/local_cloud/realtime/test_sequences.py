"""The orders of events in protocol reference §9; the client checks each event's shape as it comes."""

import asyncio
import base64
import json

import pytest

from local_cloud.realtime import Behaviour, CallFunction, Say, Simulator
from local_cloud.realtime.voice import speech
from tests.local_cloud.realtime.client import Client, connect

SILENCE = bytes(48 * 700)
AUDIO_ANSWER = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
    "rate_limits.updated",
]
TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]
TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}


async def test_a_spoken_turn_is_answered_in_speech(client: Client) -> None:
    await client.append(speech("I heard four seconds of you.") + SILENCE)
    assert await client.types_until("rate_limits.updated") == TURN + AUDIO_ANSWER
    started, stopped = (client.of_type(f"input_audio_buffer.speech_{change}")[0] for change in ("started", "stopped"))
    committed = client.of_type("input_audio_buffer.committed")[0]
    question, answer = (event["item"] for event in client.of_type("conversation.item.done"))
    assert started["item_id"] == stopped["item_id"] == committed["item_id"] == question["id"]
    assert committed["previous_item_id"] is None
    assert question["content"] == [{"type": "input_audio", "transcript": None}]
    added = client.of_type("conversation.item.added")[1]
    assert added["previous_item_id"] == question["id"]
    assert (added["item"]["status"], added["item"]["content"]) == ("in_progress", [])
    assert answer["content"] == [{"type": "output_audio", "transcript": "I heard two seconds of you."}]


async def test_what_is_spoken_is_what_is_written(client: Client) -> None:
    await client.type_text("one two three four five")
    response = await client.respond()
    transcript = response["output"][0]["content"][0]["transcript"]
    assert transcript == "I read your five words."
    assert client.audio() == speech("I read your five words.")
    deltas = [event["delta"] for event in client.of_type("response.output_audio_transcript.delta")]
    assert "".join(deltas) == transcript


async def test_a_text_turn_is_answered_in_text(client: Client) -> None:
    await client.update(output_modalities=["text"])
    item = await client.type_text("Good day")
    assert item["content"] == [{"type": "input_text", "text": "Good day"}]
    await client.send("response.create")
    assert await client.types_until("rate_limits.updated") == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "rate_limits.updated",
    ]
    assert client.of_type("response.output_text.done")[0]["text"] == 'You said: "Good day"'


async def test_a_function_is_called_and_its_output_mentioned(client: Client) -> None:
    await client.update(tools=[TOOL], output_modalities=["text"])
    await client.type_text('Please call get_weather {"city": "Oslo"} now')
    await client.send("response.create")
    assert await client.types_until("rate_limits.updated") == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "rate_limits.updated",
    ]
    call = client.of_type("response.output_item.done")[0]["item"]
    assert (call["name"], call["status"], json.loads(call["arguments"])) == (
        "get_weather",
        "completed",
        {"city": "Oslo"},
    )
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain, 7 degrees"}
    await client.ask("conversation.item.create", "conversation.item.done", item=output)
    response = await client.respond()
    assert response["output"][0]["content"][0]["text"] == "The tool answered: rain, 7 degrees"
    spoken = await client.respond(output_modalities=["audio"], input=[{**output}])
    assert spoken["output"][0]["content"][0]["transcript"] == "The tool answered seven"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "get_weather"}])
async def test_a_forced_function_is_called_with_arguments_that_fit_its_schema(client: Client, choice: object) -> None:
    await client.update(tools=[TOOL], tool_choice=choice)
    await client.append(speech("I heard two seconds of you.") + SILENCE)
    response = (await client.until("response.done"))["response"]
    assert json.loads(response["output"][0]["arguments"]) == {"city": "example", "days": 1}


async def test_no_function_is_called_when_none_may_be(client: Client) -> None:
    await client.update(tools=[TOOL], tool_choice="none")
    await client.type_text("call get_weather")
    assert (await client.respond())["output"][0]["type"] == "message"


async def test_an_output_for_an_unknown_call_is_refused(client: Client) -> None:
    output = {"type": "function_call_output", "call_id": "call_0", "output": ""}
    assert (await client.refused("conversation.item.create", item=output))["code"] == "invalid_tool_call_id"


async def test_a_script_decides_what_is_said_and_called(simulator: Simulator, client: Client) -> None:
    simulator.answers.append([Say("One, two, three."), CallFunction("look_up", '{"a": 1}')])
    message, call = (await client.respond())["output"]
    assert message["content"][0]["transcript"] == "one two three"
    assert (call["name"], call["arguments"]) == ("look_up", '{"a": 1}')
    assert [event["output_index"] for event in client.of_type("response.output_item.done")] == [0, 1]


async def test_a_script_the_voice_cannot_say_fails_the_response(simulator: Simulator, client: Client) -> None:
    simulator.answers.append([Say("Supercalifragilistic")])
    response = await client.respond()
    assert (response["status"], response["status_details"]["error"]["code"]) == ("failed", "cannot_say")


async def test_transcription_follows_the_commit_and_is_kept_in_the_item(client: Client) -> None:
    await client.update(audio={"input": {"transcription": {"model": "gpt-transcribe"}}})
    await client.append(bytes(48 * 2000) + speech("I heard four seconds of you.") + SILENCE)
    completed = await client.until("conversation.item.input_audio_transcription.completed")
    deltas = client.of_type("conversation.item.input_audio_transcription.delta")
    assert "".join(event["delta"] for event in deltas) == completed["transcript"] == "(1.9 seconds of speech)"
    assert completed["usage"]["input_tokens"] > 0
    item_id = completed["item_id"]
    retrieved = await client.ask("conversation.item.retrieve", "conversation.item.retrieved", item_id=item_id)
    part = retrieved["item"]["content"][0]
    assert part["transcript"] == completed["transcript"]
    # The speech, 300 ms of padding before it and 500 ms of silence after it; not the rest of the silence.
    assert len(base64.b64decode(part["audio"])) / 48 == pytest.approx(1900 + 300 + 500, abs=150)


@pytest.mark.parametrize("detection", [{"type": "server_vad"}, None])
async def test_a_transcription_session_never_responds(simulator: Simulator, detection: object) -> None:
    async with connect(simulator, "intent=transcription") as client:
        created = await client.until("session.created")
        assert created["session"]["object"] == "realtime.transcription_session"
        audio_input = {"transcription": {"model": "whisper-1"}, "turn_detection": detection}
        await client.ask(
            "session.update", "session.updated", session={"type": "transcription", "audio": {"input": audio_input}}
        )
        await client.append(speech("I heard four seconds of you.") + SILENCE)
        if detection is None:
            await client.send("input_audio_buffer.commit")
        types = await client.types_until("conversation.item.input_audio_transcription.completed")
        assert types == (TURN if detection else TURN[2:]) + [
            "conversation.item.input_audio_transcription.delta",
            "conversation.item.input_audio_transcription.completed",
        ]
        assert client.events[-1]["usage"]["type"] == "duration"
        assert (await client.refused("response.create"))["code"] == "invalid_event"
        assert (await client.refused("session.update", session={"type": "realtime"}))["param"] == "session.type"


async def test_without_turn_detection_the_client_commits_and_asks(client: Client) -> None:
    await client.update(audio={"input": {"turn_detection": None}})
    await client.append(speech("I heard four seconds of you.") + SILENCE)
    await client.send("input_audio_buffer.commit")
    assert await client.types_until("conversation.item.done") == TURN[2:]
    await client.send("response.create")
    assert await client.types_until("rate_limits.updated") == AUDIO_ANSWER


async def test_a_turn_that_wants_no_response_gets_none(client: Client) -> None:
    await client.update(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
    await client.append(speech("one two three") + SILENCE)
    assert await client.types_until("conversation.item.done") == TURN
    await client.send("input_audio_buffer.clear")
    assert (await client.receive())["type"] == "input_audio_buffer.cleared"


async def test_clearing_forgets_what_was_said(client: Client) -> None:
    await client.append(speech("one two three"))
    await client.until("input_audio_buffer.speech_started")
    await client.ask("input_audio_buffer.clear", "input_audio_buffer.cleared")
    await client.append(SILENCE)
    await client.send("response.create")
    assert (await client.receive())["type"] == "response.created"


async def test_an_empty_commit_is_refused(client: Client) -> None:
    error = await client.refused("input_audio_buffer.commit", event_id="mine")
    assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "mine")


async def test_long_silence_after_an_answer_makes_the_model_ask(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    detection = {"type": "server_vad", "idle_timeout_ms": 5000}
    await client.update(audio={"input": {"turn_detection": detection}, "output": {"format": {"type": "audio/pcmu"}}})
    # The shortest timeout is 5 s beyond the end of the answer, too long for a test: hurry that one timer.
    loop = asyncio.get_running_loop()
    in_time = loop.call_later
    monkeypatch.setattr(loop, "call_later", lambda s, *args: in_time(s / 100 if 5 < s < 12 else s, *args))
    await client.respond()
    assert (await client.types_until("response.created")) == [
        "rate_limits.updated",
        "input_audio_buffer.timeout_triggered",
        *TURN[2:],
        "response.created",
    ]
    transcript = (await client.until("response.output_audio_transcript.done"))["transcript"]
    assert transcript == "Are you still there?"


async def test_items_are_placed_retrieved_and_deleted(client: Client) -> None:
    second = await client.type_text("second")
    first = await client.type_text("first", previous_item_id="root")
    assert client.events[-1]["previous_item_id"] is None
    await client.type_text("between", previous_item_id=first["id"])
    assert client.events[-1]["previous_item_id"] == first["id"]
    deleted = await client.ask("conversation.item.delete", "conversation.item.deleted", item_id=second["id"])
    assert deleted["item_id"] == second["id"]
    assert (await client.refused("conversation.item.retrieve", item_id=second["id"]))["param"] == "item_id"
    message = {"type": "message", "role": "user", "content": []}
    error = await client.refused("conversation.item.create", item=message, previous_item_id="item_0")
    assert error["param"] == "previous_item_id"
    error = await client.refused("conversation.item.create", item={**message, "id": first["id"]})
    assert error["param"] == "item.id"


async def test_out_of_band_responses_leave_the_conversation_alone(client: Client) -> None:
    given = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one two"}]}]
    response = await client.respond(conversation="none", metadata={"topic": "side"}, input=given)
    assert (response["conversation_id"], response["metadata"]) == (None, {"topic": "side"})
    assert response["output"][0]["content"][0]["transcript"] == "I read your two words."
    assert not client.of_type("conversation.item.added")
    item_id = response["output"][0]["id"]
    await client.until("rate_limits.updated")
    assert (await client.refused("conversation.item.retrieve", item_id=item_id))["code"] == "item_not_found"


async def test_a_response_stops_at_its_token_limit(client: Client) -> None:
    await client.type_text("count to twenty")
    response = await client.respond(max_output_tokens=20)
    assert (response["status"], response["status_details"]["reason"]) == ("incomplete", "max_output_tokens")
    assert response["output"][0]["status"] == "incomplete"
    assert response["output"][0]["content"][0]["transcript"].startswith("one")
    assert 20 <= response["usage"]["output_tokens"] <= 25


async def test_usage_grows_with_the_conversation_and_the_old_part_is_cached(client: Client) -> None:
    await client.append(speech("I heard four seconds of you.") + SILENCE)
    first = (await client.until("response.done"))["response"]["usage"]
    await client.append(speech("one two three") + SILENCE)
    second = (await client.until("response.done"))["response"]["usage"]
    assert first["input_token_details"]["cached_tokens"] == 0
    assert second["input_token_details"]["cached_tokens"] == first["input_tokens"]
    assert second["input_token_details"]["cached_tokens_details"] == {
        key: first["input_token_details"][key] for key in ("text_tokens", "audio_tokens", "image_tokens")
    }
    assert second["input_tokens"] > first["input_tokens"] + first["output_token_details"]["audio_tokens"]
    played_ms = len(speech("I heard two seconds of you.")) // 48
    assert first["output_token_details"]["audio_tokens"] == -(-played_ms // 50)
    for usage in (first, second):
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


async def test_what_openai_leaves_open_comes_in_any_order_yet_stays_acceptable() -> None:
    async with Simulator(Behaviour(pace=None, vary_order=True)) as simulator, connect(simulator) as client:
        await client.until("session.created")
        seen = set()
        for _ in range(40):
            await client.send("response.create")
            seen.add(tuple(await client.types_until("rate_limits.updated")))
    assert len(seen) > 1
    assert {tuple(sorted(types)) for types in seen} == {tuple(sorted(AUDIO_ANSWER))}
