"""The beta and GA, each translated into the other: names, shapes, what has no counterpart, and that nothing escapes."""

import copy
import json
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.beta import BETA_NAMES, SAME_NAMES, event_to_beta, event_to_ga, frame_to_beta, frame_to_ga
from relay.conversation import Conversation
from relay.events import encode
from relay.policy import ShowSession, judge_browser_event
from service_kit import strict_json
from service_kit.beta_session import GA_PATHS, GONE, SAME, beta_path, to_beta, to_ga
from service_kit.errors import Refusal
from service_kit.session_fields import FIELDS, known_leaves
from service_kit.session_token import Lock
from tests.relay.beta_types import BETA_CLIENT_EVENTS, BETA_EVENTS, GA_EVENTS, assert_a_strict_beta_client_takes
from tests.relay.building import EVERYTHING, TRANSCRIPTION, append_frame, audio_text, make_lock, to_frame
from tests.relay.escapes import escapes
from tests.relay.hostile_frames import OPEN_CALL
from tests.relay.made_events import made
from tests.relay.test_hostile_frames import LIMITS, LOCKS, fence_of, forwarded, frames

Json = dict[str, Any]
OPEN = make_lock(open_fields=EVERYTHING)
HEARING = make_lock(session=TRANSCRIPTION, open_fields=EVERYTHING)
QUICKLY = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))


def sent_to_the_model(event: Json, lock: Lock = OPEN) -> Json | None:
    """What the model gets of a beta browser's event; None where the session is shown. Raises Refusal."""
    talk = Conversation({})
    talk.open_calls.add(OPEN_CALL)
    verdict = judge_browser_event(event_to_ga(event), lock=lock, limits=LIMITS, conversation=talk)
    if isinstance(verdict, ShowSession):
        return None
    assert escapes(verdict.event, fence_of(lock)) == []
    return verdict.event


def updated(lock: Lock = OPEN, /, **session: Any) -> Json | None:
    """The session that the model gets of a beta browser's update."""
    sent = sent_to_the_model({"type": "session.update", "session": session}, lock)
    return None if sent is None else sent["session"]


def refused(event: Json, lock: Lock = OPEN) -> tuple[str, str | None]:
    """The code and the parameter of the refusal, as a beta browser is told them."""
    with pytest.raises(Refusal) as caught:
        sent_to_the_model(event, lock)
    told = event_to_beta(caught.value.event("req_1", "event_1"))
    assert told is not None
    BETA_EVENTS["error"].model_validate(told, strict=True)
    return told["error"]["code"], told["error"]["param"]


# --- the browser's events ---

VAD = {"type": "server_vad", "threshold": 0.4, "create_response": False}
FUNCTION = {"type": "function", "name": "look_up", "parameters": {}}


@pytest.mark.parametrize(
    ("name", "value", "ga"),
    [
        ("modalities", ["text", "audio"], {"output_modalities": ["audio"]}),
        ("modalities", ["audio", "text"], {"output_modalities": ["audio"]}),
        ("modalities", ["audio"], {"output_modalities": ["audio"]}),
        ("modalities", ["text"], {"output_modalities": ["text"]}),
        ("voice", "verse", {"audio": {"output": {"voice": "verse"}}}),
        ("speed", 1.25, {"audio": {"output": {"speed": 1.25}}}),
        ("input_audio_format", "pcm16", {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 24_000}}}}),
        ("input_audio_format", "g711_ulaw", {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}),
        ("output_audio_format", "g711_alaw", {"audio": {"output": {"format": {"type": "audio/pcma"}}}}),
        (
            "input_audio_transcription",
            {"model": "whisper-1"},
            {"audio": {"input": {"transcription": {"model": "whisper-1"}}}},
        ),
        ("input_audio_transcription", None, {"audio": {"input": {"transcription": None}}}),
        (
            "input_audio_noise_reduction",
            {"type": "far_field"},
            {"audio": {"input": {"noise_reduction": {"type": "far_field"}}}},
        ),
        ("turn_detection", VAD, {"audio": {"input": {"turn_detection": VAD}}}),
        ("turn_detection", None, {"audio": {"input": {"turn_detection": None}}}),
        ("turn_detection", {"type": "none"}, {"audio": {"input": {"turn_detection": None}}}),
        ("max_response_output_tokens", 100, {"max_output_tokens": 100}),
        ("max_response_output_tokens", "inf", {"max_output_tokens": 1_000}),
        ("instructions", "x", {"instructions": "x"}),
        ("tools", [FUNCTION], {"tools": [FUNCTION]}),
        ("tool_choice", "none", {"tool_choice": "none"}),
    ],
)
def test_each_field_of_a_beta_session_reaches_the_model_under_ga_s_name(name: str, value: Any, ga: Json) -> None:
    assert updated(**{name: value}) == {"type": "realtime", **ga}


