from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from openai.types.realtime.realtime_session_create_request_param import RealtimeSessionCreateRequestParam
from openai.types.realtime.realtime_transcription_session_create_request_param import (
    RealtimeTranscriptionSessionCreateRequestParam,
)

from service_kit.session_fields import (
    FIELDS,
    OPENABLE,
    InvalidField,
    UnknownField,
    check_session,
    flatten,
    is_open,
    known_leaves,
    merge,
    rebuild,
    scrub,
    unflatten,
)

FUNCTION = {"type": "function", "name": "look", "description": "d", "parameters": {"type": "object"}}
MCP = {"type": "mcp", "server_label": "s", "server_url": "https://example.com"}
SERVER_VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "create_response": True,
    "interrupt_response": False,
    "idle_timeout_ms": None,
}
PCM = {"type": "audio/pcm", "rate": 24_000}
WRONG_FORMATS = ["pcm16", {}, {"type": "audio/wav"}, {"type": "audio/pcm", "rate": 16_000}, PCM | {"x": 1}, None,
                 {"type": "audio/pcmu", "rate": 8_000}, {"type": "audio/pcma", "rate": 24_000}]  # fmt: skip

# Realtime-protocol reference §5: each field with values the protocol allows, and values it does not.
VALUES: dict[str, tuple[list[Any], list[Any]]] = {
    "output_modalities": ([["audio"], ["text"]], [[], ["audio", "text"], ["video"], "audio", None]),
    "instructions": (["", "Be kind."], [None, 1, ["x"], "x" * 65_537]),
    "audio.input.format": ([PCM, {"type": "audio/pcmu"}, {"type": "audio/pcma"}], WRONG_FORMATS),
    "audio.input.transcription": (
        [
            None,
            {},
            {"model": "gpt-transcribe", "language": "de", "prompt": "p"},
            {"model": "gpt-live-transcribe", "languages": ["de", "en"], "keywords": ["k"]},
            {"model": "gpt-realtime-whisper", "delay": "low"},
        ],
        ["whisper-1", {"model": ""}, {"model": 1}, {"x": 1}, {"delay": "soon"}, {"languages": "de"}],
    ),
    "audio.input.noise_reduction": (
        [None, {"type": "near_field"}, {"type": "far_field", "strength": 0.5}],
        ["near_field", {}, {"type": "mid_field"}, {"type": "near_field", "x": 1}],
    ),
    "audio.input.turn_detection": (
        [
            None,
            SERVER_VAD,
            {"type": "server_vad", "idle_timeout_ms": 5_000},
            {"type": "semantic_vad", "eagerness": "auto", "create_response": True, "interrupt_response": True},
        ],
        [
            {},
            "server_vad",
            {"type": "none"},
            {"type": []},
            {"type": "server_vad", "eagerness": "low"},
            {"type": "server_vad", "idle_timeout_ms": 4_999},
            {"type": "server_vad", "threshold": 2},
            {"type": "semantic_vad", "threshold": 0.5},
            {"type": "semantic_vad", "eagerness": "max"},
        ],
    ),
    "audio.output.format": ([PCM, {"type": "audio/pcmu"}], WRONG_FORMATS),
    "audio.output.voice": (["marin", "a-new-voice", {"id": "voice_1"}], ["", None, 1, {}, {"name": "x"}, "v" * 257]),
    "audio.output.speed": ([0.25, 1, 1.0, 1.5], [0.24, 1.51, "1", None, True]),
    "tools": ([[], [FUNCTION], [MCP]], [None, {}, ["x"]]),
    "tool_choice": (
        ["auto", "none", "required", {"type": "function", "name": "f"}, {"type": "mcp", "server_label": "s"}],
        ["any", None, {}, {"type": "function"}, {"type": "hosted"}, {"type": "function", "name": "f", "x": 1}],
    ),
    "parallel_tool_calls": ([True, False], [None, 1, "true"]),
    "reasoning": ([{"effort": "low"}], [None, {}, {"effort": "max"}, "low"]),
    "truncation": (
        [
            "auto",
            "disabled",
            {"type": "retention_ratio", "retention_ratio": 0.8},
            {"type": "retention_ratio", "retention_ratio": 1, "token_limits": {"post_instructions": 100}},
        ],
        ["never", None, {}, {"type": "retention_ratio"}, {"type": "retention_ratio", "retention_ratio": 1.1}],
    ),
    "max_output_tokens": ([1, 4_096, "inf"], [0, 4_097, -1, "1", None, 1.5, True]),
    "tracing": ([None, "auto", {"workflow_name": "w"}], ["on", 1, []]),
    "prompt": ([None, {"id": "pmpt_1", "variables": {"a": "b"}}], ["pmpt_1", []]),
    "include": ([None, [], ["item.input_audio_transcription.logprobs"]], ["x", ["everything"]]),
}
GOOD = [(path, value) for path, (good, _) in VALUES.items() for value in good]
BAD = [(path, value) for path, (_, bad) in VALUES.items() for value in bad]

# What would let a client make the service reach further than the session it was given.
NOT_FOR_CLIENTS = [
    ("tools", [MCP]),
    ("tools", [FUNCTION | {"meta": 1}]),
    ("tools", [{"type": "function", "name": ""}]),
    ("tools", [FUNCTION] * 129),
    ("tool_choice", {"type": "mcp", "server_label": "s"}),
    ("tool_choice", {"name": "f"}),
    ("tracing", "auto"),
    ("prompt", {"id": "pmpt_1"}),
    ("include", []),
]


