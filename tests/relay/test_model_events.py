"""What a browser sees of the model's events: nothing hidden, no text of the service's errors, all else untouched."""

import copy
from typing import Any

import pytest

from relay.model_events import show_error, show_session, show_to_browser
from tests.relay.building import HIDDEN, SECRET, make_lock

LOCK = make_lock()
KEY = "sk-proj-abcdef"
ORGANISATION = "org-12345"
UPSTREAM_ERROR = {
    "type": "invalid_request_error",
    "code": "invalid_value",
    "message": f"Incorrect API key provided: {KEY}, organization {ORGANISATION}.",
    "param": "session.audio.output.voice",
    "event_id": "mine",
    "debug": KEY,
}
SESSION = {
    "type": "realtime",
    "object": "realtime.session",
    "id": "sess_1",
    "model": "gpt-realtime-2.1",
    "instructions": SECRET,
    "tools": [{"type": "function", "name": SECRET}],
    "tool_choice": {"type": "function", "name": SECRET},
    "prompt": {"id": SECRET},
    "tracing": {"workflow_name": SECRET},
    "audio": {
        "input": {"format": {"type": "audio/pcm", "rate": 24_000}, "transcription": {"model": "m", "prompt": SECRET}},
        "output": {"voice": "marin", "speed": 1.0},
    },
    "metadata": {"instructions": "the client's own"},
}
SERVER_EVENTS = [
    "session.updated", "conversation.created", "conversation.item.added", "conversation.item.done",
    "conversation.item.created", "conversation.item.retrieved", "conversation.item.truncated",
    "conversation.item.deleted", "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed", "conversation.item.input_audio_transcription.segment",
    "input_audio_buffer.committed", "input_audio_buffer.cleared", "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped", "input_audio_buffer.timeout_triggered",
    "input_audio_buffer.dtmf_event_received", "output_audio_buffer.started", "output_audio_buffer.stopped",
    "output_audio_buffer.cleared", "response.created", "response.done", "response.output_item.added",
    "response.output_item.done", "response.content_part.added", "response.content_part.done",
    "response.output_text.delta", "response.output_text.done", "response.output_audio.delta",
    "response.output_audio.done", "response.output_audio_transcript.delta", "response.output_audio_transcript.done",
    "response.function_call_arguments.delta", "response.function_call_arguments.done",
    "response.mcp_call_arguments.delta", "response.mcp_call_arguments.done", "response.mcp_call.in_progress",
    "response.mcp_call.completed", "response.mcp_call.failed", "mcp_list_tools.in_progress",
    "mcp_list_tools.completed", "mcp_list_tools.failed", "transcription_session.updated", "session.anything",
    "brand.new.event", "",
]  # fmt: skip


def shown(event: dict[str, Any], **lock: Any) -> dict[str, Any]:
    before = copy.deepcopy(event)
    result = show_to_browser(event, make_lock(**lock) if lock else LOCK)
    assert event == before, "showing must not change the event"
    assert result is not None
    return result


def places_of(config: object) -> list[dict[str, Any]]:
    """Every depth at which an event might bear a session's configuration."""
    assert isinstance(config, dict)
    return [
        dict(config),
        {"session": config},
        {"response": config},
        {"response": {"session": config, "output": [{"item": config}]}},
        {"item": {"content": [config, [config, [config]]]}},
        {"session": {}, "previous": {"session": config}},
        {"a": {"b": {"c": {"d": [{"e": config}]}}}},
    ]


@pytest.mark.parametrize("event_type", SERVER_EVENTS)
def test_hidden_fields_are_shown_in_no_event_at_any_depth(event_type: str) -> None:
    for place in places_of(SESSION):
        event = {**place, "type": event_type, "event_id": "event_1"}
        text = repr(shown(event))
        assert SECRET not in text
        for name in HIDDEN - {"prompt"}:
            assert repr(name) not in text.replace("{'instructions': \"the client's own\"}", "")