def test_the_table_above_has_every_field_that_a_browser_can_set() -> None:
    named = {
        mark[0] for mark in test_each_field_of_a_beta_session_reaches_the_model_under_ga_s_name.pytestmark[0].args[1]
    }
    assert named == GA_PATHS.keys() | {"instructions", "tools", "tool_choice"}


@pytest.mark.parametrize("gone", sorted(GONE))
def test_what_ga_has_no_place_for_is_left_out_even_where_locked_fields_are_refused(gone: str) -> None:
    for on_locked_field in ("narrow", "refuse"):
        lock = make_lock(on_locked_field=on_locked_field)
        assert updated(lock, voice="cedar", **{gone: 0.8}) == {
            "type": "realtime",
            "audio": {"output": {"voice": "cedar"}},
        }
        assert updated(lock, **{gone: 1}) is None


def test_the_lock_holds_for_beta_fields_as_for_ga_s() -> None:
    everything = {
        "instructions": "x",
        "tools": [FUNCTION],
        "speed": 1.5,
        "voice": "cedar",
        "input_audio_format": "g711_ulaw",
    }
    voice_alone = make_lock(open_fields={"audio.output.voice"})
    assert updated(voice_alone, **everything) == {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
    assert updated(make_lock(open_fields=()), **everything) is None


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ({"type": "session.update", "session": {"speed": 1.5}}, "field_locked", "session.speed"),
        (
            {"type": "session.update", "session": {"input_audio_format": "pcm16"}},
            "field_locked",
            "session.input_audio_format",
        ),
        (
            {"type": "session.update", "session": {"max_response_output_tokens": 1}},
            "field_locked",
            "session.max_response_output_tokens",
        ),
        ({"type": "session.update", "session": {"novelty": 1}}, "field_locked", "session.novelty"),
        ({"type": "session.update", "session": {"voice": 1}}, "invalid_event", "session.voice"),
        ({"type": "session.update", "session": {"modalities": []}}, "invalid_event", "session.modalities"),
        ({"type": "session.update", "session": {"modalities": [[]]}}, "invalid_event", "session.modalities"),
        ({"type": "session.update", "session": {"modalities": "text"}}, "invalid_event", "session.modalities"),
        (
            {"type": "session.update", "session": {"turn_detection": {"type": []}}},
            "invalid_event",
            "session.turn_detection",
        ),
        ({"type": "session.update", "session": 1}, "invalid_event", "session"),
        ({"type": "transcription_session.update", "session": 1}, "invalid_event", "session"),
        ({"type": "transcription_session.update"}, "invalid_event", "session"),
        ({"type": "transcription_session.update", "session": {}}, "field_locked", "session.type"),
        ({"type": "response.create", "response": {"voice": 1}}, "invalid_event", "response.voice"),
        (
            {"type": "response.create", "response": {"output_audio_format": "pcm16"}},
            "field_locked",
            "response.output_audio_format",
        ),
        ({"type": "response.create", "response": {"instructions": "x"}}, "field_locked", "response.instructions"),
        ({"type": "response.text.delta"}, "invalid_event", "type"),
        ({"type": []}, "invalid_event", "type"),
        ({}, "invalid_event", "type"),
    ],
)
def test_a_refusal_names_the_field_as_the_browser_wrote_it(event: Json, code: str, param: str) -> None:
    assert refused(event, make_lock(on_locked_field="refuse")) == (code, param)