def test_the_table_above_covers_every_field() -> None:
    assert VALUES.keys() == FIELDS.keys()


@pytest.mark.parametrize(("path", "value"), GOOD)
def test_a_server_s_value_is_rebuilt_unchanged(path: str, value: object) -> None:
    assert rebuild(path, value, client=False) == value
    assert check_session(unflatten({path: value})) == {"type": "realtime"} | unflatten({path: value})


@pytest.mark.parametrize(("path", "value"), BAD)
def test_a_wrong_value_is_refused_by_name(path: str, value: object) -> None:
    with pytest.raises(InvalidField) as caught:
        check_session(unflatten({path: value}))
    assert caught.value.path == path
    assert not isinstance(caught.value, UnknownField)
    with pytest.raises(InvalidField):
        rebuild(path, value, client=True)


@pytest.mark.parametrize(("path", "value"), NOT_FOR_CLIENTS)
def test_a_client_may_not_reach_beyond_the_session(path: str, value: object) -> None:
    with pytest.raises(InvalidField):
        rebuild(path, value, client=True)


def test_a_client_s_functions_are_rebuilt() -> None:
    assert rebuild("tools", [FUNCTION], client=True) == [FUNCTION]


def test_what_no_profile_can_open() -> None:
    assert FIELDS.keys() - OPENABLE == {"tracing", "prompt", "include"}


@pytest.mark.parametrize(
    "session",
    [
        {"temperature": 0.8},
        {"id": "sess_1"},
        {"object": "realtime.session"},
        {"modalities": ["text"]},
        {"audio": {"volume": 1}},
        {"audio": {"input": {"model": "x"}}},
        {"audio": {"type": "x"}},
        {"audio.output.voice": "marin"},
        {"audio": {"output.voice": "marin"}},
        {"": 1},
    ],
)
def test_an_unknown_field_is_told_apart(session: dict[str, object]) -> None:
    with pytest.raises(UnknownField):
        check_session(session)


@pytest.mark.parametrize("session", [{"audio": "loud"}, {"audio": {"input": None}}, {"audio": {"output": []}}])
def test_a_branch_must_be_an_object(session: dict[str, object]) -> None:
    with pytest.raises(InvalidField, match="must be an object"):
        check_session(session)


@pytest.mark.parametrize("session_type", ["translation", "", None, [], {"realtime": 1}])
def test_other_session_types_are_refused(session_type: object) -> None:
    with pytest.raises(InvalidField, match="type"):
        check_session({"type": session_type})


@pytest.mark.parametrize("model", ["", None, 1, "m" * 129])
def test_a_model_has_a_name(model: object) -> None:
    with pytest.raises(InvalidField, match="model"):
        check_session({"model": model})


@pytest.mark.parametrize("path", sorted(FIELDS))
def test_a_transcription_session_has_only_its_own_fields(path: str) -> None:
    """§5.2."""
    session = {"type": "transcription"} | unflatten({path: VALUES[path][0][0]})
    if path.startswith("audio.input.") or path == "include":
        assert check_session(session) == session
    else:
        with pytest.raises(InvalidField):
            check_session(session)


@pytest.mark.parametrize("params", [RealtimeSessionCreateRequestParam, RealtimeTranscriptionSessionCreateRequestParam])
def test_every_field_that_openai_s_sdk_sends_is_known(params: type) -> None:
    tops = {path.partition(".")[0] for path in FIELDS} | {"type", "model"}
    assert get_type_hints(params).keys() <= tops


def test_flatten_and_unflatten_are_inverse() -> None:
    session = {"instructions": "x", "audio": {"input": {"turn_detection": None}, "output": {"voice": "marin"}}}
    assert unflatten(flatten(session)) == session
    assert known_leaves(session | {"x": 1, "type": "realtime", "model": "m"}) == (flatten(session), ["x"])


def test_merge_lays_leaf_over_leaf() -> None:
    below = {"a": 1, "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 1}}, "output": {"x": 1}}}
    above = {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}
    assert merge(below, above) == {
        "a": 1,
        "audio": {"input": {"turn_detection": {"type": "semantic_vad"}}, "output": {"x": 1}},
    }
    assert below["a"] == 1


def test_scrub_removes_hidden_fields_and_nothing_else() -> None:
    session = {"instructions": "x", "audio": {"input": {"transcription": {}, "format": 1}}, "model": "m"}
    assert scrub(session, ["instructions", "audio.input.transcription", "tools"]) == {
        "audio": {"input": {"format": 1}},
        "model": "m",
    }
    assert scrub(session, ["audio"]) == {"instructions": "x", "model": "m"}
    assert "instructions" in session


@pytest.mark.parametrize(
    ("path", "open_fields", "is_it"),
    [
        ("audio.output.voice", ["audio.output.voice"], True),
        ("audio.output.voice", ["audio.output"], True),
        ("audio.output.voice", ["audio"], True),
        ("audio.output.voice", ["audio.output.voic"], False),
        ("audio.output", ["audio.output.voice"], False),
        ("tools", ["tool"], False),
        ("tools", [], False),
    ],
)
def test_is_open(path: str, open_fields: list[str], is_it: bool) -> None:
    assert is_open(path, open_fields) is is_it
