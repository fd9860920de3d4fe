import msgspec
import pytest

from bench import frames
from relay.events import Deltas, canonical_append, decode_model_event


@pytest.mark.parametrize("frame_ms", frames.FRAME_MS)
def test_frames_are_what_a_relay_meets_and_carry_as_much_audio(frame_ms: int) -> None:
    for append, delta in zip(frames.appends(frame_ms), frames.deltas(frame_ms), strict=True):
        assert canonical_append(append, 2) == Deltas().audio_bytes(delta) == frame_ms * 48
        assert frames.frame_ms_of(len(append)) == frames.frame_ms_of(len(append) + 30) == frame_ms


def test_no_two_frames_are_the_same() -> None:
    assert len(set(frames.appends(20))) == len(set(frames.deltas(20))) == frames.VARIANTS


def test_an_update_is_confirmed_with_what_it_says() -> None:
    update = {"type": "session.update", "session": {"type": "realtime", "instructions": "Be brief."}}
    event = decode_model_event(frames.session_updated(update))
    assert event is not None
    assert event["type"] == "session.updated"
    assert event["session"]["instructions"] == "Be brief."
    assert msgspec.json.decode(frames.session_created())["type"] == "session.created"