def test_a_response_is_asked_for_in_ga_s_words() -> None:
    asked = {
        "modalities": ["text"],
        "max_response_output_tokens": 10,
        "temperature": 0.6,
        "voice": "echo",
        "output_audio_format": "pcm16",
        "conversation": "auto",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
    }
    assert sent_to_the_model({"type": "response.create", "response": asked}) == {
        "type": "response.create",
        "response": {
            "output_modalities": ["text"],
            "max_output_tokens": 10,
            "audio": {"output": {"voice": "echo", "format": {"type": "audio/pcm", "rate": 24_000}}},
            "conversation": "auto",
            "input": asked["input"],
        },
    }
    assert sent_to_the_model({"type": "response.create", "event_id": "mine"}) == {
        "type": "response.create",
        "event_id": "mine",
    }


def test_an_assistant_s_parts_go_by_ga_s_names_before_they_are_judged() -> None:
    said = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "x"}, {"type": "audio"}, 1]}
    item = event_to_ga({"type": "conversation.item.create", "item": said})["item"]
    assert item["content"] == [{"type": "output_text", "text": "x"}, {"type": "output_audio"}, 1]
    assert refused({"type": "conversation.item.create", "item": said}) == ("event_not_allowed", "item.role")


def test_a_transcription_session_is_updated_by_its_own_event() -> None:
    session = {
        "input_audio_format": "pcm16",
        "input_audio_transcription": {"model": "gpt-4o-transcribe"},
        "turn_detection": None,
        "modalities": ["text"],
        "client_secret": {},
    }
    refusing = make_lock(session=TRANSCRIPTION, open_fields=EVERYTHING, on_locked_field="refuse")
    assert sent_to_the_model({"type": "transcription_session.update", "session": session}, refusing)
    for update in ("transcription_session.update", "session.update"):  # the second says another type, and is narrowed
        assert sent_to_the_model({"type": update, "session": session}, HEARING) == {
            "type": "session.update",
            "session": {
                "type": "transcription",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": 24_000},
                        "transcription": {"model": "gpt-4o-transcribe"},
                        "turn_detection": None,
                    }
                },
            },
        }
    assert refused({"type": "response.create"}, HEARING) == ("event_not_allowed", "type")


def test_an_update_in_ga_s_own_words_passes_too() -> None:
    ga = {"type": "realtime", "audio": {"output": {"voice": "ash"}}, "output_modalities": ["text"]}
    assert updated(**ga) == ga
    assert updated(speed=1.5, **ga) == ga | {"audio": {"output": {"voice": "ash", "speed": 1.5}}}


@QUICKLY
@given(data=st.data())
@pytest.mark.parametrize("event_type", sorted(BETA_CLIENT_EVENTS))
def test_whatever_a_beta_client_s_types_can_say_the_model_hears_in_ga_s_words(
    event_type: str, data: st.DataObject
) -> None:
    event = data.draw(made(BETA_CLIENT_EVENTS[event_type]))
    before = copy.deepcopy(event)
    for lock in (OPEN, HEARING, make_lock(), make_lock(on_locked_field="refuse")):
        with suppress(Refusal):
            sent_to_the_model(event, lock)
    assert event == before