@pytest.mark.parametrize("event_type", SERVER_EVENTS)
def test_everything_else_of_an_event_is_untouched(event_type: str) -> None:
    event = {
        "type": event_type,
        "event_id": "event_1",
        "item": {"id": "item_1", "content": [{"type": "output_text", "text": "tools and instructions", "audio": None}]},
        "response": {"id": "resp_1", "usage": {"total_tokens": 1}, "metadata": {"tools": "mine", "a": {"prompt": 1}}},
        "session": {"id": "sess_1", "audio": {"output": {"voice": "marin"}}},
        "numbers": [1, 1.5, True, None, -(2**53)],
    }
    assert shown(event) == event


def test_a_clients_own_metadata_is_its_own() -> None:
    event = {"type": "response.done", "response": {"metadata": {"instructions": "mine"}, "instructions": SECRET}}
    assert shown(event) == {"type": "response.done", "response": {"metadata": {"instructions": "mine"}}}


def test_a_nested_field_can_be_hidden_by_its_path() -> None:
    for place in places_of(SESSION):
        event = {**place, "type": "anything"}
        text = repr(shown(event, hide={"audio.output.voice", "audio.input"}))
        assert "marin" not in text
        assert "'speed': 1.0" in text
        assert "transcription" not in text


def test_nothing_is_hidden_where_the_profile_hides_nothing() -> None:
    event = {"type": "session.updated", "event_id": "event_1", "session": SESSION}
    assert shown(event, hide=()) == event


def test_a_session_is_shown_without_what_is_hidden() -> None:
    visible = show_session(SESSION, LOCK)
    assert SECRET not in repr(visible)
    assert set(SESSION) - set(visible) == HIDDEN
    assert visible["audio"]["input"]["transcription"] == {"model": "m"}


@pytest.mark.parametrize("event_type", ["rate_limits.updated", "session.created"])
def test_some_events_are_not_shown(event_type: str) -> None:
    assert show_to_browser({"type": event_type, "session": SESSION, "rate_limits": []}, LOCK) is None


@pytest.mark.parametrize("session", [None, [], "x", 1, [SESSION], {"session": SESSION}])
def test_an_odd_session_object_is_scrubbed_like_anything_else(session: object) -> None:
    assert SECRET not in repr(shown({"type": "session.updated", "session": session}))


# --- errors ---


def test_an_error_is_told_in_our_words() -> None:
    assert shown({"type": "error", "event_id": "event_1", "error": UPSTREAM_ERROR}) == {
        "type": "error",
        "event_id": "event_1",
        "error": {
            "type": "invalid_request_error",
            "code": "invalid_value",
            "message": "The service did not accept a value of the event.",
            "param": "session.audio.output.voice",
            "event_id": "mine",
        },
    }


@pytest.mark.parametrize(
    "code",
    [
        "cannot_update_voice", "conversation_already_has_active_response", "input_audio_buffer_commit_empty",
        "insufficient_quota", "invalid_event", "invalid_value", "item_not_found", "missing_required_parameter",
        "model_not_found", "rate_limit_exceeded", "response_cancel_not_active", "server_error", "session_expired",
        "unknown_parameter",
    ],
)  # fmt: skip
def test_a_code_that_clients_act_on_keeps_its_name(code: str) -> None:
    error = show_error(UPSTREAM_ERROR | {"code": code})
    assert error["code"] == code
    assert error["message"]


@pytest.mark.parametrize(
    "code", [None, "", KEY, "invalid_api_key", 1, [], {}, ["invalid_value"], {"invalid_value": 1}], ids=repr
)
def test_any_other_code_becomes_one_of_ours(code: object) -> None:
    error = show_error(UPSTREAM_ERROR | {"code": code})
    assert error["code"] == "upstream_error"
    assert error["message"] == "The speech service reported a problem with the last event."


