"""What is remembered of a conversation: its session, open calls, and responses in flight."""

from typing import Any

import pytest

from relay.conversation import Conversation
from relay.events import AudioFormat

PCM, G711 = AudioFormat(48, 2), AudioFormat(8, 1)


def session_with(input_format: object, output_format: object) -> dict[str, Any]:
    return {"audio": {"input": {"format": input_format}, "output": {"format": output_format}}}


def created(response_id: str, conversation_id: str | None = "conv_1") -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": response_id, "conversation_id": conversation_id}}


def done(response_id: str) -> dict[str, Any]:
    return {"type": "response.done", "response": {"id": response_id}}


def call(call_id: object) -> dict[str, Any]:
    return {"type": "response.output_item.done", "item": {"type": "function_call", "call_id": call_id}}


def test_the_formats_are_those_the_model_confirmed() -> None:
    talk = Conversation(session_with({"type": "audio/pcmu"}, {"type": "audio/pcm", "rate": 24_000}))
    assert (talk.input_format, talk.output_format) == (G711, PCM)
    talk.observe({"type": "session.updated", "session": session_with({"type": "audio/pcm"}, {"type": "audio/pcma"})})
    assert (talk.input_format, talk.output_format) == (PCM, G711)


@pytest.mark.parametrize(
    "session",
    [
        {}, {"audio": None}, {"audio": []}, {"audio": "pcm"}, {"audio": {"input": None, "output": []}},
        session_with(None, "audio/pcmu"), session_with([], {}), session_with({"type": []}, {"type": None}),
        session_with({"type": "audio/x"}, {"type": {"audio/pcmu": 1}}),
    ],
    ids=repr,
)  # fmt: skip
def test_an_odd_session_counts_as_pcm(session: dict[str, Any]) -> None:
    talk = Conversation(session)
    assert (talk.input_format, talk.output_format) == (PCM, PCM)


def test_an_update_changes_only_what_it_holds() -> None:
    talk = Conversation({"id": "sess_1", **session_with({"type": "audio/pcmu"}, {"type": "audio/pcmu"})})
    talk.observe({"type": "session.updated", "session": {"audio": {"output": {"voice": "cedar"}}, "speed": 2}})
    assert talk.effective["id"] == "sess_1"
    assert talk.effective["speed"] == 2
    assert (talk.input_format, talk.output_format) == (G711, G711)


def test_a_call_of_the_model_is_open_once_it_is_complete() -> None:
    talk = Conversation({})
    talk.observe({"type": "response.output_item.added", "item": {"type": "function_call", "call_id": "call_1"}})
    assert talk.open_calls == set()
    talk.observe(call("call_1"))
    talk.observe(call("call_2"))
    assert talk.open_calls == {"call_1", "call_2"}


@pytest.mark.parametrize(
    "event",
    [
        call(None), call([]), call({}), call(1), {"type": "response.output_item.done"},
        {"type": "response.output_item.done", "item": []}, {"type": "response.output_item.done", "item": "x"},
        {"type": "response.output_item.done", "item": {"type": [], "call_id": "x"}},
        {"type": "response.output_item.done", "item": {"type": "message", "call_id": "x"}},
        {"type": "conversation.item.done", "item": {"type": "function_call", "call_id": "x"}},
        {"type": "response.created"}, {"type": "response.created", "response": None},
        {"type": "response.created", "response": {"id": []}}, {"type": "response.created", "response": {"id": None}},
        {"type": "response.done", "response": {"id": {}}}, {"type": "response.done", "response": []},
        {"type": "session.updated"}, {"type": "session.updated", "session": []},
        {"type": "error"}, {"type": "error", "error": []}, {"type": "error", "error": {"event_id": []}},
        {"type": ""}, {"type": "brand.new", "response": {"id": "x"}},
    ],
    ids=repr,
)  # fmt: skip
def test_odd_events_of_the_model_change_nothing(event: dict[str, Any]) -> None:
    talk = Conversation({})
    talk.observe(event)
    assert (talk.open_calls, talk.in_flight, talk.out_of_band_responses, talk.effective) == (set(), set(), 0, {})


def test_a_response_is_in_flight_from_created_to_done() -> None:
    talk = Conversation({})
    talk.observe(created("resp_1"))
    talk.observe(created("resp_2"))
    talk.observe(done("resp_1"))
    talk.observe(done("resp_9"))
    assert talk.in_flight == {"resp_2"}


def test_a_response_of_the_conversation_frees_no_place_outside_it() -> None:
    talk = Conversation({})
    talk.asked_out_of_band("mine")
    talk.observe(created("resp_1", "conv_1"))
    talk.observe(done("resp_1"))
    assert talk.out_of_band_responses == 1


def test_a_response_outside_the_conversation_counts_from_asked_to_done() -> None:
    talk = Conversation({})
    talk.asked_out_of_band("mine")
    talk.asked_out_of_band(None)
    assert talk.out_of_band_responses == 2
    talk.observe(created("resp_1", None))
    assert talk.out_of_band_responses == 2
    talk.observe(done("resp_1"))
    assert talk.out_of_band_responses == 1


def test_an_error_frees_the_place_of_the_response_it_is_about_and_names_it_as_the_client_did() -> None:
    talk = Conversation({})
    ours = talk.asked_out_of_band("mine")
    nameless = talk.asked_out_of_band(None)
    assert len({ours, nameless, "mine"}) == 3
    for about, told in ((ours, "mine"), (nameless, None)):
        event: dict[str, Any] = {"type": "error", "error": {"code": "invalid_value", "event_id": about}}
        talk.observe(event)
        assert event["error"]["event_id"] == told
    assert talk.out_of_band_responses == 0


@pytest.mark.parametrize("event_id", [None, "mine", "other", [], 1])
def test_an_error_about_something_else_frees_no_place(event_id: object) -> None:
    """Or a client could run as many as it likes, by sending events that fail."""
    talk = Conversation({})
    talk.asked_out_of_band("mine")
    event: dict[str, Any] = {"type": "error", "error": {"code": "item_not_found", "event_id": event_id}}
    talk.observe(event)
    assert event["error"]["event_id"] == event_id
    assert talk.out_of_band_responses == 1


def test_what_is_remembered_is_bounded_whatever_the_model_sends() -> None:
    talk = Conversation({})
    talk.observe(call("x" * 10_000))
    talk.observe(created("x" * 10_000))
    for number in range(5_000):
        talk.observe(call(f"call_{number}"))
        talk.observe(created(f"resp_{number}"))
    assert len(talk.open_calls) <= 1_024
    assert len(talk.in_flight) <= 1_024
    assert max(map(len, talk.open_calls | talk.in_flight)) <= 512