# --- hostile frames ---

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**64) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    *GA_PATHS, *GONE, *SAME, *FIELDS, "audio", "type", "input", "output", "session", "response", "item", "content",
    "conversation", "metadata", "__proto__", "reasoning", "prompt", "truncation",
]  # fmt: skip
GOOD: list[Any] = [
    ["text"], ["text", "audio"], "verse", 1.25, "pcm16", "g711_ulaw", {"model": "whisper-1"}, {"type": "near_field"},
    VAD, {"type": "none"}, 100, "inf", 0.8, "x", [FUNCTION], "auto", "realtime", "transcription",
    {"output": {"voice": "x"}}, {"input": {"turn_detection": None}},
    [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}],
    {"type": "function_call_output", "call_id": OPEN_CALL, "output": "x"}, audio_text(4),
    {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "x"}]},
    {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "x"}]},
]  # fmt: skip
CONFIGS = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), st.sampled_from(GOOD) | JUNK, max_size=6)
HOSTILE_EVENTS = st.builds(
    lambda event_type, fields, more: more | fields | {"type": event_type},
    st.sampled_from(sorted(BETA_CLIENT_EVENTS)) | JUNK,
    st.fixed_dictionaries(
        {},
        optional={
            "session": CONFIGS | JUNK,
            "response": CONFIGS | JUNK,
            "item": CONFIGS | st.sampled_from(GOOD),
            "audio": st.just(audio_text(4)) | JUNK,
            "item_id": st.just("item_1") | JUNK,
            "event_id": st.just("mine") | JUNK,
        },
    ),
    st.dictionaries(st.sampled_from(NAMES), JUNK, max_size=2),
)
HOSTILE_FRAMES = st.builds(to_frame, HOSTILE_EVENTS) | st.builds(lambda frame: frame.text.encode(), frames)
ON_LOCKS = st.sampled_from(sorted(LOCKS))


def assert_nothing_escapes(frame: bytes, lock: Lock) -> str:
    """Translate and judge a beta browser's frame as its session does; what became of it."""
    talk = Conversation({})
    talk.open_calls.add(OPEN_CALL)
    refused: Refusal | None = None
    try:
        sent = forwarded(frame_to_ga(frame), lock, talk)
    except Refusal as refusal:
        refused = refusal
    if refused is not None:
        told = frame_to_beta(encode(refused.event("req_1", "event_1")))
        assert told is not None
        assert json.loads(told)["error"]["code"] == refused.code
        return refused.code
    if sent is None:
        return "shown the session"
    assert escapes(json.loads(sent), fence_of(lock)) == []
    assert strict_json.decode(sent) == json.loads(sent)
    return "forwarded"


def judge_many(examples: int) -> Counter[str]:
    became: Counter[str] = Counter()

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(batch=st.lists(st.tuples(HOSTILE_FRAMES, ON_LOCKS), min_size=20, max_size=20))
    def judge(batch: list[tuple[bytes, str]]) -> None:
        for frame, lock in batch:
            became[assert_nothing_escapes(frame, LOCKS[lock])] += 1

    judge()
    print(f"\n{became.total()} frames under {len(LOCKS)} locks: {dict(became.most_common())}")  # noqa: T201 - figures
    return became


def test_of_some_thousand_hostile_beta_frames_nothing_outside_the_lock_passes() -> None:
    became = judge_many(200)
    assert became["forwarded"] > became.total() / 20
    assert became["shown the session"] > 0


@pytest.mark.soak
def test_of_100_000_hostile_beta_frames_nothing_outside_the_lock_passes() -> None:
    assert judge_many(5_500).total() >= 100_000


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"x", b"[]", b'"x"', b"1", b'{"type":"session.update","session":{"voice":"a","voice":"b"}}', b"\xff",
        b'{"type":NaN}', b'{"type":"session.update","session":{"voice":"\\ud800"}}', b"[" * 10_000, append_frame(96),
        b'{"type":"input_audio_buffer.append","audio":"","type":"session.update"}', b'{"type":"response.cancel"}',
    ],
)  # fmt: skip
def test_a_frame_that_says_nothing_else_in_ga_is_left_as_it_is_for_others_to_judge(frame: bytes) -> None:
    assert frame_to_ga(frame) is frame