@pytest.mark.parametrize(
    "error",
    [
        None, [], "x", 1, {}, {"message": KEY}, [UPSTREAM_ERROR], {"error": UPSTREAM_ERROR}, KEY,
        {"type": KEY, "code": KEY, "message": KEY, "param": KEY, "event_id": {"a": KEY}},
        {"type": [], "code": [], "message": [KEY], "param": [KEY], "event_id": [KEY]},
        {"type": {}, "code": {}, "message": {}, "param": {}, "event_id": 1},
    ],
    ids=repr,
)  # fmt: skip
def test_no_text_of_the_services_errors_comes_through(error: object) -> None:
    for event_type in ("error", "conversation.item.input_audio_transcription.failed"):
        event = {"type": event_type, "item_id": "item_1", "content_index": 0, "error": error}
        result = shown(event)
        assert KEY not in repr(result)
        assert result["error"]["code"] == "upstream_error"
        assert result["error"]["type"] == "invalid_request_error"
    details = {"type": "response.done", "response": {"status_details": {"type": "failed", "error": error}}}
    assert KEY not in repr(shown(details))


@pytest.mark.parametrize("event_type", ["response.failed", "mcp_list_tools.failed", "session.updated", "brand.new"])
def test_an_error_in_any_other_event_is_told_in_our_words_too(event_type: str) -> None:
    result = shown({"type": event_type, "error": UPSTREAM_ERROR})
    assert KEY not in repr(result)
    assert ORGANISATION not in repr(result)


@pytest.mark.parametrize(
    ("param", "kept"),
    [
        ("session.audio.output.voice", True), ("response.input[3].content[0].text", True), ("item_id", True),
        ("session.tools[0].name", True), (KEY, False), ("org-12345", False), ("session." + KEY, False),
        ("session.\nx", False), ("item\n", False), ("x" * 600, False), ("session" + ".a" * 9, False), ("", False),
        ("session.\uff41", False), (1, False), ([], False),
    ],
)  # fmt: skip
def test_only_a_field_of_the_protocol_is_named_as_param(param: object, kept: bool) -> None:
    assert show_error(UPSTREAM_ERROR | {"param": param})["param"] == (param if kept else None)


@pytest.mark.parametrize("kind", ["invalid_request_error", "server_error", "rate_limit_error"])
def test_an_errors_type_keeps_its_name(kind: str) -> None:
    assert show_error({"type": kind, "code": "invalid_value"})["type"] == kind


def test_a_server_error_without_a_code_is_one() -> None:
    assert show_error({"type": "server_error", "message": KEY}) == {
        "type": "server_error",
        "code": "server_error",
        "message": "The speech service had a problem. Try again.",
        "param": None,
        "event_id": None,
    }


def test_a_failed_transcription_holds_no_nulls_and_no_event_id() -> None:
    result = shown(
        {
            "type": "conversation.item.input_audio_transcription.failed",
            "event_id": "event_1",
            "item_id": "item_1",
            "content_index": 0,
            "error": {"type": "server_error", "code": None, "message": KEY, "param": None},
        }
    )
    assert result == {
        "type": "conversation.item.input_audio_transcription.failed",
        "event_id": "event_1",
        "item_id": "item_1",
        "content_index": 0,
        "error": {
            "type": "server_error",
            "code": "server_error",
            "message": "The speech service had a problem. Try again.",
        },
    }


def test_a_failed_response_keeps_its_shape() -> None:
    result = shown(
        {
            "type": "response.done",
            "response": {
                "id": "resp_1",
                "status": "failed",
                "status_details": {"type": "failed", "error": {"type": KEY, "code": "model_not_found", "message": KEY}},
            },
        }
    )
    assert result["response"]["status_details"] == {
        "type": "failed",
        "error": {
            "type": "invalid_request_error",
            "code": "model_not_found",
            "message": "The model is not available.",
        },
    }
