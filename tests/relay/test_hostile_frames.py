"""A hostile client's frames, judged as the wire judges them: whatever passes lies within the lock."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.conversation import Conversation
from relay.events import canonical_append, decode_browser_event, encode
from relay.policy import ShowSession, judge_browser_event
from service_kit import strict_json
from service_kit.errors import Refusal
from service_kit.profiles import CLIENT_EVENTS
from service_kit.session_token import Lock
from tests.relay.building import EVERYTHING, OPEN_BY_DEFAULT, SESSION, TRANSCRIPTION, make_limits, make_lock
from tests.relay.escapes import Fence, escapes
from tests.relay.hostile_frames import OPEN_CALL, Frame, make_frame

LIMITS = make_limits(max_output_tokens=1_000)
OPEN_FIELDS: dict[str, frozenset[str]] = {
    "nothing": frozenset(),
    "as shipped": OPEN_BY_DEFAULT,
    "voice": frozenset({"audio.output"}),
    "tools": frozenset({"tools", "tool_choice", "max_output_tokens"}),
    "everything": EVERYTHING,
}
MODES: tuple[Literal["narrow", "refuse"], ...] = ("narrow", "refuse")
LOCKS: dict[str, Lock] = {
    f"{session['type']}, {on_locked_field}, open: {name}": make_lock(
        session=session, open_fields=open_fields, on_locked_field=on_locked_field
    )
    for session, on_locked_field, (name, open_fields) in itertools.product(
        (SESSION, TRANSCRIPTION), MODES, OPEN_FIELDS.items()
    )
} | {"few events": make_lock(client_events={"session.update", "response.create"}, open_fields=EVERYTHING)}
FRAMES_AT_ONCE = 20
WEIGHT = {"narrow": 3, "refuse": 1}
"""A lock that narrows is the one that could narrow too little."""

numbers = st.integers(0, (1 << 16) - 1)
frames = st.builds(
    make_frame,
    base=numbers,
    twists=st.lists(st.tuples(numbers, numbers, numbers), max_size=3),
    spelling=numbers,
    where=numbers,
)
batches = st.lists(
    st.tuples(
        frames, st.sampled_from([name for name in sorted(LOCKS) for _ in range(WEIGHT[LOCKS[name].on_locked_field])])
    ),
    min_size=FRAMES_AT_ONCE,
    max_size=FRAMES_AT_ONCE,
)


def fence_of(lock: Lock) -> Fence:
    return Fence(
        session_type=str(lock.session["type"]),
        open_fields=lock.open_fields,
        client_events=lock.client_events,
        client_content=lock.client_content,
        max_output_tokens=LIMITS.max_output_tokens,
        calls={OPEN_CALL},
    )


def forwarded(frame: bytes, lock: Lock, talk: Conversation) -> bytes | None:
    """What :class:`relay.wire.Wire` sends to the model; None where it shows the session. Raises Refusal."""
    if (
        "input_audio_buffer.append" in lock.client_events
        and canonical_append(frame, talk.input_format.bytes_per_sample) is not None
    ):
        return frame
    verdict = judge_browser_event(decode_browser_event(frame), lock=lock, limits=LIMITS, conversation=talk)
    return None if isinstance(verdict, ShowSession) else encode(verdict.event)


def assert_nothing_escapes(frame: Frame, lock: Lock) -> str:
    """Judge the frame; what became of it."""
    talk = Conversation({})
    talk.open_calls.add(OPEN_CALL)
    refused: Refusal | None = None
    try:
        sent = forwarded(frame.text.encode(), lock, talk)
    except Refusal as refusal:
        refused = refusal
    if refused is not None:
        assert refused.code in ("invalid_event", "event_not_allowed", "field_locked", "response_limit")
        assert len(encode(refused.event("req_1", "event_1"))) < 2_000
        assert talk.open_calls == {OPEN_CALL}, "a refused event answers no call"
        assert talk.out_of_band_responses == 0, "a refused event takes no place"
        return refused.code
    assert not frame.is_no_json, "what is no JSON was read as an event"
    received = json.loads(frame.text)
    if sent is None:
        assert received["type"] == "session.update"
        return "shown the session"
    event = json.loads(sent)
    assert strict_json.decode(sent) == event
    assert escapes(event, fence_of(lock)) == []
    assert_is_part_of(event, received)
    if lock.on_locked_field == "refuse":
        assert [path for path in left_out(received, event) if path.rpartition(".")[2] not in HARMLESS] == []
    return "forwarded whole" if event == received else "forwarded in part"


def assert_is_part_of(event: Any, received: Any, where: str = "$") -> None:
    """Nothing was made up: less may be forwarded than was received, but nothing else."""
    if isinstance(event, dict):
        for key, value in event.items():
            its = f"{where}.{key}"
            if its in ("$.session.type", "$.event_id"):  # the lock's; and ours, for a response out of band
                continue
            assert key in received, its
            if its in ("$.session.max_output_tokens", "$.response.max_output_tokens"):
                assert value == received[key] or value == LIMITS.max_output_tokens
            else:
                assert_is_part_of(value, received[key], its)
    elif isinstance(event, list):
        assert isinstance(received, list), where
        assert len(event) == len(received), where
        for index, value in enumerate(event):
            assert_is_part_of(value, received[index], f"{where}[{index}]")
    else:
        assert event == received, where


HARMLESS = {"object", "status", "model"}
"""What may be left out where nothing else may: an item's, and the model that the session has."""