# --- the model's events ---


@QUICKLY
@given(data=st.data())
@pytest.mark.parametrize("event_type", sorted(GA_EVENTS))
def test_every_event_of_ga_becomes_one_that_a_strict_beta_client_takes_or_is_not_told(
    event_type: str, data: st.DataObject
) -> None:
    event = data.draw(made(GA_EVENTS[event_type]))
    before = copy.deepcopy(event)
    told = event_to_beta(event)
    assert event == before
    if told is None:
        assert event_type not in BETA_EVENTS or event["item"]["type"].startswith("mcp_")
    else:
        assert_a_strict_beta_client_takes(told)


def test_every_event_of_the_beta_has_one_of_ga_behind_it() -> None:
    assert {*SAME_NAMES, *BETA_NAMES.values(), "transcription_session.updated"} == BETA_EVENTS.keys()
    assert {*SAME_NAMES, *BETA_NAMES} <= GA_EVENTS.keys()
    assert GA_EVENTS.keys() - {*SAME_NAMES, *BETA_NAMES} == {
        "conversation.item.done", "conversation.item.input_audio_transcription.segment",
        "input_audio_buffer.timeout_triggered", "input_audio_buffer.dtmf_event_received",
        "response.mcp_call_arguments.delta", "response.mcp_call_arguments.done", "response.mcp_call.in_progress",
        "response.mcp_call.completed", "response.mcp_call.failed", "mcp_list_tools.in_progress",
        "mcp_list_tools.completed", "mcp_list_tools.failed",
    }  # fmt: skip


@pytest.mark.parametrize("ga", ["response.novelty", "", "session.update", "transcription_session.updated"])
def test_an_event_that_the_beta_does_not_know_is_not_told(ga: str) -> None:
    assert event_to_beta({"type": ga}) is None
    assert frame_to_beta(b"no event") is None


def test_our_own_events_are_told_as_they_are() -> None:
    event = {"type": "airlock.session.ended", "receipt": {}, "response": {"output_modalities": ["audio"]}}
    assert event_to_beta(event) == event


@pytest.mark.parametrize(("ga", "beta"), sorted(BETA_NAMES.items()))
def test_a_renamed_event_keeps_its_fields(ga: str, beta: str) -> None:
    assert event_to_beta({"type": ga, "event_id": "e", "delta": "x"}) == {"type": beta, "event_id": "e", "delta": "x"}


GA_SESSION: Json = {
    "type": "realtime",
    "object": "realtime.session",
    "id": "sess_1",
    "expires_at": 1,
    "model": "gpt-realtime-2.1",
    "output_modalities": ["audio"],
    "instructions": "x",
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "transcription": {"model": "whisper-1"},
            "noise_reduction": None,
            "turn_detection": VAD,
        },
        "output": {"format": {"type": "audio/pcmu"}, "voice": "marin", "speed": 1.0},
    },
    "tools": [FUNCTION, {"type": "mcp", "server_label": "x"}],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "tracing": None,
    "truncation": "auto",
    "prompt": None,
    "include": None,
}


def test_a_session_is_shown_flat() -> None:
    told = event_to_beta({"type": "session.created", "event_id": "e", "session": GA_SESSION})
    assert told == {
        "type": "session.created",
        "event_id": "e",
        "session": {
            "object": "realtime.session",
            "id": "sess_1",
            "expires_at": 1,
            "model": "gpt-realtime-2.1",
            "modalities": ["text", "audio"],
            "instructions": "x",
            "input_audio_format": "pcm16",
            "input_audio_transcription": {"model": "whisper-1"},
            "input_audio_noise_reduction": None,
            "turn_detection": VAD,
            "output_audio_format": "g711_ulaw",
            "voice": "marin",
            "speed": 1.0,
            "tools": [FUNCTION],
            "tool_choice": "auto",
            "max_response_output_tokens": "inf",
            "tracing": None,
            "include": None,
        },
    }
    assert "tool_choice" not in to_beta(GA_SESSION | {"tool_choice": {"type": "function", "name": "f"}})
    assert to_beta({"audio": {"output": {"voice": {"id": "voice_1"}}}}) == {"voice": "voice_1"}


