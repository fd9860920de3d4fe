"""A channel whose other side speaks the beta: everything passes through it, the words alone are others."""

import json

import pytest

import relay.beta_channel
from relay.beta_channel import BetaChannel
from relay.channel import ChannelEnd, How, ignore
from tests.relay.building import append_frame, audio_delta, to_frame
from tests.relay.test_wire import FakeChannel


class Ends:
    """A beta channel over a channel that writes down what it was told; ``heard`` is what came through."""

    def __init__(self) -> None:
        self.under = FakeChannel()
        self.beta = BetaChannel(self.under)
        self.heard: list[bytes] = []
        self.beta.on_frame = self.heard.append


async def test_frames_pass_in_the_words_of_the_side_they_go_to() -> None:
    ends = Ends()
    ends.under.on_frame(to_frame({"type": "session.update", "session": {"voice": "ash"}}))
    ends.under.on_frame(append_frame(96))
    assert json.loads(ends.heard[0])["session"] == {"type": "realtime", "audio": {"output": {"voice": "ash"}}}
    assert ends.heard[1] == append_frame(96)
    ends.beta.send(audio_delta(96))
    ends.beta.send(to_frame({"type": "conversation.item.done", "event_id": "e", "item": {}}))
    ends.beta.send(b"no event")
    assert ends.under.types() == ["response.audio.delta"]
    assert ends.under.events()[0] == json.loads(audio_delta(96)) | {"type": "response.audio.delta"}


async def test_who_listens_may_change_and_then_the_one_before_hears_nothing_more() -> None:
    ends, later = Ends(), list[bytes]()
    ends.beta.on_frame = later.append
    ends.under.on_frame(b"{}")
    assert (ends.heard, later) == ([], [b"{}"])
    assert ends.beta.on_frame == later.append  # the stopwatch asks who listens


async def test_after_an_ending_a_flood_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    monkeypatch.setattr(relay.beta_channel, "frame_to_ga", read.append)
    ends = Ends()
    ends.beta.on_frame = ignore
    ends.under.on_frame(b"{}")
    assert read == []


async def test_pings_and_congestion_are_told_and_reading_is_held_back() -> None:
    ends, controls, congested = Ends(), list[None](), list[bool]()
    ends.under.on_control()
    ends.under.on_congestion(True)
    ends.beta.on_control = lambda: controls.append(None)
    ends.beta.on_congestion = congested.append
    ends.under.on_control()
    ends.under.on_congestion(True)
    ends.under.on_congestion(False)
    assert (len(controls), congested) == (1, [True, False])
    ends.beta.pause()
    assert ends.under.is_paused()
    ends.beta.resume()
    assert not ends.under.is_paused()


async def test_the_round_trip_and_the_end_are_those_of_the_channel() -> None:
    ends = Ends()
    ends.beta.measure()
    assert ends.under.measures == 1
    ends.under.round_trip = 0.25
    assert ends.beta.round_trip == 0.25
    ends.under.ended.set_result(ChannelEnd(How.VANISHED))
    assert (await ends.beta.ended).how is How.VANISHED