def left_out(received: Any, event: Any, where: str = "$") -> Iterator[str]:
    """What was received and not forwarded; objects with nothing in them apart."""
    if isinstance(received, dict):
        for key, value in received.items():
            if key in event:
                yield from left_out(value, event[key], f"{where}.{key}")
            elif has_leaves(value):
                yield f"{where}.{key}"
    elif isinstance(received, list):
        for index, value in enumerate(received):
            yield from left_out(value, event[index], f"{where}[{index}]")


def has_leaves(value: object) -> bool:
    return any(map(has_leaves, value.values())) if isinstance(value, dict) else True


def judge_many(examples: int) -> Counter[str]:
    """So many batches of frames; what became of them."""
    became: Counter[str] = Counter()

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(batch=batches)
    def judge(batch: list[tuple[Frame, str]]) -> None:
        for frame, lock in batch:
            became[assert_nothing_escapes(frame, LOCKS[lock])] += 1

    judge()
    print(f"\n{became.total()} frames under {len(LOCKS)} locks: {dict(became.most_common())}")  # noqa: T201 - figures
    return became


def assert_much_passed(became: Counter[str]) -> None:
    """A lock that lets nothing through would hold too."""
    passed = became["forwarded whole"] + became["forwarded in part"]
    assert passed > became.total() / 5
    assert became["forwarded in part"] > became.total() / 20
    assert became["shown the session"] > 0


def test_of_some_thousand_hostile_frames_nothing_outside_the_lock_passes() -> None:
    assert_much_passed(judge_many(300))


@pytest.mark.soak
def test_of_100_000_hostile_frames_nothing_outside_the_lock_passes() -> None:
    became = judge_many(5_500)
    assert became.total() >= 100_000
    assert_much_passed(became)


# --- the fence itself ---

FENCE = fence_of(LOCKS["realtime, narrow, open: as shipped"])
WITHIN: list[dict[str, Any]] = [
    {"type": "session.update", "session": {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}},
    {"type": "input_audio_buffer.append", "audio": "AAAA"},
    {"type": "response.create"},
    {"type": "response.create", "response": {"max_output_tokens": 1_000, "metadata": {"a": "b"}}},
    {
        "type": "conversation.item.create",
        "item": {"type": "function_call_output", "call_id": OPEN_CALL, "output": ""},
    },
]
BEYOND: list[Any] = [
    [], {}, {"type": 1}, {"type": "response.cancel", "x": 1}, {"type": "session.close"},
    {"type": "session.update", "session": {"type": "realtime", "instructions": ""}},
    {"type": "session.update", "session": {"type": "transcription"}},
    {"type": "session.update", "session": {"type": "realtime", "model": "gpt-realtime-2.1"}},
    {"type": "session.update", "session": {"type": "realtime", "audio": {"output": {"voice": 1}}}},
    {"type": "session.update", "session": {"type": "realtime", "audio": {"output": {"speed": 1.0}}}},
    {"type": "session.update", "session": {"type": "realtime", "audio.output.voice": "x"}},
    {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": {"x": 1}}}}},
    {"type": "input_audio_buffer.append", "audio": "AA=A"},
    {"type": "response.create", "response": {"instructions": "x"}},
    {"type": "response.create", "response": {"max_output_tokens": 1_001}},
    {"type": "response.create", "response": {"max_output_tokens": True}},
    {"type": "response.create", "response": {"audio": {"input": {"turn_detection": None}}}},
    {"type": "response.create", "response": {"input": [{"type": "message", "role": "system", "content": []}]}},
    {"type": "response.create", "response": {"metadata": {"a": {}}}},
    {"type": "conversation.item.create", "item": {"type": "item_reference", "id": "i"}},
    {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "c", "output": ""}},
    {"type": "conversation.item.create", "item": {"type": "mcp_approval_response", "approve": True}},
]  # fmt: skip


@pytest.mark.parametrize("event", WITHIN, ids=lambda event: json.dumps(event)[:60])
def test_what_is_within_the_fence_does_not_count_as_an_escape(event: dict[str, Any]) -> None:
    assert escapes(event, FENCE) == []


@pytest.mark.parametrize("event", BEYOND, ids=lambda event: json.dumps(event)[:60])
def test_what_is_beyond_the_fence_is_seen(event: Any) -> None:
    assert len(escapes(event, FENCE)) == 1


def test_a_transcription_session_has_a_fence_of_its_own() -> None:
    fence = fence_of(LOCKS["transcription, narrow, open: everything"])
    assert escapes({"type": "response.create"}, fence)
    update: dict[str, Any] = {"type": "session.update", "session": {"type": "transcription", "instructions": "x"}}
    assert escapes(update, fence)
    update["session"] = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
    assert escapes(update, fence) == []
    assert {event for event in CLIENT_EVENTS if escapes({"type": event}, fence)} == {
        "response.create",
        "response.cancel",
    }