def test_a_transcription_session_is_told_by_its_own_events() -> None:
    session = {"type": "transcription", "audio": {"input": GA_SESSION["audio"]["input"]}}
    for name in ("created", "updated"):
        told = event_to_beta({"type": f"session.{name}", "event_id": "e", "session": session})
        assert told is not None
        assert told["type"] == f"transcription_session.{name}"
        assert told["session"] == {
            "input_audio_format": "pcm16",
            "input_audio_transcription": {"model": "whisper-1"},
            "input_audio_noise_reduction": None,
            "turn_detection": VAD,
        }


def test_a_session_that_was_shown_says_the_same_when_it_is_sent_back() -> None:
    """As clients do that change one field of what they were shown."""
    kept = known_leaves(GA_SESSION)[0]
    again = known_leaves(to_ga(to_beta(GA_SESSION)))[0]
    assert again == {path: value for path, value in kept.items() if path not in ("truncation", "prompt")} | {
        "tools": [FUNCTION]
    }


def test_a_response_and_its_items_are_shown_in_the_beta_s_words() -> None:
    said = {"id": "i", "type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": "x"}]}
    response = {
        "id": "resp_1",
        "output_modalities": ["text"],
        "audio": {"output": {"voice": "marin", "format": {"type": "audio/pcm", "rate": 24_000}}},
        "max_output_tokens": 10,
        "output": [said, {"type": "mcp_call", "id": "m"}],
    }
    told = event_to_beta({"type": "response.done", "event_id": "e", "response": response})
    assert told is not None
    assert told["response"] == {
        "id": "resp_1",
        "modalities": ["text"],
        "voice": "marin",
        "output_audio_format": "pcm16",
        "max_output_tokens": 10,
        "output": [said | {"content": [{"type": "audio", "transcript": "x"}]}],
    }


TYPED = [{"type": "input_text", "text": "x"}]


def test_an_item_is_announced_once() -> None:
    content = [*TYPED, {"type": "input_image"}]
    item = {"id": "i", "type": "message", "role": "user", "content": content}
    added = {"type": "conversation.item.added", "event_id": "e", "previous_item_id": None, "item": item}
    told = event_to_beta(added)
    assert told == added | {"type": "conversation.item.created", "item": item | {"content": TYPED}}
    assert event_to_beta(added | {"type": "conversation.item.done"}) is None
    assert event_to_beta(added | {"item": {"type": "mcp_call", "id": "m"}}) is None


@pytest.mark.parametrize(
    ("ga", "beta"),
    [
        ("session.audio.output.voice", "session.voice"),
        ("session.audio.input.turn_detection.threshold", "session.turn_detection.threshold"),
        ("response.output_modalities[0]", "response.modalities[0]"),
        ("session.max_output_tokens", "session.max_response_output_tokens"),
        ("session.tools[0].name", "session.tools[0].name"),
        ("session", "session"),
        ("item.content[0].text", "item.content[0].text"),
        ("type", "type"),
        (None, None),
    ],
)
def test_an_error_names_the_field_as_the_beta_does(ga: str | None, beta: str | None) -> None:
    error = {"type": "invalid_request_error", "code": "invalid_value", "message": "m", "param": ga, "event_id": None}
    told = event_to_beta({"type": "error", "event_id": "e", "error": error})
    assert told == {"type": "error", "event_id": "e", "error": error | {"param": beta}}


def test_a_path_that_only_begins_alike_is_another() -> None:
    assert beta_path("output_modalities_x") == "output_modalities_x"
