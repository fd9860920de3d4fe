"""The stopwatch stands before a callback only for the frame it measures."""

from collections.abc import Callable

import pytest

from relay.channel import ignore
from relay.stopwatch import Stopwatch
from service_kit.telemetry import Recorder


class End:
    """As much of a channel as a stopwatch sees."""

    def __init__(self) -> None:
        self.on_frame: Callable[[bytes], None] = ignore


class Scene:
    """A stopwatch between two ends; a frame of the model's that begins with ``a`` bears audio."""

    def __init__(self) -> None:
        self.browser, self.model = End(), End()
        self.heard: list[bytes] = []
        self.audio_ms = 0.0
        self.telemetry = Recorder()
        self.watch = Stopwatch(
            self.telemetry,
            self.browser,  # type: ignore[arg-type]
            self.from_browser,
            self.model,  # type: ignore[arg-type]
            self.from_model,
            lambda: self.audio_ms,
        )
        self.browser.on_frame, self.model.on_frame = self.from_browser, self.from_model

    def from_browser(self, frame: bytes) -> None:
        self.heard.append(frame)

    def from_model(self, frame: bytes) -> None:
        self.heard.append(frame)
        if frame.startswith(b"a"):
            self.audio_ms += 20
        if frame == b"stop":
            self.watch.await_audio()
        if frame == b"end":
            self.browser.on_frame = self.model.on_frame = ignore

    @property
    def is_out_of_the_way(self) -> bool:
        return self.browser.on_frame == self.from_browser and self.model.on_frame == self.from_model

    def counts(self) -> dict[str, int]:
        timings = self.telemetry.values.look().timings
        return {"/".join((name, *labels)): seen.count for (name, labels), seen in timings.items()}


IN, OUT = "airlock_relay_latency_ms/in", "airlock_relay_latency_ms/out"
AUDIO = "airlock_first_audio_ms"


def test_one_frame_each_way_is_timed_and_none_after_it() -> None:
    scene = Scene()
    for _ in range(2):
        scene.watch.time_next()  # the second time the first is still being waited for
    for _ in range(3):
        scene.browser.on_frame(b"x")
        scene.model.on_frame(b"y")
    assert scene.counts() == {IN: 1, OUT: 1}
    assert scene.is_out_of_the_way
    assert scene.heard == [b"x", b"y"] * 3


@pytest.mark.parametrize("timed", ["not", "before", "meanwhile"])
def test_the_first_audio_after_the_question_is_timed_and_none_after_it(timed: str) -> None:
    scene = Scene()
    if timed == "before":
        scene.watch.time_next()
    scene.model.on_frame(b"stop")
    if timed == "meanwhile":
        scene.watch.time_next()
    for frame in (b"t", b"a1", b"a2"):
        scene.model.on_frame(frame)
    assert scene.counts() == {AUDIO: 1} | ({} if timed == "not" else {OUT: 1})
    assert scene.model.on_frame == scene.from_model
    scene.model.on_frame(b"stop")
    scene.model.on_frame(b"a3")
    assert scene.counts()[AUDIO] == 2


def test_audio_that_nobody_waits_for_is_not_timed() -> None:
    scene = Scene()
    scene.model.on_frame(b"a")
    assert scene.counts() == {}


@pytest.mark.parametrize("waits", [False, True])
def test_an_end_that_is_not_to_be_heard_any_more_stays_unheard(waits: bool) -> None:
    scene = Scene()
    if waits:
        scene.watch.await_audio()
    scene.watch.time_next()
    scene.model.on_frame(b"end")
    assert scene.model.on_frame is scene.browser.on_frame is ignore
    scene.watch.time_next()
    scene.watch.await_audio()
    assert scene.model.on_frame is scene.browser.on_frame is ignore
