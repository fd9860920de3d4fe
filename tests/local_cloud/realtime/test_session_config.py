import copy
from typing import Any

import pytest

from local_cloud.realtime.events import Refused
from local_cloud.realtime.session_config import for_response, new_session, new_transcription_session, updated
from tests.local_cloud.realtime.client import Client

Json = dict[str, Any]
SESSION = new_session("sess_1", "gpt-realtime", 0)


def update(session: Json = SESSION, *, voice_is_fixed: bool = False, **fields: object) -> Json:
    return updated(session, {"type": "realtime", **fields}, voice_is_fixed=voice_is_fixed)


def test_an_update_changes_only_what_it_holds() -> None:
    before = copy.deepcopy(SESSION)
    after = update(instructions="Be kind.", audio={"output": {"voice": "cedar"}})
    assert after["audio"]["output"] == {**SESSION["audio"]["output"], "voice": "cedar"}
    assert after == {**before, "instructions": "Be kind.", "audio": after["audio"]}
    assert before == SESSION, "the argument was changed"


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        (
            {"type": "semantic_vad"},
            {"type": "semantic_vad", "eagerness": "auto", "create_response": True, "interrupt_response": True},
        ),
        (
            {"type": "server_vad", "threshold": 0.7},
            {
                "type": "server_vad",
                "threshold": 0.7,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 500,
                "create_response": True,
                "interrupt_response": True,
                "idle_timeout_ms": None,
            },
        ),
        (None, None),
    ],
)
def test_turn_detection_is_filled_with_defaults(given: object, filled: object) -> None:
    assert update(audio={"input": {"turn_detection": given}})["audio"]["input"]["turn_detection"] == filled


def test_noise_reduction_keeps_its_strength() -> None:
    reduced = update(audio={"input": {"noise_reduction": {"type": "near_field"}}})
    assert reduced["audio"]["input"]["noise_reduction"] == {"type": "near_field", "strength": 1.0}
    weaker = update(reduced, audio={"input": {"noise_reduction": {"type": "near_field", "strength": 0.5}}})
    farther = update(weaker, audio={"input": {"noise_reduction": {"type": "far_field"}}})
    assert farther["audio"]["input"]["noise_reduction"] == {"type": "far_field", "strength": 0.5}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"voice": "alloy"}, "unknown_parameter", "session.voice"),
        ({"audio": {"input": {"gain": 2}}}, "unknown_parameter", "session.audio.input.gain"),
        ({"tools": [{"type": "function", "name": "a", "meta": 1}]}, "unknown_parameter", "session.tools[0].meta"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
        ({"output_modalities": ["audio", "text"]}, "invalid_value", "session.output_modalities"),
        ({"max_output_tokens": 5000}, "invalid_value", "session.max_output_tokens"),
        ({"model": "gpt-other"}, "invalid_value", "session.model"),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}}},
            "invalid_value",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 4999}}}},
            "invalid_value",
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
        (
            {"audio": {"output": {"format": {"type": "audio/mp3"}}}},
            "invalid_value",
            "session.audio.output.format.type",
        ),
    ],
)
def test_a_wrong_update_is_refused_by_name(fields: Json, code: str, param: str) -> None:
    with pytest.raises(Refused) as refused:
        update(**fields)
    assert (refused.value.error["code"], refused.value.error["param"]) == (code, param)


def test_a_beta_update_lacks_the_type() -> None:
    with pytest.raises(Refused) as refused:
        updated(SESSION, {"modalities": ["text"]}, voice_is_fixed=False)
    assert (refused.value.error["code"], refused.value.error["param"]) == (
        "missing_required_parameter",
        "session.type",
    )


def test_a_transcription_session_takes_only_its_own_fields() -> None:
    session = new_transcription_session("sess_1", 0)
    audio = {"input": {"transcription": {"model": "gpt-transcribe"}, "turn_detection": None}}
    after = updated(session, {"type": "transcription", "audio": audio}, voice_is_fixed=False)
    assert after["audio"]["input"]["transcription"] == {"model": "gpt-transcribe"}
    with pytest.raises(Refused, match=r"session\.instructions"):
        updated(session, {"type": "transcription", "instructions": "x"}, voice_is_fixed=False)


def test_a_voice_that_was_heard_is_fixed() -> None:
    with pytest.raises(Refused) as refused:
        update(voice_is_fixed=True, audio={"output": {"voice": "cedar"}})
    assert refused.value.error["code"] == "cannot_update_voice"
    assert update(voice_is_fixed=True, audio={"output": {"voice": "marin"}}) == SESSION


def test_a_response_overrides_the_session_once() -> None:
    seen = for_response(SESSION, {"instructions": "Sing.", "output_modalities": ["text"]})
    assert (seen["instructions"], seen["output_modalities"], seen["tools"]) == ("Sing.", ["text"], [])
    assert SESSION["output_modalities"] == ["audio"]
    with pytest.raises(Refused, match=r"response\.metadata"):
        for_response(SESSION, {"metadata": {"a": 1}})


async def test_the_voice_becomes_fixed_with_the_first_audio(client: Client) -> None:
    await client.update(audio={"output": {"voice": "cedar"}})
    await client.respond()
    await client.until("rate_limits.updated")
    session = {"type": "realtime", "audio": {"output": {"voice": "marin"}}}
    assert (await client.refused("session.update", session=session))["code"] == "cannot_update_voice"


@pytest.mark.parametrize(
    ("text", "code", "param", "event_id"),
    [
        ("{", "invalid_json", None, None),
        ("[]", "invalid_value", None, None),
        ('{"type": "session.update", "session": ' + '{"a": ' * 5000, "invalid_json", None, None),
        ('{"event_id": "e1"}', "invalid_event", "type", "e1"),
        ('{"type": "nothing.known", "event_id": "e1"}', "invalid_event", "type", "e1"),
        ('{"type": "response.cancel", "extra": 1, "event_id": "e1"}', "unknown_parameter", "extra", "e1"),
        ('{"type": "session.update", "event_id": "e1"}', "missing_required_parameter", "session", "e1"),
        ('{"type": "input_audio_buffer.append", "audio": "?"}', "invalid_value", "audio", None),
        ('{"type": "input_audio_buffer.append", "audio": 1}', "invalid_value", "audio", None),
        ('{"type": "output_audio_buffer.clear"}', "invalid_event", "type", None),
        (
            '{"type": "conversation.item.create", "item": {"type": "message", "role": "system", "content": '
            '[{"type": "input_audio"}]}}',
            "invalid_value",
            "item.content[0].type",
            None,
        ),
        ('{"type": "conversation.item.create", "item": {"type": "poem"}}', "invalid_value", "item.type", None),
    ],
)
async def test_a_wrong_event_is_refused_and_the_session_goes_on(
    client: Client, text: str, code: str, param: str | None, event_id: str | None
) -> None:
    await client.socket.send_str(text)
    error = (await client.receive())["error"]
    assert (error["code"], error["param"], error["event_id"]) == (code, param, event_id)
    await client.ask("input_audio_buffer.clear", "input_audio_buffer.cleared")


async def test_a_binary_frame_is_refused_and_the_session_goes_on(client: Client) -> None:
    await client.socket.send_bytes(b'{"type": "input_audio_buffer.clear"}')
    assert (await client.receive())["error"]["code"] == "invalid_event"
    await client.ask("input_audio_buffer.clear", "input_audio_buffer.cleared")
