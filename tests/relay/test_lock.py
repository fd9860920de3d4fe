"""The lock is confirmed only by an answer that agrees with every field we sent."""

from typing import Any

import pytest

from relay.lock import lock_update, mismatch
from tests.relay.building import SECRET, SESSION, TRANSCRIPTION, make_lock

TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {"n": {"minimum": 1}}}}
SENT: dict[str, Any] = {
    "type": "realtime",
    "instructions": SECRET,
    "tools": [TOOL],
    "tool_choice": "auto",
    "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.5}}, "output": {"voice": "marin"}},
    "max_output_tokens": 4096,
    "parallel_tool_calls": True,
    "truncation": {"type": "retention_ratio", "retention_ratio": 1},
    "tracing": None,
}


def changed(path: str, value: object) -> dict[str, Any]:
    """What we sent, as it came back with one value changed."""
    *branches, leaf = path.split(".")
    answer = dict(SENT)
    node = answer
    for branch in branches:
        node[branch] = dict(node[branch])
        node = node[branch]
    node[leaf] = value
    return answer


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in SENT.items() if name != key}


def test_what_comes_back_unchanged_agrees() -> None:
    assert mismatch(SENT, SENT) is None
    assert mismatch({}, SENT) is None


def test_defaults_that_the_service_adds_agree() -> None:
    answer = {
        **changed("audio.input.turn_detection", {"type": "server_vad", "threshold": 0.5, "create_response": True}),
        "id": "sess_1",
        "object": "realtime.session",
        "model": "gpt-realtime-2.1",
        "expires_at": 1,
        "tools": [TOOL | {"description": None}],
    }
    assert mismatch(SENT, answer) is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("type", "transcription"), ("type", None), ("type", []), ("instructions", ""), ("instructions", None),
        ("instructions", SECRET + " "), ("instructions", {"text": SECRET}), ("tools", []), ("tools", None),
        ("tools", [TOOL, TOOL]), ("tools", {"0": TOOL}), ("tool_choice", "required"), ("tool_choice", None),
        ("max_output_tokens", "inf"), ("max_output_tokens", 4095), ("max_output_tokens", "4096"),
        ("max_output_tokens", None), ("tracing", "auto"), ("tracing", {}), ("parallel_tool_calls", False),
        ("audio.output.voice", "alloy"), ("audio.output.voice", {"id": "marin"}), ("audio.output", None),
        ("audio.input.turn_detection", None), ("audio.input.turn_detection.threshold", 0.6),
        ("audio.input.turn_detection.type", "semantic_vad"), ("audio", None), ("audio", []), ("audio", "marin"),
        ("truncation", "auto"), ("truncation.retention_ratio", 0.9),
    ],
    ids=repr,
)  # fmt: skip
def test_a_changed_value_is_found_by_its_path(path: str, value: object) -> None:
    assert mismatch(SENT, changed(path, value)) == path


@pytest.mark.parametrize(
    ("path", "value"),
    [("max_output_tokens", 4096.0), ("truncation.retention_ratio", 1.0), ("audio.input.turn_detection.threshold", 0.5)],
)
def test_numbers_agree_by_value(path: str, value: object) -> None:
    assert mismatch(SENT, changed(path, value)) is None


@pytest.mark.parametrize(
    ("sent", "came_back"),
    [(True, 1), (1, True), (False, 0), (0, False), (False, None), ([True], [1]), ({"a": 1}, {"a": True})],
)
def test_a_truth_value_is_no_number(sent: object, came_back: object) -> None:
    assert mismatch({"x": [sent]}, {"x": [came_back]}) == "x"
    assert mismatch({"x": sent}, {"x": came_back}) in ("x", "x.a")


@pytest.mark.parametrize("key", ["instructions", "tools", "tool_choice"])
def test_what_makes_the_lock_must_come_back(key: str) -> None:
    assert mismatch(SENT, without(key)) == key
    assert mismatch(without(key), without(key)) is None


@pytest.mark.parametrize("key", sorted(set(SENT) - {"instructions", "tools", "tool_choice"}))
def test_another_field_may_be_left_out_of_the_answer(key: str) -> None:
    assert mismatch(SENT, without(key)) is None


@pytest.mark.parametrize(
    "tools",
    [
        [TOOL | {"name": "g"}],
        [{key: value for key, value in TOOL.items() if key != "parameters"}],
        [TOOL | {"parameters": {"type": "object", "properties": {"n": {"minimum": 2}}}}],
        [TOOL | {"parameters": None}],
        ["f"],
        [None],
        [[TOOL]],
    ],
)
def test_a_tool_that_came_back_different_is_found(tools: list[Any]) -> None:
    assert mismatch(SENT, changed("tools", tools)) == "tools"


def test_the_order_of_a_list_counts() -> None:
    other = TOOL | {"name": "g"}
    assert mismatch({"tools": [TOOL, other]}, {"tools": [other, TOOL]}) == "tools"


def test_the_update_holds_the_whole_lock_but_the_model() -> None:
    update = lock_update(make_lock())
    assert update["type"] == "session.update"
    assert update["session"] == {key: value for key, value in SESSION.items() if key != "model"}


def test_a_transcription_session_is_locked_with_its_own_fields() -> None:
    assert lock_update(make_lock(session=TRANSCRIPTION)) == {
        "type": "session.update",
        "session": {"type": "transcription", "audio": TRANSCRIPTION["audio"]},
    }


def test_a_bare_profile_still_sends_type_and_limits() -> None:
    session = {"type": "realtime", "model": "gpt-realtime-2.1", "max_output_tokens": 4096}
    assert lock_update(make_lock(session=dict(session)))["session"] == {"type": "realtime", "max_output_tokens": 4096}


def test_a_float_of_32_bits_agrees_and_another_value_does_not() -> None:
    sent = {"audio": {"output": {"speed": 0.6}}}
    assert mismatch(sent, {"audio": {"output": {"speed": 0.6000000238418579}}}) is None
    assert mismatch(sent, {"audio": {"output": {"speed": 0.61}}}) == "audio.output.speed"
